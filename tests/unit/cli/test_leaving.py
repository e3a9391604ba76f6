"""A command leaves at once only where nothing is loaded that may want to end in its own way."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from rung.cli import leaving


@pytest.mark.parametrize(
    ("name", "file", "foreign"),
    [
        ("theirs", "/usr/lib/python3/dist-packages/theirs.so", True),
        ("theirs.inner", "/home/me/project/theirs/inner.cpython-311-x86_64-linux-gnu.so", True),
        ("_bz2", "/usr/lib/python3.11/lib-dynload/_bz2.cpython-311-x86_64-linux-gnu.so", False),
        ("msgspec._core", "/venv/lib/python3.11/site-packages/msgspec/_core.so", False),
        ("theirs", "/home/me/project/theirs.py", False),
    ],
    ids=["of the system", "of the project", "Python's", "ours", "no library"],
)
def test_native_libraries_of_others_end_as_ever(name: str, file: str, foreign: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(name)
    module.__file__ = file
    monkeypatch.setattr(sys, "modules", {name: module})
    assert leaving._has_foreign_code() is foreign
