"""The pages of pipelines in Chromium: a run as it runs, as it fails, its map, its log, comparison, re-runs, triggers, hostile words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

import rung
from rung.app.local import LocalTransport
from rung.app.opening import open_platform
from rung.client.client import Client
from rung.core.errors import NotFound
from rung.core.settings import load_settings
from rung.governance.records import CreatePrincipal, CreateToken
from rung.pipelines.records import PipelineRun
from tests.e2e.browsing import asked, chromium, holding, tab
from tests.e2e.pipeline_seeding import MARKUP, Seeder, crowd, large, story
from tests.servers import RunningServer, wait_until

REFRESH = "htmx.ajax('GET', location.pathname, {target: '#live', select: '#live', swap: 'outerHTML'})"  # as the page does by itself
PIPELINES = '''"""Pipelines of a trial."""

import time
from pathlib import Path

from rung import pipeline, step


@step(cache=False, isolated=True)
def slow(rows: int) -> int:
    for index in range(rows):
        print(f"row {index} of <b>{rows}</b>", flush=True)
        time.sleep(0.25)
    return rows


@step(cache=False, retries=1, backoff=0.1)
def fragile(rows: int) -> int:
    if not Path("mended").exists():
        raise ValueError(f"not <i>mended</i> at {rows}")
    return rows + 1


@step
def before(rows: int) -> int:
    print("before")
    return rows


@step
def square(value: int) -> int:
    if value == 3:
        raise ValueError("three is <b>refused</b>")
    return value * value


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def numbers(rows: int) -> list[int]:
    return list(range(10, 10 + rows))


@pipeline
def patient(rows: int = 40) -> int:
    """Take its time."""
    return slow(before(rows))


@pipeline
def breakable(rows: int = 5) -> int:
    """Fail until it is mended."""
    return fragile(before(rows))


@pipeline
def many(rows: int = 12) -> int:
    """Square each number."""
    return total(square.map(numbers(rows)))
'''


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    held = rung.connect(server.url, server.token)
    yield held
    held.close()


@pytest.fixture(scope="module")
def told(server: RunningServer, client: Client) -> dict[str, PipelineRun]:
    """Runs by their state, written as rows; and pipelines in the server's folder that really run."""
    (server.home.parent / "pipelines.py").write_text(PIPELINES, "utf-8")
    platform, _ = open_platform(load_settings(flags={"home": str(server.home)}))
    transport = LocalTransport(platform, token=server.token)
    seeder = Seeder(transport)
    runs = story(seeder)
    crowd(seeder, runs=60, pipelines=3)
    runs["large"] = large(seeder, "large", 5000)
    runs["wide"] = large(seeder, "wide", 300)
    transport.close()
    wait_until(lambda: _known(client, "many"), 60, lambda: "the server did not find the pipelines of its folder", server.process)
    return runs


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server: RunningServer, told: dict[str, PipelineRun]) -> Iterator[Page]:
    with tab(browser, server.url, server.token) as opened:
        yield opened


def test_a_running_run_is_seen_to_go_on_and_its_log_to_grow(page: Page, server: RunningServer, client: Client) -> None:
    run = client.pipelines.run("patient", {"rows": 400}, wait=False)
    page.goto(f"{server.url}/pipeline-runs/{run.id}")
    box = page.locator("a[id='step-slow']")
    expect(box).to_contain_text("running", timeout=60_000)
    expect(page.locator("a[id='step-before']")).to_contain_text("succeeded")
    page.goto(f"{server.url}/pipeline-runs/{run.id}/steps/slow")
    text = page.locator("[data-text]")
    expect(text).to_contain_text("row 3 of <b>400</b>", timeout=60_000)
    expect(page.locator("[data-state]")).to_contain_text("growing")
    assert page.locator("[data-follow]").is_checked()
    before = text.inner_text().count("\n")
    page.wait_for_function("n => document.querySelector('[data-text]').textContent.split('\\n').length > n + 4", arg=before)
    page.locator("[data-find]").fill("row 2 of")
    expect(page.locator("[data-found]")).to_contain_text("1 of 1 found")
    page.goto(f"{server.url}/pipeline-runs/{run.id}")
    with page.expect_navigation():
        page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1")).to_contain_text("cancelled", timeout=60_000)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_press_is_not_lost_to_a_refresh_of_the_page(page: Page, server: RunningServer, client: Client) -> None:
    run = client.pipelines.run("patient", {"rows": 400}, wait=False)
    page.goto(f"{server.url}/pipeline-runs/{run.id}")
    expect(page.locator("a[id='step-slow']")).to_contain_text("running")  # from now on parts are exchanged, the page is not fetched anew
    page.get_by_role("button", name="Cancel").hover()
    page.mouse.down()
    held = page.evaluate_handle("document.querySelector('button:active')")  # the one that was pressed, whatever was exchanged before
    page.evaluate(REFRESH)
    assert held.evaluate("button => button.isConnected")  # what was pressed is still there to be let go of
    with page.expect_navigation():
        page.mouse.up()
    expect(page.locator("h1")).to_contain_text("cancelled", timeout=60_000)


