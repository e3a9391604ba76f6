"""Triggers called by real windows, incidents and models of a watched deployment, and what happens when processes die or race."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sqlalchemy import select

from rung.app.local import LocalTransport
from rung.app.opening import open_platform
from rung.client.client import Client
from rung.core.clock import EPOCH
from rung.core.settings import Settings
from rung.engine.loop import Engine
from rung.engine.records import CallTriggers, ReconsiderFires
from rung.pipelines.records import ParamSpec, PipelineInfo, RegisterPipelines
from rung.pipelines.triggering import Signal, TriggerFire
from rung.storage.outbox import OUTBOX

START = datetime(2025, 1, 1, tzinfo=UTC)
END = START + timedelta(days=98)
INPUTS = ["temp", "wind"]
TRAIN = PipelineInfo(
    name="train", target="m:train", doc="", code="", seen_at=EPOCH, steps=(),
    params=tuple(ParamSpec(name=name, type="str", required=False, default="") for name in ("deployment", "start", "end", "as_of", "model")),
)  # fmt: skip


def _rows(first_day: int, days: int, *, turned: bool = False) -> pl.DataFrame:
    draw = np.random.default_rng(first_day)
    hours = first_day * 24 + np.arange(0, days * 24, 0.5)
    temp = 50 + draw.normal(0, 10, hours.size)
    late = (draw.random(hours.size) < 1 / (1 + np.exp(0.2 * (50 - temp) * (-1 if turned else 1)))).astype(int)
    times = [START + timedelta(hours=float(hour)) for hour in hours]
    return pl.DataFrame({"at": times, "temp": temp.round(1), "wind": draw.gamma(4, 2, hours.size).round(1), "late": late})


class Bench:
    """A deployment whose concept turns in its last week, and an engine that delivers events."""

    def __init__(self, transport: LocalTransport) -> None:
        self.client, self.transport = Client(transport), transport
        self.engine = Engine(transport.platform)
        transport.call(RegisterPipelines(pipelines=(TRAIN,)))

    def serve(self, *, turned_weeks: int = 1) -> pl.DataFrame:
        """Train, deploy, watch and answer four weeks, the last of which are turned; the rows with their prediction ids."""
        trained = _rows(0, 60)
        self.client.data.add("train", trained, time_column="at")
        self.client.data.add("test", _rows(60, 10), time_column="at")
        model = LogisticRegression().fit(trained.select(INPUTS).to_numpy(), trained["late"].to_numpy())
        datasets = [("train", "train", 1), ("test", "test", 1)]
        self.client.registry.register("late", model, example=trained.select(INPUTS).head(100), label="late", datasets=datasets)
        self.client.registry.evaluate("late", 1, dataset="test")
        self.client.serving.deploy("api", "late", 1, override_reason="nothing to compare with")
        self.client.monitoring.add("api", anchor=START, performance_windows=1)
        turn = 98 - 7 * turned_weeks
        rows = pl.concat([_rows(70, turn - 70), _rows(turn, 98 - turn, turned=True).with_columns(pl.col("wind") + 20)])
        answers = self.client.serving.predict("api", rows.select(INPUTS), event_times=rows["at"].to_list())
        return rows.with_columns(answers["prediction_id"])

    def label(self, rows: pl.DataFrame) -> None:
        """Labels arrive six hours after the prediction."""
        told = rows.select("prediction_id", label="late", arrived_at=pl.col("at") + timedelta(hours=6))
        self.client.monitoring.add_labels("api", told)

    def look(self, as_of: datetime = END) -> None:
        """Run the monitor and deliver what it tells; runs stay queued."""
        self.client.monitoring.run("api", as_of=as_of)
        while self.engine._deliver():
            pass

    def history(self, name: str) -> list[TriggerFire]:
        """Calls upon a trigger, oldest first."""
        return list(self.client.triggers.history(name, limit=1000))[::-1]


@pytest.fixture
def bench(transport: LocalTransport) -> Iterator[Bench]:
    made = Bench(transport)
    yield made
    made.engine.stop()


def test_a_drop_of_performance_fires_for_the_week_in_which_it_happened(bench: Bench) -> None:
    rows = bench.serve()
    bench.client.triggers.add("drop", "train", performance="api", drop=0.2, over="window")
    bench.look()
    assert {fire.outcome for fire in bench.history("drop")} <= {"not_met"}  # no labels, no judgement
    bench.label(rows)
    bench.look()
    fires = bench.history("drop")
    assert [fire.outcome for fire in fires] == ["not_met"] * 3 + ["fired"]
    (fired,) = fires[3:]
    assert fired.facts["start"] == (START + timedelta(days=91)).isoformat()
    assert fired.params == {"deployment": "api", "start": fired.facts["start"], "end": fired.facts["end"], "as_of": END.isoformat()}
    assert "worse than the" in fired.reason
    bench.look()
    assert bench.history("drop") == fires  # the same window, measured anew, is the same cause


def test_drift_fires_by_the_columns_that_moved(bench: Bench) -> None:
    bench.serve()
    bench.client.triggers.add("wind", "train", drift="api", columns=["wind"], effect=0.5, broken=True)
    bench.client.triggers.add("most-columns", "train", drift="api", share=0.9, broken=True)
    bench.look()
    assert [fire.outcome for fire in bench.history("wind")] == ["not_met"] * 3 + ["fired"]
    assert "wind" in bench.history("wind")[3].reason
    assert [fire.outcome for fire in bench.history("most-columns")] == ["not_met"] * 4


def test_labels_must_have_arrived_for_the_period_of_the_cause(bench: Bench) -> None:
    rows = bench.serve()
    bench.client.triggers.add("drift", "train", drift="api", columns=["wind"], broken=True, min_labelled=0.8, min_labels=300)
    bench.label(rows.filter(pl.col("at") < START + timedelta(days=92)))
    bench.look()
    held = bench.history("drift")[3]
    assert held.outcome == "held_back"
    (check,) = [check for check in held.checks if check.guard == "labels"]
    # 48 of the last week's 336 predictions (one day of half hours) have labels
    assert (check.passed, check.value, check.line) == (False, 48 / 336, 0.8)
    assert check.statement.startswith("48 of 336 predictions of api from 2025-04-02T00:00:00Z to 2025-04-09T00:00:00Z have a label (14%)")


def test_a_cause_waits_until_the_labels_are_there(bench: Bench) -> None:
    rows = bench.serve()
    bench.client.triggers.add("drift", "train", drift="api", columns=["wind"], broken=True, min_labelled=0.8, patience="2d")
    bench.look()
    assert bench.history("drift")[3].outcome == "waiting"
    bench.label(rows)
    bench.transport.call(ReconsiderFires(pipeline="train"))
    fired = bench.history("drift")[3]
    assert (fired.outcome, [check.passed for check in fired.checks if check.guard == "labels"]) == ("fired", [True])


def test_a_deployment_without_predictions_holds_back_and_says_so(bench: Bench) -> None:
    bench.client.triggers.add("by-hand", "train", manual=True, min_labels=1, label_deployment="nowhere")
    fire = bench.client.triggers.fire("by-hand")
    assert fire.outcome == "held_back"
    assert "nowhere" in fire.reason


def test_an_incident_fires_by_its_cause(bench: Bench) -> None:
    rows = bench.serve(turned_weeks=2)
    bench.client.triggers.add("concept", "train", incident="api", causes=["concept_drift"])
    bench.client.triggers.add("broken", "train", incident="api", causes=["data_break"], curable=None)
    bench.label(rows)
    bench.look()
    diagnosed = [incident.cause for incident in bench.client.monitoring.incidents("api") if incident.cause]
    assert diagnosed
    fired = [fire for name in ("concept", "broken") for fire in bench.history(name) if fire.outcome == "fired"]
    assert sorted(fire.facts["cause"] for fire in fired) == sorted(cause for cause in diagnosed if cause in {"concept_drift", "data_break"})
    refused = [fire for fire in bench.history("concept") if fire.outcome == "not_met"]
    assert all("concept_drift" in fire.reason or "cannot cure" in fire.reason for fire in refused)
    for fire in fired:
        sources = bench.client.governance.trace("pipeline_run", str(fire.pipeline_run))
        assert fire.facts["incident"] in str(sources)


def test_a_model_that_is_registered_or_promoted_starts_a_run(bench: Bench) -> None:
    bench.client.triggers.add("new", "train", model="late")
    bench.client.triggers.add("best", "train", model="late", change="promoted", alias="champion")
    bench.serve()
    bench.client.registry.promote("late", 1, reason="the first", override_reason="nothing to compare with")
    while bench.engine._deliver():
        pass
    assert [fire.outcome for fire in bench.history("new")] == ["fired", "not_met"]
    assert bench.history("new")[0].params == {"model": "late"}
    assert [fire.outcome for fire in bench.history("best")] == ["not_met", "fired"]


def test_the_budget_counts_runs_and_the_ledger(bench: Bench) -> None:
    bench.client.triggers.add("paid", "train", manual=True, budget="100/month", budget_model="late")
    assert bench.client.triggers.fire("paid").outcome == "fired"
    bench.client.value.add_cost("late", "labels", amount=60.0, note="labelling")
    bench.client.value.add_cost("late", "serving", amount=1e6, note="serving is not retraining")
    assert bench.client.triggers.fire("paid").outcome == "fired"
    bench.client.value.add_cost("late", "people", amount=41.0, note="a look at the result")
    held = bench.client.triggers.fire("paid")
    assert (held.outcome, held.reason[:45]) == ("held_back", "101.00 USD are spent this month, one more run")


def test_an_event_that_is_delivered_again_after_a_crash_starts_nothing_twice(bench: Bench) -> None:
    """The process dies after the answer is kept and before the event is marked as delivered."""
    bench.client.triggers.add("on-data", "train", dataset="flights")
    bench.client.data.add("flights", pl.DataFrame({"x": [1]}))
    while bench.engine._deliver():
        pass
    before = bench.history("on-data")
    again = OUTBOX.update().where(OUTBOX.c.kind == "data.version_added").values(delivered_at=None)
    bench.transport.platform.database.write(lambda connection: connection.execute(again))
    other = Engine(bench.transport.platform)
    while other._deliver():
        pass
    other.stop()
    waiting = select(OUTBOX.c.id).where(OUTBOX.c.delivered_at.is_(None))
    assert bench.transport.platform.database.read(lambda connection: connection.execute(waiting).all()) == []
    assert bench.history("on-data") == before
    assert len(bench.client.pipelines.runs("train").items) == 1


def test_callers_at_once_get_one_answer_a_cause_and_no_more_starts_than_allowed(any_settings: Settings) -> None:
    platform, first = open_platform(any_settings)
    with Client(LocalTransport(platform, token=first.secret if first else "")) as client:
        client.transport.call(RegisterPipelines(pipelines=(TRAIN,)))
        client.triggers.add("model", "train", model="late", most="3/year")
        faults: list[BaseException] = []

        def call(caller: int) -> None:
            try:
                for number in range(8):
                    facts = {"model": "late", "number": number, "change": "registered"}
                    signal = Signal(kind="model", subject="late", cause=f"late:{(number + caller) % 8}", facts=facts)
                    client.transport.call(CallTriggers(signal=signal))
            except BaseException as fault:
                faults.append(fault)

        threads = [threading.Thread(target=call, args=(caller,)) for caller in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        fires = client.triggers.history("model")
        assert len(fires) == 8
        assert sorted(fire.outcome for fire in fires) == ["fired"] * 3 + ["held_back"] * 5
        assert len(client.pipelines.runs("train").items) == 3
