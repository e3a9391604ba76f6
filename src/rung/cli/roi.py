"""``rung roi``: the value report under the name accountants look for."""

from __future__ import annotations

import click

from rung.cli.frame import verb


@click.group("roi", short_help="The ROI report; the same as `rung value report`.")
def command() -> None:
    """The ROI report; the same as `rung value report`."""


@command.command("report")
@click.argument("model")
@click.option("--deployment", help="Which deployment; default the one that serves the model.")
@click.option("--last", is_flag=True, help="Show the newest kept report instead of making one.")
@verb
def report(model: str, deployment: str | None, last: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Outcomes times matrix, less baseline, less costs.

    \b
    Example: rung roi report late-flights
    """
    from rung.cli.value import show_report  # noqa: PLC0415 - one command group is loaded at a time

    show_report(model, deployment, last=last)
