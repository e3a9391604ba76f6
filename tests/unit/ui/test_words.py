"""How values read, and what holds for the session and the colours."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import click
import pytest

import rung.ui
from rung.server import doors
from rung.server.errors import STATUS as SERVER_STATUS
from rung.ui import session, words
from rung.ui.app import STATUS
from rung.ui.pages import NAVIGATION, PAGES

STATIC = Path(rung.ui.__file__).parent / "static"


def test_the_cookie_and_the_statuses_are_those_of_the_door() -> None:
    assert session.COOKIE == doors.COOKIE
    assert STATUS == SERVER_STATUS


def test_the_rail_leads_to_pages_that_exist() -> None:
    assert {path for path, _ in NAVIGATION} <= {path for path, _ in PAGES}


def test_a_form_of_another_session_does_not_hold() -> None:
    assert session.form_holds("one", session.form_token("one"))
    assert not session.form_holds("one", session.form_token("two"))
    assert not session.form_holds("", session.form_token(""))


def test_numbers_and_money_read_as_people_write_them() -> None:
    assert words.number(0.70512345) == "0.7051"
    assert words.number(12345.6) == "12,346"
    assert words.number(None) == words.number(float("nan")) == "–"
    assert words.money(-1234.5, "USD") == "−1,234 USD"
    assert words.money(-0.001, "USD") == "0 USD"
    assert words.size(1536) == "1.5 KiB"
    assert words.many(1, "run") == "1 run"


def test_states_are_icon_word_and_tone() -> None:
    assert words.pill("failed") == '<span class="pill bad"><span aria-hidden="true">✕</span> failed</span>'


def test_what_users_wrote_is_escaped_in_words_and_addresses() -> None:
    assert "<b>" not in words.link("<b>", "models", 'x"><b>')
    assert words.address("models", "a/b?c") == "/models/a%2Fb%3Fc"
    assert "<b>" not in words.joined(["<b>", words.pill("<b>")])


def test_the_vendored_script_is_the_one_that_is_declared() -> None:
    digest = sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest()
    assert digest in (STATIC / "VENDORED.txt").read_text("utf-8")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_states_have_enough_contrast(theme: str) -> None:
    blocks = re.findall(r"\{([^{}]*--bg:[^{}]*)\}", (STATIC / "rung.css").read_text("utf-8"))
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9A-Fa-f]{6})", blocks[0] if theme == "light" else blocks[-1]))
    for name in ("text", "muted", "accent", "ok", "warn", "bad"):
        for ground in ("bg", "raised"):
            assert _contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for series in range(6):
        assert _contrast(colours[f"s{series}"], colours["bg"]) >= 3.0, series


def _contrast(one: str, other: str) -> float:
    # WCAG 2.2, relative luminance and contrast ratio
    first, second = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_command_that_a_page_names_exists() -> None:
    from rung.cli.main import cli  # the CLI loads its groups by name

    pages = "\n".join(path.read_text("utf-8") for path in (Path(rung.ui.__file__).parent / "pages").glob("*.py"))
    named = {tuple(line.split()[:2]) for line in re.findall(r'"rung ([a-z][^"]*)"', pages)}
    assert len(named) > 20
    context = click.Context(cli)
    for group, *verb in named:
        command = cli.get_command(context, group)
        assert command is not None, group
        if isinstance(command, click.Group) and verb and not verb[0].startswith("-"):
            assert command.get_command(context, verb[0]) is not None, (group, verb)


def test_what_a_docstring_quotes_is_code() -> None:
    assert words.prose("Known by ``as_of``, or `day`; <b>a ` alone & so on") == (
        "Known by <code>as_of</code>, or <code>day</code>; &lt;b&gt;a ` alone &amp; so on"
    )
