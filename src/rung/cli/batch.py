"""``rung batch``: score a dataset version as a whole."""

from __future__ import annotations

from typing import Literal

import click

from rung.cli.frame import EXIT_FAILURE, client, fail, note, show, state, verb


@click.command("batch", short_help="Score every row of a dataset version by a model.")
@click.argument("model")
@click.argument("dataset")
@click.option("--into", required=True, help="Dataset that gets the scores as a new version.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Column to keep beside the score, such as a key; repeat for more.")
@click.option("--rows", type=click.IntRange(1), default=50_000, show_default=True, help="Rows of a partition.")
@click.option("--executor", default="", help="Where partitions are scored, e.g. pool or ray.")
@click.option("--on", type=click.Choice(["ray"]), default=None, help="Let Ray Data map the partitions.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted; partitions that are scored stay so.")
@click.option("--detach", is_flag=True, help="Only queue the run; a worker executes it.")
@verb
def command(
    model: str,
    dataset: str,
    into: str,
    keep: tuple[str, ...],
    rows: int,
    executor: str,
    on: Literal["ray"] | None,
    resume: str | None,
    detach: bool,  # noqa: FBT001
) -> None:
    """Score every row of DATASET (name, or name:number) by MODEL (name, name:number, or name@alias).

    The new version has one row for each that was given, in the same order: row, the kept columns, predict (class or value), score.

    \b
    Example: rung batch late-flights@champion departures --into scores --keep flight_id
    """
    from rung.cli.watching import Watch  # noqa: PLC0415 - as below: `rung --help` must not pay for Polars
    from rung.client.batch import resume_scoring, score_dataset  # noqa: PLC0415

    held = client()
    listener = None if state().json else Watch()
    name, _, alias = model.partition("@")
    number = ""
    if not alias and model.rpartition(":")[2].isdigit():
        name, _, number = model.rpartition(":")
    source, _, version = dataset.rpartition(":") if ":" in dataset else (dataset, "", "")
    if version and not version.isdigit():
        raise click.UsageError(f"{dataset!r} is no dataset version: write name:number.")
    if resume:
        params = held.pipelines.get(resume).run.params
        for said, given in {"model": name, "dataset": source, "into": into}.items():
            if params.get(said, given) != given:
                raise click.UsageError(f"{resume} has {'--' if said == 'into' else ''}{said} {params[said]!r}, not {given!r}.")
        run, made = resume_scoring(held, resume, wait=not detach, listener=listener)
    else:
        run, made = score_dataset(
            held, name, source, into=into, model_number=int(number) if number else None, alias=alias or None,
            number=int(version) if version else None, keep=keep, rows=rows, executor=executor, on=on or "", wait=not detach,
            listener=listener,
        )  # fmt: skip
    if state().json:
        show(made or run)
    elif made is not None:
        note(f"{made.rows} rows in {made.dataset}:{made.number}, by run {run.pipeline}:{run.number}.")
    else:
        note(f"Run {run.pipeline}:{run.number} is {run.status}.")
    if run.status in {"failed", "cancelled"}:
        fail(run.error or "It was cancelled.", hint=f"`rung batch … --resume {run.pipeline}:{run.number}` goes on.", code=EXIT_FAILURE)
