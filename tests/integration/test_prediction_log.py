"""The prediction log under kill -9, full disks and company: what was answered is read back, once."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from rung.core.errors import Unavailable
from rung.serving.log import Entry, PredictionLog, recover, segments
from rung.serving.options import LogOptions
from rung.serving.segment import Segment
from rung.serving.unpacking import Total, contents
from tests.servers import wait_until

NAMES, TYPES = tuple(f"f{i}" for i in range(30)), ("Float64",) * 30
MATRIX, SCORES, TIMES = np.random.default_rng(0).normal(size=(1, 30)), np.array([0.5]), np.array([5], dtype=np.int64)

# A tree of processes as `rung serve` has it: a parent that forks workers, each with a log in the same home; each prints what it answered.
TREE = """
import os, sys
from pathlib import Path
import numpy as np, polars as pl
from rung.serving.log import Entry, PredictionLog

names, types = tuple(f"f{i}" for i in range(30)), ("Float64",) * 30
matrix, rows = np.zeros((2, 30)), pl.DataFrame({"x": [1.0, 2.0], "s": ["a", None]})
log = PredictionLog(Path(sys.argv[1]), "p", segment_bytes=1 << 20, fsync=False)

def entry(n, key):
    values = dict(deployment="d", model="m", number=1, revision=1, arm="stable", answered_us=n + 1, elapsed_us=1,
        ids=[f"{key}-{n}-0", f"{key}-{n}-1"], times_us=np.array([n, n]), scores=np.zeros(2))
    if n % 7:
        return Entry(**values, matrix=matrix, names=names, dtypes=types)
    return Entry(**values, frame=rows, names=("x", "s"), dtypes=("Float64", "String"))

log.append(entry(0, f"{sys.argv[2]}-parent"))  # the parent has a segment open when it forks
for worker in range(3):
    if os.fork() == 0:
        for n in range(10_000_000):
            log.append(entry(n, f"{sys.argv[2]}-{worker}"))
            os.write(1, b"%d %d\\n" % (worker, n))
