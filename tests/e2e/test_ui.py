"""Every page in Chromium: it answers, writes nothing to the console, breaks no policy, fits a phone, shows markup as text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

import rung
from rung.client.client import Client
from rung.core.errors import NotFound
from tests.e2e.browsing import chromium, tab
from tests.e2e.seeding import MARKUP, seed
from tests.servers import RunningServer, wait_until

PLACES = (
    "/",
    "/maturity",
    "/datasets",
    "/features",
    "/pipelines",
    "/experiments",
    "/runs",
    "/models",
    "/deployments",
    "/monitors",
    "/incidents",
    "/triggers",
    "/value",
)
OF_A_KIND = 2


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    held = rung.connect(server.url, server.token)
    yield held
    held.close()


@pytest.fixture(scope="module")
def prediction(server: RunningServer, client: Client) -> str:
    """A filled project; the id of one prediction in it."""
    prediction = seed(client, server.home.parent)
    wait_until(lambda: _known(client, "summary"), 60, lambda: "the server did not find the pipelines of its folder", server.process)
    client.pipelines.run("summary", {"rows": 10})
    return prediction


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server: RunningServer, prediction: str) -> Iterator[Page]:
    """A tab with a session; at the end, nothing may have been written to its console."""
    with tab(browser, server.url, server.token) as opened:
        yield opened


@pytest.mark.timeout(900)
def test_every_page_that_is_linked_answers_and_fits_a_phone(page: Page, server: RunningServer, prediction: str) -> None:
    waiting, seen, of_a_kind = [*PLACES, "/audit", "/settings", f"/predictions/{prediction}"], set(), {}
    while waiting:
        path = waiting.pop(0).partition("#")[0]
        kind = re.sub(r"[0-9a-f]{32}|(?<=/)\d+(?=/|$)", "*", path.partition("?")[0])
        if path in seen or of_a_kind.get(kind, 0) >= OF_A_KIND:
            continue
        seen.add(path)
        of_a_kind[kind] = of_a_kind.get(kind, 0) + 1
        answer = page.goto(server.url + path)
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("h1").inner_text(), path
        assert page.locator("script:not([src])").count() == 0, path
        page.set_viewport_size({"width": 390, "height": 844})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{path} is {wide} pixels wide"
        page.set_viewport_size({"width": 1440, "height": 900})
        links = page.eval_on_selector_all("a[href^='/']", "all => all.map(one => one.getAttribute('href'))")
        waiting += [link for link in links if not link.startswith(("/static", "/api", "/step-logs", "/outputs")) and ".json" not in link]
    assert len(of_a_kind) > 25


def test_markup_in_what_users_wrote_is_shown_as_text(page: Page, server: RunningServer) -> None:
    for path in ("/runs", "/datasets/flights", "/models/late", "/deployments/late-flights", "/value/late", "/features/weather"):
        page.goto(server.url + path)
        assert MARKUP in page.locator("main").inner_text(), path
        assert page.locator("main img").count() == 0, path


def test_the_loop_of_a_model_shows_its_twelve_stations(page: Page, server: RunningServer) -> None:
    page.goto(server.url)
    stations = page.locator(".loop .place").all_inner_texts()
    assert stations == [
        "data", "features", "pipeline", "run", "evaluation", "gate",
        "registry", "deployment", "predictions", "monitor", "diagnosis", "decision",
    ]  # fmt: skip
    assert "champion is 1" in page.locator(".loop").inner_text()


def test_the_theme_switch_goes_round_and_is_kept(page: Page, server: RunningServer) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(server.url)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(2):
        page.locator("#theme").click()
    page.goto(server.url + "/runs")
    assert page.locator("#theme-word").inner_text() == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 28)" != light


def test_a_pipeline_run_has_its_graph_its_times_and_its_log(page: Page, server: RunningServer, client: Client) -> None:
    run = client.pipelines.runs("summary").items[0]
    page.goto(f"{server.url}/pipeline-runs/{run.id}")
    assert page.locator("svg.chart").count() == 2
    page.locator("svg a", has_text="load").first.click()
    expect(page.locator("main")).to_contain_text("loading 10 rows <b>now</b>")


def test_a_pipeline_is_run_from_its_page(page: Page, server: RunningServer) -> None:
    page.goto(f"{server.url}/pipelines/summary")
    page.locator("input[name='param.rows']").fill("12")
    page.get_by_role("button", name="Run summary").click()
    page.wait_for_url("**/pipeline-runs/*")
    assert page.locator(".pairs").inner_text().split() == ["rows", "12"]


def test_an_incident_is_closed_from_its_page(page: Page, server: RunningServer, client: Client) -> None:
    incident = client.monitoring.incidents("late-flights")[0]
    page.goto(f"{server.url}/incidents/{incident.number}")
    page.locator("input[name=resolution]").fill("the wind was real")
    with page.expect_navigation():
        page.get_by_role("button", name="Close incident").click()
    assert client.monitoring.incident(incident.id).status == "closed"


def test_pages_answer_as_json_too(server: RunningServer, prediction: str) -> None:
    for path in ("/index.json", "/models/late.json", "/monitors/late-flights.json", "/audit.json", f"/predictions/{prediction}.json"):
        answer = _get(server, path)
        assert answer.headers["content-type"] == "application/json"
        assert {"title", "headline", "data"} == set(answer.json()), path


def test_without_a_session_one_is_asked_to_log_in(server: RunningServer) -> None:
    answer = httpx.get(server.url + "/models", timeout=60)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/models"
    assert httpx.get(server.url + "/login", timeout=60).status_code == 200
    assert httpx.get(server.url + "/models.json", timeout=60).status_code == 401


def test_a_login_leads_only_to_our_own_pages(server: RunningServer) -> None:
    for target in ("https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example"):
        answer = httpx.post(server.url + "/login", data={"token": server.token, "next": target}, timeout=60)
        assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_what_does_not_exist_is_a_page_with_status_404(server: RunningServer, prediction: str) -> None:
    for path in ("/models/nobody", "/models/late/99", "/models/late/x", "/runs/nothing:1", "/incidents/999", "/datasets/none/1"):
        answer = _get(server, path)
        assert answer.status_code == 404, path
        assert "<h1" in answer.text, path


def test_a_form_without_the_sessions_word_is_refused(server: RunningServer, client: Client, prediction: str) -> None:
    before = client.serving.get("late-flights").revision
    answer = httpx.post(server.url + "/act/rollback", data={"deployment": "late-flights"}, cookies={"rung_token": server.token}, timeout=60)
    assert answer.status_code == 403
    assert client.serving.get("late-flights").revision == before


def test_every_answer_carries_the_security_headers(server: RunningServer) -> None:
    for path in ("/", "/login", "/static/rung.css", "/models/nobody"):
        headers = _get(server, path).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff", path


def _get(server: RunningServer, path: str) -> httpx.Response:
    return httpx.get(server.url + path, cookies={"rung_token": server.token}, timeout=60)


def _known(client: Client, pipeline: str) -> bool:
    try:
        client.pipelines.pipeline(pipeline)
    except NotFound:
        return False
    return True