def test_a_page_that_is_left_is_not_fetched_once_more(page: Page, server: RunningServer, told: dict[str, PipelineRun]) -> None:
    begun = f"{server.url}/pipeline-runs/{told['running'].id}"
    page.goto(begun)
    looks, clicks = holding(page, begun), holding(page, "**/steps/load")
    page.evaluate(f"() => {{ {REFRESH} }}")
    page.evaluate("document.querySelector('td a[href$=\"/steps/load\"]').click()")
    look, click = asked(page, looks), asked(page, clicks)
    answer = look.fetch()  # it comes while the server takes its time with what was clicked, and tells of the run's end
    look.fulfill(response=answer, body=re.sub('data-shape="[a-z]+"', 'data-shape="ended"', answer.text()))
    page.wait_for_timeout(500)
    click.continue_()
    page.wait_for_url("**/steps/load")


def test_a_failed_run_shows_where_and_why_and_goes_on_from_there(page: Page, server: RunningServer, client: Client) -> None:
    page.goto(server.url + "/pipelines/breakable")
    page.locator("input[name='param.rows']").fill("abc")
    page.get_by_role("button", name="Run breakable").click()
    page.wait_for_url("**checked=1*")
    expect(page.locator("#run")).to_contain_text("'abc' is not a whole number.")
    assert page.locator("input[name='param.rows']").input_value() == "abc"
    page.locator("input[name='param.rows']").fill("7")
    page.get_by_role("button", name="Run breakable").click()
    page.wait_for_url("**/pipeline-runs/*")
    expect(page.locator("h1")).to_contain_text("failed at fragile", timeout=60_000)
    expect(page.locator("main")).to_contain_text("not <i>mended</i> at 7")
    assert page.locator("main i").count() == 0
    page.goto(server.url + "/")
    expect(page.locator("main")).to_contain_text("Pipelines that failed or are under way")
    page.get_by_role("link", name="breakable:1").click()
    page.locator("a[id='step-fragile']").click()
    expect(page.locator("h1")).to_contain_text("failed")
    expect(page.locator("tbody tr", has_text="ValueError")).to_have_count(2)  # the two tries
    (server.home.parent / "mended").write_text("")
    page.go_back()
    page.locator("summary", has_text="Run again from a step").click()
    page.locator("select[name=step]").select_option("fragile")
    page.get_by_role("button", name="Run again from a step").click()
    page.wait_for_url(re.compile(r"/pipeline-runs/[0-9a-f]{32}$"))
    expect(page.locator("h1")).to_contain_text("breakable:2 succeeded", timeout=60_000)
    expect(page.locator("main")).to_contain_text("rows")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/pipeline-compare?*")
    expect(page.locator("h1")).to_contain_text("breakable:1 and breakable:2")


def test_a_map_shows_its_items_and_those_that_failed(page: Page, server: RunningServer, client: Client) -> None:
    client.pipelines.run("many", {"rows": 12})
    run = client.pipelines.recent("many").items[0]
    page.goto(f"{server.url}/pipeline-runs/{run.id}")
    expect(page.locator("a[id='step-square']")).to_contain_text("12 of 12 items")
    page.locator("a[id='step-square']").click()
    expect(page.locator("table", has_text="peak memory").first.locator("tbody tr")).to_have_count(12)
    page.get_by_role("link", name="11", exact=True).click()
    expect(page.locator("h1")).to_contain_text("Item 11 of square succeeded")


