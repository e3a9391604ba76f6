from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from rung.core.ids import new_id
from rung.monitoring import rules
from rung.monitoring.records import ColumnDrift, Finding, Incident, Monitor, Performance, QualityFault, RetrainingGain, WindowReport

MARCH = datetime(2013, 3, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
MONITOR = Monitor(
    id=new_id(), deployment="late", window_days=7, anchor=MARCH, performance_windows=4, reference_dataset=None, reference_number=None,
    drift_floor=0.1, category_floor=0.05, metric="auc", alert_line=None, allowed_loss=0.02, label_delay_s=86_400, positive=None, columns=(),
    created_at=MARCH,
)  # fmt: skip


def _drift(column: str, verdict: str) -> ColumnDrift:
    return ColumnDrift(
        column=column, kind="numeric", test="ks", effect=0.3, floor=0.1, p=0.0, p_adjusted=0.0, verdict=verdict,  # type: ignore[arg-type]
        rows_reference=1000, rows_current=1000, smallest_effect=0.05,
    )  # fmt: skip


def _measured(value: float, *, labelled: int = 1000, rows: int = 1000, loss: float = 0.0, low: float = -0.01) -> Performance:
    return Performance(
        start=MARCH, end=MARCH + WEEK, as_of=MARCH + WEEK, rows=rows, labelled=labelled, labelled_share=labelled / rows, metric="auc", value=value,
        low=value - 0.01, high=value + 0.01, reference=0.7, loss=loss, loss_low=low, loss_high=loss + 0.01,
    )  # fmt: skip


def _window(number: int, **fields: object) -> WindowReport:
    start = MARCH + number * WEEK
    window = WindowReport(
        id=new_id(), deployment="late", start=start, end=start + WEEK, rows=1000, model="late", version=1, reference="train:1", drift=(),
        quality=(), score=None, performance=None, recent=None, labelled_share=1.0, final=True, as_of=start + WEEK,
    )  # fmt: skip
    return msgspec.structs.replace(window, **fields)


def _incident(rule: str, *, status: str = "diagnosed", number: int = 0, columns: tuple[str, ...] = ("temp",)) -> Incident:
    start = MARCH + number * WEEK
    return Incident(
        id=new_id(), number=1, deployment="late", rule=rule, status=status, title="", columns=columns, start=start, end=start + WEEK,  # type: ignore[arg-type]
        alerts=1, opened_at=start,
    )  # fmt: skip


def test_drift_needs_significance_and_size() -> None:
    assert rules.drift_verdict(effect=0.2, p_adjusted=0.001, floor=0.1, smallest=0.05) == "drifted"
    assert rules.drift_verdict(effect=0.02, p_adjusted=1e-9, floor=0.1, smallest=0.01) == "stable"
    assert rules.drift_verdict(effect=0.2, p_adjusted=0.3, floor=0.1, smallest=0.05) == "stable"


def test_rows_too_few_are_insufficient_not_stable() -> None:
    assert rules.drift_verdict(effect=0.05, p_adjusted=0.9, floor=0.1, smallest=0.3) == "insufficient"


def test_only_complete_windows_are_due() -> None:
    watermark = MARCH + timedelta(days=14, hours=-1)
    due = rules.due_windows(MONITOR, first=MARCH, watermark=watermark, as_of=MARCH + timedelta(days=20), final=set())
    assert due == [(MARCH, MARCH + WEEK), (MARCH + WEEK, MARCH + 2 * WEEK)]


def test_final_windows_are_not_computed_again() -> None:
    due = rules.due_windows(MONITOR, first=MARCH, watermark=MARCH + 2 * WEEK, as_of=MARCH + 2 * WEEK, final={MARCH})
    assert due == [(MARCH + WEEK, MARCH + 2 * WEEK)]


def test_windows_are_cut_from_the_anchor_in_both_directions() -> None:
    assert rules.window_of(MONITOR, MARCH - timedelta(hours=1)) == (MARCH - WEEK, MARCH)


def test_a_window_is_final_once_its_labels_are_due() -> None:
    end = MARCH + WEEK
    assert not rules.is_final(MONITOR, end, end + timedelta(hours=23))
    assert rules.is_final(MONITOR, end, end + timedelta(hours=24))


def test_drift_alerts_at_the_second_window_and_faults_at_once() -> None:
    drifted = (_drift("temp", "drifted"),)
    assert rules.alerts_of(MONITOR, [_window(0, drift=drifted)]) == []
    assert [rule for rule, _, _ in rules.alerts_of(MONITOR, [_window(0, drift=drifted), _window(1, drift=drifted)])] == ["drift"]
    fault = QualityFault(column="temp", kind="unit", share=1.0, reference_share=0.0, statement="temp is in °C.")
    assert rules.alerts_of(MONITOR, [_window(0, quality=(fault,))]) == [("quality", ("temp",), "temp is in °C.")]


@pytest.mark.parametrize(
    ("measured", "fell"),
    [
        (_measured(0.65, loss=0.05, low=0.03), True),
        (_measured(0.69, loss=0.01, low=0.005), False),
        (_measured(0.65, loss=0.05, low=-0.01), False),
        (_measured(0.65, labelled=150, rows=200, loss=0.05, low=0.03), False),
        (_measured(0.65, labelled=400, rows=1000, loss=0.05, low=0.03), False),
        (None, False),
    ],
)
def test_performance_falls_only_beyond_its_noise_and_on_mature_labels(measured: Performance | None, *, fell: bool) -> None:
    assert rules.performance_fell(MONITOR, measured) is fell


def test_a_model_that_recent_labels_can_correct_is_out_of_date() -> None:
    gain = RetrainingGain(
        rows=9000, days=28, gain=0.02, low=0.01, high=0.03, t=3.0, auc_served=0.68, auc_corrected=0.74, served={}, corrected={}
    )
    windows = [_window(0, gain=gain), _window(1, gain=gain)]
    assert [rule for rule, _, _ in rules.alerts_of(MONITOR, windows)] == ["performance"]
    assert not rules.outdated(msgspec.structs.replace(gain, t=1.5))


def test_alerts_of_one_trouble_share_an_incident() -> None:
    assert rules.same_trouble(_incident("drift"), "score", (), MARCH + WEEK, WEEK)
    assert rules.same_trouble(_incident("quality"), "quality", ("temp", "dewp"), MARCH + WEEK, WEEK)
    assert not rules.same_trouble(_incident("quality"), "quality", ("visib",), MARCH + WEEK, WEEK)
    assert not rules.same_trouble(_incident("quality"), "quality", ("temp",), MARCH + 4 * WEEK, WEEK)
    assert not rules.same_trouble(_incident("drift", status="closed"), "drift", (), MARCH + WEEK, WEEK)


def test_a_diagnosed_fault_ends_with_the_first_whole_window() -> None:
    assert rules.recovered(_incident("quality"), [_window(0), _window(1)], set()) is not None
    assert rules.recovered(_incident("quality", status="open"), [_window(0), _window(1)], set()) is None


def test_drift_ends_after_two_quiet_windows_or_with_another_version() -> None:
    assert rules.recovered(_incident("drift"), [_window(0), _window(1)], set()) is None
    assert rules.recovered(_incident("drift"), [_window(0), _window(1), _window(2)], set()) is not None
    assert rules.recovered(_incident("drift"), [_window(0), _window(1), _window(2)], {"drift"}) is None
    ended = rules.recovered(_incident("performance"), [_window(0), _window(1, version=2)], set())
    assert ended == "late:2 serves now in place of late:1."


def test_findings_are_ranked_by_the_ladder_then_by_strength() -> None:
    found = [
        Finding(cause="covariate_shift", strength=1.0, summary=""),
        Finding(cause="concept_drift", strength=0.2, summary=""),
        Finding(cause="data_break", strength=0.1, summary=""),
    ]
    assert [finding.cause for finding in rules.ranked(found)] == ["data_break", "concept_drift", "covariate_shift"]
