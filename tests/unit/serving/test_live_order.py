"""The table of what answers, and its logs, where threads ask for them at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.records import replaced
from rung.serving import live, shipping, telling
from rung.serving.live import LiveTable, live_table
from rung.serving.log import PredictionLog, segments
from rung.serving.log_parts import LogPart
from rung.serving.packing import Entry
from rung.serving.shipping import Outgoing
from rung.serving.walking import Cursor


def entry() -> Entry:
    return Entry(
        deployment="d", model="m", number=1, revision=1, arm="stable", answered_us=time.time_ns() // 1000, elapsed_us=5, ids=["one"],
        times_us=np.full(1, time.time_ns() // 1000), scores=np.full(1, 0.5), matrix=np.ones((1, 2)), names=("a", "b"),
        dtypes=("Float64", "Float64"),
    )  # fmt: skip


def at_once(work: Callable[[], object]) -> list[object]:
    """What two threads get that ask together."""
    both = threading.Barrier(2)

    def run() -> object:
        both.wait(120)
        return work()

    with ThreadPoolExecutor(2) as pool:
        return [done.result(120) for done in [pool.submit(run), pool.submit(run)]]


def slowly(kind: Callable[..., Any]) -> Callable[..., Any]:
    """The same, taking long enough for another thread to come."""

    def made(*args: Any, **named: Any) -> Any:
        time.sleep(0.05)
        return kind(*args, **named)

    return made


def test_a_project_has_one_log_in_a_process_whoever_asks_first(transport: LocalTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = transport.platform
    table = LiveTable(platform.database, platform.blobs, platform.settings)
    monkeypatch.setattr(live, "PredictionLog", slowly(PredictionLog))
    one, other = at_once(lambda: table.log("p"))
    assert one is other
    table.close()


def test_a_platform_has_one_table_in_a_process_whoever_asks_first(transport: LocalTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = transport.platform
    monkeypatch.setattr(live, "_TABLES", {})
    monkeypatch.setattr(live, "LiveTable", slowly(LiveTable))
    one, other = at_once(lambda: live_table(platform.database, platform.blobs, platform.settings))
    assert one is other


def test_a_deployment_that_is_woken_is_nowhere_at_no_time(
    client: Client, transport: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2))
    frame = pl.DataFrame({"a": rows[:, 0], "b": rows[:, 1]})
    for number in range(3):
        client.registry.register(f"m{number}", LogisticRegression(C=1.0 + number).fit(rows, rows[:, 0] > 0), example=frame, label="y")
        client.serving.deploy(f"d{number}", f"m{number}", 1, environment="staging")
    platform, project = transport.platform, transport.caller().project
    monkeypatch.setattr("rung.serving.live.size_of", lambda versions: len({v.digest for v in versions}) << 20)
    settings = replaced(platform.settings, serving=replaced(platform.settings.serving, memory_mb=1))
    nowhere: list[str] = []

    class Watched(LiveTable):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name in {"_held", "asleep", "failed"} and len(self.__dict__.get("_wished", ())) == 3:
                seen = {*self._held, *self.asleep, *self.failed}
                nowhere.extend(f"{key} after {name}" for key in self._wished if key not in seen)

    table = Watched(platform.database, platform.blobs, settings)
    table.refresh()
    nowhere.clear()
    for number in (0, 1, 2, 0):
        assert table.get(project, f"d{number}").name == f"d{number}"
        assert table.names(project) == ["d0", "d1", "d2"]
    table.settings = platform.settings  # now there is room for all
    table._seen = (-1, (-2, ""))
    with table._lock:
        table._look()
    assert not nowhere
    assert len(table._held) == 3
    table.close()


def test_who_waits_for_the_disk_is_not_refused_when_the_segment_is_in_parquet_already(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "p", segment_bytes=1 << 20, fsync=True)
    log.append(entry())
    segment = log._segment
    assert segment is not None
    log.seal()
    for path in segments(segment.path.parent):
        path.unlink()  # compacted
    log._wait(segment, segment.end + 1)
    log.close()


def test_a_sink_passes_over_what_is_compacted_while_it_is_told(tmp_path: Path) -> None:
    gone = [LogPart("one", tmp_path / "one.seg", sealed=True), LogPart("two", tmp_path / "two.open", sealed=False)]
    assert list(telling._news(gone, "d", {}, 10)) == []


def test_a_segment_that_is_sealed_while_it_is_opened_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PredictionLog(tmp_path, "p", segment_bytes=1 << 20, fsync=False)
    log.append(entry())
    assert log._segment is not None
    path = log._segment.path
    opened: list[Cursor] = []
    closed: list[Cursor] = []

    class Watched(Cursor):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            opened.append(self)
            log.seal()

        def close(self) -> None:
            super().close()
            closed.append(self)

    monkeypatch.setattr(shipping, "Cursor", Watched)
    with pytest.raises(FileNotFoundError):
        Outgoing(path)
    assert closed == opened
    log.close()
