"""Every diagnosis answers for every planted cause; the ladder's first finding names the cause that was planted."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import polars as pl
import pytest

from rung.core.ids import new_id
from rung.monitoring.evidence import DIAGNOSES, Evidence, Replay
from rung.monitoring.performance import Standard, measured
from rung.monitoring.quality import faults, history
from rung.monitoring.records import Finding, Incident, Monitor, WindowReport
from rung.monitoring.rules import LADDER, ranked
from rung.stats.outcomes import estimate
from tests.unit.monitoring.worlds import START, reference, rows

TRAINED = rows(60, seed=1)
SERVED = rows(28, first=60, seed=2)
END = START + timedelta(days=88)
NOBODY = pl.lit(None, dtype=pl.Float64).alias("label")


def _evidence(current: pl.DataFrame, *, trained: pl.DataFrame = TRAINED, replay: Replay | None = None) -> Evidence:
    held = reference(trained)
    start = END - timedelta(days=7)
    before, week = current.filter(pl.col("event_time") < start), current.filter(pl.col("event_time") >= start)
    broken = faults(held, history(held, before, start, {}), week, length=timedelta(days=7))
    monitor = Monitor(
        id=new_id(), deployment="late", window_days=7, anchor=START, performance_windows=4, reference_dataset=None, reference_number=None,
        drift_floor=0.1, category_floor=0.05, metric="auc", alert_line=None, allowed_loss=0.02, label_delay_s=86_400, positive=None, columns=(),
        created_at=START,
    )  # fmt: skip
    window = WindowReport(
        id=new_id(), deployment="late", start=start, end=END, rows=len(week), model="late", version=1, reference="train:1", drift=(),
        quality=broken, score=None, performance=None, recent=None, labelled_share=1.0, final=True, as_of=END,
    )  # fmt: skip
    incident = Incident(
        id=new_id(), number=1, deployment="late", rule="performance", status="open", title="", columns=("temp",), start=start, end=END, alerts=1,
        opened_at=END,
    )  # fmt: skip
    own = estimate("auc", trained["label"].to_numpy(), trained["score"].to_numpy())
    told = current.with_columns(pl.lit("late").alias("model"), pl.lit(1).alias("version"))
    return Evidence(
        incident=incident, monitor=monitor, reference=held, windows=(window,), current=told, as_of=END, replay=replay,
        performance=measured(told, Standard("auc", 0.5, own), "late", 1, start=START, end=END, as_of=END, final=True),
    )  # fmt: skip


def _replay(shift: float) -> Replay:
    scores = SERVED["score"].to_numpy()[:500]
    return Replay(scores, scores + shift)


def _worlds() -> dict[str, Evidence]:
    last = pl.col("event_time") >= END - timedelta(days=7)
    celsius = pl.when(last).then((pl.col("temp") - 32) / 1.8).otherwise(pl.col("temp")).alias("temp")
    told = TRAINED.with_columns((pl.col("label") * 30 + 5).alias("wind"))
    return {
        "none": _evidence(SERVED),
        "data_break": _evidence(SERVED.with_columns(celsius)),
        "training_serving_skew": _evidence(SERVED, replay=_replay(0.01)),
        "leakage": _evidence(SERVED, trained=told),
        "immature_labels": _evidence(SERVED.with_columns(NOBODY)),
        "concept_drift": _evidence(rows(28, first=60, seed=3, slope=-0.15)),
        "prior_shift": _evidence(rows(28, first=60, seed=4, shift=0.8)),
        "covariate_shift": _evidence(SERVED.with_columns(pl.col("wind") + 25)),
    }


WORLDS = _worlds()


def _findings(evidence: Evidence) -> tuple[Finding, ...]:
    return ranked([found for _, test in DIAGNOSES.items() if (found := test(evidence))])


@pytest.mark.parametrize("name", DIAGNOSES.names())
@pytest.mark.parametrize("world", WORLDS)
def test_a_diagnosis_answers_a_finding_of_its_own_cause_or_nothing(name: str, world: str) -> None:
    found = DIAGNOSES.get(name)(WORLDS[world])
    assert found is None or (found.cause == name and found.summary and found.facts and found.remedy and 0 <= found.strength <= 1)
    assert found is None or msgspec.json.decode(msgspec.json.encode(found), type=Finding) == found


@pytest.mark.parametrize("world", [name for name in WORLDS if name not in {"none", "covariate_shift"}])
def test_the_first_finding_is_the_planted_cause(world: str) -> None:
    assert _findings(WORLDS[world])[0].cause == world


def test_a_fault_names_its_column_and_first_bad_instant() -> None:
    found = _findings(WORLDS["data_break"])[0]
    assert found.columns == ("temp",)
    assert found.since == END - timedelta(days=7)


@pytest.mark.parametrize("world", ["data_break", "training_serving_skew", "immature_labels"])
def test_what_retraining_cannot_cure_is_not_called_curable(world: str) -> None:
    assert not _findings(WORLDS[world])[0].curable


def test_drift_of_the_concept_is_curable() -> None:
    assert _findings(WORLDS["concept_drift"])[0].curable


def test_every_cause_of_the_ladder_has_a_diagnosis() -> None:
    assert set(DIAGNOSES.names()) == set(LADDER) - {"none"}


def test_no_rows_at_all_are_immature_and_nothing_worse() -> None:
    empty = _evidence(SERVED).current.clear()
    evidence = _evidence(SERVED)
    evidence.current = empty
    evidence.windows = ()
    assert [finding.cause for finding in _findings(evidence)] == ["immature_labels"]
