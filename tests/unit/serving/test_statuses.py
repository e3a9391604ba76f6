"""Statuses are told for errors that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

import rung
from rung.core.errors import Unavailable
from rung.serving import statuses

SOURCES = "".join(path.read_text("utf-8") for path in Path(str(rung.__file__)).parent.rglob("*.py") if path.name != "statuses.py")


@pytest.mark.parametrize("code", sorted({*statuses._CODES, *statuses._AGAIN}))
def test_every_code_in_the_tables_is_raised_somewhere(code: str) -> None:
    assert f'"{code}"' in SOURCES


def test_a_log_without_room_says_when_to_ask_again() -> None:
    error = Unavailable("The prediction log cannot be written: no room.", code="serving.log_unwritable", hint="Free some space.")
    assert (statuses.status_of(error), statuses.retry_after_s(error)) == (503, 1)
