"""The address of the table of runs, notes in Markdown, previews of artifacts, locks side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.client.transports import Transport
from rung.core.filters import parse_order
from rung.ui.blocks import Visit
from rung.ui.looks import Look, ids, look_of, named, ordered, split
from rung.ui.markdown import first_line, rendered
from rung.ui.packages import differences, packages
from rung.ui.previews import MOST_TEXT, preview, raw_type

RUN, OTHER = "01" * 16, "ab" * 16


class Nobody:
    """A transport that a look never asks."""

    def call(self, request: Any) -> Any:
        raise AssertionError(request)


def visited(address: str) -> Visit:
    pairs = parse_qsl(urlsplit(address).query, keep_blank_values=True)
    many: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        many[name] = (*many.get(name, ()), value)
    transport: Transport = Nobody()  # type: ignore[assignment]  # only its call would be used
    return Visit(transport, {}, dict(pairs), many)


def test_a_look_is_the_same_after_its_address_was_read() -> None:
    look = Look(
        where="metrics.auc > 0.7 AND tags.a = '&=%'", order="metrics.auc DESC", columns=("metrics.auc", "params.a b", "git_commit"), after="m2",
        back=("", "m1"), selected=(RUN, OTHER), expanded=(RUN,), view="deleted", flat=True,
    )  # fmt: skip
    assert look_of(visited(look.href())) == look


def test_sorting_goes_down_then_up_then_back() -> None:
    look = Look(after="m")
    orders = []
    for _ in range(3):
        look = look_of(visited(look.sorted_by("metrics.auc")))
        orders.append(look.order)
    assert orders == ["metrics.auc DESC", "metrics.auc ASC", ""]
    assert look.after == ""


def test_pages_lead_forth_and_back() -> None:
    first = Look()
    second = look_of(visited(first.next("m1")))
    third = look_of(visited(second.next("m2")))
    assert (third.after, third.back) == ("m2", ("", "m1"))
    assert look_of(visited(third.previous())) == second
    assert look_of(visited(second.previous())) == first


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30))
def test_any_name_of_a_metric_can_be_sorted_by(key: str) -> None:
    held = parse_order(ordered(f"metrics.{key}", descending=True))
    assert (held.entity, held.key, held.descending) == ("metric", key, True)
    assert split(f"metrics.{key}") == ("metric", key)


def test_what_makes_no_sense_in_an_address_is_left_out() -> None:
    look = look_of(visited("/runs?col=bad&col=metrics.&col=status&sel=x," + RUN + "&view=odd&open=%27"))
    assert look == Look(columns=("status",), selected=(RUN,))
    assert ids(f"{RUN}\n{RUN},{OTHER} no") == (RUN, OTHER)
    assert named('params.a "b"') == 'params."a ""b"""'


def test_markdown_becomes_elements_and_html_in_it_stays_text() -> None:
    shown = rendered(
        "# A\n\nb *c* **d** `e<f>`\n\n- g\n- h\n\n1. i\n\n> j\n\n```\n<k>\n```\n\n| l | m |\n|---|---|\n| n | o |\n\n<script>p</script>"
    )
    for part in (
        "<h3>A</h3>", "<p>b <em>c</em> <strong>d</strong> <code>e&lt;f&gt;</code></p>", "<ul><li>g</li><li>h</li></ul>", "<ol><li>i</li></ol>",
        "<blockquote>j</blockquote>", "<pre>&lt;k&gt;</pre>", "<th>l</th>", "<td>o</td>", "<p>&lt;script&gt;p&lt;/script&gt;</p>",
    ):  # fmt: skip
        assert part in shown, part


def test_links_of_a_note_lead_to_the_web_only() -> None:
    assert '<a href="https://a.example/?b=1&amp;c=2" rel="noopener noreferrer nofollow">d</a>' in rendered(
        "[d](https://a.example/?b=1&c=2)"
    )
    for target in ("javascript:alert(1)", "data:text/html,x", "JaVaScRiPt:x", "//a.example", "/logout"):
        assert "<a" not in rendered(f"[x]({target})"), target
    assert 'href="https://a.example/&#34;onclick=x"' in rendered('[x](https://a.example/"onclick=x)')


