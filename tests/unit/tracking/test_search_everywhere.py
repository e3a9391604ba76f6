"""Searching all experiments at once: one order over all of them, page by page."""

from __future__ import annotations

from math import isnan, nan

import pytest

from rung.client.transports import Transport
from rung.tracking.records import LogBatch, MetricPoint, Run, SearchRuns, StartRun


@pytest.fixture
def runs(transport: Transport) -> list[Run]:
    """Runs of three experiments with equal, missing and undefined numbers, in the order they were started."""
    values = [0.5, None, 0.1, nan, 0.5, 0.9, None, 0.3, 0.1, nan, 0.7, 0.5]
    for n, value in enumerate(values):
        run = transport.call(StartRun(experiment=f"e{n % 3}", params={"depth": n % 4, **({"kind": "tree"} if n % 2 else {"kind": 7})}))
        if value is not None:
            transport.call(LogBatch(run=run.id, metrics=(MetricPoint(key="auc", value=value),)))
    return list(reversed(transport.call(SearchRuns()).items))


def paged(transport: Transport, order: str, where: str = "") -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = transport.call(SearchRuns(order_by=(order,), after=after, limit=5, filter=where))
        found += [run.id for run in page.items]
        after = page.next
        if after is None:
            return found


def newest_first(runs: list[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.started_at, run.id), reverse=True)


def test_a_metric_sorts_runs_of_all_experiments_with_nan_and_nothing_last(transport: Transport, runs: list[Run]) -> None:
    there = [run for run in newest_first(runs) if "auc" in run.metrics and not isnan(run.metrics["auc"])]
    undefined = [run for run in newest_first(runs) if "auc" in run.metrics and isnan(run.metrics["auc"])]
    missing = [run for run in newest_first(runs) if "auc" not in run.metrics]
    for descending in (True, False):
        first = sorted(there, key=lambda run: run.metrics["auc"], reverse=descending)
        wanted = [run.id for run in [*first, *undefined, *missing]]
        assert paged(transport, f"metrics.auc {'DESC' if descending else 'ASC'}") == wanted


def test_a_param_sorts_runs_of_all_experiments_numbers_before_texts(transport: Transport, runs: list[Run]) -> None:
    numbers = [run.id for run in newest_first(runs) if run.params["kind"] == 7]
    texts = [run.id for run in newest_first(runs) if run.params["kind"] == "tree"]
    assert paged(transport, "params.kind ASC") == numbers + texts


def test_runs_are_found_by_their_ids_and_by_their_parents(transport: Transport, runs: list[Run]) -> None:
    child = transport.call(StartRun(experiment="e0", parent=runs[0].id))
    some = ", ".join(f"'{run.id}'" for run in runs[:3])
    assert set(paged(transport, "metrics.auc", f"id IN ({some})")) == {run.id for run in runs[:3]}
    assert paged(transport, "started_at", f"parent = '{runs[0].id}'") == [child.id]
    assert paged(transport, "started_at", f"parent IN ('{runs[1].id}', '{runs[2].id}')") == []
