"""The durable prediction log: an answer is in the kernel, or on the disk if asked, before it leaves.

Each process appends to a segment of its own, which is mapped into memory and was allocated ahead by a thread, so that an
append is a copy of some hundred bytes and no system call. Full segments are sealed by that thread. A segment left open by
a dead process is cut after its last whole frame and sealed by whoever finds its lock free.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from rung.core.errors import Unavailable
from rung.serving.keeping import Keeping, keeping_of
from rung.serving.metrics import BOARD
from rung.serving.options.logging import LogOptions
from rung.serving.packing import HEADER, Entry, Packer
from rung.serving.segment import Segment, sync_folder
from rung.serving.walking import sound_end

__all__ = ["Entry", "Keeping", "PredictionLog", "log_folder", "recover", "segments"]
LOG = logging.getLogger("rung.serving")
FOLDER = "predictions"
FIRST_BYTES = 1 << 20
SEAL_AFTER_S = 60.0
_RETRY_S = 0.25
_IDLE_S = 1.0
_ABANDONED_S = 600.0
_MOST_KEEPINGS = 1024
_MOST_UNSEALED = 256 << 20  # bytes of full segments that wait for the disk before the log says that it does not follow


def log_folder(home: Path, project: str) -> Path:
    """Where a project's segments lie."""
    return home / FOLDER / project


