"""``rung labels``: bring the truth about predictions."""

from __future__ import annotations

import click

from rung.cli.frame import client, show, verb


@click.group("labels", short_help="Bring the truth about predictions.")
def command() -> None:
    """Bring the truth about predictions."""


@command.command("add")
@click.argument("deployment")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--source", default="", help="Where they come from.")
@verb
def add(deployment: str, file: str, source: str) -> None:
    """Add labels from Parquet or CSV with the columns prediction_id, label and optionally event_time, arrived_at.

    \b
    Example: rung labels add late-flights labels.parquet
    """
    show(client().monitoring.add_labels(deployment, file, source=source))


@command.command("list")
@click.argument("deployment")
@verb
def list_batches(deployment: str) -> None:
    """Deliveries of labels, oldest first.

    \b
    Example: rung labels list late-flights
    """
    columns = ("id", "rows", "first_arrival", "last_arrival", "source", "created_at")
    show(client().monitoring.label_batches(deployment), columns, empty="No labels yet.")


@command.command("delay")
@click.argument("deployment")
@verb
def delay(deployment: str) -> None:
    """How long labels take to arrive.

    \b
    Example: rung labels delay late-flights
    """
    show(client().monitoring.label_delay(deployment))