def test_hostile_words_are_text_everywhere(page: Page, server: RunningServer, told: dict[str, PipelineRun]) -> None:
    run = told["failed"].id
    for path in (
        "/pipelines/flights",
        f"/pipeline-runs/{run}",
        *(f"/pipeline-runs/{run}/steps/{key}" for key in ("load", "clean", "enrich", "score", "train")),
    ):
        page.goto(server.url + path)
        assert MARKUP in page.locator("main").inner_text() or MARKUP in page.content().replace("&lt;", "<").replace("&gt;", ">"), path
        assert page.locator("main img").count() == 0, path
        assert page.locator("main script").count() == 0, path
    page.goto(f"{server.url}/pipeline-runs/{run}/steps/load")
    expect(page.locator("[data-text]")).to_have_attribute("data-read", "whole")
    log = page.locator("[data-text]").inner_text()
    assert "reading flights\n100%\n" in log
    assert "\x1b" not in log
    assert "bytes \u2400\u2407 here" in log


def test_a_report_is_shown_in_a_frame_that_reaches_nothing(page: Page, server: RunningServer, told: dict[str, PipelineRun]) -> None:
    page.goto(f"{server.url}/pipeline-runs/{told['failed'].id}/steps/enrich")
    frame = page.frame_locator("iframe.frame")
    expect(frame.locator("h1")).to_have_text("Report")
    address = page.locator("iframe.frame").get_attribute("src")
    answer = _get(server, str(address))
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert "ran" not in page.title()


def test_outputs_and_logs_are_saved_as_they_are(server: RunningServer, told: dict[str, PipelineRun]) -> None:
    run = told["failed"].id
    raw = _get(server, f"/outputs/{run}/steps/load?index=1&save=1")
    assert raw.content.startswith(b"carrier,delay\n")
    assert raw.headers["content-disposition"].startswith("attachment")
    log = _get(server, f"/step-logs/{run}/load")
    assert log.content.startswith(b"\x1b[32mreading")
    assert log.headers["content-type"].startswith("text/plain")
    assert _get(server, f"/outputs/{run}/steps/load?index=9").status_code == 404


def test_groups_fold_and_open(page: Page, server: RunningServer, told: dict[str, PipelineRun]) -> None:
    page.goto(f"{server.url}/pipeline-runs/{told['succeeded'].id}")
    assert page.locator("a[id='step-clean']").count() == 1
    page.locator("a[id='group-prepare']").click()
    page.wait_for_url("**fold=prepare*")
    assert page.locator("a[id='step-clean']").count() == 0
    folded = page.locator("a[id='step-group:prepare']")
    expect(folded).to_contain_text("4 steps")
    folded.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**open=prepare*")
    assert page.locator("a[id='step-clean']").count() == 1


def test_skipped_steps_say_why_and_conditions_what_they_ask(page: Page, server: RunningServer, told: dict[str, PipelineRun]) -> None:
    page.goto(f"{server.url}/pipeline-runs/{told['succeeded'].id}")
    expect(page.locator("a[id='step-poor']")).to_contain_text("skipped")
    assert "Skipped: score.auc > 0.8 holds" in page.locator("main").inner_text()
    page.goto(server.url + "/pipelines/flights")
    expect(page.locator("svg.dag")).to_contain_text("if score.auc > 0.8")


def test_a_very_large_run_is_still_a_page(page: Page, server: RunningServer, told: dict[str, PipelineRun]) -> None:
    page.goto(f"{server.url}/pipeline-runs/{told['large'].id}")
    assert page.locator("svg.dag a").count() == 20
    assert page.locator("h2#steps + div tbody tr").count() == 200
    page.get_by_role("link", name=re.compile("The next of 5,000")).click()
    page.wait_for_url("**from=200*")
    expect(page.get_by_role("link", name="s250", exact=True).last).to_be_visible()
    page.goto(f"{server.url}/pipeline-runs/{told['wide'].id}")
    assert page.locator("svg.dag a").count() == 300


