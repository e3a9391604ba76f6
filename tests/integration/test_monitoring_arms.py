"""A monitor sees every row that answered a caller: those of the holdout and of the arms of a test, and never the shadow's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.serving.ab_records import ArmWish
from rung.ui.blocks import Table, Visit
from rung.ui.pages.monitors import monitor

START = datetime(2025, 1, 1, tzinfo=UTC)


def _readings(first_day: int, days: int) -> pl.DataFrame:
    generator = np.random.default_rng(first_day)
    hours = first_day * 24 + np.arange(0, days * 24, 0.5)
    temp = 50 + 6 * np.sin(2 * np.pi * hours / 24) + generator.normal(0, 2, hours.size)
    wind = generator.gamma(4, 2, hours.size)
    late = (generator.random(hours.size) < 1 / (1 + np.exp(0.3 * (50 - temp)))).astype(int)
    times = [START + timedelta(hours=float(hour)) for hour in hours]
    return pl.DataFrame({"at": times, "temp": temp.round(1), "wind": wind.round(1), "late": late})


@pytest.fixture
def tried(transport: LocalTransport) -> tuple[Client, pl.DataFrame]:
    """A client, and the log of two weeks: version 1 stable and held out, version 2 (one input less) in arm-1."""
    client = Client(transport)
    trained, served = _readings(0, 56), _readings(56, 14)
    client.data.add("train", trained, time_column="at")
    for inputs in (["temp", "wind"], ["temp"]):
        model = LogisticRegression().fit(trained.select(inputs).to_numpy(), trained["late"].to_numpy())
        example = trained.select(inputs).head(100)
        client.registry.register("late", model, example=example, label="late", datasets=[("train", "train", 1)])
    client.serving.deploy("api", "late", 1, environment="staging")
    client.serving.configure("api", {"routing.holdout": 0.3})
    client.serving.start_ab("api", [ArmWish(model="late", number=2, share=0.3)])
    client.monitoring.add("api", anchor=START)
    answers = client.serving.predict("api", served.select("temp", "wind"), event_times=served["at"].to_list())
    labels = answers.select("prediction_id", label=served["late"], arrived_at=served["at"] + timedelta(hours=6))
    client.monitoring.add_labels("api", labels)
    return client, client.serving.predictions("api").join(labels.select("prediction_id", "label"), on="prediction_id")


def test_a_window_counts_the_rows_of_every_arm_once(tried: tuple[Client, pl.DataFrame]) -> None:
    client, log = tried
    assert {*log["arm"]} == {"stable", "holdout", "arm-1"}
    report = client.monitoring.run("api", as_of=START + timedelta(days=80))
    assert [window.rows for window in report.windows] == [336, 336]  # two a hour, seven days
    for window in report.windows:
        inside = log.filter((pl.col("event_time") >= window.start) & (pl.col("event_time") < window.end))
        assert window.performance is not None
        assert (window.performance.rows, window.performance.labelled, window.version) == (336, 336, 1)
        assert window.performance.metrics["auc"] == pytest.approx(roc_auc_score(inside["label"], inside["score"]))
        counted = {(part.arm, part.version): part.rows for part in window.slices}
        assert counted == {(arm, number): n for arm, number, n in inside.group_by("arm", "version").len().iter_rows()}
        for part in window.slices:
            rows = inside.filter(pl.col("arm") == part.arm)
            assert part.labelled == rows.height
            assert part.value == pytest.approx(roc_auc_score(rows["label"], rows["score"]))
            assert part.mean_score == pytest.approx(rows["score"].mean())


def test_the_judged_performance_is_that_of_one_version_in_all_its_arms(tried: tuple[Client, pl.DataFrame]) -> None:
    client, log = tried
    report = client.monitoring.run("api", as_of=START + timedelta(days=80))
    own = log.filter(pl.col("version") == 1)
    assert {*own["arm"]} == {"stable", "holdout"}
    recent = report.windows[-1].recent
    assert recent is not None
    assert (recent.rows, recent.version) == (own.height, 1)
    assert recent.value == pytest.approx(roc_auc_score(own["label"], own["score"]))


def test_an_input_that_one_version_does_not_take_is_no_fault(tried: tuple[Client, pl.DataFrame]) -> None:
    client, log = tried
    assert log.filter(pl.col("arm") == "arm-1")["wind"].null_count() == log.filter(pl.col("arm") == "arm-1").height
    report = client.monitoring.run("api", as_of=START + timedelta(days=80))
    assert [fault.statement for window in report.windows for fault in window.quality] == []
    for window in report.windows:
        assert window.score is None or window.score.verdict != "drifted"


def test_a_shadow_is_not_monitored(tried: tuple[Client, pl.DataFrame]) -> None:
    client, _ = tried
    client.serving.stop_ab("api")
    client.serving.start_shadow("api", 2)
    more = _readings(70, 7)
    client.serving.predict("api", more.select("temp", "wind"), event_times=more["at"].to_list())
    report = client.monitoring.run("api", as_of=START + timedelta(days=80))
    assert report.windows[-1].rows == 336
    assert "shadow" not in {part.arm for part in report.windows[-1].slices}
    assert client.monitoring.label_delay("api", as_of=START + timedelta(days=80)).rows == 3 * 336


def test_the_monitors_page_tells_the_arms_apart(tried: tuple[Client, pl.DataFrame], transport: LocalTransport) -> None:
    client, log = tried
    client.monitoring.run("api", as_of=START + timedelta(days=80))
    page = monitor(Visit(transport, {"deployment": "api"}, {}))
    (arms,) = [block for block in page.blocks if isinstance(block, Table) and block.title == "Windows by arm"]
    assert len(arms.rows) == 6
    assert sum(int(str(row[3])) for row in arms.rows) == log.height
