"""Computing ledger entries: runs by their CPU time, serving by rows, storage by size, people by the policy's hours.

Every entry has a source that is booked once. Serving grows, so each booking enters the rows since the last one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.settings import Rates
from rung.monitoring.sources import ask
from rung.pipelines.records import ListPipelineRuns, PipelineRun
from rung.registry.records import ListVersions, ModelVersion
from rung.serving import predictions
from rung.storage.scope import Scope
from rung.value.measuring import deployment_of
from rung.value.records import CostKind, Decision, LedgerEntry
from rung.value.store import ValueStore

Booking = tuple[str, LedgerEntry]


def due(scope: Scope, model: str, as_of: datetime) -> list[Booking]:
    """Entries of a model that may not be in the ledger yet, each with its source."""
    versions = ask(scope, ListVersions(model=model, limit=1000)).items
    decisions = _with_store(scope, lambda store: store.decisions(model=model))
    made = _Maker(scope, model)
    _runs(made, scope, versions, decisions)
    _people(made, decisions)
    _serving(made, scope, model, versions, as_of)
    return made.found


class _Maker:
    """Collects entries of one model, priced at the declared rates."""

    def __init__(self, scope: Scope, model: str) -> None:
        self.scope = scope
        self.model = model
        self.rates: Rates = scope.settings.rates
        self.found: list[Booking] = []

    def add(self, source: str, kind: CostKind, *, quantity: float, unit: str, rate: float, basis: str, subject: str, at: datetime) -> None:
        entry = LedgerEntry(
            id=new_id(), model=self.model, kind=kind, amount=quantity * rate, currency=self.rates.currency, quantity=quantity, unit=unit,
            rate=rate, basis=basis, subject=subject, spent_at=at, created_at=self.scope.now, created_by="computed",
        )  # fmt: skip
        self.found.append((source, entry))


def _runs(made: _Maker, scope: Scope, versions: tuple[ModelVersion, ...], decisions: tuple[Decision, ...]) -> None:
    own = {version.pipeline_run_id for version in versions if version.pipeline_run_id}
    if not own:
        return
    runs = ask(scope, ListPipelineRuns(limit=1000)).items
    pipelines = {run.pipeline for run in runs if run.id in own}
    by_id = {decision.id: decision for decision in decisions}
    for run in runs:
        if run.pipeline in pipelines and run.ended_at is not None:
            what = f"CPU time of pipeline run {run.pipeline}:{run.number}"
            at, dated = _spent_at(run, by_id)
            made.add(
                f"pipeline_run:{run.id}", "compute", quantity=run.cpu_s / 3600, unit="CPU hour", rate=made.rates.cpu_hour,
                basis=f"{what}, {dated}", subject=f"pipeline_run {run.id}", at=at,
            )  # fmt: skip
            if run.gpu_s > 0:
                what = f"GPU time of pipeline run {run.pipeline}:{run.number}"
                made.add(
                    f"pipeline_run_gpu:{run.id}", "compute", quantity=run.gpu_s / 3600, unit="GPU hour", rate=made.rates.gpu_hour,
                    basis=f"{what}, {dated}", subject=f"pipeline_run {run.id}", at=at,
                )  # fmt: skip


def _spent_at(run: PipelineRun, decisions: dict[str, Decision]) -> tuple[datetime, str]:
    decision = decisions.get(run.cause.subject) if run.cause.kind == "decision" else None
    if decision is not None:
        return decision.as_of, f"dated by decision {decision.number}"
    given = run.params.get("as_of")
    if isinstance(given, str):
        try:
            at = datetime.fromisoformat(given)
        except ValueError:
            at = None  # a parameter that only looks like an instant dates nothing
        if at is not None and at.tzinfo is not None:
            return at, "dated by its parameter as_of"
    return run.ended_at or run.created_at, "dated by its end"


def _people(made: _Maker, decisions: tuple[Decision, ...]) -> None:
    for decision in decisions:
        hours = decision.settings.people_hours
        if decision.action == "retrain" and hours > 0:
            made.add(
                f"people:decision:{decision.id}", "people", quantity=hours, unit="hour", rate=made.rates.person_hour,
                basis=f"hours declared in the retraining policy for decision {decision.number}", subject=f"decision {decision.id}",
                at=decision.as_of,
            )  # fmt: skip


def _serving(made: _Maker, scope: Scope, model: str, versions: tuple[ModelVersion, ...], as_of: datetime) -> None:
    deployment = deployment_of(scope, model)
    if deployment is None:
        return
    frame = predictions.read(scope, deployment.name, None, None, columns=[])
    frame = frame.filter((pl.col("model") == model) & (pl.col("event_time") <= as_of))
    if frame.is_empty():
        return
    months = (
        frame.group_by(month=pl.col("event_time").dt.strftime("%Y-%m")).agg(rows=pl.len(), last=pl.col("event_time").max()).sort("month")
    )
    booked = _booked_rows(scope, model)
    gib = sum(version.size_bytes for version in versions) / 2**30
    for month, rows, last in months.iter_rows():
        fresh = rows - booked.get(month, 0)
        subject = f"deployment {deployment.name} {month}"
        if fresh > 0:
            made.add(
                f"serving:{deployment.name}:{month}:{rows}", "serving", quantity=fresh / 1000, unit="1000 predictions",
                rate=made.rates.prediction_1000, basis=_served(fresh, month), subject=subject, at=last,
            )  # fmt: skip
        made.add(
            f"storage:{month}", "storage", quantity=gib, unit="GiB month", rate=made.rates.gb_month,
            basis=f"files of {len(versions)} versions in {month}", subject=subject, at=last,
        )  # fmt: skip


def _booked_rows(scope: Scope, model: str) -> dict[str, int]:
    return _rows_in(_with_store(scope, lambda store: store.entries(model, "serving")))


def _rows_in(entries: tuple[LedgerEntry, ...]) -> dict[str, int]:
    booked: dict[str, int] = {}
    for entry in entries:
        month = _month_of(entry)
        booked[month] = booked.get(month, 0) + round(entry.quantity * 1000)
    return booked


def _month_of(entry: LedgerEntry) -> str:
    return entry.subject.rpartition(" ")[2]


def _served(rows: int, month: str) -> str:
    return f"{rows} answers of {month}, shadows included"


def _with_store(scope: Scope, work: Any) -> Any:
    if scope.open_connection is not None:
        return work(ValueStore(scope.connection, scope.project))
    return scope.read(lambda inside: work(ValueStore(inside.connection, inside.project)))


def book(store: ValueStore, model: str, bookings: list[Booking]) -> tuple[LedgerEntry, ...]:
    """Enter what is not in the ledger yet; answers what was new. Of rows that another booking has entered since, only the others."""
    store.take_turn(model)
    booked = _rows_in(store.entries(model, "serving"))
    left = [(source, entry if entry.kind != "serving" else _rest(source, entry, booked)) for source, entry in bookings]
    return tuple(entry for source, entry in left if entry is not None and store.add_entry(entry, source))


def _rest(source: str, entry: LedgerEntry, booked: dict[str, int]) -> LedgerEntry | None:
    """What a serving entry leaves to book, None for nothing; its source says how many rows there were in all."""
    month = _month_of(entry)
    fresh = int(source.rpartition(":")[2]) - booked.get(month, 0)
    if fresh <= 0 or fresh == round(entry.quantity * 1000):
        return entry if fresh > 0 else None
    return replaced(entry, quantity=fresh / 1000, amount=fresh / 1000 * entry.rate, basis=_served(fresh, month))
