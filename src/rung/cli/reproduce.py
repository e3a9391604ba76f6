"""``rung reproduce``: run a finished pipeline run again and compare every output."""

from __future__ import annotations

import sys

import click

from rung.cli.frame import EXIT_NOT_MET, client, note, show, state, verb
from rung.cli.run import _say


@click.command("reproduce", short_help="Run a finished run again and compare.")
@click.argument("run")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=1e-9,
    show_default=True,
    help="Greatest relative difference of numbers that still count as equal.",
)
@verb
def command(run: str, tolerance: float) -> None:
    """Execute a finished run again from its own code, isolated and without cache, and compare every output.

    Ends with exit code 3 when an output is different.

    \b
    Example: rung reproduce train:3
    """
    answer = client().pipelines.reproduce(run, tolerance=tolerance, listener=None if state().json else _say)
    if state().json:
        show(answer)
    else:
        show(answer.comparisons, ("step", "output", "likeness", "detail"), empty="The run has no outputs.")
        for line in answer.notes:
            note(line)
        where = f"; first at step {answer.first_diverging_step}" if answer.first_diverging_step else ""
        click.echo(f"The reproduction is {answer.likeness}{where}.")
    if answer.likeness == "different":
        sys.exit(EXIT_NOT_MET)
