"""Small blobs in append-only packs: many in one file, and puts that wait together share one fsync.

A frame is a header (sign, kind, length, instant in ns, digest, crc of what follows) and the bytes. A blob is gone when a
frame that says so is younger than every frame that holds it. A pack ends at its first torn frame,
which a crash may leave behind; nothing acknowledged lies after one. The index beside the packs is a convenience that can
be thrown away: it is made again from the frames.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

_HEADER = struct.Struct("<4sBIQ32sI")
_SIGN = b"RPK1"
_BLOB, _GONE = 1, 2
_SEGMENT = 64 << 20
_MOST = 1 << 30  # a longer frame than any we write: a damaged header
_Frame = tuple[int, bytes, int, int, int]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS blob (digest BLOB PRIMARY KEY, pack TEXT NOT NULL, at INTEGER NOT NULL, size INTEGER NOT NULL,
    stamp INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gone (digest BLOB PRIMARY KEY, stamp INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pack (name TEXT PRIMARY KEY, scanned INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass
class _Wish:
    """One frame waiting to be on disk."""

    kind: int
    digest: bytes
    data: bytes
    done: threading.Event = field(default_factory=threading.Event)
    failure: OSError | None = None


class Packs:
    """Packs in a folder. Every process appends to one of its own, so that writers never wait for each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # guards the queue and who leads
        self._waiting: list[_Wish] = []
        self._led = False
        self._index_lock = threading.Lock()
        self._index: sqlite3.Connection | None = None
        self._pack: Path | None = None
        self._leaving: Path | None = None  # the pack that is being emptied
        self._file = -1
        self._end = 0

    def put(self, digest: bytes, data: bytes) -> None:
        """Append a blob; on disk when this returns. Raises OSError."""
        if self.place(digest) is None:
            self._append(_Wish(_BLOB, digest, data))

    def delete(self, digest: bytes) -> None:
        """Mark a blob as gone; ``compact`` gives its space back. Raises OSError."""
        if self.place(digest) is not None:
            self._append(_Wish(_GONE, digest, b""))

    def get(self, digest: bytes) -> bytes | None:
        """A blob's bytes, None when it is not here."""
        place = self.place(digest)
        if place is None:
            return None
        name, at, size = place
        try:
            with (self._folder / name).open("rb") as file:
                return os.pread(file.fileno(), size, at)
        except FileNotFoundError:  # somebody compacted meanwhile
            self._scan(again=True)
            return self.get(digest) if self.place(digest) not in {None, place} else None

    def place(self, digest: bytes) -> tuple[str, int, int] | None:
        """Pack, offset and size of a blob, None when it is not here."""
        found = self._looked_up(digest)
        if found is None and self._grown():
            self._scan()
            found = self._looked_up(digest)
        return found

    def stamp(self, digest: bytes) -> int | None:
        """When a blob was appended, in ns since 1970; None when it is not here."""
        if self.place(digest) is None:
            return None
        with self._index_lock:
            row = self._opened().execute("SELECT stamp FROM blob WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else int(row[0])

    def digests(self) -> Iterator[bytes]:
        """Every digest kept."""
        self._scan()
        with self._index_lock:
            rows = self._opened().execute("SELECT digest FROM blob ORDER BY digest").fetchall()
        yield from (bytes(row[0]) for row in rows)

    def compact(self, share: float = 0.5) -> int:
        """Write packs anew of which less than ``share`` is alive; the bytes that were freed."""
        self._scan()
        freed = 0
        for path in sorted(self._folder.glob("*.pack")):
            size = path.stat().st_size
            with self._index_lock:
                rows = self._opened().execute("SELECT digest, at, size FROM blob WHERE pack = ?", (path.name,)).fetchall()
            alive = sum(row[2] + _HEADER.size for row in rows)
            if not size or alive >= size * share or path == self._pack or not _free(path):
                continue
            self._leaving = path
            with path.open("rb") as file:
                for digest, at, length in rows:
                    self._append(_Wish(_BLOB, bytes(digest), os.pread(file.fileno(), length, at)))
            path.unlink()
            self._leaving = None
            with self._index_lock:
                self._opened().execute("DELETE FROM pack WHERE name = ?", (path.name,))
            freed += size - alive
        return freed

    def close(self) -> None:
        """Let go of files."""
        with self._lock, self._index_lock:
            if self._index is not None:
                self._index.close()
                self._index = None
            if self._file >= 0:
                os.close(self._file)
                self._file, self._pack = -1, None

    def _append(self, wish: _Wish) -> None:
        with self._lock:
            self._waiting.append(wish)
            lead = not self._led
            self._led = True
        if not lead:
            wish.done.wait()
        while lead:
            with self._lock:
                group, self._waiting = self._waiting, []
                if not group:
                    self._led = lead = False
                    continue
            self._commit(group)
        if wish.failure is not None:
            raise wish.failure

    def _commit(self, group: list[_Wish]) -> None:
        """Write a group's frames at once, sync once, note where they are, then release those who wait."""
        try:
            self._open_pack()
            start, rows, parts = self._end, [], []
            for wish in group:
                stamp = time.time_ns()
                parts += [_HEADER.pack(_SIGN, wish.kind, len(wish.data), stamp, wish.digest, zlib.crc32(wish.data)), wish.data]
                rows.append((wish.kind, wish.digest, start + _HEADER.size, len(wish.data), stamp))
                start += _HEADER.size + len(wish.data)
            _write_all(self._file, b"".join(parts), self._end)
            os.fsync(self._file)
            self._end = start
            self._note(self._pack.name if self._pack else "", rows, start)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            for wish in group:
                wish.failure = error
        finally:
            for wish in group:
                wish.done.set()

    def _open_pack(self) -> None:
        if self._file >= 0 and self._end < _SEGMENT:
            return
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self._folder.glob("*.pack")):
            if path != self._leaving and path.stat().st_size < _SEGMENT and self._take(path):
                return
        path = self._folder / f"{uuid4().hex}.pack"
        path.touch(mode=0o600)
        _sync_folder(self._folder)
        self._take(path)

    def _take(self, path: Path) -> bool:
        """Open a pack for appending unless another process has it; what a crash tore off is cut off."""
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        end = max((at + size for _, _, at, size, _ in _frames(path, 0)), default=0)
        os.ftruncate(handle, end)
        self._file, self._pack, self._end = handle, path, end
        return True

    def _looked_up(self, digest: bytes) -> tuple[str, int, int] | None:
        with self._index_lock:
            row = self._opened().execute("SELECT pack, at, size FROM blob WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def _note(self, name: str, rows: list[_Frame], scanned: int) -> None:
        with self._index_lock:
            index = self._opened()
            index.execute("BEGIN IMMEDIATE")
            for kind, digest, at, size, stamp in rows:
                if kind == _GONE:
                    index.execute("INSERT OR REPLACE INTO gone VALUES (?, ?)", (digest, stamp))
                    index.execute("DELETE FROM blob WHERE digest = ? AND stamp <= ?", (digest, stamp))
                elif index.execute("SELECT 1 FROM gone WHERE digest = ? AND stamp > ?", (digest, stamp)).fetchone() is None:
                    index.execute("INSERT OR REPLACE INTO blob VALUES (?, ?, ?, ?, ?)", (digest, name, at, size, stamp))
            index.execute("INSERT OR REPLACE INTO pack VALUES (?, ?)", (name, scanned))
            index.execute("COMMIT")

    def _grown(self) -> bool:
        """Whether another process has appended since the index was looked at."""
        with self._index_lock:
            held = dict(self._opened().execute("SELECT name, scanned FROM pack").fetchall())
        return any(path.stat().st_size > held.get(path.name, 0) for path in self._folder.glob("*.pack") if path != self._pack)

    def _scan(self, *, again: bool = False) -> None:
        """Take frames into the index that it does not know; all of them ``again`` after something vanished."""
        with self._index_lock:
            held = {} if again else dict(self._opened().execute("SELECT name, scanned FROM pack").fetchall())
        for path in sorted(self._folder.glob("*.pack"), key=lambda p: p.stat().st_mtime_ns):
            start = held.get(path.name, 0)
            if path != self._pack and path.stat().st_size > start:
                rows = list(_frames(path, start))
                if rows:
                    self._note(path.name, rows, rows[-1][2] + rows[-1][3])

    def _opened(self) -> sqlite3.Connection:
        if self._index is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._folder / "index.db"
            try:
                self._index = _index(path)
            except sqlite3.DatabaseError:  # torn by a crash: it holds nothing the packs do not
                for file in self._folder.glob("index.db*"):
                    file.unlink(missing_ok=True)
                self._index = _index(path)
        return self._index


def _index(path: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    index.execute("PRAGMA journal_mode=WAL")
    index.execute("PRAGMA synchronous=OFF")
    index.executescript(_SCHEMA)
    index.execute("SELECT count(*) FROM pack").fetchone()
    return index


def _frames(path: Path, start: int) -> Iterator[_Frame]:
    """Whole frames of a pack from an offset: kind, digest, where the bytes are, how many, instant. Ends at the first torn one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = start
        while at + _HEADER.size <= size:
            sign, kind, length, stamp, digest, crc = _HEADER.unpack(os.pread(file.fileno(), _HEADER.size, at))
            if sign != _SIGN or length > _MOST or at + _HEADER.size + length > size:
                return
            data = os.pread(file.fileno(), length, at + _HEADER.size)
            if zlib.crc32(data) != crc:
                return
            yield kind, digest, at + _HEADER.size, length, stamp
            at += _HEADER.size + length


def _free(path: Path) -> bool:
    """Whether no process is appending to a pack."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _write_all(handle: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, at)
        view, at = view[written:], at + written


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
