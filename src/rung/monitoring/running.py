"""One run of a monitor: the windows that are due, measured, alerted on and gathered into incidents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from rung.core.ids import new_id
from rung.core.records import replaced
from rung.monitoring import labels as truth
from rung.monitoring import sources
from rung.monitoring.columns import SCORE, Reference, compared
from rung.monitoring.evidence import days, gain_of, matrix
from rung.monitoring.performance import Standard, labelled_arrays, measured, of_version, slices_of
from rung.monitoring.quality import broken_expectations, faults, having, history, stretches, too_few_rows
from rung.monitoring.records import (
    Alert,
    AlertRaised,
    AlertRule,
    Incident,
    IncidentClosed,
    IncidentOpened,
    Monitor,
    MonitorReport,
    Performance,
    RetrainingGain,
    WindowReport,
    WindowsMeasured,
)
from rung.monitoring.rules import (
    FEWEST_LABELS,
    MATURE_SHARE,
    alerts_of,
    due_windows,
    group_of,
    is_final,
    recovered,
    same_trouble,
    window_sentence,
)
from rung.monitoring.store import MonitoringStore
from rung.registry.records import ModelVersion
from rung.stats.outcomes import estimate
from rung.stats.shift import concept_change
from rung.storage.outbox import emit
from rung.storage.scope import Scope

LOOK_BACK = timedelta(days=60)
GAIN_LOOK_BACK = timedelta(days=28)


@dataclass(frozen=True)
class Served:
    """What a deployment answered, met by the labels known at ``as_of``; ``label`` is null where none had arrived."""

    frame: pl.DataFrame
    as_of: datetime

    def between(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Rows with an event time in [start, end)."""
        return self.frame.filter((pl.col("event_time") >= start) & (pl.col("event_time") < end))


def served(scope: Scope, monitor: Monitor, start: datetime | None, end: datetime, as_of: datetime) -> Served:
    """Predictions of [start, end) with their labels as known at ``as_of``."""
    frame = sources.answered(scope, monitor.deployment, start, min(end, as_of))
    known = truth.known(scope, monitor.deployment, as_of, since=start)
    known = known.select("prediction_id", truth.numbers(known["label"], monitor.positive).alias("label"), "arrived_at")
    return Served(frame.drop("label", "arrived_at", strict=False).join(known, on="prediction_id", how="left", maintain_order="left"), as_of)


def run(scope: Scope, monitor: Monitor, as_of: datetime) -> Callable[[Scope], MonitorReport]:
    """Measure every due window; the answer saves them, with alerts and incidents."""
    stored = scope.read(lambda inside: MonitoringStore(inside.connection, inside.project).windows(monitor.deployment))
    final = {window.start for window in stored if window.final}
    pending = [window.start for window in stored if not window.final]
    begin = min(pending) if pending else (max(w.end for w in stored) if stored else None)
    rows = served(scope, monitor, None if begin is None else begin - LOOK_BACK, as_of, as_of)
    watermark, first = rows.frame["event_time"].max(), rows.frame["event_time"].min()
    if not isinstance(watermark, datetime) or not isinstance(first, datetime):
        return lambda _: MonitorReport(
            deployment=monitor.deployment, as_of=as_of, watermark=None, windows=(), sentence=f"{monitor.deployment} has no predictions yet."
        )
    first = first if begin is None else max(first, begin)
    due = due_windows(monitor, first=first, watermark=watermark, as_of=as_of, final=final)
    kept = {window.start: window for window in stored}
    made: list[WindowReport] = []
    for start, end in due:
        kept[start] = window = measure(scope, monitor, rows, start, end, [kept[key] for key in sorted(kept) if key < start])
        made.append(window)
    return lambda inside: _save(inside, monitor, as_of, watermark, made, kept)


