"""``rung settings``: each setting with its value and where that came from."""

from __future__ import annotations

import click

from rung.cli.frame import show, state, verb


@click.command("settings", short_help="Every setting with its value and source.")
@verb
def command() -> None:
    """Every setting with its value and where it came from.

    \b
    Example: rung --set server.port=8080 settings
    """
    from rung.core.settings import explained_settings  # noqa: PLC0415

    show(explained_settings(flags=state().flags)[1], ("name", "value", "source", "doc"))
