"""Chromium for tests: headless, and tabs that tell of everything that should not have happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_ARGUMENTS += ["--disable-component-update", "--disable-sync"]
expect.set_options(timeout=60_000)  # five seconds otherwise, whatever the default of a page is
_PLACES = (Path("/usr/bin/chromium"), Path("/usr/bin/chromium-browser"), Path("/usr/bin/google-chrome"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of the machine."""
    found = [path for path in _PLACES if path.exists()]
    assert found, "Chromium is needed: apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(found[0]), args=_ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def tab(browser: Browser, url: str, token: str, *, width: int = 1440, allowed: str = "\0") -> Iterator[Page]:
    """A tab with a session. At the end nothing may have been written to its console but by artifacts, in their sandbox.

    Lines that hold ``allowed`` may: those of an answer which the test asks to be refused.
    """
    context = browser.new_context(viewport={"width": width, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    said: list[str] = []
    opened.on("console", lambda message: said.append(f"{opened.url}: {message.text}") if _is_ours(message) else None)
    opened.on("pageerror", lambda error: said.append(f"{opened.url}: {error}"))
    opened.on("dialog", lambda dialog: (said.append(f"{opened.url}: a dialog said {dialog.message}"), dialog.dismiss()))
    opened.goto(f"{url}/login?token={token}")
    yield opened
    context.close()
    strange = [line for line in said if allowed not in line]
    assert not strange, strange


def holding(page: Page, address: str) -> list[Route]:
    """The requests to an address that the browser makes from now on: each waits until it is let go on."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(address, hold)
    return held


def asked(page: Page, held: list[Route]) -> Route:
    """The first of them, once it was made."""
    while not held:
        page.wait_for_timeout(20)  # lets what the browser tells come in
    return held[0]


def _is_ours(message: ConsoleMessage) -> bool:
    return message.type in {"error", "warning"} and not any(place in message.location["url"] for place in ("/raw/", "/outputs/"))
