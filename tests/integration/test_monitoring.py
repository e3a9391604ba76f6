"""A deployment watched through the door: windows, incidents and labels, on rows of the real prediction log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import AlreadyExists, Conflict, Invalid, NotFound
from rung.monitoring import running, sources
from rung.monitoring.records import Label, WindowReport

START = datetime(2025, 1, 1, tzinfo=UTC)
END = START + timedelta(days=98)
INPUTS = ["temp", "wind"]


def _readings(first_day: int, days: int) -> pl.DataFrame:
    generator = np.random.default_rng(first_day)
    hours = first_day * 24 + np.arange(0, days * 24, 0.5)
    temp = 50 + 12 * np.sin(2 * np.pi * hours / 8760) + 6 * np.sin(2 * np.pi * hours / 24) + generator.normal(0, 2, hours.size)
    late = (generator.random(hours.size) < 1 / (1 + np.exp(0.2 * (50 - temp)))).astype(int)
    times = [START + timedelta(hours=float(hour)) for hour in hours]
    return pl.DataFrame({"at": times, "temp": temp.round(1), "wind": generator.gamma(4, 2, hours.size).round(1), "late": late})


@pytest.fixture
def watched(transport: LocalTransport) -> tuple[Client, pl.DataFrame]:
    """A client, and the served rows with their prediction ids; the last of four weeks has its temperature in °C."""
    client = Client(transport)
    trained, tested, served = _readings(0, 60), _readings(60, 10), _readings(70, 28)
    fault = pl.col("at") >= START + timedelta(days=91)
    served = served.with_columns(pl.when(fault).then((pl.col("temp") - 32) / 1.8).otherwise(pl.col("temp")).alias("temp"))
    client.data.add("train", trained, time_column="at")
    client.data.add("test", tested, time_column="at")
    model = LogisticRegression().fit(trained.select(INPUTS).to_numpy(), trained["late"].to_numpy())
    datasets = [("train", "train", 1), ("test", "test", 1)]
    client.registry.register("late", model, example=trained.select(INPUTS).head(100), label="late", datasets=datasets)
    client.registry.evaluate("late", 1, dataset="test")
    client.serving.deploy("api", "late", 1, override_reason="nothing to compare with")
    client.monitoring.add("api", anchor=START)
    answers = client.serving.predict("api", served.select(INPUTS), event_times=served["at"].to_list())
    return client, served.with_columns(answers["prediction_id"])


def _labels(rows: pl.DataFrame, *, after: timedelta = timedelta(hours=6)) -> pl.DataFrame:
    return rows.select("prediction_id", label="late", arrived_at=pl.col("at") + after)


def test_the_week_in_celsius_becomes_a_diagnosed_incident_that_retraining_cannot_cure(watched: tuple[Client, pl.DataFrame]) -> None:
    client, rows = watched
    client.monitoring.add_labels("api", _labels(rows))
    report = client.monitoring.run("api", as_of=END)
    assert [window.rows for window in report.windows] == [336] * 4
    assert [bool(window.quality) for window in report.windows] == [False, False, False, True]
    (incident,) = [i for i in report.incidents if i.rule == "quality"]
    diagnosis = client.monitoring.diagnose(incident.id, as_of=END)
    assert (diagnosis.cause, diagnosis.curable, diagnosis.findings[0].columns) == ("data_break", False, ("temp",))
    assert diagnosis.findings[0].since == START + timedelta(days=91)
    assert client.monitoring.incident(str(incident.number)).status == "diagnosed"
    assert client.monitoring.diagnose(incident.id, as_of=END) == diagnosis


def test_running_again_changes_no_final_window_and_raises_no_second_alert(watched: tuple[Client, pl.DataFrame]) -> None:
    client, rows = watched
    client.monitoring.add_labels("api", _labels(rows))
    first = client.monitoring.run("api", as_of=END)
    again = client.monitoring.run("api", as_of=END)
    assert [window.final for window in first.windows] == [True, True, True, False]
    assert [window.start for window in again.windows] == [first.windows[-1].start]
    assert again.alerts == ()
    assert len(client.monitoring.report("api").windows) == 4
    assert len(client.monitoring.alerts("api")) == len(first.alerts)


def test_windows_of_a_monitor_that_was_changed_while_it_measured_are_not_kept(
    watched: tuple[Client, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = watched
    measure = running.measure

    def changed(*given: Any) -> WindowReport:
        monkeypatch.setattr(running, "measure", measure)
        client.monitoring.add("api", anchor=START, window_days=14, replace=True)
        return measure(*given)

    monkeypatch.setattr(running, "measure", changed)
    assert client.monitoring.run("api", as_of=END).windows == ()
    assert client.monitoring.report("api").windows == ()
    assert [window.rows for window in client.monitoring.run("api", as_of=END).windows] == [672] * 2


def test_scores_are_compared_as_soon_as_the_model_was_evaluated(
    watched: tuple[Client, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = watched
    with monkeypatch.context() as before:
        before.setattr(sources, "own_evaluation", lambda *_: None)
        assert client.monitoring.run("api", as_of=END).windows[-1].score is None
    assert client.monitoring.run("api", as_of=END).windows[-1].score is not None


def test_labels_count_as_of_their_arrival_and_later_ones_correct(watched: tuple[Client, pl.DataFrame]) -> None:
    client, rows = watched
    client.monitoring.add_labels("api", _labels(rows, after=timedelta(days=10)))
    bounds = [START + timedelta(days=70), START + timedelta(days=77)]
    (early,) = client.monitoring.performance("api", bounds, as_of=START + timedelta(days=77))
    (late,) = client.monitoring.performance("api", bounds, as_of=START + timedelta(days=88))
    assert (early.labelled, late.labelled, late.labelled_share) == (0, 336, 1.0)
    assert early.value is None
    turned = rows.with_columns((1 - pl.col("late")).alias("late"))
    client.monitoring.add_labels("api", _labels(turned, after=timedelta(days=20)))
    (before,) = client.monitoring.performance("api", bounds, as_of=START + timedelta(days=88))
    (after,) = client.monitoring.performance("api", bounds, as_of=START + timedelta(days=99))
    assert before.value == late.value
    assert after.value == pytest.approx(1 - (late.value or 0))


def test_the_same_delivery_twice_is_one_batch(watched: tuple[Client, pl.DataFrame]) -> None:
    client, rows = watched
    assert not client.monitoring.add_labels("api", _labels(rows)).repeated
    assert client.monitoring.add_labels("api", _labels(rows)[::-1]).repeated
    assert len(client.monitoring.label_batches("api")) == 1
    assert client.monitoring.label_delay("api", as_of=END).horizon_s == pytest.approx(6 * 3600)


def test_an_incident_takes_notes_a_decision_and_an_end(watched: tuple[Client, pl.DataFrame]) -> None:
    client, _ = watched
    number = str(client.monitoring.run("api", as_of=END).incidents[0].number)
    client.monitoring.note(number, "the station was told")
    client.monitoring.decide(number, "0" * 32)
    assert client.monitoring.incident(number).status == "decided"
    assert client.monitoring.close(number, "delivered again").resolution == "delivered again"
    with pytest.raises(Conflict):
        client.monitoring.close(number, "twice")


def test_what_cannot_be_asked_is_refused_with_a_code(watched: tuple[Client, pl.DataFrame]) -> None:
    client, _ = watched
    with pytest.raises(AlreadyExists):
        client.monitoring.add("api")
    with pytest.raises(NotFound, match="nowhere"):
        client.monitoring.add("nowhere")
    with pytest.raises(NotFound, match="nobody"):
        client.monitoring.run("nobody")
    with pytest.raises(Invalid):
        client.monitoring.performance("api", [END, START])
    with pytest.raises(NotFound):
        client.monitoring.incident("99")
    with pytest.raises(Invalid):
        client.monitoring.add_labels("api", [Label(prediction_id="a", label=None)])
