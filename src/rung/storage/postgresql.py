"""The database on PostgreSQL: reads see a snapshot and may not write, each write is a transaction of its own.

Connections are not asked whether they live before each use, which would cost as much as a short write. One that turns
out to be gone takes its pool along, and the work is done again, unless it had come to its commit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
import sqlalchemy
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from rung.core.errors import Conflict, Unavailable
from rung.storage.connection import Connection
from rung.storage.faults import unavailable
from rung.storage.statements import STATEMENTS

T = TypeVar("T")
Work = Callable[[Connection], T]
_RETRIES = 5
_LOST_RACES = {"40001", "40P01"}  # serialization failure, deadlock
_GONE = {"57P01", "57P02", "57P03"}  # shut down by an administrator, crashed, starting
_OPERATIONAL = (OperationalError, psycopg.OperationalError)
_INTEGRITY = (IntegrityError, psycopg.IntegrityError)


class PostgreSQL:
    """Two pools of connections to one database, for reads and for writes."""

    def __init__(self, url: str) -> None:
        self._reading = _engine(url, query_only=True)
        self._writing = _engine(url, query_only=False)
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="rung-write")  # none is started before it is needed

    def read(self, work: Work[T]) -> T:
        """Run ``work`` in a snapshot. Raises Unavailable."""
        for last in (False, True):
            try:
                with self._reading.connect() as connection:
                    return work(_ours(connection))
            except _OPERATIONAL as error:
                if last or not _is_gone(error):
                    raise unavailable(error) from error
                self._reading.dispose()
        raise AssertionError  # the last round returns or raises

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction. Raises Unavailable, Conflict after lost races."""
        for attempt in range(_RETRIES):
            last, worked = attempt == _RETRIES - 1, False
            try:
                with self._writing.begin() as connection:
                    value = work(_ours(connection))
                    worked = True
                return value
            except _INTEGRITY:
                if last:
                    raise Conflict(
                        "Somebody else wrote the same rows first.", code="storage.lost_race", hint="Repeat the request."
                    ) from None
            except _OPERATIONAL as error:
                if _is_gone(error) and not worked and not last:  # after the work nobody knows whether its commit was done
                    self._writing.dispose()
                elif _state(error) not in _LOST_RACES or last:
                    raise unavailable(error) from error
        raise Unavailable("The database kept refusing the transaction.", code="storage.unavailable")

    def submit(self, work: Work[T]) -> Future[T]:
        """Like ``write``, answering a future at once."""
        try:
            return self._threads.submit(self.write, work)
        except RuntimeError:
            raise Unavailable("The database is closed.", code="storage.closed", hint="Open the platform again.") from None

    def close(self) -> None:
        """Finish waiting writes and let go of every connection."""
        self._threads.shutdown()
        self._reading.dispose()
        self._writing.dispose()


def _ours(core: sqlalchemy.Connection) -> Connection:
    return Connection("postgresql", core.connection.dbapi_connection, lambda: core)


def _engine(url: str, *, query_only: bool) -> Engine:
    scheme, _, rest = url.partition("://")
    full = f"postgresql+psycopg://{rest}" if scheme in {"postgres", "postgresql"} else url
    engine = create_engine(full, pool_size=8, max_overflow=8, execution_options={"compiled_cache": STATEMENTS})
    if query_only:

        @event.listens_for(engine, "connect")
        def _prepare(connection: psycopg.Connection[Any], _: Any) -> None:
            # psycopg says both in the BEGIN of each transaction, so that they cost no statement
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True

    return engine


def _state(error: DBAPIError | psycopg.Error) -> str | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    state: str | None = getattr(cause, "sqlstate", None)
    return state


def _is_gone(error: DBAPIError | psycopg.Error) -> bool:
    state = _state(error)  # none where the server did not live to say one
    return state is None or state.startswith("08") or state in _GONE
