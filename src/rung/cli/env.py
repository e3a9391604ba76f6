"""``rung env``: the export lines that point other tools at this platform."""

from __future__ import annotations

import shlex

import click

from rung.cli.frame import settings, verb


@click.command("env", short_help='Export lines for other tools: eval "$(rung env)".')
@verb
def command() -> None:
    """Export lines for clients of this platform's server.

    \b
    Example: eval "$(rung env)"
    """
    from rung.server.up import exports  # noqa: PLC0415

    for name, value in exports(settings()).items():
        click.echo(f"export {name}={shlex.quote(value)}")
