"""``rung fsck``: check what is stored."""

from __future__ import annotations

import sys

import click

from rung.cli.frame import EXIT_FAILURE, client, note, show, state, table, verb


@click.command("fsck", short_help="Check blobs, packs, rows and database, and mend what can safely be mended.")
@click.option("--all", "everything", is_flag=True, help="Read every blob, and every frame of every pack.")
@click.option("--sample", default=1000, show_default=True, type=click.IntRange(min=0), help="How many blobs to read, by chance.")
@click.option("--repair", is_flag=True, help="Make indexes anew, remove leftovers, set damaged blobs aside.")
@verb
def command(sample: int, *, everything: bool, repair: bool) -> None:
    """Hold blobs against their digests, rows against blobs, packs against their index, and let the database check itself.

    Ends with 1 when something is damaged or missing. Repairing loses no bytes: what is damaged goes to a folder beside.

    \b
    Example: rung fsck --all
    """
    report = client().governance.check_storage(sample=None if everything else sample, repair=repair)
    if state().json:
        show(report)
    else:
        if report.flaws:
            table(("kind", "where", "detail", "mended"), [(flaw.kind, flaw.where, flaw.detail, flaw.mended) for flaw in report.flaws])
        click.echo(f"{report.read} of {report.blobs} blobs read, {report.names} names of blobs followed; {_told(report.counts)}.")
        if report.counts and not repair:
            note("`rung fsck --repair` mends what can safely be mended.")
    if not report.sound:
        sys.exit(EXIT_FAILURE)


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "nothing is wrong"
