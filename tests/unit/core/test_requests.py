"""Handlers are found when their area is there, all of it."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import rung
from rung.app.platform import request_named
from rung.core import requests
from rung.core.errors import NotFound
from rung.core.requests import HANDLERS, OPERATIONS, Request, handler_of

RECORDS = """
import threading
from rung.core.requests import Request

begun, go_on = threading.Event(), threading.Event()

class Ask(Request[int]):
    operation = "slowly.ask"
    permission = "slowly.read"
"""
OPERATIONS_MODULE = """
from rung.core.requests import handles
from rung.slowly import records

@handles(records.Ask)
def ask(request, scope):
    return answer()

records.begun.set()
records.go_on.wait(60)

def answer():
    return 42
"""


@pytest.fixture
def slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An area whose operations stop half way while they are imported."""
    (tmp_path / "slowly").mkdir()
    for name, text in (("__init__", ""), ("records", RECORDS), ("operations", OPERATIONS_MODULE)):
        (tmp_path / "slowly" / f"{name}.py").write_text(text)
    monkeypatch.setattr(rung, "__path__", [*rung.__path__, str(tmp_path)])
    yield
    for name in [name for name in sys.modules if name.startswith("rung.slowly")]:
        del sys.modules[name]
    kind = OPERATIONS.pop("slowly.ask")
    del HANDLERS[kind]
    requests._whole.discard("slowly")


@pytest.mark.usefixtures("slowly")
def test_a_handler_of_a_module_that_another_thread_is_in_the_midst_of_is_waited_for() -> None:
    records = importlib.import_module("rung.slowly.records")
    asked = threading.Event()

    def answered() -> int:
        asked.set()
        return int(handler_of(records.Ask)(None, None))

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(answered)
        assert records.begun.wait(60)
        asked.clear()
        second = threads.submit(answered)
        assert asked.wait(60)
        assert records.Ask in HANDLERS
        records.go_on.set()
        assert (first.result(60), second.result(60)) == (42, 42)


@pytest.fixture
def parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An area that names a module of operations which most commands do without."""
    (tmp_path / "parted").mkdir()
    texts = {
        "__init__": "",
        "records": (
            "from rung.core.requests import Request\n"
            "class Often(Request[int]):\n    operation = 'parted.often'\n    permission = 'parted.read'\n"
            "class Seldom(Request[int]):\n    operation = 'parted.seldom'\n    permission = 'parted.read'\n"
        ),
        "operations": (
            "from rung.core.requests import handles\nfrom rung.parted import records\nLATER = ('more',)\n"
            "@handles(records.Often)\ndef often(request, scope):\n    return 1\n"
        ),
        "more": (
            "from rung.core.requests import handles\nfrom rung.parted import records\n"
            "@handles(records.Seldom)\ndef seldom(request, scope):\n    return 2\n"
        ),
    }
    for name, text in texts.items():
        (tmp_path / "parted" / f"{name}.py").write_text(text)
    monkeypatch.setattr(rung, "__path__", [*rung.__path__, str(tmp_path)])
    yield
    for name in [name for name in sys.modules if name.startswith("rung.parted")]:
        del sys.modules[name]
    for operation in ("parted.often", "parted.seldom"):
        kind = OPERATIONS.pop(operation, None)
        HANDLERS.pop(kind, None)  # type: ignore[arg-type]
    requests._whole.discard("parted")


@pytest.mark.usefixtures("parted")
def test_what_is_seldom_asked_for_is_loaded_when_it_is() -> None:
    records = importlib.import_module("rung.parted.records")
    assert handler_of(records.Often)(None, None) == 1
    assert "rung.parted.more" not in sys.modules
    assert handler_of(records.Seldom)(None, None) == 2


@pytest.mark.usefixtures("parted")
def test_an_operation_is_found_by_its_name_wherever_it_is() -> None:
    assert request_named("parted.seldom").__name__ == "Seldom"


def test_what_nothing_handles_is_told() -> None:
    class Nobody(Request[int]):
        operation = "nobody.asks"
        permission = "nobody.read"

    with pytest.raises(NotFound, match=r"nobody\.asks"):
        handler_of(Nobody)
