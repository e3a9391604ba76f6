"""The database: ``read`` runs a function in a snapshot, ``write`` in a transaction that is durable when it returns.

On SQLite one writer thread takes the waiting functions, runs each inside its own savepoint, commits once and only
then releases the answers, so concurrent writers share an fsync. On PostgreSQL each write is its own transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rung.storage.connection import Connection

if TYPE_CHECKING:
    from rung.storage.postgresql import PostgreSQL
    from rung.storage.sqlite import SQLite

T = TypeVar("T")
Work = Callable[[Connection], T]


class Database:
    """Rows of one platform, in SQLite or PostgreSQL by URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.dialect = "sqlite" if url.startswith("sqlite") else "postgresql"
        self.on_close: list[Callable[[], None]] = []
        self._engine: SQLite | PostgreSQL
        if self.dialect == "sqlite":
            from rung.storage.sqlite import SQLite  # noqa: PLC0415 - only the engine that is used is loaded

            self._engine = SQLite(url)
        else:
            from rung.storage.postgresql import PostgreSQL  # noqa: PLC0415 - its driver comes with an extra

            self._engine = PostgreSQL(url)

    def read(self, work: Work[T]) -> T:
        """Run ``work`` in a snapshot; nothing it does is kept. Raises Unavailable."""
        return self._engine.read(work)

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction, durable on return. Raises Unavailable, Conflict after lost races."""
        return self._engine.write(work)

    def submit(self, work: Work[T]) -> Future[T]:
        """Like ``write``, answering a future at once; for callers who must not block, such as an event loop."""
        return self._engine.submit(work)

    def close(self) -> None:
        """Let go of what was opened beside the database, finish waiting writes and let go of every connection."""
        while self.on_close:
            self.on_close.pop()()
        self._engine.close()


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"
