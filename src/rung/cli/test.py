"""``rung test``: tests of the project's pipelines, written once and run from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rung.cli.frame import EXIT_FAILURE, client, fail, note, show, state, verb

_COLUMNS = ("number", "outcome", "counts", "wall_s", "git_commit", "source", "created_at", "created_by")


@click.command("test", short_help="Test the project's pipelines.")
@click.argument("paths", nargs=-1)
@click.option("--scaffold", metavar="PIPELINE", help="Write tests of a pipeline instead of running them.")
@click.option(
    "--sample",
    "samples",
    multiple=True,
    metavar="PARAM=FILE",
    help="A small real sample for a parameter of steps: a file, or DATASET:NUMBER.",
)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME=FILE",
    help="A dataset that a run of the whole pipeline finds: a file, or DATASET:NUMBER.",
)
@click.option(
    "-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the pipeline to scaffold; repeat for more."
)
@click.option("--label", default="", help="The column that the model learns.")
@click.option("--rows", type=click.IntRange(10, 1_000_000), default=500, show_default=True, help="Rows of a sample to keep.")
@click.option("--overwrite", is_flag=True, help="Replace tests that are there already.")
@click.option("--list", "listed", is_flag=True, help="Show earlier reports.")
@click.option("--report", type=click.IntRange(1), help="Show the checks of an earlier report.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write a report for CI systems too.")
@click.option("-k", "only", default="", metavar="EXPRESSION", help="Only tests whose names match, as in pytest.")
@verb
def command(paths: tuple[str, ...], **options: Any) -> None:
    """Run the tests in tests/pipelines and keep how they ended; with --scaffold write them first.

    \b
    Examples: rung test --scaffold train --sample learn=flights.parquet --label late
              rung test
              rung test --list
    """
    if options["scaffold"]:
        _scaffold(options)
    elif options["listed"]:
        show(client().testing.list(), _COLUMNS, empty="No reports yet. `rung test` makes one.")
    elif options["report"]:
        _show(client().testing.get(options["report"]))
    else:
        report = client().testing.run(paths, only=options["only"], junit=options["junit"], quiet=state().json)
        _show(report)
        if report.outcome == "failed":
            fail(f"The tests failed: {', '.join(f'{count} {name}' for name, count in report.counts.items())}.", code=EXIT_FAILURE)


def _scaffold(options: dict[str, Any]) -> None:
    written = client().testing.scaffold(
        options["scaffold"], _pairs(options["params"], "-p"), samples=_pairs(options["samples"], "--sample"),
        datasets=_pairs(options["datasets"], "--dataset"), label=options["label"], rows=options["rows"], overwrite=options["overwrite"],
    )  # fmt: skip
    if state().json:
        show({"files": [str(path) for path in written]})
    for path in written:
        note(f"Wrote {path}.")
    note("They are yours to change. `rung test` runs them.")


def _show(report: Any) -> None:
    if state().json:
        show(report)
        return
    show(report.checks, ("kind", "pipeline", "step", "outcome", "duration_s", "name"), title=f"Report {report.number}: {report.outcome}")
    for check in report.checks:
        if check.message and check.outcome != "passed":
            click.echo(f"{check.name}: {check.message.splitlines()[0]}")


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"{option} {text!r} has no '='. Write {option} NAME=VALUE.")
        found[key] = value
    return found
