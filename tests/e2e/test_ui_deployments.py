"""The deployment page in Chromium: a canary grows by its gates, another is taken back, by hand and by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from playwright.sync_api import Browser, Page, expect

import rung
from rung.client.client import Client
from rung.core.records import replaced
from rung.monitoring.records import Label
from rung.serving.ab_records import ArmWish
from rung.serving.options import RolloutPlan
from tests.e2e.browsing import chromium, tab
from tests.integration.releasing import model_of, truth
from tests.servers import RunningServer, running_server

pytestmark = [pytest.mark.xdist_group("ui-deployments"), pytest.mark.timeout(900)]  # one story of one deployment
NAME = "api"
PLAN = RolloutPlan(
    steps=(0.2, 0.6, 1.0), step_rows=80, gates={"errors": {"max_share": 0.1}, "shift": {"max_distance": 0.6}, "performance": {}}
)
SHOTS = os.environ.get("RUNG_SHOTS", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of this module's own."""
    folder = tmp_path_factory.mktemp("releases")
    with running_server(folder / "home", folder) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    """A client of a project whose deployment serves the first of three versions: the second is as good, the third has learned the opposite."""
    held = rung.connect(server.url, server.token)
    for seed, flipped in ((1, False), (2, False), (3, True)):
        rows, labels = truth(np.random.default_rng(seed), 2000)
        held.registry.register("late", model_of(rows, 1 - labels if flipped else labels), example=rows, label="late")
    held.serving.deploy(NAME, "late", 1, environment="staging")
    yield held
    held.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server: RunningServer, client: Client) -> Iterator[Page]:
    """A tab with a session."""
    with tab(browser, server.url, server.token) as opened:
        yield opened


class Callers:
    """Asks for predictions, and brings their labels."""

    def __init__(self, client: Client) -> None:
        self._client, self._chance, self._asked = client, np.random.default_rng(9), 0

    def ask(self, rows: int, *, labelled: bool = False) -> pl.DataFrame:
        """Answers to new rows."""
        frame, labels = truth(self._chance, rows)
        ids = [f"{os.getpid()}-{id(self)}-{self._asked + i}" for i in range(rows)]
        at = datetime.now(UTC) - timedelta(minutes=5)
        self._asked += rows
        found = self._client.serving.predict(NAME, frame, ids=ids, event_times=[at] * rows, batch=20)
        if labelled:
            told = [Label(prediction_id=key, label=int(label)) for key, label in zip(ids, labels, strict=True)]
            self._client.monitoring.add_labels(NAME, told)
        return found


def test_a_canary_is_seen_to_grow_to_all_of_the_traffic(page: Page, server: RunningServer, client: Client) -> None:
    callers = Callers(client)
    client.serving.start_canary(NAME, 2, share=0.2, plan=PLAN)
    page.goto(f"{server.url}/deployments/{NAME}")
    expect(page.locator("h1")).to_contain_text("late:2 is growing at 20%, step 1 of 3")
    expect(page.get_by_role("button", name="Pause the rollout")).to_be_visible()
    for _ in range(120):  # few at a time, so that the next step lacks its rows
        callers.ask(40)
        if client.serving.rollouts(NAME)[0].step:
            break
        time.sleep(0.5)
    expect(page.locator("h1")).to_contain_text("growing at 60%", timeout=150_000)  # without a reload
    expect(page.locator("main")).to_contain_text("Gates at the last look")
    _shot(page, "growing")
    callers.ask(600)
    expect(page.locator("h1")).to_contain_text("late:2 (stable, 100%)", timeout=150_000)
    expect(page.get_by_role("button", name="Pause the rollout")).to_have_count(0)  # what can be done is renewed too
    expect(page.locator("main")).to_contain_text("Share of requests by version")
    expect(page.locator("main")).to_contain_text("promoted")
    _shot(page, "promoted")
    assert [x.change for x in reversed(client.serving.revisions(NAME))] == ["deploy", "canary", "grow", "promote"]


def test_a_canary_that_fails_is_taken_back_by_itself_and_the_page_says_why(page: Page, server: RunningServer, client: Client) -> None:
    callers = Callers(client)
    strict = replaced(PLAN, gates={**PLAN.gates, "performance": {"needed": True}})  # no step passes before the labels are there
    client.serving.start_canary(NAME, 3, share=0.4, plan=strict)
    page.goto(f"{server.url}/deployments/{NAME}")
    callers.ask(1200, labelled=True)
    expect(page.locator("main")).to_contain_text("rolled back", timeout=150_000)
    expect(page.locator("main")).to_contain_text("squared error")
    assert client.serving.get(NAME).stable.number == 2  # type: ignore[union-attr]  # it serves
    _shot(page, "rolled-back")


def test_a_canary_is_paused_resumed_and_aborted_by_hand(page: Page, server: RunningServer, client: Client) -> None:
    client.serving.start_canary(NAME, 3, share=0.1, plan=PLAN)
    page.goto(f"{server.url}/deployments/{NAME}")
    _act(page, "Pause the rollout", "a <b>holiday</b>")
    expect(page.locator("h1")).to_contain_text("paused at 10%")
    assert client.serving.rollouts(NAME)[0].state == "paused"
    _act(page, "Resume the rollout", "back again")
    expect(page.locator("h1")).to_contain_text("growing at 10%")
    _act(page, "Abort the canary", "no longer wanted")
    expect(page.locator("h1")).not_to_contain_text("late:3")
    expect(page.locator("main")).to_contain_text("no longer wanted")
    assert client.serving.rollouts(NAME)[0].state == "aborted"


def test_a_rollback_takes_one_press_and_its_time_is_on_the_page(page: Page, server: RunningServer, client: Client) -> None:
    page.goto(f"{server.url}/deployments/{NAME}")
    _act(page, "Roll back to the version before", "a drill of ours")
    expect(page.locator("h1")).to_contain_text("late:1 (stable, 100%)")
    row = page.locator("tr", has_text="a drill of ours").first
    expect(row).to_contain_text("rollback")
    expect(row).to_contain_text("ms")
    _shot(page, "rollback")


def test_an_ab_test_and_a_shadow_show_their_figures(page: Page, server: RunningServer, client: Client) -> None:
    callers = Callers(client)
    client.serving.start_ab(NAME, [ArmWish(model="late", number=3, share=0.5)], planned_rows=300)
    callers.ask(500, labelled=True)
    page.goto(f"{server.url}/deployments/{NAME}")
    expect(page.locator("main")).to_contain_text("The stable version earns more", timeout=150_000)
    expect(page.locator("main")).to_contain_text("always-valid interval")
    _shot(page, "ab")
    _act(page, "End the test, keep stable (late:1)", "it is better")
    client.serving.start_shadow(NAME, 3)
    callers.ask(200)
    page.reload()
    expect(page.locator("main")).to_contain_text("The shadow agrees with what was answered", timeout=150_000)
    _shot(page, "shadow")


def _act(page: Page, label: str, reason: str) -> None:
    form = page.locator("form.act", has=page.get_by_role("button", name=label, exact=True))
    form.locator("input[name='reason']").fill(reason)
    with page.expect_navigation():
        form.get_by_role("button").click()


def _shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"deployment-{name}.png"), full_page=True)