print("parent 0", flush=True)
os.wait()
"""


def answers(path: Path) -> list[str]:
    held = contents(path)
    frame = held.frame("d") if held else None
    return [] if frame is None else frame["prediction_id"].to_list()


def entry(key: str, **given: Any) -> Entry:
    values: dict[str, Any] = {"ids": [key], "times_us": TIMES, "scores": SCORES, "matrix": MATRIX, "names": NAMES, "dtypes": TYPES}
    return Entry(
        deployment="d", model="m", number=1, revision=1, arm="stable", answered_us=1_600_000_000_000_000, elapsed_us=1, **{**values, **given}
    )  # fmt: skip


def totals(folder: Path) -> Total:
    """Of everything in a folder, for the one source that these tests have."""
    found = [total for path in segments(folder) if (held := contents(path)) for total in held.totals("d")]
    return Total("m", 1, 1, "stable", "", rows=sum(t.rows for t in found), errors=0, unlogged=0, shed=sum(t.shed for t in found))


def test_kill_of_the_whole_tree_loses_no_answer_and_doubles_none(tmp_path: Path) -> None:
    chance, acknowledged = random.Random(3), dict[str, int]()
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", TREE, str(tmp_path), f"a{attempt}"], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.05, 0.6))
        os.killpg(process.pid, signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        lines = [line.split() for line in rest.splitlines()[:-1]]
        for worker, n in ((line[0], int(line[1])) for line in lines if len(line) == 2 and line[1].isdigit()):
            key = f"a{attempt}-{worker}"
            acknowledged[key] = max(n, acknowledged.get(key, 0))
    folder = tmp_path / "predictions" / "p"
    recover(folder)
    assert not list(folder.glob("*.open"))
    found = [key for path in segments(folder) for key in answers(path)]
    assert len(found) == len(set(found))
    held = set(found)
    assert sum(acknowledged.values()) > 1000
    for writer, newest in acknowledged.items():
        assert {f"{writer}-{n}-{row}" for n in range(newest + 1) for row in (0, 1)} <= held
    assert {f"a{attempt}-parent-0-0" for attempt in range(4)} <= held


def test_a_running_writer_is_not_disturbed_by_recovery(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "p", segment_bytes=1 << 20, fsync=True)
    folder = tmp_path / "predictions" / "p"
    log.append(entry("a"))
    assert recover(folder) == 0
    log.append(entry("b"))
    log.close()
    (path,) = segments(folder)
    assert answers(path) == ["a", "b"]


def test_threads_that_append_while_others_read_and_seal_lose_nothing(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "p", segment_bytes=1 << 20, fsync=False)
    folder = tmp_path / "predictions" / "p"

    def write(worker: int) -> None:
        for n in range(4000):
            log.append(entry(f"{worker}-{n}"))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        log.seal()
        recover(folder)
        now = sum(len(answers(path)) for path in segments(folder))
        seen = max(seen, now)
    log.close()
    found = [key for path in segments(folder) for key in answers(path)]
    assert sorted(found) == sorted(f"{worker}-{n}" for worker in range(4) for n in range(4000))
    assert 0 < seen <= 16_000


def test_with_fsync_threads_share_their_waits(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "p", segment_bytes=1 << 20, fsync=True)
    threads = [threading.Thread(target=lambda w=w: [log.append(entry(f"{w}-{n}")) for n in range(20)]) for w in range(8)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sum(len(answers(path)) for path in segments(tmp_path / "predictions" / "p")) == 160


def test_memory_and_files_stay_at_two_segments(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "p", segment_bytes=2 << 20, fsync=False)
    for n in range(60_000):
        log.append(entry(f"{n:08d}"))
    folder = tmp_path / "predictions" / "p"
    # the open one, the spare one, and what is being sealed
    wait_until(lambda: len(list(folder.glob("*.open"))) <= 4, 60, lambda: "segments stay open")
    log.close()
    assert not list((tmp_path / "predictions" / "p").glob("*.open"))


@pytest.mark.parametrize("sheds", [False, True])
def test_a_disk_that_does_not_follow_is_told_or_sheds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sheds: bool) -> None:
    monkeypatch.setattr("rung.serving.log._MOST_UNSEALED", 3 << 20)
    real, go_on = Segment.seal, threading.Event()

    def stuck(self: Segment) -> None:
        go_on.wait(120)
        real(self)

    monkeypatch.setattr(Segment, "seal", stuck)
    log = PredictionLog(tmp_path, "p", segment_bytes=1 << 20, fsync=False)
    held = log.keeping(LogOptions(when_behind="shed" if sheds else "refuse"))
    kept: list[str] = []
    refused = ""
    for n in range(60_000):
        try:
            log.append(entry(f"{n:08d}", keeping=held))
        except Unavailable as error:
            refused = str(error)
            break
        if log.shed:
            break
        kept.append(f"{n:08d}")
    assert ("the disk does not follow" in refused) is not sheds
    assert bool(log.shed) is sheds
    go_on.set()

    def goes_on() -> bool:
        with suppress(Unavailable):
            shed = log.shed.get("d", 0) if sheds else 0
            log.append(entry("later", keeping=held))
            return (log.shed.get("d", 0) if sheds else 0) == shed
        return False

    wait_until(goes_on, 60, lambda: "it never goes on")
    log.close()
    found = [key for path in segments(tmp_path / "predictions" / "p") for key in answers(path)]
    assert set(kept) | {"later"} <= set(found)


def test_room_that_is_being_laid_out_is_waited_for_and_not_asked_for_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laying, made = threading.Event(), list[str]()

    def slow(*given: Any) -> Segment:
        made.append(threading.current_thread().name)
        if made[-1] == "rung-log":
            laying.set()
            time.sleep(0.5)
        return Segment(*given)

    monkeypatch.setattr("rung.serving.log.Segment", slow)
    log = PredictionLog(tmp_path, "p", segment_bytes=8 << 20, fsync=False)
    log.append(entry("first"))
    assert laying.wait(60)
    for n in range(5000):  # more than the first segment holds
        log.append(entry(f"{n:06d}"))
    assert made == ["MainThread", "rung-log", *["rung-log"] * (len(made) - 2)]
    log.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB that is really full when it is full."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "rung-test", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def filled(log: PredictionLog, keeping: Any = None) -> int:
    """Entries appended until one is refused, or 20,000."""
    for n in range(20_000):
        try:
            log.append(entry(f"{n:06d}", keeping=keeping))
        except Unavailable:
            return n
    return 20_000


def test_a_full_disk_is_told_and_what_was_answered_is_there(small_disk: Path) -> None:
    log = PredictionLog(small_disk, "p", segment_bytes=2 << 20, fsync=False)
    taken = filled(log)
    assert 1000 < taken < 20_000
    (small_disk / "room").unlink(missing_ok=True)
    folder = small_disk / "predictions" / "p"
    wait_until(lambda: bool(segments(folder, sealed_only=True)), 60, lambda: "no segment is sealed")
    shutil.move(
        segments(folder, sealed_only=True)[0], Path(str(small_disk) + "-moved")
    )  # somebody makes room, and keeps what was in the way
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            log.append(entry("again"))
            break
        except Unavailable:
            time.sleep(0.1)
    log.close()
    moved = Path(str(small_disk) + "-moved")
    found = answers(moved.rename(moved.with_suffix(".seg"))) + [
        k for path in segments(small_disk / "predictions" / "p") for k in answers(path)
    ]
    assert sorted(found) == sorted([*(f"{n:06d}" for n in range(taken)), "again"])


def test_a_deployment_that_sheds_goes_on_answering_and_counts_it(small_disk: Path) -> None:
    log = PredictionLog(small_disk, "p", segment_bytes=2 << 20, fsync=False)
    keeping = log.keeping(LogOptions(when_behind="shed"))
    assert filled(log, keeping) == 20_000
    assert log.shed["d"] > 0
    folder = small_disk / "predictions" / "p"
    rows = sum(len(answers(path)) for path in segments(folder))
    assert rows + log.shed["d"] == 20_000
    held = [contents(path) for path in segments(folder, sealed_only=True)]
    before = sum(total.rows for one in held if one for total in one.totals("d"))
    for path in segments(folder, sealed_only=True):
        path.unlink()

    def kept() -> bool:  # the log's thread may hold the room for a moment, for the segment after this one
        shed = log.shed["d"]
        log.append(entry("again", keeping=keeping))
        return log.shed["d"] == shed

    wait_until(kept, 60, lambda: "it never goes on")
    log.close()
    now = totals(folder)
    assert now.rows + before == rows + 1
    assert now.shed == log.shed["d"]  # the log says by itself what it could not keep


def test_a_limit_on_the_size_of_files_is_told_like_a_full_disk(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from rung.core.errors import Unavailable
from tests.integration.test_prediction_log import PredictionLog, entry
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
log = PredictionLog(Path(sys.argv[1]), "p", segment_bytes=1 << 20, fsync=False)
try:
    log.append(entry("a"))
except Unavailable as error:
    print(error.code)
log.close()
"""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert done.stdout.strip() == "serving.log_unwritable"
    assert not list((tmp_path / "predictions" / "p").iterdir())


def test_a_damaged_sealed_segment_is_set_aside_and_what_lies_before_is_kept(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, "p", segment_bytes=1 << 20, fsync=False)
    for n in range(100):
        log.append(entry(f"{n:03d}"))
    log.close()
    (path,) = segments(tmp_path / "predictions" / "p")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    held = contents(path)
    assert held is not None
    assert not held.whole
    frame = held.frame("d")
    assert isinstance(frame, pl.DataFrame)
    assert 40 < frame.height < 60
