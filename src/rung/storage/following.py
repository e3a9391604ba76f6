"""What blobs name other blobs: lists of files, snapshots of code. Bytes never change, so each is read once and remembered.

The memory is a file in the home that may be thrown away; without it the next collection reads more.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from rung.core.errors import NotFound, Unavailable
from rung.storage.blobs import BlobStore

READABLE = 4 << 20  # a larger blob is data, not a list of other blobs
_READERS = 16  # a bucket answers in milliseconds, a folder in microseconds
_BATCH = 256
_DIGEST = re.compile(rb"blake3:([0-9a-f]{64})")


class Memory:
    """What was read in blobs before, in ``file``."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def follow(self, blobs: BlobStore, living: set[str], sizes: dict[str, int]) -> None:
        """Add to the living digests what living blobs that are kept and small name, and what those name in turn."""
        with self._opened() as memory:
            front = list(living)
            while front:
                front = [digest for digest in front if sizes.get(digest, READABLE + 1) <= READABLE]
                named = set(chain.from_iterable(_remembered_or_read(memory, blobs, front)))
                front = list(named - living)
                living |= named

    def forget(self, digests: Iterable[str]) -> None:
        """Drop what is kept of blobs that have gone."""
        with self._opened() as memory:
            memory.executemany("DELETE FROM seen WHERE digest = ?", [(bytes.fromhex(digest[7:]),) for digest in digests])

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._file, timeout=30)) as memory, memory:
                memory.execute("PRAGMA synchronous=NORMAL")
                memory.execute("CREATE TABLE IF NOT EXISTS seen (digest BLOB PRIMARY KEY, names BLOB NOT NULL) WITHOUT ROWID")
                yield memory
        except sqlite3.OperationalError as error:
            raise Unavailable(f"{self._file} cannot be used: {error}.", code="storage.unavailable", hint="Check disk and rights.") from None
        except sqlite3.DatabaseError as error:
            self._file.unlink(missing_ok=True)
            raise Unavailable(f"{self._file} was damaged: {error}.", code="storage.unavailable", hint="It is gone now; repeat.") from None


def _remembered_or_read(memory: sqlite3.Connection, blobs: BlobStore, digests: list[str]) -> Iterator[list[str]]:
    unread = []
    for digest in digests:
        row = memory.execute("SELECT names FROM seen WHERE digest = ?", (bytes.fromhex(digest[7:]),)).fetchone()
        if row is None:
            unread.append(digest)
        else:
            yield [f"blake3:{row[0][at : at + 32].hex()}" for at in range(0, len(row[0]), 32)]
    with ThreadPoolExecutor(_READERS) as readers:
        for start in range(0, len(unread), _BATCH):
            part = unread[start : start + _BATCH]
            for digest, names in zip(part, readers.map(lambda digest: _names_in(blobs, digest), part), strict=True):
                if names is None:
                    continue
                memory.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (bytes.fromhex(digest[7:]), b"".join(names)))
                yield [f"blake3:{name.hex()}" for name in names]


def _names_in(blobs: BlobStore, digest: str) -> list[bytes] | None:
    """What a blob names; None when it has gone. Raises Unavailable for damage: what it named cannot be known, so nothing may go."""
    try:
        return sorted({bytes.fromhex(match.decode()) for match in _DIGEST.findall(blobs.get(digest))})
    except NotFound:
        return None
