"""What packs hold when a disk, an index, a process or another writer fails them."""

from __future__ import annotations

import errno
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.core.digests import digest_of
from rung.core.errors import NotFound, Unavailable
from rung.storage.blobs import open_blobs
from rung.storage.blobs.local import LocalBlobs


def opened(folder: Path) -> LocalBlobs:
    return LocalBlobs(f"file://{folder}")


def packs_of(folder: Path) -> list[Path]:
    return sorted((folder / "packs").glob("*.pack"))


def lose_index(folder: Path) -> None:
    for file in (folder / "packs").glob("index.db*"):
        file.unlink()


def within(seconds: float, work: Callable[[], Any]) -> None:
    """Run in a thread; fail when it hangs, raise what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    if raised:
        raise raised[0]


def test_an_index_that_cannot_be_written_fails_the_put_and_not_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.storage.blobs.pack_index._BUSY_S", 0.1)
    blobs = opened(tmp_path)
    blobs.put(b"first")
    other = sqlite3.connect(tmp_path / "packs" / "index.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        within(60, lambda: blobs.put(b"second"))
    other.execute("ROLLBACK")
    other.close()
    within(60, lambda: blobs.put(b"third"))
    assert blobs.get(digest_of(b"third")) == b"third"
    assert not blobs.exists(digest_of(b"second"))


def test_a_put_is_answered_though_others_keep_coming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = opened(tmp_path)
    real, stop = os.fsync, threading.Event()

    def slow(handle: int) -> None:
        time.sleep(0.003)
        real(handle)

    monkeypatch.setattr(os, "fsync", slow)

    def keeps_coming(name: int) -> None:
        for n in range(100_000):
            if stop.is_set():
                return
            blobs.put(f"{name} {n}".encode())

    first = threading.Thread(target=lambda: blobs.put(b"the first one"), daemon=True)
    others = [threading.Thread(target=keeps_coming, args=(name,), daemon=True) for name in range(6)]
    for thread in [first, *others]:
        thread.start()
    for n in range(20):
        within(60, lambda n=n: blobs.put(f"mine {n}".encode()))  # type: ignore[misc]
    first.join(60)
    assert not first.is_alive()
    stop.set()
    for thread in others:
        thread.join(60)


def test_a_waiting_put_that_is_interrupted_leaves_the_others_going(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = opened(tmp_path)
    blobs.put(b"warm")
    real, asked, queued = os.fsync, threading.Event(), threading.Event()
    waited = threading.Event.wait

    def slow(handle: int) -> None:
        asked.set()
        waited(queued, 60)  # the leader is at it until somebody waits for it
        real(handle)

    monkeypatch.setattr(os, "fsync", slow)

    def interrupted(self: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name == "stopped":
            queued.set()
            waited(self, 60)  # until it is asked to lead
            raise KeyboardInterrupt
        return waited(self, timeout)

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    leader = threading.Thread(target=lambda: blobs.put(b"leads"), daemon=True)
    leader.start()
    assert waited(asked, 60)
    caught: list[BaseException] = []

    def victim() -> None:
        try:
            blobs.put(b"gives up")
        except KeyboardInterrupt as error:
            caught.append(error)

    stopped = threading.Thread(target=victim, name="stopped", daemon=True)
    stopped.start()
    stopped.join(60)
    leader.join(60)
    assert caught
    within(60, lambda: blobs.put(b"goes on"))


def test_after_a_failed_sync_the_pack_is_left_and_the_bytes_are_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = opened(tmp_path)
    kept = blobs.put(b"before")
    real = os.fsync

    def fails(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Unavailable):
        blobs.put(b"lost")
    monkeypatch.setattr(os, "fsync", real)
    assert not blobs.exists(digest_of(b"lost"))
    late = blobs.put(b"after")
    assert len(packs_of(tmp_path)) == 2
    blobs.close()
    lose_index(tmp_path)
    assert sorted(opened(tmp_path).list()) == sorted([kept, late])


def test_a_full_disk_leaves_no_heap_of_empty_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = opened(tmp_path)
    blobs.put(b"before")
    real = os.pwrite

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for n in range(20):
        with pytest.raises(Unavailable, match="No space"):
            blobs.put(f"lost {n}".encode())
    monkeypatch.setattr(os, "pwrite", real)
    assert len(packs_of(tmp_path)) <= 2
    assert blobs.get(blobs.put(b"after")) == b"after"


def test_bytes_that_another_process_has_not_synced_are_not_acknowledged_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.put(b"warm")
    real, syncing, go_on = os.fsync, threading.Event(), threading.Event()
    mine = threading.get_ident()
    synced: list[int] = []

    def held_up(handle: int) -> None:
        if threading.get_ident() != mine:
            syncing.set()
            go_on.wait(60)
        else:
            synced.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fsync", held_up)
    writer = threading.Thread(target=lambda: one.put(b"same"), daemon=True)
    writer.start()
    assert syncing.wait(60)
    two.put(b"same")
    assert synced, "acknowledged without a sync of our own"
    go_on.set()
    writer.join(60)
    assert two.get(digest_of(b"same")) == b"same"


def test_a_place_that_another_process_wrote_over_is_looked_up_again(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    digests = [blobs.put(f"blob {n}".encode()) for n in range(3)]
    blobs.close()
    index = sqlite3.connect(tmp_path / "packs" / "index.db", isolation_level=None)
    (at,) = index.execute("SELECT at FROM blob WHERE digest = ?", (bytes.fromhex(digests[0][7:]),)).fetchone()
    index.execute("UPDATE blob SET at = ? WHERE digest = ?", (at, bytes.fromhex(digests[2][7:])))
    index.close()
    blobs = opened(tmp_path)
    assert [blobs.get(digest) for digest in digests] == [b"blob 0", b"blob 1", b"blob 2"]


def test_an_index_that_is_damaged_or_thrown_away_while_it_is_open_is_made_again_unnoticed(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    digests = [one.put(f"one {n}".encode()) for n in range(5)] + [two.put(f"two {n}".encode()) for n in range(5)]
    lose_index(tmp_path)
    digests += [one.put(b"later"), two.put(b"later still")]
    assert sorted(one.list()) == sorted(two.list()) == sorted(digests)
    with (tmp_path / "packs" / "index.db").open("r+b") as file:
        file.write(b"nonsense" * 2000)
    (tmp_path / "packs" / "index.db-wal").write_bytes(b"")
    digests.append(one.put(b"last"))
    assert sorted(one.list()) == sorted(two.list()) == sorted(digests)
    assert all(held.get(digest) for held in (one, two) for digest in digests)


@pytest.mark.parametrize("part", ["header", "length", "bytes"])
def test_one_damaged_frame_costs_no_other(tmp_path: Path, part: str) -> None:
    blobs = opened(tmp_path)
    digests = [blobs.put(f"blob number {n}".encode()) for n in range(10)]
    blobs.close()
    (pack,) = packs_of(tmp_path)
    held = bytearray(pack.read_bytes())
    at = held.index(b"blob number 4")
    frame = held.rindex(b"RPK", 0, at)
    held[{"header": frame + 20, "length": frame + 6, "bytes": at}[part]] ^= 0xFF
    pack.write_bytes(held)
    lose_index(tmp_path)
    blobs = opened(tmp_path)
    new = blobs.put(b"another")
    blobs.close()
    lose_index(tmp_path)
    blobs = opened(tmp_path)
    assert {digest for digest in [*digests, new] if blobs.exists(digest)} >= {*digests, new} - {digests[4]}
    assert all(blobs.get(digest) for digest in [*digests[:4], *digests[5:], new])
    with pytest.raises((NotFound, Unavailable)):
        blobs.get(digests[4])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=3, max_size=12, unique=True),
    hit=st.integers(0, 10_000),
    junk=st.binary(min_size=1, max_size=80),
    signs=st.booleans(),
)
def test_whatever_is_written_over_a_frame_the_others_are_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], hit: int, junk: bytes, *, signs: bool
) -> None:
    folder = tmp_path_factory.mktemp("packs")
    blobs = opened(folder)
    contents = [(b"RPK2" if signs else b"abcd") * (size // 4) + b"!" * (size % 4) for size in sizes]
    digests = [blobs.put(data) for data in contents]
    blobs.close()
    (pack,) = packs_of(folder)
    held = bytearray(pack.read_bytes())
    hit %= len(held)
    junk = junk[: len(held) - hit]
    held[hit : hit + len(junk)] = junk
    pack.write_bytes(held)
    lose_index(folder)
    end, spared = 0, set()
    for data, digest in zip(contents, digests, strict=True):
        start, end = end, end + 53 + len(data)
        if end <= hit or start >= hit + len(junk):
            spared.add(digest)
    blobs = opened(folder)
    assert spared <= set(blobs.list())
    assert all(digest_of(blobs.get(digest)) == digest for digest in spared)
    blobs.close()


def test_frames_inside_a_blob_are_bytes_and_delete_nothing(tmp_path: Path) -> None:
    other = opened(tmp_path / "other")
    target = other.put(b"kept elsewhere")
    other.delete(target)
    other.close()
    (trap,) = packs_of(tmp_path / "other")
    blobs = opened(tmp_path / "blobs")
    assert blobs.put(b"kept elsewhere") == target
    carrier = blobs.put(trap.read_bytes())
    blobs.put(b"behind it")
    blobs.close()
    (pack,) = packs_of(tmp_path / "blobs")
    held = bytearray(pack.read_bytes())
    held[held.index(trap.read_bytes()) - 53 + 5] ^= 0xFF  # the length of the frame around them
    pack.write_bytes(held)
    lose_index(tmp_path / "blobs")
    blobs = opened(tmp_path / "blobs")
    assert blobs.get(target) == b"kept elsewhere"
    assert blobs.exists(digest_of(b"behind it"))
    assert not blobs.exists(carrier)


def test_a_blob_put_again_after_its_deletion_is_there_though_the_clock_went_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = opened(tmp_path)
    digest = blobs.put(b"abc")
    blobs.delete(digest)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    blobs.put(b"abc")
    assert blobs.get(digest) == b"abc"
    blobs.delete(digest)
    assert not blobs.exists(digest)


def test_compacting_does_not_bring_back_what_was_deleted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = opened(tmp_path)
    digests = [one.put(bytes([n]) * 50_000) for n in range(20)]
    for digest in digests[2:]:
        one.delete(digest)
    two = opened(tmp_path)
    two.put(b"in a pack of its own")
    one.close()
    one = opened(tmp_path)
    real, deleted = os.pread, []

    def meanwhile(handle: int, size: int, at: int) -> bytes:
        found = real(handle, size, at)
        if size == 50_000 and not deleted:
            deleted.append(True)
            two.delete(digests[1])
        return found

    monkeypatch.setattr(os, "pread", meanwhile)
    assert one.compact() > 800_000
    assert deleted
    assert not one.exists(digests[1])
    for held in (one, two):
        held.close()
    lose_index(tmp_path)
    assert sorted(opened(tmp_path).list()) == sorted([digests[0], digest_of(b"in a pack of its own")])


def test_a_deletion_outlives_the_pack_it_was_written_to(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    two.put(b"keeps the first pack of two")
    secret = two.put(b"a person's data")
    many = [two.put(bytes([n]) * 100_000) for n in range(3)]  # so that this pack is mostly alive
    dead = [one.put(bytes([100 + n]) * 100_000) for n in range(3)]
    one.delete(secret)
    for digest in dead:
        one.delete(digest)
    for held in (one, two):
        held.close()
    one = opened(tmp_path)
    before = packs_of(tmp_path)
    assert one.compact() > 250_000
    assert packs_of(tmp_path) != before
    one.close()
    lose_index(tmp_path)
    after = opened(tmp_path)
    assert not after.exists(secret)
    assert all(after.exists(digest) for digest in many)


def test_compacting_reaches_the_pack_in_use(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    digests = [blobs.put(bytes([n]) * 50_000) for n in range(20)]
    for digest in digests[1:]:
        blobs.delete(digest)
    assert blobs.compact() > 900_000
    assert list(blobs.list()) == [digests[0]]
    assert blobs.get(digests[0]) == bytes(50_000)
    assert blobs.compact() == 0


def test_a_pack_is_not_taken_away_from_a_process_that_writes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    digests = [one.put(bytes([n]) * 50_000) for n in range(20)]
    for digest in digests[1:]:
        one.delete(digest)
    one.close()
    real, put = os.pread, []

    def meanwhile(handle: int, size: int, at: int) -> bytes:
        if size == 50_000 and not put:
            put.append(two.put(b"written while it is emptied"))
        return real(handle, size, at)

    monkeypatch.setattr(os, "pread", meanwhile)
    opened(tmp_path).compact()
    assert opened(tmp_path).get(put[0]) == b"written while it is emptied"


def age(blobs: LocalBlobs, digest: str, hours: float) -> None:
    """Make a blob older than it is."""
    path = blobs._path(digest)
    if path.is_file():
        then = time.time() - hours * 3600
        os.utime(path, (then, then))
        return
    index = sqlite3.connect(blobs.root / "packs" / "index.db", isolation_level=None)
    index.execute("UPDATE blob SET stamp = stamp - ? WHERE digest = ?", (int(hours * 3600e9), bytes.fromhex(digest[7:])))
    index.close()


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_a_blob_put_again_is_young_again_and_not_collected(tmp_path: Path, size: int) -> None:
    blobs = opened(tmp_path)
    digest = blobs.put(b"x" * size)
    age(blobs, digest, 48)
    before = datetime.now(UTC) - timedelta(hours=24)
    assert blobs.stored_at(digest) < before
    blobs.put(b"x" * size)
    assert blobs.stored_at(digest) > before
    assert blobs.discard(digest, before) is None
    assert blobs.get(digest) == b"x" * size
    age(blobs, digest, 48)
    assert blobs.discard(digest, before) == size
    assert not blobs.exists(digest)
    assert blobs.discard(digest, before) is None


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_a_blob_put_again_while_it_is_collected_survives(tmp_path: Path, size: int) -> None:
    before = datetime.now(UTC) - timedelta(hours=24)
    one, two = opened(tmp_path), opened(tmp_path)
    lost = 0
    for n in range(30):
        data = n.to_bytes(4, "big") * (size // 4)
        digest = one.put(data)
        age(one, digest, 48)
        start = threading.Barrier(2)
        acknowledged: list[str] = []

        def again(data: bytes = data, start: threading.Barrier = start, into: list[str] = acknowledged) -> None:
            start.wait()
            into.append(two.put(data))

        thread = threading.Thread(target=again)
        thread.start()
        start.wait()
        if n % 3:
            time.sleep(random.Random(n).uniform(0, 0.004))
        one.discard(digest, before)
        thread.join()
        lost += not (acknowledged and two.exists(digest) and two.get(digest) == data)
    assert lost == 0


def test_a_moved_file_counts_as_new_and_is_given_back_when_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = opened(tmp_path / "blobs")
    file = tmp_path / "file"
    file.write_bytes(b"x" * (1 << 20))
    os.utime(file, (0, 0))
    real = os.fsync

    def fails(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Unavailable):
        blobs.put(file, move=True)
    assert file.read_bytes() == b"x" * (1 << 20)
    monkeypatch.setattr(os, "fsync", real)
    os.utime(file, (0, 0))
    digest = blobs.put(file, move=True)
    assert not file.exists()
    assert blobs.stored_at(digest) > datetime.now(UTC) - timedelta(minutes=1)
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


def test_copies_that_somebody_may_be_reading_outlive_a_compaction(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    read, forgotten = (Path(blobs.url(blobs.put(data))) for data in (b"being read", b"read long ago"))
    os.utime(forgotten, (0, 0))
    blobs.compact()
    assert (read.is_file(), forgotten.is_file()) == (True, False)
    assert Path(blobs.url(digest_of(b"read long ago"))).read_bytes() == b"read long ago"


WRITER = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from rung.storage.blobs import open_blobs

blobs = open_blobs("file://" + sys.argv[1])

def work(n):
    data = f"{sys.argv[2]} {n} ".encode() * (n % 50 + 1)
    digest = blobs.put(data)
    if n % 3 == 0:
        os.write(1, f"? {digest}\\n".encode())
        blobs.delete(digest)
        os.write(1, f"- {digest}\\n".encode())
    else:
        os.write(1, f"+ {digest}\\n".encode())
    if n % 500 == 499:
        blobs.compact()

with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(1_000_000)))
"""


