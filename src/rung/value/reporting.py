"""The value report: matured outcomes times the matrix, less the baseline, less the ledger. Unmatured rows stand apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import NotFound
from rung.core.ids import new_id
from rung.storage.scope import Scope
from rung.value import rules
from rung.value.holding import compared, entity_column
from rung.value.measuring import Served, days, deployment_of, served, span, thresholds, values
from rung.value.records import BaselineKind, Interval, LedgerEntry, MakeReport, MonthValue, ThresholdAdvice, ValueMatrix, ValueReport

_NOTES = (
    "Only rows whose label had arrived are measured; the rest is in 'pending', valued as the matured ones were.",
    "Intervals draw whole days, since cases of one day depend on each other.",
)
_HELD_NOTES = (
    _NOTES[0],
    "Intervals are between entities; rows that were held out, or answered while no holdout ran, gain nothing.",
)


def report(request: MakeReport, scope: Scope, matrix: ValueMatrix, ledger: tuple[LedgerEntry, ...]) -> ValueReport:
    """The report, not kept yet. Raises NotFound without a deployment or predictions."""
    as_of = request.as_of or scope.now
    name = request.deployment or getattr(deployment_of(scope, request.model), "name", None)
    if name is None:
        raise NotFound(f"Nothing serves model {request.model!r}.", code="value.not_served", hint="Deploy it, or name the deployment.")
    sticky = entity_column(scope, name)
    found = served(scope, name, request.model, request.start, request.end, as_of, columns=[sticky] if sticky else [])
    if found.rows.is_empty():
        raise NotFound(
            f"{name!r} has no predictions of {request.model!r} to value.", code="value.no_predictions", hint="Check period and as_of."
        )
    return _Reporter(request, scope, matrix, ledger, found, name, as_of, sticky).made()


class _Reporter:
    """Holds the arrays of one report while its parts are computed."""

    def __init__(
        self,
        request: MakeReport,
        scope: Scope,
        matrix: ValueMatrix,
        ledger: tuple[LedgerEntry, ...],
        found: Served,
        deployment: str,
        as_of: datetime,
        sticky: str,
    ) -> None:
        self.request, self.scope, self.matrix, self.ledger = request, scope, matrix, ledger
        self.rows, self.deployment, self.as_of = found.rows, deployment, as_of
        self.limits = thresholds(scope, request.model, sorted(set(self.rows["version"])), matrix)
        self.classification = any(limit is not None for limit in self.limits.values())
        self.matured = self.rows.filter(pl.col("label").is_not_null()).sort("event_time")
        self.label = self.matured["label"].to_numpy()
        self.gross = values(matrix, self.matured, self.limits)
        self.holdout = compared(scope, matrix, found, self.matured, self.gross, sticky)
        self.basis, self.note, self.baseline = self._baseline(found.shadow)
        self.gain = self.gross - self.baseline
        self.day = days(self.matured)
        self.month = self.matured["event_time"].dt.strftime("%Y-%m").to_numpy()

    def _baseline(self, shadow: pl.DataFrame) -> tuple[BaselineKind, str, rules.Floats]:
        if self.holdout is None:
            return self._without_holdout(shadow)
        if self.holdout.told.usable:
            return "holdout", self.holdout.told.note, self.holdout.baseline(self.gross)
        basis, note, baseline = self._without_holdout(shadow)
        return basis, f"{self.holdout.told.note} {note}", baseline

    def _without_holdout(self, shadow: pl.DataFrame) -> tuple[BaselineKind, str, rules.Floats]:
        paired = shadow.select("prediction_id", other=pl.col("score"), number=pl.col("version")).unique("prediction_id")
        joined = self.matured.join(paired, on="prediction_id", how="left", maintain_order="left") if shadow.height else None
        if joined is not None and joined["other"].null_count() == 0 and joined.height:
            numbers = sorted(set(joined["number"]))
            limits = thresholds(self.scope, self.request.model, numbers, self.matrix)
            other = joined.select(score="other", version="number", label="label")
            named = ", ".join(f"{self.request.model}:{number}" for number in numbers)
            return "shadow", f"{named} answered the same requests in shadow.", values(self.matrix, other, limits)
        before = self.matrix.before_per_1000
        if before is not None:
            note = f"Before the model, 1000 cases were worth {before:g} {self.matrix.currency}, as declared with the value matrix."
            return "before_after", note, np.full(self.label.size, before / 1000)
        words = "nobody is acted on" if self.classification else "every value is guessed as the median of the labels"
        none = "No holdout and no shadow ran, so" if self.holdout is None else "No shadow ran either, so"
        note = f"{none} the comparison is with no model at all: {words}."
        return "no_model", note, rules.without_model(self.matrix, self.label, classification=self.classification)

    def made(self) -> ValueReport:
        first, newest = span(self.rows)
        start, last = self.request.start or first, self.request.end or newest + timedelta(microseconds=1)
        months = self._months()
        costs = _by_kind(self.ledger)
        cost = sum(costs.values())
        incremental = self._incremental(np.ones(self.gain.size, dtype=np.bool_))
        net = rules.shifted(incremental, -cost)
        matured, rows = self.matured.height, self.rows.height
        return ValueReport(
            id=new_id(),
            number=1,
            model=self.request.model,
            deployment=self.deployment,
            start=start,
            end=last,
            as_of=self.as_of,
            currency=self.matrix.currency,
            matrix=self.matrix.number,
            basis=self.basis,
            basis_note=self.note,
            holdout=self.holdout.told if self.holdout else None,
            predictions=rows,
            acted=self._acted(self.rows),
            matured=matured,
            matured_share=matured / rows,
            outcomes=self._outcomes(),
            gross=float(self.gross.sum()),
            baseline=float(self.baseline.sum()),
            incremental=incremental,
            costs=costs,
            cost=cost,
            net=net,
            roi=_ratio(net.estimate, cost),
            roi_low=_ratio(net.low, cost),
            roi_high=_ratio(net.high, cost),
            payback_day=self._payback(cost),
            break_even_predictions=rules.break_even(cost, costs.get("serving", 0.0), incremental.estimate, matured),
            value_per_1000=incremental.estimate / matured * 1000 if matured else None,
            threshold=self._threshold(),
            pending_rows=rows - matured,
            pending=self._pending(incremental, rows - matured),
            months=months,
            undated_cost=cost - sum(month.cost for month in months),
            notes=_HELD_NOTES if self.basis == "holdout" else _NOTES,
            created_at=self.scope.now,
            created_by=self.scope.principal,
        )

    def _incremental(self, among: NDArray[np.bool_]) -> Interval:
        """What some of the matured rows gained over the baseline."""
        if self.holdout is not None and self.basis == "holdout":
            return self.holdout.total(self.gross, among)
        return rules.block_total(self.gain[among], self.day[among])

    def _acted(self, rows: pl.DataFrame) -> int:
        if not self.classification:
            return rows.height
        limits = rows["version"].replace_strict(self.limits, return_dtype=pl.Float64)
        return int((rows["score"] >= limits).sum())

    def _outcomes(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for number, limit in self.limits.items():
            if limit is not None:
                mine = self.matured.filter(pl.col("version") == number)
                for name, count in rules.outcome_counts(mine["score"].to_numpy(), mine["label"].to_numpy(), limit).items():
                    total[name] = total.get(name, 0) + count
        return total

    def _threshold(self) -> ThresholdAdvice | None:
        newest = self.limits[max(self.limits)]
        if newest is None or not self.matured.height:
            return None
        mine = self.matured.filter(pl.col("version") == max(self.limits))
        mine = mine if mine.height else self.matured
        return rules.threshold_advice(self.matrix, mine["score"].to_numpy(), mine["label"].to_numpy(), newest)

    def _pending(self, incremental: Interval, rows: int) -> Interval | None:
        return rules.scaled(incremental, rows / self.matured.height) if rows and self.matured.height else None

    def _payback(self, cost: float) -> datetime | None:
        unique, place = np.unique(self.day, return_inverse=True)
        sums = np.bincount(place, weights=self.gain) if unique.size else np.zeros(0)
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return rules.payback([epoch + timedelta(days=int(day)) for day in unique], sums.tolist(), cost)

    def _months(self) -> tuple[MonthValue, ...]:
        made = []
        all_months = self.rows["event_time"].dt.strftime("%Y-%m")
        for month in sorted(set(all_months)):
            rows, mine = self.rows.filter(all_months == month), self.month == month
            costs = _by_kind(tuple(entry for entry in self.ledger if entry.spent_at.strftime("%Y-%m") == month))
            incremental, matured = self._incremental(mine), int(mine.sum())
            left = rows.height - matured
            made.append(
                MonthValue(
                    month=month,
                    predictions=rows.height,
                    acted=self._acted(rows),
                    matured=matured,
                    matured_share=matured / rows.height,
                    gross=float(self.gross[mine].sum()),
                    baseline=float(self.baseline[mine].sum()),
                    incremental=incremental,
                    costs=costs,
                    cost=sum(costs.values()),
                    net=incremental.estimate - sum(costs.values()),
                    pending=rules.scaled(incremental, left / matured) if left and matured else None,
                )
            )
        return tuple(made)


def _by_kind(entries: tuple[LedgerEntry, ...]) -> dict[str, float]:
    total: dict[str, float] = {}
    for entry in entries:
        total[entry.kind] = total.get(entry.kind, 0.0) + entry.amount
    return total


def _ratio(net: float, cost: float) -> float | None:
    return net / cost if cost > 0 else None
