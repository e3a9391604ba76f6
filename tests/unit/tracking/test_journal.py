"""Journals: what was logged arrives once, whatever dies in between."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.client.journal import POINTS, START, Writer
from rung.client.replaying import Reader
from rung.client.sending import Dispatch
from rung.client.spool import Note, RunFolder
from rung.core.errors import Conflict, Unavailable
from rung.core.ids import new_id
from rung.tracking.records import LogBatch


class Platform:
    """A platform that counts a batch once, and whose answers may be lost before or after it has kept what it was sent."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []
        self.batches: set[str] = set()
        self.fault = ""

    def call(self, request: Any) -> Any:
        if self.fault == "before":
            raise Unavailable("away", code="transport.unreachable")
        assert isinstance(request, LogBatch)
        if request.batch not in self.batches:
            self.batches.add(str(request.batch))
            columns = request.columns
            self.points += [(columns.keys[k], v, s) for k, v, s in zip(columns.key, columns.value, columns.step, strict=True)]
        if self.fault == "after":
            raise Unavailable("lost", code="transport.unreachable")

    def put_blob(self, source: Any) -> str:
        raise NotImplementedError

    def get_blob(self, digest: str) -> bytes:
        raise NotImplementedError

    def close(self) -> None: ...


class Process:
    """A process that logs and sends: it can be killed, and another takes over its spool."""

    def __init__(self, root: Path, run: str, platform: Platform) -> None:
        self.folder = RunFolder(root / run)
        self.folder.prepare(Note(run=run))
        assert self.folder.lock()
        self.writer = Writer(self.folder.path)
        self.dispatch = Dispatch(self.folder, platform, self.writer)

    def send(self, times: int) -> None:
        for _ in range(times):
            try:
                if not self.dispatch.send_one():
                    return
            except Unavailable:
                return

    def die(self) -> None:
        """What the kernel does when a process is killed: maps and locks go, pages stay."""
        if self.writer._map is not None:
            self.writer._map.close()
        if self.writer._file >= 0:
            import os

            os.close(self.writer._file)
        self.dispatch.close()
        self.folder.unlock()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.integers(1, 30), st.sampled_from(["loss", "auc", "ключ"])),
        st.tuples(st.just("together"), st.integers(1, 5), st.just("")),
        st.tuples(st.just("send"), st.integers(1, 3), st.sampled_from(["", "before", "after"])),
        st.tuples(st.just("die"), st.integers(0, 1), st.sampled_from(["", "before", "after"])),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, small=st.booleans())
def test_each_point_arrives_once_whatever_dies_between_appends_and_sends(steps: list[tuple[str, int, str]], small: bool) -> None:
    import rung.client.journal as module
    from rung.client import replaying

    first, batch = module._FIRST, replaying.Reader.next.__defaults__
    module._FIRST = module._LATER = 4096 if small else first
    replaying.Reader.next.__defaults__ = (7, 0)
    platform, logged, run = Platform(), [], new_id()
    try:
        with tempfile.TemporaryDirectory() as root:
            process = Process(Path(root), run, platform)
            for what, count, extra in steps:
                if what == "log":
                    for _ in range(count):
                        point = (extra, float(len(logged)), len(logged))
                        assert process.writer.point(*point, at=1)
                        logged.append(point)
                elif what == "together":
                    values = [(f"m{i}", float(i)) for i in range(count)]
                    step = len(logged)
                    assert process.writer.points(values, step, at=1)
                    logged += [(key, value, step) for key, value in values]
                elif what == "send":
                    platform.fault = extra
                    process.send(count)
                else:
                    platform.fault = extra
                    process.send(count)
                    process.die()
                    process = Process(Path(root), run, platform)
            platform.fault = ""
            process.writer.close()
            process.send(10_000)
            assert process.folder.journals() == []
            process.die()
    finally:
        module._FIRST, module._LATER, replaying.Reader.next.__defaults__ = first, 1 << 22, batch
    assert sorted(platform.points) == sorted(logged)


def test_a_point_cut_short_by_a_kill_is_left_out_and_those_before_it_are_kept(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for step in range(3):
        writer.point("loss", 0.5, step, 1)
    writer.close()
    journal = next(tmp_path.iterdir())
    whole = bytearray(journal.read_bytes())
    end = len(bytes(whole).rstrip(b"\0"))
    whole[end - 4 :] = bytes(len(whole) - end + 4)
    journal.write_bytes(whole)
    reader = Reader(journal)
    batch = reader.next()
    assert batch is not None
    assert batch.points is not None
    assert batch.points.step == (0, 1)
    reader.seal(batch)
    reader.done(batch)
    assert reader.unreadable() == 0
    reader.close()


def test_a_journal_damaged_in_the_middle_is_told_and_put_aside(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / new_id())
    folder.prepare(Note(run=folder.run))
    writer = Writer(folder.path)
    for step in range(10):
        writer.point("loss", 0.5, step, 1)
    writer.close()
    journal = folder.journals()[0]
    content = bytearray(journal.read_bytes())
    content[START + 16 + 5 * POINTS.size] ^= 0xFF
    journal.write_bytes(content)
    platform = Platform()
    folder.lock()
    dispatch = Dispatch(folder, platform)
    assert dispatch.send_one()
    with pytest.raises(Conflict, match="damaged"):
        dispatch.send_one()
    assert platform.points
    assert len(platform.points) < 10
    assert list(folder.path.glob("*.damaged"))


def test_every_double_comes_back_as_it_went(tmp_path: Path) -> None:
    values = [0.0, -0.0, 5e-324, float("inf"), float("-inf"), float("nan"), 1.7976931348623157e308]
    writer = Writer(tmp_path)
    for step, value in enumerate(values):
        writer.point("x", value, step - 2**63, 1)
    writer.close()
    reader = Reader(next(tmp_path.iterdir()))
    batch = reader.next()
    assert batch is not None
    assert batch.points is not None
    assert [struct.pack("<d", value) for value in batch.points.value] == [struct.pack("<d", value) for value in values]
    assert batch.points.step[0] == -(2**63)
    reader.close()
