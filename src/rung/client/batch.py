"""Batch inference: one score for each row of a dataset version, as a new dataset version.

It is a pipeline like any other: the rows are a map of partitions, so they are scored on any executor, a partition that
was scored is never scored again, and a run that was killed goes on where it was. The scores are those of serving.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl

from rung.client.client import Client, connect
from rung.client.current import current_pipeline_run_id
from rung.client.pipelines import Listener
from rung.core.errors import Conflict, Invalid
from rung.data.records import DatasetVersion
from rung.engine.executors.ray import imported
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.describing import described
from rung.pipelines.records import PipelineRun, RegisterPipelines
from rung.serving.batching import RecordScored
from rung.serving.codecs.form import predicted
from rung.serving.codecs.frames import table

ROW = "row"
_NUMBER = "__rung_row"
_MOST_PARTITIONS = 100_000
_GROUP = 16  # partitions that Ray Data is handed at once: what a killed run may have to score anew


@step(cache=False)
def partitioned(dataset: str, number: int, rows: int) -> list[dict[str, int]]:
    """Which rows of which file make each partition; ``first`` is the number of its first row in the whole version."""
    client = connect()
    version = client.data.get(dataset, number)
    if version.format == "files" or version.rows is None:
        raise Invalid(f"{dataset}:{number} has no rows to score.", code="serving.no_rows", hint="Score a table.")
    if version.rows / rows > _MOST_PARTITIONS:
        raise Invalid(f"{version.rows} rows make more than {_MOST_PARTITIONS} partitions.", code="serving.bad_size", hint="Raise --rows.")
    found, first = [], 0
    for place, _ in enumerate(version.files):
        height = _scan(client, version, place).select(pl.len()).collect().item()
        found += [{"file": place, "start": at, "count": min(rows, height - at), "first": first + at} for at in range(0, height, rows)]
        first += height
    return found


@step
def scored(part: dict[str, int], dataset: str, number: int, model: str, model_number: int, keep: list[str]) -> pl.DataFrame:
    """The scores of a partition, with the row numbers and the columns that are kept."""
    client = connect()
    version = client.data.get(dataset, number)
    return _scores(_rows(client, version, part), client.registry.predictor(model, model_number), keep)


@step
def grouped(parts: list[dict[str, int]]) -> list[list[dict[str, int]]]:
    """Partitions by what one job of Ray Data scores."""
    return [parts[at : at + _GROUP] for at in range(0, len(parts), _GROUP)]


@step(executor="ray", cpus=0.01)
def scored_by_ray(group: list[dict[str, int]], dataset: str, number: int, model: str, model_number: int, keep: list[str]) -> pl.DataFrame:
    """The scores of some partitions: Ray Data maps them, rows and model travel through Ray alone."""
    from rung.client.scaling import mapped_by_ray  # noqa: PLC0415 - only where Ray is asked for

    client = connect()
    version = client.data.get(dataset, number)
    predictor = client.registry.predictor(model, model_number)
    return pl.concat(mapped_by_ray([_rows(client, version, part) for part in group], _scores, predictor, keep))


@step(cache=False)
def collected(parts: list[pl.DataFrame], dataset: str, number: int, model: str, model_number: int, into: str) -> int:
    """Every partition as one version of ``into``: exactly one row for each that was given. Its number."""
    client = connect()
    given = client.data.get(dataset, number)
    result = pl.concat(parts).sort(ROW)
    if not result[ROW].equals(pl.int_range(given.rows or 0, eager=True).rename(ROW)):
        raise Conflict(
            f"The partitions hold {result.height} rows for {given.rows}.", code="serving.rows_differ", hint="Run it without the cache."
        )
    note = f"Scores of {dataset}:{number} by {model}:{model_number}."
    made = client.data.add(into, result, note=note, derived_from=[given], origin=f"{model}:{model_number}")
    client.transport.call(
        RecordScored(
            model=model, number=model_number, dataset=dataset, dataset_number=number, result=into, result_number=made.number,
            pipeline_run=current_pipeline_run_id() or None,
        )
    )  # fmt: skip
    return made.number


@pipeline(name="batch-scoring")
def batch_scoring(dataset: str, number: int, model: str, model_number: int, into: str, rows: int = 50_000, keep: list[str] = []) -> int:  # noqa: B006 - read only
    """Score every row of a dataset version by a model version."""
    parts = partitioned(dataset, number, rows)
    held = scored.map(parts, dataset=dataset, number=number, model=model, model_number=model_number, keep=keep)
    return collected(held, dataset, number, model, model_number, into)


@pipeline(name="batch-scoring-ray")
def batch_scoring_ray(dataset: str, number: int, model: str, model_number: int, into: str, rows: int = 50_000, keep: list[str] = []) -> int:  # noqa: B006 - read only
    """Score every row of a dataset version by a model version, partitions mapped by Ray Data."""
    groups = grouped(partitioned(dataset, number, rows))
    held = scored_by_ray.map(groups, dataset=dataset, number=number, model=model, model_number=model_number, keep=keep)
    return collected(held, dataset, number, model, model_number, into)


_SCORING = {batch_scoring.name, batch_scoring_ray.name}


def score_dataset(
    client: Client,
    model: str,
    dataset: str,
    *,
    into: str,
    model_number: int | None = None,
    alias: str | None = None,
    number: int | None = None,
    keep: Sequence[str] = (),
    rows: int = 50_000,
    executor: str = "",
    on: Literal["", "ray"] = "",
    wait: bool = True,
    listener: Listener | None = None,
) -> tuple[PipelineRun, DatasetVersion | None]:
    """Score a dataset version as a whole; the run, and the new version once it has ended well.

    Args:
        model: its name; the version is ``model_number``, that of ``alias``, or the newest.
        dataset: its name; version ``number``, or the newest.
        into: the dataset that gets a new version: ``row`` (from 0), the columns of ``keep``, ``predict`` (class or value), and
            ``score``, or ``score_0``, ``score_1`` … of several classes in their order.
        rows: of a partition.
        executor: where partitions are scored; default as of any run.
        on: ``ray``: Ray Data maps them, on the cluster of executor ray.

    Raises:
        NotFound: model or dataset are not there. Invalid: a column to keep is missing, or named like one of the result.
    """
    version = client.registry.version(model, model_number, alias=alias)
    given = client.data.get(dataset, number)
    known = {column.name for column in given.schema}
    for name in keep:
        if name not in known or name in {ROW, "predict"} or name.startswith("score"):
            raise Invalid(f"Column {name!r} cannot be kept.", code="serving.bad_column", hint=f"{dataset} has {', '.join(sorted(known))}.")
    if rows < 1:
        raise Invalid(f"A partition cannot have {rows} rows.", code="serving.bad_size", hint="Give at least 1.")
    if on not in {"", "ray"}:
        raise Invalid(f"Nothing scores on {on!r}.", code="serving.bad_engine", hint="Say on='ray', or choose an executor.")
    if on == "ray":
        imported()
    scoring = batch_scoring_ray if on == "ray" else batch_scoring
    info = described(scoring, code="", now=datetime.now(UTC))
    client.transport.call(RegisterPipelines(pipelines=(info,)))
    params: dict[str, Any] = {
        "dataset": dataset, "number": given.number, "model": model, "model_number": version.number, "into": into, "rows": rows,
        "keep": list(keep),
    }  # fmt: skip
    run = client.pipelines.run(scoring, params, executor=executor, wait=wait, listener=listener)
    return run, _result_of(client, run)


def resume_scoring(
    client: Client, run: str, *, wait: bool = True, listener: Listener | None = None
) -> tuple[PipelineRun, DatasetVersion | None]:
    """Go on with a run that was interrupted; of one that has ended well, what it made. Partitions that are scored stay so.

    Args:
        run: id, or ``batch-scoring:number``.

    Raises:
        NotFound: there is no such run. Invalid: it scores no dataset. Conflict: it is being executed.
    """
    known = client.pipelines.get(run).run
    if known.pipeline not in _SCORING:
        raise Invalid(
            f"Run {run!r} is one of pipeline {known.pipeline!r}, which scores no dataset.",
            code="serving.no_batch", hint="`rung run --resume` goes on with any run.",
        )  # fmt: skip
    if known.status != "succeeded":  # it may have ended in the moment before its command was killed
        known = client.pipelines.resume(known.id, wait=wait, listener=listener)
    return known, _result_of(client, known)


def _result_of(client: Client, run: PipelineRun) -> DatasetVersion | None:
    """The version a run made; None while it has not."""
    return client.data.get(str(run.params["into"]), client.pipelines.output(run.id)) if run.status == "succeeded" else None


def _scan(client: Client, version: DatasetVersion, place: int) -> pl.LazyFrame:
    return pl.scan_parquet(io.BytesIO(client.transport.get_blob(version.files[place].digest)))


def _rows(client: Client, version: DatasetVersion, part: dict[str, int]) -> pl.DataFrame:
    """The rows of a partition, with their numbers in the whole version."""
    rows = _scan(client, version, part["file"]).slice(part["start"], part["count"]).collect()
    return rows.with_columns(pl.int_range(part["first"], part["first"] + rows.height, eager=True).alias(_NUMBER))


def _scores(numbered: pl.DataFrame, predictor: Any, keep: list[str]) -> pl.DataFrame:
    """One row for each row: its number, the columns that are kept, its class or value, its scores."""
    rows = numbered.drop(_NUMBER)
    scores = predictor.predict_scores(rows, extra="drop")
    answers = table(predicted(scores, predictor.task, predictor.classes, predictor.threshold))
    return pl.concat([numbered.select(pl.col(_NUMBER).alias(ROW), *keep), answers], how="horizontal")