class PredictionLog:
    """Appends answers of one project; safe to share between threads, and to carry through a fork.

    Args:
        home: the platform's folder.
        project: its id.
        segment_bytes: size of a segment; the first ones of a process are smaller, for many live shortly. Two are open at a time,
            and where the disk does not follow as many full ones as make 256 MiB.
        fsync: whether ``append`` waits for the disk. Threads that wait at the same time share one wait.
        most_bytes: what all segments of the project may take in this home; 0: no bound but the disk's.
    """

    _thread: threading.Thread | None
    _segment: Segment | None
    _spare: Segment | None
    _full: list[Segment]
    _unsaid: dict[int, tuple[Entry, int]]
    _synced: tuple[str, int]

    def __init__(self, home: Path, project: str, *, segment_bytes: int, fsync: bool, most_bytes: int = 0) -> None:
        self.shed: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        self._keepings: dict[int, tuple[LogOptions, Keeping | None]] = {}  # the options are held, so an identity stays theirs
        self._home, self._project, self._folder = home, project, log_folder(home, project)
        self._most, self.fsync, self._bound = segment_bytes, fsync, most_bytes
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable(
                f"The prediction log {self._folder} cannot be made: {error.strerror}.",
                code="serving.log_unwritable",
                hint="Check the home's rights.",
            ) from None
        recover(self._folder)
        self._begin()
        _LOGS.add(self)
        BOARD.watch(project, self)

    def append(self, *entries: Entry) -> None:
        """Keep answers; when this returns they survive the death of the process. Raises Unavailable, and then nothing was kept.

        Entries whose deployment rather sheds are then counted, and answered all the same.
        """
        with self._lock:
            segment = self._segment
            if len(entries) == 1 and segment is not None and not self._unsaid:  # nearly always; what does not fit goes the long way
                packer, at = self._packer, segment.end
                data = packer.packed(entries[0])
                end = at + len(data)
                if end <= segment.size and not packer.unsure:
                    segment.room[at:end] = data
                    segment.end = end
                    self._count(entries[0])
                    if not self.fsync:
                        return
                else:
                    packer.undo()
                    segment, end = self._long(entries)
            else:
                segment, end = self._long(entries)
        if self.fsync and segment is not None:
            self._wait(segment, end)

    def direct(self, source: tuple[object, ...], caller: str, deployment: str, ask: Callable[..., Any], *given: Any) -> Any:
        """What ``ask`` answers, which writes the frame of one row itself, given room, place, and numbers of source and caller.

        None where it answers None, and where the row must be appended as an entry instead: nothing was kept then.

        Args:
            source: ``source_key`` of its entries. caller, deployment: as an entry has them.
            ask: answers None, or the reply, the end of its frame, and what else it has to say.
        """
        if self.fsync:
            return None
        with self._lock:
            segment = self._segment
            numbers = None if segment is None or self._unsaid else self._packer.numbers(source, caller)
            if segment is None or numbers is None:
                return None
            found = ask(*given, segment.room, segment.end, *numbers)
            if found is None:
                return None
            segment.end = found[1]
            self.rows[deployment] = self.rows.get(deployment, 0) + 1
            return found

    def keeping(self, options: LogOptions) -> Keeping | None:
        """A deployment's options, ready to be given with its entries; quick when asked again for the same object.

        Raises Unavailable without the key for masks.
        """
        held = self._keepings.get(id(options))
        if held is None:
            if len(self._keepings) >= _MOST_KEEPINGS:
                self._keepings.clear()
            held = self._keepings[id(options)] = (options, keeping_of(options, self._home, self._project))
        return held[1]

    def seal(self) -> None:
        """End the open segment, so that it can be compacted."""
        with self._lock:
            held, self._segment, self._packer = self._segment, None, Packer()
            full, self._full = [*self._full, *([held] if held else [])], []
        self._seal(full)

    def close(self) -> None:
        """End everything; an append after this begins anew."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)
        self.seal()
        with self._lock, self._laying:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.seal()
        self._size = min(FIRST_BYTES, self._most)

    def leave(self) -> None:
        """Let go of segments that belong to the parent of this forked process."""
        for segment in (self._segment, self._spare, *self._full):
            if segment is not None:
                segment.leave()
        self._begin()

    def _begin(self) -> None:
        self._lock, self._laying, self._disk, self._sealing = (threading.Lock() for _ in range(4))
        self._wake = threading.Event()
        self._thread = None
        self._segment = self._spare = None
        self._full, self._unsaid = [], {}
        self._packer = Packer()
        self._size = min(FIRST_BYTES, self._most)
        self._opened_at = self._failed_at = 0.0
        self._synced = ("", 0)

    def _long(self, entries: tuple[Entry, ...]) -> tuple[Segment | None, int]:
        """Pack and copy, with a fresh segment if need be, or shed; under the lock. Raises Unavailable, Invalid."""
        try:
            return self._put(entries)
        except Unavailable:
            if not all(entry.keeping is not None and entry.keeping.sheds for entry in entries):
                raise
            self._note_shed(entries)
            return None, 0

    def _put(self, entries: tuple[Entry, ...]) -> tuple[Segment, int]:
        """Pack and copy; under the lock. Raises Unavailable, Invalid."""
        segment, packer = self._segment, self._packer
        if segment is None:
            segment, packer = self._next(0)
        packed = packer.packed
        try:
            data = packed(entries[0]) if len(entries) == 1 else b"".join([packed(entry) for entry in entries])
            if segment.end + len(data) > segment.size:
                packer.undo()
                segment, packer = self._next(len(data))
                data = b"".join([packer.packed(entry) for entry in entries])
        except BaseException:
            packer.undo()
            raise
        segment.put(data)
        packer.keep()
        for entry in entries:
            self._count(entry)
        if self._unsaid:
            self._say_shed()
        return segment, segment.end

    def _next(self, needed: int) -> tuple[Segment, Packer]:
        """The next segment with room for ``needed`` bytes, the one allocated ahead if it is ready and large enough."""
        if self._full and sum(segment.size for segment in self._full) >= _MOST_UNSEALED:
            raise _no_room(f"the disk does not follow, {len(self._full)} full segments wait for it")
        with self._laying:  # what the thread lays out right now is waited for: a disk may have no room for two
            if self._spare is not None and self._spare.size >= needed + HEADER.size:
                fresh, self._spare = self._spare, None
            else:
                fresh = self._allocated(needed + HEADER.size)
        if self._segment is not None:
            if self.fsync:
                self._segment.sync()
            self._full.append(self._segment)
        self._segment, self._packer, self._opened_at = fresh, Packer(), time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._tend, args=(self._wake,), name="rung-log", daemon=True)
            self._thread.start()
        self._wake.set()
        return self._segment, self._packer

    def _allocated(self, needed: int) -> Segment:
        """A fresh segment. Raises Unavailable; then the disk is not asked again for a moment."""
        now = time.monotonic()
        if now - self._failed_at < _RETRY_S:
            raise _no_room("no space was left a moment ago")
        size = max(self._size, -(-needed // FIRST_BYTES) * FIRST_BYTES)
        if self._full_up(size):
            self._failed_at = now
            raise _no_room(f"its segments may take {self._bound >> 20} MiB here (serving.log_mb), and they do")
        try:
            fresh = Segment(self._folder, size)
            self._size = min(self._size * 2, self._most)
            sync_folder(self._folder)
        except OSError as error:
            self._failed_at = now
            raise _no_room(error.strerror or str(error)) from None
        return fresh

    def _full_up(self, size: int) -> bool:
        """Whether a segment more would be more than the bound allows."""
        if not self._bound:
            return False
        taken = 0
        for path in segments(self._folder):
            with contextlib.suppress(FileNotFoundError):
                taken += path.stat().st_size
        return taken + size > self._bound

    def _tend(self, wake: threading.Event) -> None:
        """The thread: allocates the next segment, seals full ones and those open for long, lets go of filled memory."""
        while self._thread is threading.current_thread():
            wake.wait(_IDLE_S)
            wake.clear()
            with self._lock:
                segment, aged = self._segment, time.monotonic() - self._opened_at > SEAL_AFTER_S
                full, self._full = self._full, []
                wanted = self._spare is None and segment is not None
            if wanted:
                self._ahead()
            self._seal(full)
            if segment is not None and aged and not segment.empty:
                self.seal()
            elif segment is not None:
                with self._lock:
                    if self._segment is segment:
                        segment.cool()

    def _ahead(self) -> None:
        with self._laying:
            if self._spare is not None or self._full_up(self._size):
                return
            try:
                self._spare = Segment(self._folder, self._size)
                self._size = min(self._size * 2, self._most)
                sync_folder(self._folder)
            except OSError as error:
                LOG.warning("the prediction log finds no room for its next segment: %s", error.strerror)

    def _seal(self, full: list[Segment]) -> None:
        with self._sealing:
            for segment in full:
                try:
                    segment.seal()
                except OSError as error:
                    LOG.warning("segment %s of the prediction log stays open: %s", segment.path.name, error.strerror)
                    segment.leave()  # its lock is free now: whoever recovers next seals it
            if full:
                with contextlib.suppress(FileNotFoundError):
                    sync_folder(self._folder)

    def _wait(self, segment: Segment, end: int) -> None:
        """Wait until a segment is on the disk up to ``end``; whoever comes while another waits is covered by one wait after it."""
        with self._disk:
            if self._synced[0] == segment.path.stem and self._synced[1] >= end:
                return
            reached = segment.end
            try:
                segment.sync()
            except OSError as error:
                if not segment.path.exists():
                    return  # sealed meanwhile, which syncs; it may be in Parquet by now
                raise _no_room(error.strerror or str(error)) from None
            self._synced = (segment.path.stem, reached)

    def _count(self, entry: Entry) -> None:
        """Count rows that are in the log now; those that the share leaves out are not."""
        ids, keeping = entry.ids, entry.keeping
        many = len(ids) if keeping is None or keeping.share >= 1 else sum(map(keeping.keeps, ids))
        self.rows[entry.deployment] = self.rows.get(entry.deployment, 0) + many

    def _note_shed(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            self.shed[entry.deployment] = self.shed.get(entry.deployment, 0) + len(entry.ids)
            key = hash((entry.deployment, entry.model, entry.number, entry.revision, entry.arm))
            _, before = self._unsaid.get(key, (None, 0))
            light = msgspec.structs.replace(entry, ids=[], matrix=None, frame=None, flags=None)
            self._unsaid[key] = (light, before + len(entry.ids))

    def _say_shed(self) -> None:
        """Write how many answers were shed, now that there is room again."""
        segment = self._segment
        assert segment is not None  # noqa: S101 - called after a put
        for key, (entry, rows) in list(self._unsaid.items()):
            data = self._packer.unkept(entry, rows, shed=True)
            if segment.end + len(data) > segment.size:
                self._packer.undo()
                return
            segment.put(data)
            self._packer.keep()
            del self._unsaid[key]


def recover(folder: Path) -> int:
    """Cut and seal the segments that dead processes left open; returns how many had answers in them."""
    sealed = 0
    for path in sorted(folder.glob("*.open")):
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            end = sound_end(path)
            if end <= HEADER.size:
                path.unlink()
                continue
            file.truncate(end)
            os.fsync(file.fileno())
            path.rename(path.with_suffix(".seg"))
            sealed += 1
    for path in folder.glob("*.new"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()
    if sealed:
        sync_folder(folder)
    return sealed


def _no_room(why: str) -> Unavailable:
    return Unavailable(
        f"The prediction log cannot be written: {why}.",
        code="serving.log_unwritable",
        hint="Free some space; no prediction is answered unlogged, unless its deployment says to shed.",
    )


def _forked() -> None:
    """In a child: the open segments are its parent's."""
    for log in list(_LOGS):
        log.leave()


def segments(folder: Path, *, sealed_only: bool = False) -> list[Path]:
    """Segments of a folder, oldest first."""
    # Open ones first: one that is sealed meanwhile is then met twice, never missed.
    kinds = ("*.seg",) if sealed_only else ("*.open", "*.seg")
    return sorted({path.stem: path for kind in kinds for path in folder.glob(kind)}.values(), key=lambda path: path.stem)


_LOGS: weakref.WeakSet[PredictionLog] = weakref.WeakSet()
os.register_at_fork(after_in_child=_forked)