def test_two_runs_are_compared_down_to_the_line(page: Page, server: RunningServer, told: dict[str, PipelineRun]) -> None:
    page.goto(f"{server.url}/pipeline-compare?before=flights:1&after=flights:2")
    main = page.locator("main")
    for words in ("-    return 1", "+    return 2", "polars", "1.30.0", "1.31.0", "pipelines.py"):
        expect(main).to_contain_text(words)
    assert page.locator("tr", has_text="clean").locator("text=different").count() == 1


def test_triggers_are_paused_fired_and_their_calls_explained(page: Page, server: RunningServer, client: Client) -> None:
    client.triggers.add("nightly", "many", cron="0 3 * * *")
    page.goto(server.url + "/triggers")
    page.get_by_role("link", name="nightly").first.click()
    expect(page.locator("h1")).to_contain_text("nightly starts many")
    page.get_by_role("button", name="Fire dry").click()
    expect(page.locator("main")).to_contain_text("dry")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("h1")).to_contain_text("nightly is paused")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator("h1")).to_contain_text("nightly starts many")
    page.get_by_role("button", name="Fire now").click()
    page.wait_for_url(re.compile("/pipeline-runs/[0-9a-f]{32}"))
    expect(page.locator("main")).to_contain_text("nightly")
    page.goto(server.url + "/triggers/nightly?outcome=fired")
    assert page.locator("table", has_text="what was looked at").locator("tbody tr").count() == 1


def test_who_may_only_look_sees_no_buttons(browser: Browser, server: RunningServer, client: Client, told: dict[str, PipelineRun]) -> None:
    call = client.pipelines._transport.call
    call(CreatePrincipal(name="looker"))
    token = call(CreateToken(principal="looker", label="look")).secret
    with tab(browser, server.url, token) as page:
        for path in (
            "/pipelines/flights",
            f"/pipeline-runs/{told['failed'].id}",
            "/triggers",
            "/packages",
            f"/pipeline-runs/{told['running'].id}",
        ):
            page.goto(server.url + path)
            assert page.locator("main form[method=post]").count() == 0, path


def test_what_is_not_there_is_a_page_that_helps(server: RunningServer, told: dict[str, PipelineRun]) -> None:
    run = told["succeeded"].id
    paths = (
        "/pipelines/none", "/pipeline-runs/none", f"/pipeline-runs/{run}/steps/none", f"/pipeline-runs/{run}/steps/train/items/999", "/triggers/none",
        "/packages/abcdef12", "/pipeline-compare", "/pipelines?status=odd", f"/pipeline-runs/{run}?state=odd", f"/pipeline-runs/{run}/steps/load?attempt=9",
        f"/reproductions/{'0' * 32}",
    )  # fmt: skip
    for path in paths:
        answer = _get(server, path)
        assert answer.status_code == 404, (path, answer.text[:300])
        assert "<h1" in answer.text, path


def test_a_page_that_has_not_changed_is_not_sent_again(server: RunningServer, told: dict[str, PipelineRun]) -> None:
    path = "/triggers"
    first = _get(server, path)
    found = re.search(r'"seen":"([0-9a-f]{24})"', first.text)
    if found is None:  # no trigger yet: such a page is not live
        return
    again = httpx.get(
        f"{server.url}{path}?seen={found[1]}", cookies={"rung_token": server.token}, headers={"hx-request": "true"}, timeout=60
    )
    assert again.status_code == 204


def test_pages_fit_a_phone_in_both_themes(browser: Browser, server: RunningServer, told: dict[str, PipelineRun]) -> None:
    run = told["failed"].id
    with tab(browser, server.url, server.token, width=390) as page:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for path in (
                "/pipelines", "/pipelines/flights", f"/pipeline-runs/{run}", f"/pipeline-runs/{run}/steps/load", f"/pipeline-runs/{run}/steps/train",
                f"/pipeline-runs/{told['large'].id}", "/triggers", "/packages", "/reproductions", "/pipeline-compare?before=flights:1&after=flights:2",
            ):  # fmt: skip
                page.goto(server.url + path)
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= 390, f"{path} is {wide} pixels wide"


def _get(server: RunningServer, path: str) -> httpx.Response:
    return httpx.get(server.url + path, cookies={"rung_token": server.token}, timeout=60)


def _known(client: Client, pipeline: str) -> bool:
    try:
        client.pipelines.pipeline(pipeline)
    except NotFound:
        return False
    return True
