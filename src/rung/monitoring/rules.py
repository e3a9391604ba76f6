"""Decisions of monitoring: which windows are due, what drifted, what alerts. Pure functions of records and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import floor

from rung.monitoring.records import AlertRule, Cause, DriftVerdict, Finding, Incident, Monitor, Performance, RetrainingGain, WindowReport
from rung.stats.significance import ALPHA

MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
HYSTERESIS = (2, 3)  # so many of the last so many windows
MATURE_SHARE = 0.5
FEWEST_LABELS = 200
# t over days, on stretches of time held out: a model trained the day before stayed at or below 2.0 on a year of flights
CONCEPT_LINE = 2.2
# The watermark may lie this share of a window before its end: traffic sleeps at night, windows end at midnight.
_SLACK = 0.1
LADDER: tuple[Cause, ...] = (
    "data_break",
    "training_serving_skew",
    "leakage",
    "immature_labels",
    "concept_drift",
    "prior_shift",
    "covariate_shift",
    "none",
)


def drift_verdict(*, effect: float, p_adjusted: float, floor: float, smallest: float) -> DriftVerdict:
    """Drifted needs significance and size; without either, rows too few to show the floor are insufficient, not stable."""
    if p_adjusted < ALPHA and effect >= floor:
        return "drifted"
    return "insufficient" if smallest > floor else "stable"


def window_of(monitor: Monitor, at: datetime) -> tuple[datetime, datetime]:
    """The window [start, end) of a monitor that holds an instant."""
    length = timedelta(days=monitor.window_days)
    start = monitor.anchor + floor((at - monitor.anchor) / length) * length
    return start, start + length


def due_windows(
    monitor: Monitor, *, first: datetime, watermark: datetime, as_of: datetime, final: set[datetime]
) -> list[tuple[datetime, datetime]]:
    """Complete windows from the first prediction on that are not final yet, oldest first.

    A window is complete when it has ended by ``as_of`` and the watermark has reached its end, give or take a night.
    """
    start, end = window_of(monitor, first)
    length = end - start
    found = []
    while end <= as_of and watermark >= end - _SLACK * length:
        if start not in final:
            found.append((start, end))
        start, end = end, end + length
    return found


def is_final(monitor: Monitor, end: datetime, as_of: datetime) -> bool:
    """Whether every label of a window that ended then is due."""
    return as_of >= end + timedelta(seconds=monitor.label_delay_s)


def drifted_columns(window: WindowReport) -> frozenset[str]:
    """Columns of a window that drifted."""
    return frozenset(item.column for item in window.drift if item.verdict == "drifted")


def performance_fell(monitor: Monitor, measured: Performance | None) -> bool:
    """Whether mature labels say, beyond their own noise, that the model lost more than it may."""
    if measured is None or measured.value is None or measured.labelled < FEWEST_LABELS or measured.labelled_share < MATURE_SHARE:
        return False
    if monitor.alert_line is not None and _worse(monitor.metric, measured.value, monitor.alert_line):
        return True
    return measured.loss is not None and measured.loss_low is not None and measured.loss > monitor.allowed_loss and measured.loss_low > 0


def more_is_better(metric: str) -> bool:
    """Whether a larger value of the metric is a better model."""
    return metric in {"auc", "accuracy"}


def _worse(metric: str, value: float, line: float) -> bool:
    return value < line if more_is_better(metric) else value > line


def alerts_of(monitor: Monitor, windows: Sequence[WindowReport]) -> list[tuple[AlertRule, tuple[str, ...], str]]:
    """What the newest of the windows (oldest first) raises: rule, columns, message.

    Faults of the input are raised at once; drift and performance only in two of the last three windows.
    """
    newest = windows[-1]
    need, span = HYSTERESIS
    recent = windows[-span:]
    raised: list[tuple[AlertRule, tuple[str, ...], str]] = []
    if newest.quality:
        columns = tuple(dict.fromkeys(fault.column for fault in newest.quality))
        raised.append(("quality", columns, newest.quality[0].statement))
    steady = sorted(c for c in drifted_columns(newest) if sum(c in drifted_columns(w) for w in recent) >= need)
    if steady:
        raised.append(("drift", tuple(steady), f"{len(steady)} of {len(newest.drift)} columns drifted: {', '.join(steady[:5])}."))
    if (
        sum(w.score is not None and w.score.verdict == "drifted" for w in recent) >= need
        and newest.score
        and newest.score.verdict == "drifted"
    ):
        raised.append(("score", (), f"Scores drifted: distance {newest.score.effect:.3f}, floor {newest.score.floor:.3f}."))
    if performance_fell(monitor, newest.recent) and sum(performance_fell(monitor, w.recent) for w in recent) >= need:
        raised.append(("performance", (), performance_sentence(newest.recent)))
    elif outdated(newest.gain) and sum(outdated(w.gain) for w in recent) >= need:
        raised.append(("performance", (), gain_sentence(newest.gain)))
    return raised


def outdated(gain: RetrainingGain | None) -> bool:
    """Whether recent labels teach something, on days held out, that the served scores do not know."""
    return gain is not None and gain.t > CONCEPT_LINE and gain.auc_corrected > gain.auc_served


def gain_sentence(gain: RetrainingGain | None) -> str:
    """What recent labels could add, in one sentence."""
    if gain is None:
        return "What recent labels could add is not known."
    return (
        f"The model is out of date: what the labels of {gain.days} days teach lifts AUC from {gain.auc_served:.3f} to "
        f"{gain.auc_corrected:.3f} on days held out (t {gain.t:.1f})."
    )


def performance_sentence(measured: Performance | None) -> str:
    """One sentence about a measured performance."""
    if measured is None or measured.value is None:
        return "Performance is not known yet."
    share = f"{measured.labelled} of {measured.rows} rows labelled"
    text = f"{measured.metric} is {measured.value:.3f}"
    if measured.low is not None and measured.high is not None:
        text += f" ({measured.low:.3f} to {measured.high:.3f}, {share})"
    if measured.reference is not None and measured.loss is not None:
        text += f" against {measured.reference:.3f} in the model's own evaluation: " + (
            f"{measured.loss:.3f} worse" if measured.loss > 0 else f"{-measured.loss:.3f} better"
        )
    return text + "."


def window_sentence(window: WindowReport) -> str:
    """The verdict of a window in one sentence."""
    drifted = sorted(drifted_columns(window))
    thin = sum(item.verdict == "insufficient" for item in window.drift)
    parts = []
    if window.quality:
        parts.append(f"{len(window.quality)} fault(s) in the input, first: {window.quality[0].statement}")
    if window.recent and window.recent.value is not None:
        parts.append(performance_sentence(window.recent))
    if outdated(window.gain):
        parts.append(gain_sentence(window.gain))
    parts.append(f"{len(drifted)} of {len(window.drift)} columns drifted" + (f" ({', '.join(drifted[:5])})." if drifted else "."))
    if thin:
        parts.append(f"{thin} column(s) have insufficient data.")
    return f"{window.deployment}, {window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}: " + " ".join(parts)


def same_trouble(incident: Incident, rule: AlertRule, columns: Sequence[str], start: datetime, window: timedelta) -> bool:
    """Whether an alert belongs to an incident that is not closed: same kind of signal, and for faults the same columns in a row."""
    if incident.status == "closed" or group_of(incident.rule) != group_of(rule):
        return False
    if rule != "quality":
        return True
    return bool(set(incident.columns) & set(columns)) and start <= incident.end + window


def group_of(rule: AlertRule) -> str:
    """Signals that are one trouble: scores drift with the columns they are computed from."""
    return "drift" if rule == "score" else rule


def recovered(incident: Incident, windows: Sequence[WindowReport], raised: set[str]) -> str | None:
    """How an answered incident ended by itself, None while it has not: two windows in a row without its signal."""
    if incident.status not in {"diagnosed", "decided"} or group_of(incident.rule) in raised:
        return None
    last = next((w for w in reversed(windows) if w.end <= incident.end and w.version is not None), None)
    newest = windows[-1]
    if last and newest.version is not None and (newest.model, newest.version) != (last.model, last.version) and incident.rule != "quality":
        return f"{newest.model}:{newest.version} serves now in place of {last.model}:{last.version}."
    later = [w for w in windows if w.start >= incident.end]
    need = 1 if incident.rule == "quality" else HYSTERESIS[0]
    if len(later) < need:
        return None
    if incident.rule == "quality":
        if any(set(incident.columns) & {f.column for f in w.quality} for w in later[-need:]):
            return None
        return f"The input is whole again since {later[-1].start:%Y-%m-%d}."
    return f"No alert of this kind in the last {need} windows, to {later[-1].end:%Y-%m-%d}."


def ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings in the order of the ladder, stronger ones first on the same step."""
    return tuple(sorted(findings, key=lambda item: (LADDER.index(item.cause), -item.strength)))
