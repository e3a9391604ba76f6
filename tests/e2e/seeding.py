"""A small project with something on every page: data, runs, a pipeline run, two versions, a deployment, windows, an incident, value.

Strings that users choose carry markup, which pages must show literally.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from rung.client.client import Client
from rung.data.records import Expectation
from rung.features.records import Feature, FeatureView

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"
START = datetime(2024, 1, 1, tzinfo=UTC)
PIPELINES = '''"""Pipelines of a trial."""

from rung import pipeline, step


@step
def load(rows: int) -> list[int]:
    print(f"loading {rows} rows <b>now</b>")
    return list(range(rows))


@step
def clean(values: list[int]) -> list[int]:
    return [value for value in values if value % 2 == 0]


@step
def describe(values: list[int]) -> int:
    return sum(values)


@step
def report(cleaned: list[int], total: int) -> str:
    return f"{len(cleaned)} of a total {total}"


@pipeline
def summary(rows: int = 20) -> str:
    """Load rows, clean and describe them, and report."""
    values = load(rows)
    return report(clean(values), describe(values))
'''


def seed(client: Client, folder: Path) -> str:
    """Fill a fresh project; answers the id of one prediction. ``folder`` is where the server runs."""
    train, late = _rows(600, shift=0.0), _rows(600, shift=1.5)
    _data(client, train, late)
    _runs(client)
    _models(client, train)
    prediction = _served(client, late)
    _value(client)
    (folder / "pipelines.py").write_text(PIPELINES, "utf-8")
    return prediction


def _rows(count: int, *, shift: float) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    wind = rng.normal(10 + shift * 6, 4, count)
    hour = rng.integers(5, 23, count)
    late = wind * 0.25 + hour * 0.1 + rng.normal(0, 1, count) > 3.9 + shift
    when = [START + timedelta(minutes=33 * index) for index in range(count)]
    origin = rng.choice(["JFK", "LGA"], count)
    return pl.DataFrame({"time": when, "wind": wind, "hour": hour.astype(float), "origin": origin, "late": late})


def _data(client: Client, train: pl.DataFrame, late: pl.DataFrame) -> None:
    client.data.expect("flights", Expectation(kind="not_null", arguments={"column": "wind"}))
    client.data.add("flights", train, time_column="time", note=f"first delivery {MARKUP}")
    client.data.add("flights", late, time_column="time", note="second")
    client.data.validate("flights")
    client.data.card("flights", description=f"Departures. {MARKUP}", owner="ana")
    view = FeatureView(
        name="weather", entity=("origin",), dataset="flights", time_column="time", features=(Feature(name="wind"),), description=MARKUP
    )
    client.features.apply(view)


def _runs(client: Client) -> None:
    run = client.tracking.start("lateness", name=MARKUP, params={"depth": 4, "note": MARKUP}, tags={"team": MARKUP}, seeds={"numpy": 7})
    for step in range(30):
        client.tracking.log(run.id, metrics={"auc": 0.5 + 0.007 * step, "loss": 0.7 - 0.01 * step}, step=step)
    client.tracking.log_artifact(run.id, b"# report", "report.md")
    client.tracking.finish(run.id)
    broken = client.tracking.start("lateness", name="broken")
    client.tracking.finish(broken.id, "failed", error=f"ValueError: {MARKUP}")


def _models(client: Client, train: pl.DataFrame) -> None:
    inputs = train.select("wind", "hour")
    model = LogisticRegression().fit(inputs.to_numpy(), train["late"].to_numpy())
    run = client.tracking.start("lateness", name="fit")
    for _ in range(2):
        client.registry.register("late", model, example=inputs, label="late", datasets=[("train", "flights", 1)])
    client.tracking.finish(run.id)
    rules = [{"gate": "threshold", "metric": "roc_auc", "at_least": 0.6}]
    client.registry.set_gate_rules("late", rules, slices=["origin"], dataset="flights")
    for number in (1, 2):
        client.registry.evaluate("late", number, "flights", 1, slices=["origin"])
        client.registry.check_gate("late", number, dataset="flights", dataset_number=1)
    client.registry.promote("late", 1, reason=MARKUP)
    client.registry.update_model("late", description=MARKUP)


def _served(client: Client, late: pl.DataFrame) -> str:
    client.serving.deploy("late-flights", "late", 1, reason=f"go live {MARKUP}")
    client.serving.start_canary("late-flights", 2, share=0.2)
    client.serving.promote_canary("late-flights", reason="as good", override_reason="a trial without traffic")
    client.monitoring.add("late-flights", window_days=2, anchor=START, reference_dataset="flights", reference_number=1)
    answers = client.serving.predict("late-flights", late.select("wind", "hour"), event_times=late["time"])
    due = pl.DataFrame(
        {
            "prediction_id": answers["prediction_id"],
            "label": late["late"],
            "event_time": late["time"],
            "arrived_at": late["time"] + timedelta(hours=6),
        }
    )
    client.monitoring.add_labels("late-flights", due)
    as_of = START + timedelta(days=14)
    report = client.monitoring.run("late-flights", as_of)
    for incident in report.incidents:
        client.monitoring.diagnose(incident.id, as_of)
        client.monitoring.note(incident.id, MARKUP)
    return str(answers["prediction_id"][0])


def _value(client: Client) -> None:
    as_of = START + timedelta(days=14)
    client.value.set_matrix("late", tp=40, fp=-10, note=MARKUP)
    client.value.set_goal("late", goal=f"Warn people early. {MARKUP}", kpi="net value a month", owner="ana")
    client.value.set_policy("late", "diagnosed_with_cost", reason=MARKUP)
    client.value.add_cost("late", "people", hours=3, note=MARKUP, spent_at=START + timedelta(days=2))
    client.value.report("late", as_of=as_of)
    for incident in client.monitoring.incidents("late-flights"):
        client.value.decide(incident.id, as_of=as_of)
