"""The pages of tracking in Chromium: the table of runs, comparison, live runs, experiments, artifacts that mean harm."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

import rung
from rung.client.client import Client
from rung.tracking.artifacts import LogArtifact
from rung.tracking.records import CreateExperiment, FinishRun, GetRun, LogBatch, MetricPoint, Run, SearchRuns, StartRun
from tests.e2e.browsing import asked, chromium, holding, tab
from tests.servers import RunningServer

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
SPY = (
    b"<h1>Report</h1><p id=told></p><script>"
    b"let told = 'ran';"
    b"try { told += document.cookie ? ' cookie' : ''; } catch (e) { told += ' no-cookie'; }"
    b"try { parent.document.title = 'taken'; told += ' parent'; } catch (e) { told += ' no-parent'; }"
    b"document.getElementById('told').textContent = told;"
    b"fetch('/api/openapi.json').then(() => told += ' fetched', () => told += ' no-fetch').then(() => document.getElementById('told').textContent = told);"
    b"</script>"
)
FILES = {
    "report.html": SPY,
    "notes.md": b"# Notes\n\n**good** <script>alert(3)</script> [away](javascript:alert(4))",
    "picture.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100"><script>alert(5)</script><rect width="9" height="9"/></svg>',
    "scores.csv": b"id,score\n1,0.5\n2,<b>0.25</b>\n",
    "weights.bin": bytes(range(256)),
    "page.xhtml": b'<html xmlns="http://www.w3.org/1999/xhtml"><script>alert(6)</script></html>',
    f"{MARKUP.replace('/', '')}.txt": b"<script>alert(7)</script>",
}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    held = rung.connect(server.url, server.token)
    yield held
    held.close()


@pytest.fixture(scope="module")
def runs(client: Client) -> list[Run]:
    """Sixty runs of one experiment, the best last; the sixtieth has files."""
    call = client.tracking._transport.call
    made = []
    for n in range(60):
        params = {"depth": n % 5, "rate": [0.1, 0.3][n % 2], "note": MARKUP}
        run = call(
            StartRun(
                experiment="trees", name=f"trial {n} {MARKUP if n == 59 else ''}", params=params, tags={"team": "ads" if n % 2 else "risk"}
            )
        )
        points = tuple(MetricPoint(key="auc", value=0.5 + n / 200 + step / 1000, step=step) for step in range(5))
        call(LogBatch(run=run.id, metrics=points))
        call(FinishRun(run=run.id, status="failed" if n == 7 else "succeeded"))
        made.append(run)
    for path, content in FILES.items():
        digest = client.tracking._transport.put_blob(content)
        call(LogArtifact(owner=made[-1].id, path=path, digest=digest, size_bytes=len(content)))
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server: RunningServer, runs: list[Run]) -> Iterator[Page]:
    with tab(browser, server.url, server.token) as opened:
        yield opened


def test_the_table_sorts_and_filters_on_the_server(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/experiments/1")
    assert "trees has 60 runs." in page.locator("h1").inner_text()
    page.get_by_role("link", name="auc", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_have_count(1)
    assert "trial 59" in page.locator("td.name").first.inner_text()
    page.locator("#where").fill("metrics.auc < 0.6 AND (params.rate = '0.3' OR NOT status = 'succeeded')")
    page.locator("#where").press("Enter")
    page.wait_for_url("**where=*")
    assert page.locator("td.name").count() == 10
    assert "trial 19" in page.locator("td.name").first.inner_text()


def test_a_filter_that_cannot_be_read_says_where_it_fails(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/runs?where=metrics.auc+>>+1")
    assert "cannot be read" in page.locator("h1").inner_text()
    assert page.get_by_role("alert").inner_text()


def test_a_selection_outlasts_pages_and_sorting_and_leads_to_a_comparison(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/runs")
    page.locator("input[name=run]").nth(0).check()
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**after=*")
    assert page.locator("td.name").count() == 10
    page.locator("input[name=run]").nth(3).check()
    page.get_by_role("link", name="auc", exact=True).click()
    page.wait_for_url("**order=*")
    expect(page.locator("[data-count]")).to_have_text("2 selected")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare?*")
    assert "2 runs compared" in page.locator("h1").inner_text()
    figure = page.locator("[data-key=auc]")
    page.wait_for_function("figure => figure.dataset.points === '10'", arg=figure.element_handle())


def test_a_curve_never_widens_a_page_that_has_become_narrower(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/compare?where=tags.team+IS+NOT+NULL&group=rate")
    page.wait_for_selector(".curve.drawn canvas")
    page.wait_for_function("() => document.querySelector('.curve canvas').getBoundingClientRect().width > 800")
    # In one go, so that the observer of sizes has not had its turn: how a phone looks in the frame after it was turned.
    wide = page.evaluate("() => { const main = document.querySelector('main'); main.style.width = '390px'; return main.scrollWidth }")
    assert wide <= 390, f"the page is {wide} pixels wide"
    page.wait_for_function("() => document.querySelector('.curve canvas').getBoundingClientRect().width < 390")


def test_columns_are_found_by_name_and_kept_in_a_view(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/experiments/1?where=status+%3D+'failed'")
    page.locator("#columns summary").click()
    page.locator("#keys input[value='params.note']").uncheck()
    before = page.locator("#keys").element_handle()
    page.locator("#columns input[type=search]").fill(
        "tea"
    )  # at one stroke: with pauses between the letters, less would be looked for first
    page.wait_for_function("keys => !keys.isConnected", arg=before)  # what was searched for has taken its place
    assert page.locator("#keys input[value='params.rate']").is_checked()  # what was ticked is kept, what was not is gone
    assert page.locator("#keys input[value='params.note']").count() == 0
    box = page.locator("#keys input[value='tags.team']")
    box.check()
    page.get_by_role("button", name="Show these").click()
    page.wait_for_url("**col=tags.team*")
    assert "params.rate" in page.url
    assert "params.note" not in page.url
    assert page.locator("td.name").count() == 1
    assert "ads" in page.locator(".runs-table tbody").inner_text()
    page.locator("summary", has_text="Views").click()
    page.get_by_label("Keep this view as").fill(f"failed {MARKUP}")
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()
    page.goto(server.url + "/runs")
    page.locator("summary", has_text="Views (1)").click()
    page.get_by_role("link", name=f"failed {MARKUP}").click()
    page.wait_for_url("**/experiments/1?*")
    assert page.locator("#where").input_value() == "status = 'failed'"
    assert page.locator("th.tag").inner_text().split() == ["tag", "team"]
    page.locator("summary", has_text="Views (1)").click()
    page.get_by_role("button", name="Forget view").click()
    expect(page.locator("summary", has_text="Views")).to_have_text("Views")


def test_what_is_ticked_while_names_are_looked_for_stays_ticked(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/experiments/1")
    page.locator("#columns summary").click()
    looks = holding(page, "**find=*")
    before = page.locator("#keys").element_handle()
    page.locator("#columns input[type=search]").fill("t")
    look = asked(page, looks)
    page.locator("#keys input[value='tags.team']").check()
    page.locator("#keys input[value='params.note']").uncheck()
    look.continue_()
    page.wait_for_function("keys => !keys.isConnected", arg=before)
    assert page.locator("#keys input[value='tags.team']").is_checked()
    assert not page.locator("#keys input[value='params.note']").is_checked()


def test_selected_runs_are_tagged_deleted_and_restored_at_once(page: Page, server: RunningServer, client: Client, runs: list[Run]) -> None:
    page.goto(server.url + "/runs?where=params.depth+%3D+'3'+AND+params.rate+%3D+'0.1'")
    page.locator("[data-all]").check()
    expect(page.locator("[data-count]")).to_have_text("6 selected")
    page.locator("#bulk input[name=key]").fill("kept")
    page.locator("#bulk input[name=value]").fill("yes")
    with page.expect_navigation():
        page.get_by_role("button", name="Set tag").click()
    call = client.tracking._transport.call
    assert len(call(SearchRuns(filter="tags.kept = 'yes'")).items) == 6
    with page.expect_navigation():
        page.get_by_role("button", name="Delete").click()
    assert page.locator("td.name").count() == 0
    page.goto(server.url + "/runs?view=deleted")
    assert page.locator("td.name").count() == 6
    page.locator("[data-all]").check()
    with page.expect_navigation():
        page.get_by_role("button", name="Restore").click()
    assert len(call(SearchRuns(filter="tags.kept = 'yes'")).items) == 6


def test_a_running_run_is_followed_without_losing_the_selection(page: Page, server: RunningServer, client: Client) -> None:
    call = client.tracking._transport.call
    run = call(StartRun(experiment="live", name="slow"))
    call(LogBatch(run=run.id, metrics=(MetricPoint(key="loss", value=0.75, step=0),)))
    page.goto(f"{server.url}/runs?where=name+%3D+'slow'")
    page.locator("input[name=run]").check()
    call(LogBatch(run=run.id, metrics=(MetricPoint(key="loss", value=0.125, step=1),)))
    expect(page.locator(".runs-table tbody")).to_contain_text("0.125")
    assert page.locator("input[name=run]").is_checked()
    expect(page.locator("[data-count]")).to_have_text("1 selected")
    page.goto(f"{server.url}/runs/{run.id}")
    figure = page.locator("[data-key=loss]")
    page.wait_for_function("figure => figure.dataset.points === '2'", arg=figure.element_handle())
    call(LogBatch(run=run.id, metrics=(MetricPoint(key="loss", value=0.0625, step=2),)))
    page.wait_for_function("figure => figure.dataset.points === '3'", arg=figure.element_handle())
    call(LogBatch(run=run.id, metrics=tuple(MetricPoint(key="auc", value=0.5 + step / 10, step=step) for step in range(2))))
    expect(page.locator("[data-key=auc]")).to_have_count(1)
    call(FinishRun(run=run.id))
    expect(page.locator("h1")).to_contain_text("succeeded")
    expect(page.locator("#live[hx-trigger]")).to_have_count(0)


def test_what_is_typed_on_a_running_run_outlasts_its_changes(page: Page, server: RunningServer, client: Client) -> None:
    call = client.tracking._transport.call
    run = call(StartRun(experiment="live", name="typed"))
    page.goto(f"{server.url}/runs/{run.id}")
    page.locator("summary", has_text="Change this run").click()
    name = page.locator("form[action='/act/rename-run'] input[name=name]")
    name.fill("half a na")
    before = page.locator("#live").get_attribute("data-shape")
    call(LogBatch(run=run.id, metrics=tuple(MetricPoint(key="auc", value=0.5 + step / 10, step=step) for step in range(2))))
    page.wait_for_function("shape => document.getElementById('live').dataset.shape !== shape", arg=before)
    page.wait_for_timeout(1000)  # time for what stands still to be asked for
    assert name.input_value() == "half a na"
    name.blur()
    expect(page.locator("[data-key=auc]")).to_have_count(1)
    call(FinishRun(run=run.id))
    expect(page.locator("h1")).to_contain_text("succeeded")


def test_a_comparison_draws_groups_coordinates_and_importance(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/compare?where=tags.team+IS+NOT+NULL&group=rate")
    assert "60 runs compared: 2 params and 1 metric differ." in page.locator("h1").inner_text()
    figure = page.locator("[data-key*='auc']")
    figure.locator("canvas").wait_for()
    assert "rate=0.1 (mean of 30)" in figure.locator("[data-reading]").inner_text()
    assert page.locator(".parallel a").count() == 60
    assert page.locator(".dots a").count() == 60
    assert page.get_by_role("cell", name="depth", exact=True).count() == 1
    page.locator("input[name=smooth]").fill("0.9")
    page.locator("input[name=log]").check()
    page.locator("[data-curve-bar] select[name=x]").select_option("relative")
    assert "smooth=0.9&log=1&x=relative" in page.evaluate("location.search")


def test_an_experiment_is_made_renamed_noted_deleted_and_restored(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/experiments")
    page.locator("summary", has_text="Make an experiment").click()
    page.get_by_label("Name").fill(f"second {MARKUP}")
    page.get_by_label("Note").fill(f"# Why\n\nTo *see* {MARKUP}")
    page.get_by_role("button", name="Make").click()
    page.wait_for_url("**/experiments/*")
    address = page.url
    assert page.locator(".prose h3").inner_text() == "Why"
    assert page.locator(".prose em").inner_text() == "see"
    assert MARKUP in page.locator(".prose").inner_text()
    page.locator("summary", has_text="About this experiment").click()
    page.get_by_label("Name").fill("third")
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()
    assert "third has 0 runs" in page.locator("h1").inner_text()
    page.locator("summary", has_text="About this experiment").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Delete").click()
    assert "third is deleted" in page.locator("h1").inner_text()
    page.goto(server.url + "/experiments?view=deleted")
    page.get_by_role("link", name="third").click()
    page.locator("summary", has_text="About this experiment").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Restore").click()
    assert page.url == address
    assert "third has 0 runs" in page.locator("h1").inner_text()


def test_names_with_markup_are_shown_as_text_everywhere(page: Page, server: RunningServer, runs: list[Run]) -> None:
    best = runs[-1].id
    for path in (
        "/runs",
        f"/runs/{best}",
        f"/compare?runs={best},{runs[0].id}&all=1",
        f"/runs/{best}?file=notes.md",
        f"/curves?runs={best}&key=auc",
    ):
        page.goto(server.url + path)
        assert MARKUP in page.locator("main").inner_text() or "alert(3)" in page.locator("main").inner_text(), path
        assert page.locator("main img:not(.picture)").count() == 0, path
        assert page.locator("a[href^='javascript']").count() == 0, path


def test_a_logged_page_runs_in_a_frame_without_any_right(page: Page, server: RunningServer, runs: list[Run]) -> None:
    page.goto(f"{server.url}/runs/{runs[-1].id}?file=report.html")
    expect(page.frame_locator("iframe.frame").locator("#told")).to_have_text("ran no-cookie no-parent no-fetch")
    assert page.title() != "taken"
    assert page.locator("iframe.frame").get_attribute("sandbox") == "allow-scripts"


def test_tables_and_pictures_are_shown_beside_the_tree(page: Page, server: RunningServer, runs: list[Run]) -> None:
    page.goto(f"{server.url}/runs/{runs[-1].id}?file=scores.csv")
    assert page.locator(".pane td").all_inner_texts() == ["1", "0.5", "2", "<b>0.25</b>"]
    page.goto(f"{server.url}/runs/{runs[-1].id}?file=picture.svg")
    assert page.locator("img.picture").evaluate("image => image.decode().then(() => image.naturalWidth)") == 200


def test_bytes_of_an_artifact_carry_a_sandbox_and_are_never_guessed_at(server: RunningServer, runs: list[Run]) -> None:
    with httpx.Client(base_url=server.url, cookies={"rung_token": server.token}, timeout=60) as http:
        for path, content in FILES.items():
            answer = http.get(f"/raw/{runs[-1].id}/{path}")
            assert answer.content == content
            assert answer.headers["x-content-type-options"] == "nosniff", path
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("sandbox allow-scripts; default-src 'none'"), path
            assert "allow-same-origin" not in policy, path
            shown = path.endswith((".html", ".svg"))
            assert answer.headers["content-disposition"].startswith("inline" if shown else "attachment"), path
            if not shown:
                assert answer.headers["content-type"] == "application/octet-stream", path
        saved = http.get(f"/raw/{runs[-1].id}/report.html?save=1")
        assert saved.headers["content-disposition"].startswith("attachment")
        for path in (
            f"/raw/{runs[-1].id}/../../token",
            f"/raw/{runs[-1].id}/%2e%2e/token",
            f"/raw/{'0' * 32}/report.html",
            "/raw/nobody/x",
        ):
            assert http.get(path).status_code in {404, 422}, path
    assert httpx.get(f"{server.url}/raw/{runs[-1].id}/report.html", timeout=60).status_code == 303


def test_another_projects_runs_and_files_are_not_there(server: RunningServer, client: Client, runs: list[Run]) -> None:
    client.governance.create_project("elsewhere")
    with httpx.Client(base_url=server.url, cookies={"rung_token": server.token}, timeout=60) as http:
        for path in (f"/runs/{runs[-1].id}", f"/raw/{runs[-1].id}/report.html", "/experiments/1"):
            assert http.get(f"/p/elsewhere{path}").status_code == 404, path
        text = http.get("/p/elsewhere/runs").text
        assert 'href="/p/elsewhere/experiments"' in text
        assert 'href="/experiments"' not in text


def test_a_child_is_folded_below_its_parent(page: Page, server: RunningServer, client: Client) -> None:
    call = client.tracking._transport.call
    call(CreateExperiment(name="nested"))
    parent = call(StartRun(experiment="nested", name="search"))
    child = call(StartRun(experiment="nested", name="inner", parent=parent.id))
    number = call(GetRun(run=child.id)).experiment_number
    page.goto(f"{server.url}/experiments/{number}")
    assert page.locator("td.name").count() == 1
    page.get_by_role("link", name="Show 1 children of nested:1 search").click()
    page.wait_for_url("**open=*")
    assert page.locator("tr.child td.name").inner_text() == "└ 2 inner"
    page.goto(f"{server.url}/runs/{parent.id}")
    assert "inner" in page.locator("#child-runs + .scroll").inner_text()
