"""A value report against the logged holdout: its numbers are those of the log's rows, worked out here by themselves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.cli.main import cli
from rung.client.client import Client
from rung.core.settings import Settings
from rung.ui.blocks import Table, Visit
from rung.ui.pages.value import value

START = datetime(2013, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=90)
INPUTS = ["a", "b", "who"]


def _rows(n: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 2))
    p = 1 / (1 + np.exp(-(2.0 * x[:, 0] + x[:, 1] - 1)))
    who = draw.integers(0, 200, n).astype(float)
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "who": who, "late": (draw.random(n) < p).astype(int)})


@pytest.fixture
def served(client: Client) -> Client:
    """Version 1 learned from twenty rows of noise and serves; version 2 learned the matter."""
    noise, data = _rows(20, 9), _rows(2000, 0)
    for rows in (noise, data):
        model = LogisticRegression().fit(rows.select(INPUTS), rows["late"].to_numpy())
        client.registry.register("late", model, example=rows.select(INPUTS).head(5), label="late", threshold=0.25)
    client.serving.deploy("late", "late", 1, environment="staging")
    client.value.set_matrix("late", tp=12, fp=-4)
    return client


def _ask(client: Client, n: int, seed: int = 1) -> None:
    rows = _rows(n, seed)
    times = [START + timedelta(days=60) * k / n for k in range(n)]
    said = client.serving.predict("late", rows.select(INPUTS), event_times=times, ids=[f"{seed}-{k}" for k in range(n)])
    labels = said.with_columns(label=rows["late"], arrived_at=pl.Series(times) + timedelta(days=1))
    client.monitoring.add_labels("late", labels.select("prediction_id", "label", "arrived_at"))


def _log(client: Client, *seeds: tuple[int, int]) -> tuple[pl.DataFrame, np.ndarray]:
    """The log with labels, and what each row is worth: 12 for a late one warned of, -4 for another warned of, else 0."""
    told = pl.concat([_rows(n, seed).select("late", prediction_id=pl.Series([f"{seed}-{k}" for k in range(n)])) for n, seed in seeds])
    log = client.serving.predictions("late").filter(pl.col("arm") != "shadow").join(told, on="prediction_id")
    assert log.height == told.height
    warned, late = log["score"].to_numpy() >= 0.25, log["late"].to_numpy() == 1
    return log, np.where(warned, np.where(late, 12.0, -4.0), 0.0)


def test_the_gain_is_that_of_the_treated_over_the_held_out(served: Client) -> None:
    served.serving.configure("late", {"routing.holdout": 0.3})
    served.serving.start_canary("late", 2, share=0.8)
    _ask(served, 1500)
    report = served.value.report("late", as_of=AS_OF)
    log, money = _log(served, (1500, 1))
    held = (log["arm"] == "holdout").to_numpy()
    treated, kept = money[~held], money[held]
    difference = treated.mean() - kept.mean()
    spread = 1.959964 * np.sqrt(treated.var(ddof=1) / treated.size + kept.var(ddof=1) / kept.size)
    assert report.basis == "holdout"
    assert report.holdout is not None
    told = report.holdout
    assert (told.treated, told.held, told.by, told.usable) == (treated.size, kept.size, "prediction", True)
    assert (told.treated_value, told.held_value) == (pytest.approx(treated.mean()), pytest.approx(kept.mean()))
    assert told.difference is not None
    found = (told.difference.estimate, told.difference.low, told.difference.high)
    assert found == pytest.approx((difference, difference - spread, difference + spread))
    assert report.gross == money.sum()
    assert report.incremental.estimate == pytest.approx(difference * treated.size)
    assert report.incremental.low == pytest.approx((difference - spread) * treated.size)
    assert report.gross - report.baseline == pytest.approx(report.incremental.estimate)
    assert sum(month.incremental.estimate for month in report.months) == pytest.approx(report.incremental.estimate)
    assert f"{treated.size} treated" in report.basis_note


def test_decisions_about_one_entity_are_not_taken_for_many(served: Client) -> None:
    served.serving.configure("late", {"routing.holdout": 0.3, "routing.sticky": "who"})
    served.serving.start_canary("late", 2, share=0.8)
    _ask(served, 1500)
    told = served.value.report("late", as_of=AS_OF).holdout
    log, money = _log(served, (1500, 1))
    assert told is not None
    held = (log["arm"] == "holdout").to_numpy()
    who = log["who"].to_numpy()
    assert (told.by, told.treated_entities, told.held_entities) == ("who", np.unique(who[~held]).size, np.unique(who[held]).size)
    assert told.treated_entities + told.held_entities == np.unique(who).size  # an entity is on one side only
    variance = 0.0
    for side in (held, ~held):
        sums = [float((money[side & (who == one)] - money[side].mean()).sum()) for one in np.unique(who[side])]
        variance += len(sums) / (len(sums) - 1) * sum(x * x for x in sums) / side.sum() ** 2
    assert told.difference is not None
    assert told.difference.high - told.difference.estimate == pytest.approx(1.959964 * np.sqrt(variance))


def test_a_holdout_that_is_too_thin_says_so_and_is_not_the_baseline(served: Client) -> None:
    served.serving.configure("late", {"routing.holdout": 0.1})
    served.serving.start_canary("late", 2, share=0.8)
    _ask(served, 120)
    report = served.value.report("late", as_of=AS_OF)
    log, money = _log(served, (120, 1))
    assert 1 < (log["arm"] == "holdout").sum() < 30
    assert report.basis == "no_model"
    assert report.incremental.estimate == money.sum()
    assert report.holdout is not None
    assert not report.holdout.usable
    assert report.holdout.held == (log["arm"] == "holdout").sum()
    assert "too thin to tell" in report.basis_note


def test_a_holdout_beside_nothing_else_shows_nothing(served: Client) -> None:
    served.serving.configure("late", {"routing.holdout": 0.5})
    _ask(served, 400)
    report = served.value.report("late", as_of=AS_OF)
    assert report.basis == "no_model"
    assert "answered everybody else too" in report.basis_note


def test_rows_from_before_the_holdout_are_not_compared_with_it(served: Client) -> None:
    _ask(served, 300, seed=2)
    served.serving.configure("late", {"routing.holdout": 0.3})
    served.serving.start_canary("late", 2, share=0.8)
    _ask(served, 600, seed=3)
    report = served.value.report("late", as_of=AS_OF)
    log, _ = _log(served, (300, 2), (600, 3))
    assert report.holdout is not None
    assert report.holdout.treated + report.holdout.held == 600
    assert (report.predictions, report.basis) == (900, "holdout")
    assert log.height == 900


def test_without_a_holdout_all_is_as_before(served: Client) -> None:
    _ask(served, 200)
    report = served.value.report("late", as_of=AS_OF)
    assert (report.basis, report.holdout) == ("no_model", None)
    assert report.basis_note.startswith("No holdout and no shadow ran")


def test_page_and_command_line_say_which_baseline_was_used(served: Client, transport: LocalTransport, settings: Settings) -> None:
    served.serving.configure("late", {"routing.holdout": 0.3})
    served.serving.start_canary("late", 2, share=0.8)
    _ask(served, 600)
    report = served.value.report("late", as_of=AS_OF)
    assert report.holdout is not None
    page = value(Visit(transport, {"model": "late"}, {}))
    (beside,) = [block for block in page.blocks if isinstance(block, Table) and block.title.startswith("Baseline: holdout")]
    assert [str(row[1]) for row in beside.rows] == [f"{report.holdout.treated:,}", f"{report.holdout.held:,}"]
    home = ["--home", str(settings.home)]
    said = CliRunner().invoke(cli, [*home, "roi", "report", "late", "--last"], catch_exceptions=False).output
    assert "baseline: holdout" in said
    assert f"{report.holdout.held} held out" in said
    told = json.loads(CliRunner().invoke(cli, [*home, "roi", "report", "late", "--last", "--json"], catch_exceptions=False).output)
    assert (told["basis"], told["holdout"]["held"]) == ("holdout", report.holdout.held)
