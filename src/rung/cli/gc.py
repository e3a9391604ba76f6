"""``rung gc``: remove for good what was deleted long ago."""

from __future__ import annotations

import re

import click

from rung.cli.frame import client, note, show, verb

_UNITS = {"h": 1 / 24, "d": 1.0, "w": 7.0}


@click.command("gc", short_help="Remove deleted things and orphaned blobs for good.")
@click.option("--older-than", default="30d", show_default=True, help="Only what was deleted longer ago than this: 12h, 30d, 8w.")
@click.option("--grace", default="24h", show_default=True, help="Leave blobs alone that are younger than this.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@verb
def command(older_than: str, grace: str, *, dry_run: bool) -> None:
    """Remove for good the runs, experiments, models and versions that were deleted long ago, and blobs that nothing names.

    \b
    Example: rung gc --older-than 90d --dry-run
    """
    found = client().governance.collect_garbage(older_than_days=_days(older_than), grace_hours=_days(grace) * 24, dry_run=dry_run)
    show(found)
    if dry_run:
        note("Nothing was removed.")


def _days(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)([hdw])", text.strip())
    if match is None:
        raise click.UsageError(f"{text!r} is no length of time; write 12h, 30d or 8w.")
    return float(match[1]) * _UNITS[match[2]]