def until_kept(process: subprocess.Popen[str], many: int) -> list[str]:
    """What a writer says until it has kept so many blobs."""
    lines: list[str] = []
    while sum(line.startswith("+") for line in lines) < many:
        assert process.stdout is not None
        lines.append(process.stdout.readline())
        assert lines[-1], "the writer has ended"
    return lines


def test_kill_9_in_the_midst_of_puts_deletions_and_compacting_loses_nothing_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(3)
    kept: set[str] = set()
    gone: set[str] = set()
    for attempt in range(5):
        processes = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), f"{attempt}-{n}"], stdout=subprocess.PIPE, text=True)
            for n in range(2)
        ]
        lines = [line for process in processes for line in until_kept(process, 2)]
        time.sleep(chance.uniform(0.1, 0.8))
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process in processes:
            rest, _ = process.communicate(timeout=120)
            lines += rest.splitlines()[:-1]
        kept |= {line.split()[1] for line in lines if line.startswith("+")}
        gone |= {line.split()[1] for line in lines if line.startswith("-")}
        if attempt == 2:
            lose_index(tmp_path)
    blobs = opened(tmp_path)
    held = set(blobs.list())
    assert len(kept) > 5
    assert kept <= held
    assert not gone & held
    assert all(digest_of(blobs.get(digest)) == digest for digest in kept)
    assert list(blobs.examine(thorough=True, repair=False)) == []


def test_a_forked_child_and_its_parent_do_not_write_over_each_other(tmp_path: Path) -> None:
    program = """
import os, sys
from rung.storage.blobs import open_blobs
blobs = open_blobs("file://" + sys.argv[1])
blobs.put(b"before")
children = []
for c in range(2):
    pid = os.fork()
    if pid == 0:
        for n in range(50):
            blobs.put(f"child {c} {n}".encode())
        os._exit(0)
    children.append(pid)
for n in range(50):
    blobs.put(f"parent {n}".encode())
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
for text in ["before", *(f"parent {n}" for n in range(50)), *(f"child {c} {n}" for c in range(2) for n in range(50))]:
    from rung.core.digests import digest_of
    assert blobs.get(digest_of(text.encode())) == text.encode(), text
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    lose_index(tmp_path)
    assert len(list(open_blobs(f"file://{tmp_path}").list())) == 151
