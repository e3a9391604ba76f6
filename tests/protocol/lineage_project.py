"""A small pipeline with a dataset, a model-like output, a cached step and a failing one, for tests of what is told of it."""

from __future__ import annotations

import polars as pl

from rung.client.client import Client
from rung.data.records import DatasetRef, Expectation
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.records import PipelineRun


@step
def rows(data: DatasetRef, share: float) -> tuple[pl.DataFrame, int]:
    """Some rows."""
    return pl.DataFrame({"x": [1, 2, 3]}), 3


@step
def total(frame: pl.DataFrame, times: int) -> int:
    if times > 100:
        raise ValueError("too often")
    return int(frame["x"].sum()) * times


@pipeline(name="lineage")
def flow(data: DatasetRef, share: float = 0.5, times: int = 2) -> int:
    """Counts rows."""
    frame, _ = rows(data, share)
    return total(frame, times)


def prepared(client: Client) -> None:
    """A dataset version to run on."""
    client.data.add("numbers", pl.DataFrame({"x": [1, 2, 3], "word": ["a", "b", None]}))
    client.data.expect("numbers", Expectation(kind="between", arguments={"column": "x", "low": 0, "high": 3}))
    client.data.validate("numbers")


def ran(client: Client, **params: object) -> PipelineRun:
    """One run; a failing one is answered like any other."""
    return client.pipelines.run(flow, {"data": "numbers:1", **params})
