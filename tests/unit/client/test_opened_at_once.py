"""Threads that come first together share what is opened once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rung.app.local import local_transport
from rung.client import current
from rung.client.client import Client
from rung.core.settings import Settings
from rung.engine import loop

MANY = 8


def at_once(ask: Any) -> list[Any]:
    start = threading.Barrier(MANY, timeout=60)

    def asked(_: int) -> Any:
        start.wait()
        return ask()

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(asked, range(MANY)))


def slowly(make: Any) -> Any:
    def made(*parts: Any, **options: Any) -> Any:
        threading.Event().wait(0.05)
        return make(*parts, **options)

    return made


def test_threads_share_the_client_of_their_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(current, "connect", slowly(object))
    found = at_once(current.current_client)
    current._clients.clear()
    assert len(set(map(id, found))) == 1


def test_threads_share_the_engine_of_their_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "Engine", slowly(loop.Engine))
    with Client(local_transport(Settings(folder=str(tmp_path)))) as client:
        assert len({id(engine) for engine in at_once(client.pipelines._local_engine)}) == 1