def measure(scope: Scope, monitor: Monitor, rows: Served, start: datetime, end: datetime, earlier: Sequence[WindowReport]) -> WindowReport:
    """The report of one window, given the reports of those before it."""
    current = rows.between(start, end)
    empty = WindowReport(
        id=new_id(), deployment=monitor.deployment, start=start, end=end, rows=0, model=None, version=None, reference=None, drift=(),
        quality=(), score=None, performance=None, recent=None, labelled_share=0.0, final=is_final(monitor, end, rows.as_of), as_of=rows.as_of,
        sentence=f"{monitor.deployment}, {start:%Y-%m-%d} to {end:%Y-%m-%d}: no predictions.",
    )  # fmt: skip
    if current.is_empty():
        return empty
    version = serving_version(scope, current)
    reference = sources.reference(scope, monitor, version)
    before = rows.between(start - LOOK_BACK, start)
    lacking = sources.lacking(scope, pl.concat([before, current]))
    spoiled = stretches([(w.start, w.end, w.quality) for w in earlier])
    past = history(reference, before, start, spoiled, lacking)
    claims = sources.expectations(scope, reference.name.partition(":")[0])
    broken = (
        *faults(reference, past, current, length=end - start),
        *(broken_expectations(claims, reference, having(current, reference.columns, lacking), rows.as_of) if claims else ()),
    )
    thin = too_few_rows(len(current), [w.rows for w in earlier[-8:]])
    references = [*reference.columns.values(), *([reference.score] if reference.score else [])]
    drift = compared(references, _own_scores(current, version), numeric_floor=monitor.drift_floor, category_floor=monitor.category_floor)
    standard = standard_of(scope, monitor, version)
    final = is_final(monitor, end, rows.as_of)
    performance = measured(current, standard, version.model, version.number, start=start, end=end, as_of=rows.as_of, final=final)
    recent = _recent(monitor, rows, version, standard, start, end, earlier, spoiled=bool(broken))
    gain = None if broken else _gain(reference, rows, version, standard, end, earlier)
    window = WindowReport(
        id=new_id(),
        deployment=monitor.deployment,
        start=start,
        end=end,
        rows=len(current),
        model=version.model,
        version=version.number,
        reference=reference.name,
        drift=tuple(item for item in drift if item.column != SCORE),
        quality=(*broken, *([thin] if thin else [])),
        score=next((item for item in drift if item.column == SCORE), None),
        performance=performance,
        recent=recent,
        gain=gain,
        slices=slices_of(current, _standards(scope, monitor, current)),
        labelled_share=performance.labelled_share,
        final=final,
        as_of=rows.as_of,
    )
    return _with_sentence(window)


def _own_scores(current: pl.DataFrame, version: ModelVersion) -> pl.DataFrame:
    """Rows whose scores are null where another version answered: these are not compared with this version's."""
    mine = (pl.col("model") == version.model) & (pl.col("version") == version.number)
    return current.with_columns(pl.when(mine).then(pl.col("score")).alias("score"))


def _standards(scope: Scope, monitor: Monitor, current: pl.DataFrame) -> dict[tuple[str, int], Standard]:
    """The standard of each version among the rows; none where one arm answered them all with one version."""
    if current.select(pl.struct("arm", "model", "version").n_unique()).item() == 1:
        return {}
    held = current.select("model", "version").unique().iter_rows()
    return {(model, number): standard_of(scope, monitor, sources.model_version(scope, model, number)) for model, number in held}


def _with_sentence(window: WindowReport) -> WindowReport:
    return replaced(window, sentence=window_sentence(window)[:1000])


def _recent(
    monitor: Monitor, rows: Served, version: ModelVersion, standard: Standard, start: datetime, end: datetime,
    earlier: Sequence[WindowReport], *, spoiled: bool,
) -> Performance | None:  # fmt: skip
    """Performance of this version over the last few windows, without those whose input was broken."""
    length = end - start
    since = end - length * monitor.performance_windows
    left_out = [(w.start, w.end) for w in earlier if w.quality and w.end > since] + ([(start, end)] if spoiled else [])
    frame = of_version(rows.between(since, end), version.model, version.number)
    for low, high in left_out:
        frame = frame.filter((pl.col("event_time") < low) | (pl.col("event_time") >= high))
    if frame.is_empty():
        return None
    first = frame["event_time"].min()
    begun = first if isinstance(first, datetime) else since
    return measured(frame, standard, version.model, version.number, start=begun, end=end, as_of=rows.as_of, final=False)


def _gain(
    reference: Reference, rows: Served, version: ModelVersion, standard: Standard, end: datetime, earlier: Sequence[WindowReport]
) -> RetrainingGain | None:
    """What the mature labels of the last 28 days could add to this version's scores, windows with broken input left out."""
    frame = of_version(rows.between(end - GAIN_LOOK_BACK, end), version.model, version.number)
    for window in earlier:
        if window.quality and window.end > end - GAIN_LOOK_BACK:
            frame = frame.filter((pl.col("event_time") < window.start) | (pl.col("event_time") >= window.end))
    labelled = frame.filter(pl.col("label").is_not_null() & pl.col("score").is_finite())
    columns = [name for name in reference.columns if name in labelled.columns]
    if version.task != "binary" or not columns or len(labelled) < max(FEWEST_LABELS, MATURE_SHARE * len(frame)):
        return None
    labels, scores = labelled_arrays(labelled)
    found = concept_change(matrix(reference, columns, labelled), labels, scores, days(labelled), threshold=standard.threshold)
    return gain_of(found)


def serving_version(scope: Scope, current: pl.DataFrame) -> ModelVersion:
    """The model version that answered most of the rows."""
    model, number = current.group_by("model", "version").len().sort("len", "version").select("model", "version").row(-1)
    return sources.model_version(scope, model, int(number))