@given(st.text(alphabet="<>&\"'`*_[]()#|-\n ab1.", max_size=200))
def test_no_note_brings_an_element_of_its_own(text: str) -> None:
    shown = str(rendered(text))
    for kept in (
        "h3",
        "h4",
        "h5",
        "h6",
        "p",
        "em",
        "strong",
        "code",
        "ul",
        "ol",
        "li",
        "blockquote",
        "pre",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ):
        shown = shown.replace(f"<{kept}>", "").replace(f"</{kept}>", "")
    shown = shown.replace('<div class="scroll">', "").replace("</div>", "")
    assert "<" not in shown


def test_a_list_shows_the_first_line_of_a_note_without_its_marks() -> None:
    assert first_line("\n## What *we* [try](https://a.example)\n\nmore") == "What we try"
    assert first_line("x" * 200) == "x" * 120 + "…"
    assert first_line("") == ""


def test_previews_tell_texts_pictures_pages_and_bytes_apart(tmp_path: Path) -> None:
    def shown(name: str, content: bytes) -> tuple[str, Any]:
        file = tmp_path / "file"
        file.write_bytes(content)
        found = preview(name, len(content), file)
        return found.kind, found.content

    assert shown("a.txt", b"caf\xc3\xa9 <b>") == ("text", "café <b>")
    assert shown("MLmodel", b"flavors: {}") == ("text", "flavors: {}")
    assert shown("a.json", b'{"b":[1]}') == ("text", '{\n  "b": [\n    1\n  ]\n}')
    assert shown("a.json", b"[" * 100_000)[0] == "text"
    assert shown("a.bin", b"\x00\x01")[0] == "none"
    assert shown("a.txt", b"\xff\xfe\xfa")[0] == "none"
    assert shown("a.PNG", b"")[0] == "picture"
    assert shown("a.htm", b"<script>")[0] == "page"
    assert shown("a.md", b"*b*")[1] == "<p><em>b</em></p>"
    assert len(shown("long.log", b"x" * (MOST_TEXT + 10))[1]) == MOST_TEXT


def test_tables_show_their_first_rows(tmp_path: Path) -> None:
    pl.DataFrame({"a": range(100), "b": [None] * 100}).write_parquet(tmp_path / "t")
    found = preview("t.parquet", 1, tmp_path / "t")
    assert (found.columns, len(found.content), found.note) == (("a", "b"), 50, "The first 50 of 100 rows.")
    (tmp_path / "c").write_bytes(b"id;name\n1;x\n")
    assert preview("c.csv", 12, tmp_path / "c").content == (("1;x",),)
    (tmp_path / "broken").write_bytes(b"PAR1 nothing")
    assert preview("broken.parquet", 12, tmp_path / "broken").kind == "none"


@pytest.mark.parametrize("name", ["a.js", "a.xhtml", "a.xml", "a.mhtml", "a.pdf", "a.html.bin", "noending", "a.css"])
def test_what_a_browser_might_run_is_only_saved(name: str) -> None:
    assert raw_type(name) == "application/octet-stream"


def test_locks_are_compared_package_by_package() -> None:
    before = packages(b"numpy==2.1 --hash=sha256:x\nscikit_learn==1.5\n# gone==1\n", "requirements.lock")
    after = packages(b'[[package]]\nname = "numpy"\nversion = "2.2"\n[[package]]\nname = "scikit-learn"\nversion = "1.5"\n', "uv.lock")
    assert before == {"numpy": "2.1", "scikit-learn": "1.5"}
    assert differences(before, {**after, "polars": "1"}) == [("numpy", "changed", "2.1", "2.2"), ("polars", "added", "", "1")]
    assert packages(b"\xff[", "uv.lock") == {}
