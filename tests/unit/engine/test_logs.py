"""Logs hide secrets and end at a size, whatever pieces the output comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.engine import logs
from rung.engine.logs import LogFile, Masker


@given(
    words=st.lists(st.sampled_from(["hunter2", "hunt", "er2", "2hunter", "x", "\n", "hunter2hunter2"]), max_size=30),
    cuts=st.lists(st.integers(1, 5), max_size=60),
)
def test_a_secret_is_hidden_however_the_stream_is_cut(words: list[str], cuts: list[int]) -> None:
    said = "".join(words).encode()
    masker, shown, place = Masker(["hunter2"]), b"", 0
    for cut in [*cuts, len(said)]:
        shown += masker.fed(said[place : place + cut])
        place += cut
    shown += masker.rest()
    assert shown == said.replace(b"hunter2", b"********")


def test_what_can_be_no_secret_any_more_is_shown_at_once() -> None:
    masker = Masker(["hunter2"])
    assert masker.fed(b"the hunt") == b"the "
    assert masker.fed(b" is on") == b"hunt is on"


def test_lines_of_a_long_secret_are_hidden_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END KEY-----"
    assert b"MIIEvQ" not in Masker([key]).fed(b"line: MIIEvQIBADANBgkqhkiG9w0 end\n")


def test_texts_too_short_to_be_secrets_are_left() -> None:
    assert Masker(["a", ""]).fed(b"banana") == b"banana"


def test_a_log_is_made_when_something_is_said_and_cut_at_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LARGEST", 10)
    quiet, loud = LogFile(tmp_path / "a" / "quiet"), LogFile(tmp_path / "a" / "loud")
    quiet.close()
    for _ in range(3):
        loud.write(b"12345678")
    loud.close()
    assert not quiet.path.exists()
    assert loud.path.read_bytes() == b"1234567812\n[the log was cut here]\n"
