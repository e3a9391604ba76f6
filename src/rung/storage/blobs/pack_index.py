"""Where the blobs of packs are: an SQLite file beside them that is thrown away and made again when it is damaged.

All processes share it. A row is *sure* when the bytes were synced before it was written: others may be read, but nobody
may call them kept. Of two frames of one blob the younger counts; a frame that says *gone* ends all that are not younger.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from rung.storage.blobs.frames import GONE, HEADER, Frame

_VERSION = 2
_BUSY_S = 30.0  # how long another process may write to the index
_SCHEMA = """
CREATE TABLE IF NOT EXISTS blob (digest BLOB PRIMARY KEY, pack TEXT NOT NULL, at INTEGER NOT NULL, size INTEGER NOT NULL,
    stamp INTEGER NOT NULL, sure INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gone (digest BLOB PRIMARY KEY, pack TEXT NOT NULL, stamp INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pack (name TEXT PRIMARY KEY, scanned INTEGER NOT NULL) WITHOUT ROWID;
"""
_KEEP = """
INSERT INTO blob SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM gone WHERE digest = ?1 AND stamp >= ?5)
ON CONFLICT (digest) DO UPDATE SET pack = excluded.pack, at = excluded.at, size = excluded.size, stamp = excluded.stamp, sure = excluded.sure
WHERE excluded.stamp > stamp OR (excluded.stamp = stamp AND excluded.sure >= sure)
"""
_DROP = """
INSERT INTO gone VALUES (?1, ?2, ?3)
ON CONFLICT (digest) DO UPDATE SET pack = excluded.pack, stamp = excluded.stamp WHERE excluded.stamp >= stamp
"""


class Place(NamedTuple):
    """Where a blob is."""

    pack: str
    at: int
    size: int
    stamp: int
    sure: bool


class StaleIndexError(OSError):
    """The file was damaged, or somebody threw it away: open it again, then repeat."""


class Index:
    """The index of one folder of packs. Every method raises OSError when the file cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._folder = folder
        self._path = folder / "index.db"
        self._name = str(self._path)
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def is_stale(self) -> bool:
        """Whether it must be opened: at first, and after somebody threw the file away."""
        try:
            return self._db is None or os.stat(self._name).st_ino != self._inode
        except FileNotFoundError:
            return True

    def open(self) -> None:
        """Open the file, made anew when it is damaged or of another version."""
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._guarded(), _alone(self._folder / "index.lock"):
            try:
                self._db = _connected(self._path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # torn by a crash: it holds nothing the packs do not
                self._remove()
                self._db = _connected(self._path)
            self._inode = 0
            with suppress(FileNotFoundError):  # taken away already: stale
                self._inode = self._path.stat().st_ino

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def abandon(self) -> sqlite3.Connection | None:
        """Forget a parent's connection after a fork without closing it, which would meddle with the parent's."""
        self.lock = threading.RLock()
        held, self._db = self._db, None
        return held

    def place(self, digest: bytes) -> Place | None:
        """Where a blob is, None when it is not here."""
        rows = self._ask("SELECT pack, at, size, stamp, sure FROM blob WHERE digest = ?", digest)
        return _place(*rows[0]) if rows else None

    def gone(self, digest: bytes) -> int:
        """When a blob was last said to be gone, in ns; 0 for never."""
        rows = self._ask("SELECT stamp FROM gone WHERE digest = ?", digest)
        return int(rows[0][0]) if rows else 0

    def places(self) -> Iterator[tuple[bytes, Place]]:
        """Every blob, in order."""
        for row in self._ask("SELECT digest, pack, at, size, stamp, sure FROM blob ORDER BY digest"):
            yield bytes(row[0]), _place(*row[1:])

    def inside(self, pack: str) -> list[tuple[bytes, Place]]:
        """The living blobs of a pack."""
        rows = self._ask("SELECT digest, pack, at, size, stamp, sure FROM blob WHERE pack = ? ORDER BY at", pack)
        return [(bytes(row[0]), _place(*row[1:])) for row in rows]

    def said_gone(self, pack: str) -> list[tuple[bytes, int]]:
        """What a pack alone says to be gone, and when."""
        return [(bytes(row[0]), row[1]) for row in self._ask("SELECT digest, stamp FROM gone WHERE pack = ?", pack)]

    def alive(self, pack: str) -> int:
        """Bytes of a pack that are still needed."""
        blobs = self._ask("SELECT coalesce(sum(size), 0), count(*) FROM blob WHERE pack = ?", pack)[0]
        gone = self._ask("SELECT count(*) FROM gone WHERE pack = ?", pack)[0]
        return int(blobs[0] + (blobs[1] + gone[0]) * HEADER.size)

    def scanned(self) -> dict[str, int]:
        """How far each pack was taken in."""
        return dict(self._ask("SELECT name, scanned FROM pack"))

    def note(self, pack: str, found: Iterable[Frame], scanned: int, *, sure: bool, anew: bool = False) -> None:
        """Take frames of a pack in, as one transaction; ``anew`` forgets first what was known of the pack."""
        with self._changing() as db:
            if anew:
                self._forget(db, pack)
            for kind, digest, at, size, stamp in found:
                if kind == GONE:
                    db.execute(_DROP, (digest, pack, stamp))
                    db.execute("DELETE FROM blob WHERE digest = ? AND stamp <= ?", (digest, stamp))
                else:
                    db.execute(_KEEP, (digest, pack, at, size, stamp, sure))
            db.execute("INSERT OR REPLACE INTO pack VALUES (?, ?)", (pack, scanned))

    def move(self, pack: str, frame: Frame) -> None:
        """Enter where a blob really is in its pack."""
        self._ask("UPDATE blob SET at = ?, size = ? WHERE digest = ? AND pack = ?", frame.at, frame.size, frame.digest, pack)

    def forget(self, pack: str) -> None:
        """Drop all that is known of a pack."""
        with self._changing() as db:
            self._forget(db, pack)

    def throw_away(self) -> None:
        """Remove the file; who uses it makes it again from the packs."""
        with _alone(self._folder / "index.lock"):
            self._remove()

    def _remove(self) -> None:
        for file in self._folder.glob("index.db*"):
            file.unlink(missing_ok=True)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """The file in a transaction, which is kept at the end, and dropped by whatever breaks it off: other processes wait for it."""
        with self.lock, self._guarded():
            db = self._held()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def _forget(self, db: sqlite3.Connection, pack: str) -> None:
        for statement in ("DELETE FROM blob WHERE pack = ?", "DELETE FROM gone WHERE pack = ?", "DELETE FROM pack WHERE name = ?"):
            db.execute(statement, (pack,))

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        with self.lock:
            try:
                return self._held().execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._told(error) from None

    def _held(self) -> sqlite3.Connection:
        if self._db is None:
            raise StaleIndexError(errno.ESTALE, "the index of packs is closed")
        return self._db

    def _told(self, error: sqlite3.DatabaseError) -> OSError:
        """SQLite's error as ours; a damaged file is removed, so that it is made again."""
        moved = self.is_stale()  # SQLite notices in ways of its own
        broken = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR or not isinstance(error, sqlite3.OperationalError)
        if not moved and not broken:  # locked, full, read-only
            return OSError(errno.EIO, f"the index of packs cannot be used: {error}")
        with suppress(sqlite3.Error):
            self.close()
        self._db = None
        if not moved:
            self.throw_away()
        return StaleIndexError(errno.ESTALE, f"the index of packs was damaged: {error}")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._told(error) from None


def _place(pack: str, at: int, size: int, stamp: int, sure: int) -> Place:
    return Place(pack, at, size, stamp, bool(sure))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process opens the index meanwhile: it could take away what this one makes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a process forked meanwhile has a copy of the file, which would hold it on


def _connected(path: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
    try:
        index.execute("PRAGMA journal_mode=WAL")
        index.execute("PRAGMA synchronous=NORMAL")
        (version,) = index.execute("PRAGMA user_version").fetchone()
        if version != _VERSION and os.path.getsize(path):
            for table in ("blob", "gone", "pack"):
                index.execute(f"DROP TABLE IF EXISTS {table}")
        index.executescript(_SCHEMA)
        index.execute(f"PRAGMA user_version={_VERSION}")
        index.execute("SELECT count(*) FROM pack").fetchone()
    except BaseException:
        index.close()
        raise
    return index
