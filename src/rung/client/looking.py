"""Runs as data frames: ``rung.search_runs``, ``rung.history``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from rung.client.current import current_client
from rung.tracking.records import Run, View

_PAGE = 1000


def search_runs(
    filter: str = "",
    *,
    experiments: str | int | Sequence[str | int] = (),
    order_by: str | Sequence[str] = (),
    limit: int | None = 1000,
    view: View = "active",
    as_pandas: bool = False,
) -> Any:
    """Runs that a filter finds, as a Polars frame: a row a run, a column for each ``params.x``, ``metrics.x``, ``tags.x``.

    Args:
        filter: for example ``metrics.auc > 0.7 AND (params.model = 'tree' OR tags.kept IS NOT NULL)``.
        experiments: names or numbers; default all.
        order_by: for example ``metrics.auc DESC``; default newest first.
        limit: how many at most; None for all of them.
        as_pandas: a pandas frame instead.

    Raises:
        Invalid: the filter cannot be read; the message names the place.
    """
    wanted = (experiments,) if isinstance(experiments, (str, int)) else tuple(experiments)
    found: list[Run] = []
    after: str | None = None
    tracking = current_client().tracking
    while limit is None or len(found) < limit:
        size = _PAGE if limit is None else min(_PAGE, limit - len(found))
        page = tracking.search(filter, experiments=wanted, order_by=order_by, after=after, limit=size, view=view)
        found += page.items
        after = page.next
        if after is None:
            break
    frame = _frame(found)
    return frame.to_pandas() if as_pandas else frame


def get_run(run: str) -> Run:
    """A run by its id or as ``experiment:12``. Raises NotFound."""
    return current_client().tracking.get(run)


def history(run: str | Run, key: str, *, limit: int = 100_000, as_pandas: bool = False) -> Any:
    """The points of one metric as a Polars frame of step, at and value; thinned if there are more than ``limit``."""
    series = current_client().tracking.history(run.id if isinstance(run, Run) else run, key, limit=limit)
    points = series.points
    frame = pl.DataFrame(
        {"step": [p.step for p in points], "at": [p.at for p in points], "value": [p.value for p in points]},
        schema={"step": pl.Int64, "at": pl.Datetime("us", "UTC"), "value": pl.Float64},
    )
    return frame.to_pandas() if as_pandas else frame


def _frame(runs: Sequence[Run]) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {
        "run": pl.Series("run", [f"{run.experiment}:{run.number}" for run in runs], dtype=pl.String),
        "id": pl.Series("id", [run.id for run in runs], dtype=pl.String),
        "name": pl.Series("name", [run.name for run in runs], dtype=pl.String),
        "status": pl.Series("status", [run.status for run in runs], dtype=pl.String),
        "started_at": pl.Series("started_at", [run.started_at for run in runs], dtype=pl.Datetime("us", "UTC")),
        "ended_at": pl.Series("ended_at", [run.ended_at for run in runs], dtype=pl.Datetime("us", "UTC")),
    }
    for group in ("params", "metrics", "tags"):
        for key in sorted({key for run in runs for key in getattr(run, group)}):
            name = f"{group}.{key}"
            columns[name] = column(name, [getattr(run, group).get(key) for run in runs])
    return pl.DataFrame(list(columns.values()))


def column(name: str, values: list[Any]) -> pl.Series:
    """A column of one type: numbers stay numbers, a mixture becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    if len(kinds) > 1:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(name, values, dtype={int: pl.Int64, float: pl.Float64, bool: pl.Boolean}.get(next(iter(kinds), str), pl.String))
