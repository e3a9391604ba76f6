"""Models, versions and webhooks in Chromium: what they show, and what a person decides there."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest
from playwright.sync_api import Browser, Page, expect
from sklearn.linear_model import LogisticRegression

import rung
from rung.client.client import Client
from rung.registry.records import CreateModel
from tests.e2e.browsing import chromium, tab
from tests.e2e.seeding import MARKUP
from tests.servers import RunningServer

FRAME = pl.DataFrame({"x": [float(i % 17) for i in range(300)], "<i>wind</i>": [0.5] * 300, "late": [i % 17 > 8 for i in range(300)]})
INPUTS = FRAME.drop("late")


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    """A client of the server, which holds two versions, one that cannot be served, and a webhook."""
    with rung.connect(server.url, server.token) as held:
        held.data.add("flights", FRAME)
        model = LogisticRegression().fit(INPUTS, FRAME["late"].to_numpy())
        for _ in range(2):
            run = held.tracking.start("train").id
            held.registry.register(
                "late", model, example=INPUTS, label="late", datasets=[("test", "flights", 1)], run_id=run, tags={"note": MARKUP}
            )
            held.tracking.finish(run)
        held.registry.update_model("late", description=f"**Will it be late?** {MARKUP}", tags={"team": MARKUP})
        held.registry.set_approval_rule("late", 1)
        held.transport.call(CreateModel(name="far"))
        held.registry.register_logged("far", "s3://bucket/model")
        held.webhooks.create(f"ci {MARKUP}", "https://93.184.216.34/hook?secret=1", ["model_version_tag.set"], description=MARKUP)
        yield held


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server: RunningServer, client: Client) -> Iterator[Page]:
    """A tab with a session; what is not let pass is said on the page, and to the console too."""
    with tab(browser, server.url, server.token, allowed="403 (Forbidden)") as opened:
        yield opened


def test_a_version_tells_what_it_takes_and_what_it_was_made_from(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/models/late/1")
    expect(page.locator("#headline")).to_have_text("late:1 has met no gate yet, and has 0 of 1 approvals.")
    text = page.locator("#main").inner_text()
    for part in ("Signature", "<i>wind</i>", "Float64", "Input example", "digest", "KiB", "flights:1 (test)", "run", MARKUP):
        assert part in text
    page.goto(server.url + "/models/far/1")
    assert "kept, and cannot be served" in page.locator("#headline").inner_text()
    assert "s3://bucket/model" in page.locator("#main").inner_text()
    page.goto(server.url + "/models")
    assert MARKUP in page.locator("#main").inner_text()


def test_a_person_rejects_a_version_tags_describes_deletes_and_restores_it(page: Page, server: RunningServer, client: Client) -> None:
    page.goto(server.url + "/models/late/2")
    form = page.locator("form[action='/act/reject-version']")
    form.locator("input[name=comment]").fill(f"odd {MARKUP}")
    form.get_by_role("button").click()
    expect(page.locator("#headline")).to_contain_text("owner rejected it")
    expect(page.locator("#main")).to_contain_text(f"odd {MARKUP}")
    page.locator("summary", has_text="Change this version").click()
    form = page.locator("form[action='/act/tag-version']")
    form.locator("input[name=key]").fill("reviewed")
    form.locator("input[name=value]").fill("yes")
    with page.expect_navigation():
        form.get_by_role("button").click()
    assert client.registry.version("late", 2).tags["reviewed"] == "yes"
    page.locator("summary", has_text="Change this version").click()
    form = page.locator("form[action='/act/describe-version']")
    form.locator("textarea").fill("Trained on *one* airport.")
    form.get_by_role("button").click()
    expect(page.locator(".prose")).to_have_text("Trained on one airport.")
    page.locator("summary", has_text="Change this version").click()
    page.locator("form[action='/act/delete-version']").get_by_role("button").click()
    page.locator("summary", has_text="Deleted versions (1)").click()
    page.get_by_role("link", name="late:2").click()
    expect(page.locator("#headline")).to_have_text("late:2 is deleted.")
    with page.expect_navigation():
        page.locator("form[action='/act/restore-version']").get_by_role("button").click()
    assert client.registry.version("late", 2).deleted_at is None


def test_an_approval_of_ones_own_version_is_refused_in_words(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/models/late/1")
    with page.expect_navigation():
        page.locator("form[action='/act/approve-version']").get_by_role("button").click()
    assert "cannot approve it" in page.locator("#main").inner_text()


def test_a_webhook_shows_its_messages_and_is_switched_off(page: Page, server: RunningServer) -> None:
    page.goto(server.url + "/models")
    page.get_by_role("link", name="ci <script>").click()
    expect(page.locator("#main")).to_contain_text(MARKUP)
    page.locator("summary", has_text="Change this webhook").click()
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("#headline")).to_contain_text("is disabled")


@pytest.mark.parametrize("path", ["/models", "/models/late", "/models/late/1", "/models/far/1"])
def test_no_page_of_models_scrolls_sideways_on_a_phone(page: Page, server: RunningServer, path: str) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    page.goto(server.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
