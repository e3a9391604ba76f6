"""``rung sync``: send what was logged and has not arrived."""

from __future__ import annotations

from pathlib import Path

import click

from rung.cli.frame import EXIT_FAILURE, client, note, settings, show, state, table, verb


@click.command("sync", short_help="Send runs that wait in the spool.")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what waits.")
@verb
def command(folder: Path | None, *, dry_run: bool) -> None:
    """Send what was logged offline, by a process that was killed, or while the server was away. Sending again is harmless.

    FOLDER is a spool, or one run's folder of it, perhaps copied from another machine; default this machine's spool.

    \b
    Example: rung sync
    Example: rung --url https://rung.example.org sync /media/cluster/spool
    """
    from rung.client.places import place_of  # noqa: PLC0415 - `rung --help` must not load the client
    from rung.client.syncing import sync  # noqa: PLC0415

    transport = client().transport
    place = place_of(transport, settings())
    found = []
    for item in sync(folder or place.root, transport, place, dry=dry_run):
        found.append(item)
        note(f"{item.run} {item.name}: {item.outcome}. {item.message}".rstrip())
    if state().json:
        show(tuple(found))
    elif not found:
        click.echo(f"Nothing waits in {folder or place.root}.")
    else:
        rows = [[item.run, item.name, item.outcome, item.points, item.requests, item.left] for item in found]
        table(["run", "name", "outcome", "points", "requests", "journals left"], rows)
    if any(item.outcome == "failed" for item in found):
        click.get_current_context().exit(EXIT_FAILURE)
