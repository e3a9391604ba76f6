"""``rung dossier``: the documentation of a model version, generated from records."""

from __future__ import annotations

import click

from rung.cli.frame import client, note, show, state, verb


@click.command("dossier", short_help="Generated documentation of a model version.")
@click.argument("version")
@verb
def command(version: str) -> None:
    """Generate and keep the dossier of MODEL:VERSION; what no record says is named as a gap.

    \b
    Example: rung dossier late-flights:2 > dossier.md
    """
    model, _, number = version.partition(":")
    if number and not number.isdigit():
        raise click.UsageError(f"{version!r} is not MODEL:VERSION.")
    made = client().delivery.dossier(model, int(number) if number else None)
    if state().json:
        show(made)
        return
    click.echo(made.markdown)
    note(f"{len(made.gaps)} gaps; kept as {made.digest}.")
