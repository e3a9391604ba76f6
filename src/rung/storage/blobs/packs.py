"""Small blobs in append-only packs: many in one file, and puts that wait together share one fsync.

A blob is gone when a frame that says so is not older than any frame that holds it. A process appends to a pack of its
own, under a file lock, and leaves it when a sync fails. The index beside the packs only says where things are.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar
from uuid import uuid4

import blake3
import msgspec

from rung.storage.blobs.frames import BLOB, GONE, HEADER, Frame, claimed, frames, header, seed_of, sync_folder, write_all
from rung.storage.blobs.pack_index import Index, Place, StaleIndexError
from rung.storage.blobs.store import Flaw

T = TypeVar("T")
_SEGMENT = 64 << 20
_TRIES = 3
_AT_ONCE = 4 << 20  # bytes that compacting moves with one sync
_ALL: weakref.WeakSet[Packs] = weakref.WeakSet()
_PARENTS: list[sqlite3.Connection] = []  # never closed in a forked child


class _Part(msgspec.Struct):
    """One frame to write: not before an instant, or exactly at it."""

    kind: int
    digest: bytes
    data: bytes = b""
    least: int = 0
    stamp: int = 0


class _Wish(msgspec.Struct, eq=False):
    """Frames that wait to be on disk together; without any, that the pack be left."""

    parts: list[_Part]
    done: threading.Event = msgspec.field(default_factory=threading.Event)
    leads: bool = False
    failure: OSError | None = None


class _Open(NamedTuple):
    """The pack that this process appends to, and where what is synced and entered ends."""

    path: Path
    handle: int
    end: int


class Packs:
    """Packs in a folder. Every process appends to one of its own, so that writers never wait for each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = str(folder)
        self._index = Index(folder)
        self._refused: set[Path] = set()  # packs that failed us
        self._reset()
        _ALL.add(self)

    def put(self, digest: bytes, data: bytes, *, young_ns: int) -> None:
        """Append a blob unless one younger than ``young_ns`` is kept already; on disk when this returns. Raises OSError."""
        held = self._known(digest)
        if held is None or not held.sure or held.stamp < time.time_ns() - young_ns:
            least = max(held.stamp if held else 0, self._steady(lambda: self._index.gone(digest))) + 1
            self._append([_Part(BLOB, digest, data, least=least)])

    def delete(self, digest: bytes) -> None:
        """Mark a blob as gone; ``compact`` gives its space back. Raises OSError."""
        held = self.place(digest)
        if held is not None:
            self._append([_Part(GONE, digest, least=held.stamp)])

    def discard(self, digest: bytes, before_ns: int) -> int | None:
        """Mark a blob as gone unless it was put, or put again, since; its size, None when it stays. Raises OSError."""
        held = self._known(digest)
        if held is None or held.stamp >= before_ns:
            return None
        self._append([_Part(GONE, digest, stamp=held.stamp)])  # a frame written meanwhile is younger and lives
        return held.size

    def get(self, digest: bytes) -> bytes | None:
        """A blob's bytes, None when it is not here; whether they are the right ones is the caller's to check."""
        data = None
        for _ in range(_TRIES):
            place = self.place(digest)
            if place is None:
                return data
            try:
                data = _read(f"{self._name}/{place.pack}", place)
            except FileNotFoundError:  # it was compacted between the look at the index and now, or is lost
                if self.place(digest) == place:
                    self._index.forget(place.pack)
                continue
            if blake3.blake3(data).digest() == digest or not self._found_again(digest, place):
                return data
        return data

    def place(self, digest: bytes) -> Place | None:
        """Where a blob is, None when it is not here."""
        found = self._known(digest)
        if found is None:  # a writer whose index was thrown away enters it again with its next write only
            self._steady(self._scan)
            found = self._known(digest)
        return found

    def _known(self, digest: bytes) -> Place | None:
        try:
            self._ready()
            return self._index.place(digest)
        except StaleIndexError:
            return self._steady(lambda: self._index.place(digest))

    def _steady(self, work: Callable[[], T]) -> T:
        """Do something with the index, again if it is thrown away meanwhile. Raises OSError."""
        for _ in range(_TRIES):
            with suppress(StaleIndexError):
                self._ready()
                return work()
        self._ready()
        return work()

    def places(self) -> Iterator[tuple[bytes, Place]]:
        """Every blob kept and where it is, in order."""
        self._steady(self._scan)
        yield from self._steady(lambda: list(self._index.places()))

    def compact(self, share: float = 0.5) -> int:
        """Write packs anew of which less than ``share`` is alive; the bytes that were freed. Raises OSError."""
        self._append([])  # so that the pack in use can be emptied too
        self._steady(self._scan)
        freed = 0
        for path in sorted(self._folder.glob("*.pack")):
            handle = claimed(path)
            if handle is None:
                continue
            try:
                freed += self._emptied(path, handle, share)
            finally:
                os.close(handle)
        return freed

    def examine(self, quarantine: Path, *, thorough: bool, repair: bool) -> Iterator[Flaw]:
        """What is wrong with packs and index; to read every frame it has to be ``thorough``. Repairing makes the index anew.

        Packs with damage in them are written anew without it; the old ones go to the quarantine. Raises OSError.
        """
        if repair:
            self._append([])  # so that the pack in use can be written anew too
        self._ready()
        flaws = [*self._misplaced(), *(self._unlike_index() if thorough else ())]
        if flaws and repair:
            with self._index.lock:
                self._index.throw_away()
            self._ready()
        yield from (flaw._replace(mended=repair) for flaw in flaws)
        for path in sorted(self._folder.glob("*.pack")) if thorough else ():
            holes = _holes(path)
            if holes:
                mended = repair and self._written_anew(path, quarantine)
                yield Flaw("pack", f"packs/{path.name}", f"{holes} bytes are no frame", mended)

    def set_aside(self, digest: bytes) -> bool:
        """Have a whole copy count instead of a damaged one, if any pack has one; else let the blob be gone. Raises OSError."""
        for path in sorted(self._folder.glob("*.pack")):
            for frame in _frames(path, 0):
                if frame.kind == BLOB and frame.digest == digest:
                    data = _read(str(path), Place(path.name, frame.at, frame.size, frame.stamp, sure=False))
                    if blake3.blake3(data).digest() == digest:
                        held = self.place(digest)
                        self._append([_Part(BLOB, digest, data, least=max(held.stamp if held else 0, self._index.gone(digest)) + 1)])
                        return True
        self.delete(digest)
        return False

    def close(self) -> None:
        """Let go of files."""
        if self._open is not None:
            self._append([])
        with self._index.lock:
            self._index.close()

    def after_fork(self) -> None:
        """Share nothing with the parent: its lock, its pack and its connection stay its own."""
        self._let_go()
        held = self._index.abandon()
        if held is not None:
            _PARENTS.append(held)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()  # guards the queue and who leads
        self._waiting: list[_Wish] = []
        self._led = False
        self._open: _Open | None = None

    def _append(self, parts: list[_Part]) -> None:
        """Have frames written, by this thread or by one that leads; raises OSError when they are not on disk."""
        wish = _Wish(parts)
        try:
            with self._lock:
                self._waiting.append(wish)
                wish.leads, self._led = not self._led, True
            if not wish.leads:
                wish.done.wait()
            if wish.leads:
                with self._lock:
                    group, self._waiting = self._waiting, []
                self._commit(group)
        finally:
            with self._lock:
                if wish in self._waiting:  # interrupted while it waited
                    self._waiting.remove(wish)
                if wish.leads:  # one group each: nobody leads for ever
                    self._led = bool(self._waiting)
                    if self._waiting:
                        self._waiting[0].leads = True
                        self._waiting[0].done.set()
        if wish.failure is not None:
            raise wish.failure

    def _commit(self, group: list[_Wish]) -> None:
        """Write a group's frames at once, sync once, note where they are, then release those who wait."""
        failure: OSError | None = OSError(errno.EINTR, "the write was interrupted")
        try:
            self._write([part for wish in group for part in wish.parts])
            if not all(wish.parts for wish in group):
                self._let_go()
            failure = None
        except OSError as error:
            failure = error
        finally:
            if failure is not None:
                self._give_up()
            for wish in group:
                wish.failure = failure
                wish.done.set()

    def _write(self, parts: list[_Part]) -> None:
        if not parts:
            return
        pack = self._steady(self._opened)
        seed, end, found, pieces = seed_of(pack.path.name), pack.end, [], []
        for part in parts:
            stamp = part.stamp or max(time.time_ns(), part.least)
            head = header(seed, part.kind, stamp, part.digest, part.data)
            pieces += [head, part.data]
            found.append(Frame(part.kind, part.digest, end + len(head), len(part.data), stamp))
            end = found[-1].end
        write_all(pack.handle, b"".join(pieces), pack.end)
        os.fsync(pack.handle)
        self._steady(lambda: self._index.note(pack.path.name, found, end, sure=True))
        self._open = pack._replace(end=end)

    def _give_up(self) -> None:
        """Cut off what failed and never write to this pack again: after a failed sync nobody knows what the disk holds."""
        if self._open is None:
            return
        path, handle, end = self._open
        with suppress(OSError):
            os.ftruncate(handle, end)
            if end == 0:
                path.unlink(missing_ok=True)
        self._refused.add(path)
        self._let_go()

    def _let_go(self) -> None:
        held, self._open = self._open, None
        if held is not None:
            os.close(held.handle)

    def _opened(self) -> _Open:
        """The pack to append to: the one in use, one that has room and no writer, or a new one."""
        if self._open is not None and self._open.end < _SEGMENT:
            return self._open
        self._let_go()
        for path in sorted(self._folder.glob("*.pack")):
            if path not in self._refused and _size(path) < _SEGMENT and (pack := self._take(path)):
                return pack
        for _ in range(_TRIES):  # an empty pack may be taken away by who compacts
            path = self._folder / f"{uuid4().hex}.pack"
            path.touch(mode=0o600)
            if pack := self._take(path):
                sync_folder(self._folder)
                return pack
        raise OSError(errno.EAGAIN, "no new pack could be opened")

    def _take(self, path: Path) -> _Open | None:
        """Open a pack for appending unless another process has it; what a crash tore off is cut off."""
        handle = claimed(path)
        if handle is None:
            return None
        try:
            end = self._taken_in(path, handle)
            os.ftruncate(handle, end)
        except BaseException:
            os.close(handle)
            raise
        self._open = _Open(path, handle, end)
        return self._open

    def _taken_in(self, path: Path, handle: int) -> int:
        """Bring the index up to a pack that nobody else writes to; where its last whole frame ends."""
        start = known = self._index.scanned().get(path.name, 0)
        if known > os.fstat(handle).st_size:  # cut off since
            start = 0
        found = list(frames(path, start))
        end = found[-1].end if found else start
        if found or start < known:
            os.fsync(handle)
            self._index.note(path.name, found, end, sure=True, anew=start < known)
        return end

    def _ready(self) -> None:
        """Open the index if need be. What is not in it then was never acknowledged: writers enter before they answer."""
        if self._index.is_stale():
            with self._index.lock:
                if self._index.is_stale():
                    self._index.open()
                    self._scan()

    def _scan(self) -> None:
        """Take in what the index does not know, and forget packs that are no more."""
        if self._index.is_stale():
            self._ready()
            return
        held = self._index.scanned()
        paths = sorted(self._folder.glob("*.pack"))
        for name in held.keys() - {path.name for path in paths}:
            if not (self._folder / name).exists():
                self._index.forget(name)
        for path in paths:
            if _size(path) != held.get(path.name, 0):
                self._scan_pack(path)

    def _scan_pack(self, path: Path) -> None:
        """Take one pack in. Of one that another process writes to the last frames may not be synced yet."""
        handle = claimed(path)
        if handle is not None:
            try:
                self._taken_in(path, handle)
            finally:
                os.close(handle)
            return
        own, known = self._open, self._index.scanned().get(path.name, 0)
        if own is not None and own.path == path:
            found = [frame for frame in _frames(path, known) if frame.end <= own.end]
            self._index.note(path.name, found, max(known, own.end), sure=True)
            return
        found = _frames(path, known if known <= _size(path) else 0)
        if found:
            self._index.note(path.name, found, found[-1].end, sure=False)

    def _found_again(self, digest: bytes, place: Place) -> bool:
        """Whether a blob is elsewhere in its pack: one that was cut off and written over since the index was told."""
        for frame in _frames(self._folder / place.pack, 0):
            if frame.kind == BLOB and frame.digest == digest and frame.at != place.at:
                self._index.move(place.pack, frame)
                return True
        return False

    def _misplaced(self) -> Iterator[Flaw]:
        """Rows of the index that point outside their packs."""
        sizes = {path.name: _size(path) for path in self._folder.glob("*.pack")}
        for digest, place in self._index.places():
            if place.at + place.size > sizes.get(place.pack, 0) and self._index.place(digest) == place:
                yield Flaw("index", f"blake3:{digest.hex()}", f"packs/{place.pack} ends before it, or is not there")

    def _unlike_index(self) -> Iterator[Flaw]:
        """Blobs that the frames of all packs and the index disagree about. What is written meanwhile is asked for again."""
        stamps: dict[bytes, int] = {}
        gone: dict[bytes, int] = {}
        for path in sorted(self._folder.glob("*.pack")):
            for frame in _frames(path, 0):
                into = gone if frame.kind == GONE else stamps
                into[frame.digest] = max(into.get(frame.digest, 0), frame.stamp)
        alive = {digest for digest, stamp in stamps.items() if stamp > gone.get(digest, 0)}
        for digest in sorted(alive ^ {digest for digest, _ in self._index.places()}):
            held = self._index.place(digest)
            if digest in alive and held is None and self._index.gone(digest) < stamps[digest]:
                yield Flaw("index", f"blake3:{digest.hex()}", "is in a pack and not in the index")
            elif held is not None and held.stamp <= gone.get(digest, 0):
                yield Flaw("index", f"blake3:{digest.hex()}", "is in the index and said to be gone by a pack")

    def _written_anew(self, path: Path, quarantine: Path) -> bool:
        handle = claimed(path)
        if handle is None:
            return False  # somebody writes to it
        try:
            return self._emptied(path, handle, 2.0, quarantine) > 0
        finally:
            os.close(handle)

    def _emptied(self, path: Path, handle: int, share: float, quarantine: Path | None = None) -> int:
        """Move what lives in a pack to others and remove it; bytes freed, 0 when most of it lives or some is damaged."""
        size, alive = os.fstat(handle).st_size, self._index.alive(path.name)
        if (alive >= size * share and size) or (quarantine is None and _holes(path)):
            return 0
        moving, pending = [], 0
        for digest, place in self._index.inside(path.name):
            data = os.pread(handle, place.size, place.at)
            if blake3.blake3(data).digest() != digest:
                return 0  # a copy with a fresh checksum would hide the damage
            moving.append(_Part(BLOB, digest, data, stamp=place.stamp))
            pending += place.size
            if pending > _AT_ONCE:
                self._append(moving)
                moving, pending = [], 0
        moving += [_Part(GONE, digest, stamp=stamp) for digest, stamp in self._index.said_gone(path.name)]
        if moving:
            self._append(moving)
        if self._index.alive(path.name):
            return 0  # somebody scanned it meanwhile; the next time does it
        if quarantine is None:
            path.unlink()
        else:
            quarantine.mkdir(mode=0o700, exist_ok=True)
            path.rename(quarantine / path.name)
        sync_folder(self._folder)
        self._index.forget(path.name)
        return size - alive


def _holes(path: Path) -> int:
    """Bytes between the frames of a pack that belong to none; what follows the last one is being written, or was torn off."""
    holes = end = 0
    for frame in _frames(path, 0):
        holes += frame.at - HEADER.size - end
        end = frame.end
    return holes


def _read(pack: str, place: Place) -> bytes:
    handle = os.open(pack, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(handle, place.size, place.at)
    finally:
        os.close(handle)


def _size(path: Path) -> int:
    """Bytes of a file, 0 when it was taken away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _frames(path: Path, start: int) -> list[Frame]:
    try:
        return list(frames(path, start))
    except FileNotFoundError:
        return []


def _after_fork() -> None:
    for packs in list(_ALL):
        packs.after_fork()


os.register_at_fork(after_in_child=_after_fork)
