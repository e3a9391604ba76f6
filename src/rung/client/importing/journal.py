"""What of an import is whole: a small SQLite file beside nothing else, so that an import broken off goes on where it was.

A run is entered here with its counts once all of it is at the platform; whoever finds it here with the same mark need
not send it again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

_SCHEMA = """
CREATE TABLE IF NOT EXISTS whole (kind TEXT, id TEXT, mark TEXT NOT NULL, counts TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID
"""


class Journal:
    """What is whole, by kind and id."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(_SCHEMA)

    def mark(self, kind: str, item: str) -> str | None:
        """The mark under which something is whole, None when it is not."""
        row = self._connection.execute("SELECT mark FROM whole WHERE kind = ? AND id = ?", (kind, item)).fetchone()
        return None if row is None else str(row[0])

    def note(self, kind: str, item: str, mark: str, counts: Mapping[str, int]) -> None:
        """Something is whole now."""
        values = (kind, item, mark, msgspec.json.encode(dict(counts)).decode())
        self._connection.execute("INSERT OR REPLACE INTO whole VALUES (?, ?, ?, ?)", values)

    def whole(self, kind: str) -> Iterator[tuple[str, dict[str, int]]]:
        """Everything of a kind that is whole, with its counts at the source."""
        for item, counts in self._connection.execute("SELECT id, counts FROM whole WHERE kind = ? ORDER BY id", (kind,)).fetchall():
            yield item, msgspec.json.decode(counts, type=dict[str, int])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
