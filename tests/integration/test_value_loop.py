"""A model served, labelled and valued through the client: the report's money is that of the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.client.client import Client
from rung.core.errors import NotFound

START = datetime(2013, 3, 1, tzinfo=UTC)


def _rows(n: int, seed: int, turn: float = 1.0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 2))
    p = 1 / (1 + np.exp(-(turn * 2.0 * x[:, 0] + x[:, 1] - 1)))
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "late": (draw.random(n) < p).astype(int)})


def _fitted(rows: pl.DataFrame) -> LogisticRegression:
    return LogisticRegression().fit(rows.select("a", "b"), rows["late"].to_numpy())


def _serve(client: Client, rows: pl.DataFrame, start: datetime, days: int, *, labelled: float) -> pl.DataFrame:
    times = [start + timedelta(days=days) * k / rows.height for k in range(rows.height)]
    said = client.serving.predict("late", rows.select("a", "b"), event_times=times)
    known = int(rows.height * labelled)
    labels = said.with_columns(label=rows["late"], arrived_at=pl.Series(times) + timedelta(days=1)).head(known)
    client.monitoring.add_labels("late", labels.select("prediction_id", "label", "arrived_at"))
    return said


@pytest.fixture
def served(client: Client) -> Client:
    """A client whose model ``late`` has answered two months."""
    data = _rows(2000, 0)
    train = client.data.add("history", data)
    client.registry.register(
        "late", _fitted(data), example=data.head(5), label="late", threshold=0.25, datasets=[("train", "history", train.number)]
    )
    client.serving.deploy("late", "late", 1, override_reason="There is no champion to compare with yet.")
    client.value.set_matrix("late", tp=12, fp=-4)
    return client


def test_the_report_counts_what_the_rows_are_worth(served: Client) -> None:
    rows = _rows(1200, 1)
    said = _serve(served, rows, START, 60, labelled=0.5)
    report = served.value.report("late", as_of=START + timedelta(days=90))
    half = 600
    acted, late = said["score"].to_numpy()[:half] >= 0.25, rows["late"].to_numpy()[:half] == 1
    by_hand = 12 * int((acted & late).sum()) - 4 * int((acted & ~late).sum())
    assert (report.predictions, report.matured, report.pending_rows) == (1200, half, 600)
    assert report.gross == by_hand
    assert report.incremental.estimate == by_hand  # nobody warned is worth 0 with this matrix
    assert report.basis == "no_model"
    assert report.pending is not None
    assert sum(month.gross for month in report.months) == pytest.approx(report.gross)
    assert report.costs["serving"] == pytest.approx(1200 / 1000 * 0.001)
    assert report.net.estimate == pytest.approx(report.incremental.estimate - report.cost)


def test_booking_twice_books_once(served: Client) -> None:
    _serve(served, _rows(100, 1), START, 10, labelled=1.0)
    at = START + timedelta(days=20)
    assert served.value.book_costs("late", as_of=at)
    assert served.value.book_costs("late", as_of=at) == ()


def test_a_model_without_a_matrix_has_no_report(served: Client) -> None:
    with pytest.raises(NotFound, match="no value matrix"):
        served.value.report("other")


def test_a_challenger_is_valued_on_the_same_mature_rows(served: Client) -> None:
    turned = _rows(3000, 2, turn=-1.0)
    _serve(served, turned, START, 30, labelled=1.0)
    fresh = _rows(2000, 3, turn=-1.0)
    served.registry.register("late", _fitted(fresh), example=fresh.head(5), label="late", threshold=0.25)
    decision = served.value.decide(deployment="late", challenger=2, as_of=START + timedelta(days=40), dry_run=True)
    assert decision.action == "nothing"  # no incident, so no curable cause
    gain = decision.evidence.gain_per_period
    assert gain is not None
    assert gain.low > 0
    assert "late:2 against late:1" in decision.gain_basis


def test_a_probe_sees_the_gain_when_the_concept_turned(served: Client) -> None:
    _serve(served, _rows(4000, 2, turn=-1.0), START, 30, labelled=1.0)
    decision = served.value.decide(deployment="late", as_of=START + timedelta(days=40))
    assert decision.evidence.gain_per_period is not None
    assert decision.evidence.gain_per_period.low > 0
    assert served.value.decision(decision.number) == decision


def test_history_is_rehearsed_and_kept(served: Client) -> None:
    parts = [_rows(500, k, turn=1.0 if k < 4 else -1.0).with_columns(time=pl.lit(datetime(2013, 1 + k, 5, tzinfo=UTC))) for k in range(10)]
    held = served.value.rehearse("late", pl.concat(parts), _fitted, time_column="time", label="late", cost=50.0)
    net = {item.policy: item.net for item in held.outcomes}
    assert net["diagnosed_with_cost"] > net["never"]
    assert served.value.rehearsal("late") == held


def test_maturity_sees_what_was_done_and_no_more(served: Client) -> None:
    _serve(served, _rows(200, 1), START, 10, labelled=1.0)
    served.value.report("late", as_of=START + timedelta(days=20))
    status = {row.id: row.status for row in served.maturity.assessment().criteria}
    assert (status["O01"], status["V02"], status["V03"], status["R01"], status["D02"]) == ("pass", "pass", "manual", "pass", "pass")
    assert (status["T06"], status["O03"], status["D01"], status["P01"]) == ("fail", "fail", "fail", "unknown")


def test_a_dossier_names_its_gaps(served: Client) -> None:
    made = served.delivery.dossier("late")
    assert "No retraining policy is declared." in made.gaps
    assert made.markdown.startswith("# Dossier of late:1")
    assert served.delivery.dossiers("late") == (made,)
    assert served.delivery.add_release_note("late", "First release.").revision == 1