def standard_of(scope: Scope, monitor: Monitor, version: ModelVersion) -> Standard:
    """What a version's realised performance is held against: the model's own evaluation, with its standard error."""
    threshold = 0.5 if version.threshold is None else version.threshold
    metric = monitor.metric if version.task != "regression" or monitor.metric in {"mae", "rmse"} else "mae"
    held = sources.own_scores(scope, version)
    if held is None or held.is_empty():
        return Standard(metric, threshold)
    return Standard(metric, threshold, estimate(metric, held["label"].to_numpy(), held["score"].to_numpy(), threshold))


def _save(
    scope: Scope, monitor: Monitor, as_of: datetime, watermark: datetime, made: list[WindowReport], kept: dict[datetime, WindowReport]
) -> MonitorReport:
    store = MonitoringStore(scope.connection, scope.project)
    store.take_turn()
    if store.monitor(monitor.deployment) != monitor:  # its windows were dropped, and these answer another question
        sentence = f"{monitor.deployment}: the monitor was changed while it measured; nothing of that is kept."
        return MonitorReport(deployment=monitor.deployment, as_of=as_of, watermark=watermark, windows=(), sentence=sentence)
    alerts: list[Alert] = []
    for window in made:
        store.save_window(window)
        upto = [kept[start] for start in sorted(kept) if start <= window.start]
        raised = alerts_of(monitor, upto)
        alerts += [alert for rule, columns, message in raised if (alert := _raise(scope, monitor, window, rule, columns, message, as_of))]
        _close_recovered(scope, monitor, upto, {group_of(rule) for rule, _, _ in raised}, as_of)
    if made:
        ids = tuple(window.id for window in made)
        emit(scope, WindowsMeasured(deployment=monitor.deployment, windows=ids, start=made[0].start, as_of=as_of))
    touched = {alert.incident for alert in alerts}
    sentence = made[-1].sentence if made else f"{monitor.deployment}: no window ended since the last look, up to {as_of:%Y-%m-%d %H:%M}Z."
    return MonitorReport(
        deployment=monitor.deployment,
        as_of=as_of,
        watermark=watermark,
        windows=tuple(made),
        alerts=tuple(alerts),
        incidents=tuple(i for i in store.incidents(deployment=monitor.deployment) if i.id in touched),
        sentence=sentence,
    )


def _raise(
    scope: Scope, monitor: Monitor, window: WindowReport, rule: AlertRule, columns: tuple[str, ...], message: str, as_of: datetime
) -> Alert | None:
    store = MonitoringStore(scope.connection, scope.project)
    if store.find_alert(monitor.deployment, rule, window.start, window.end):
        return None
    length = window.end - window.start
    held = next((i for i in store.incidents(deployment=monitor.deployment) if same_trouble(i, rule, columns, window.start, length)), None)
    incident = _opened(scope, monitor, window, rule, columns, message, as_of) if held is None else _attached(scope, held, window, columns)
    alert = Alert(
        id=new_id(), deployment=monitor.deployment, rule=rule, columns=columns, start=window.start, end=window.end,
        message=message[:1000], incident=incident.id, raised_at=as_of,
    )  # fmt: skip
    store.add_alert(alert)
    emit(scope, AlertRaised(alert=alert.id, deployment=alert.deployment, rule=rule, incident=incident.id))
    return alert


def _opened(
    scope: Scope, monitor: Monitor, window: WindowReport, rule: AlertRule, columns: tuple[str, ...], message: str, as_of: datetime
) -> Incident:
    store = MonitoringStore(scope.connection, scope.project)
    incident = Incident(
        id=new_id(), number=store.next_incident_number(), deployment=monitor.deployment, rule=rule, status="open", title=message[:1000],
        columns=columns, start=window.start, end=window.end, alerts=1, opened_at=as_of,
    )  # fmt: skip
    store.save_incident(incident)
    emit(scope, IncidentOpened(incident=incident.id, deployment=monitor.deployment, rule=rule, as_of=as_of))
    return incident


def _attached(scope: Scope, incident: Incident, window: WindowReport, columns: tuple[str, ...]) -> Incident:
    grown = replaced(
        incident,
        alerts=incident.alerts + 1,
        end=max(incident.end, window.end),
        columns=tuple(dict.fromkeys([*incident.columns, *columns])),
    )
    MonitoringStore(scope.connection, scope.project).save_incident(grown)
    return grown


def _close_recovered(scope: Scope, monitor: Monitor, windows: Sequence[WindowReport], raised: set[str], as_of: datetime) -> None:
    store = MonitoringStore(scope.connection, scope.project)
    for incident in store.incidents(deployment=monitor.deployment):
        ended = recovered(incident, windows, raised)
        if ended:
            store.save_incident(replaced(incident, status="closed", resolution=ended, closed_at=as_of))
            emit(scope, IncidentClosed(incident=incident.id, deployment=incident.deployment, resolution=ended))
