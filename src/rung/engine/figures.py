"""Figures that guard rails of triggers ask for and that lie above pipelines: labels that have arrived, money that was spent."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median
from typing import Any

from rung.core.errors import RungError
from rung.monitoring.records import MeasurePerformance
from rung.monitoring.sources import ask
from rung.pipelines.calling import Call, fact
from rung.pipelines.guarding import period_end, period_start, wants_figures, wants_labels
from rung.pipelines.records import ListPipelineRuns, PipelineRun
from rung.pipelines.trigger_store import TriggerStore
from rung.pipelines.triggering import Figures, LabelFigures, SpendFigures, Trigger
from rung.storage.scope import Scope
from rung.value.records import ListCosts

_RECENT = 5
_MOST_RUNS = 1000
_OF_RETRAINING = {"compute", "labels", "people"}


def gathered(scope: Scope, calls: list[Call]) -> dict[tuple[str, str], Figures]:
    """The figures each call needs, by trigger and cause; outside any transaction, since they may take a while."""
    return {(call.trigger.id, call.signal.cause): figures_of(scope, call) for call in calls if wants_figures(call.trigger.guards)}


def figures_of(scope: Scope, call: Call) -> Figures:
    """The figures of one call. What cannot be had is named; the guard rail then holds."""
    guards, missing = call.trigger.guards, {}
    labels: LabelFigures | None = None
    spend: SpendFigures | None = None
    if wants_labels(guards):
        try:
            labels = _labels(scope, call)
        except RungError as error:
            missing["labels"] = str(error)[:1000]
    if guards.budget is not None:
        try:
            spend = _spend(scope, call.trigger, call.as_of(scope.now))
        except RungError as error:
            missing["spend"] = str(error)[:1000]
    return Figures(labels=labels, spend=spend, missing=missing)


def _labels(scope: Scope, call: Call) -> LabelFigures | None:
    guards, facts, as_of = call.trigger.guards, call.signal.facts, call.as_of(scope.now)
    deployment = guards.label_deployment or str(fact(facts, "deployment") or call.trigger.subject)
    end = min(_instant(facts.get("end")) or as_of, as_of)
    start = _instant(facts.get("start")) or end - timedelta(days=guards.label_days)
    if start >= end:
        start = end - timedelta(days=guards.label_days)
    held = ask(scope, MeasurePerformance(deployment=deployment, bounds=(start, end), as_of=as_of))[0]
    return LabelFigures(deployment=deployment, start=start, end=end, as_of=as_of, rows=held.rows, labelled=held.labelled)


def _spend(scope: Scope, trigger: Trigger, as_of: datetime) -> SpendFigures:
    guards, rates = trigger.guards, scope.settings.rates
    start, end = (edge(guards.budget_period, guards.zone, as_of) for edge in (period_start, period_end))
    runs = [run for run in ask(scope, ListPipelineRuns(pipeline=trigger.pipeline, limit=_MOST_RUNS)).items if run.reproduces is None]
    dated = _dated(scope, runs)
    price = {run.id: run.cpu_s / 3600 * rates.cpu_hour + run.gpu_s / 3600 * rates.gpu_hour for run in runs}
    ended = [price[run.id] for run in runs if run.status == "succeeded"][:_RECENT]
    estimate = median(ended) if ended else 0.0
    under_way = sum(max(estimate - price[run.id], 0.0) for run in runs if run.status in {"queued", "running"})
    spent = sum(price[run.id] for run in runs if start <= dated[run.id] < end) + under_way
    if guards.budget_model:
        spent += sum(
            entry.amount for entry in ask(scope, ListCosts(model=guards.budget_model))
            if entry.kind in _OF_RETRAINING and start <= entry.spent_at < end and not entry.subject.startswith("pipeline_run ")
        )  # fmt: skip
    return SpendFigures(since=start, spent=spent, estimate=estimate, currency=rates.currency)


def _dated(scope: Scope, runs: list[PipelineRun]) -> dict[str, datetime]:
    """The instant each run belongs to: that of the cause which started it, else its creation."""

    def look(inside: Scope) -> dict[str, datetime]:
        return TriggerStore(inside.connection, inside.project).as_of_runs()

    known = look(scope) if scope.open_connection is not None else scope.read(look)
    return {run.id: known.get(run.id, run.created_at) for run in runs}


def _instant(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else None
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None  # a fact that only happens to be called so
    return found if found is not None and found.tzinfo else None
