"""The database: ``read`` runs a function in a snapshot, ``write`` in a transaction that is durable when it returns.

On SQLite one writer thread takes the waiting functions, runs each inside its own savepoint, commits once and only
then releases the answers, so concurrent writers share an fsync. On PostgreSQL each write is its own transaction.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from rung.core.errors import Conflict, Unavailable
from rung.storage.raw import Raw

T = TypeVar("T")
Work = Callable[[Connection], T]
_GROUP = 1000
_RETRIES = 5
_APPLICATION_ID = 0x52554E47  # "RUNG"


class Database:
    """Rows of one platform, in SQLite or PostgreSQL by URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.dialect = "sqlite" if url.startswith("sqlite") else "postgresql"
        self.on_close: list[Callable[[], None]] = []
        self._writer: _Writer | None = None
        self._waiting: ThreadPoolExecutor | None = None
        if self.dialect == "sqlite":
            self._engine = _sqlite_engine(url, query_only=True)
            self._writer = _Writer(_sqlite_engine(url, query_only=False))
        else:
            self._engine = create_engine(_psycopg(url), pool_pre_ping=True, pool_size=8, max_overflow=8)

    def read(self, work: Work[T]) -> T:
        """Run ``work`` in a snapshot; nothing it does is kept. Raises Unavailable."""
        if self._writer and self._writer.is_current_thread():
            return self._writer.inline(work)
        try:
            with self._engine.connect() as connection:
                if self.dialect == "postgresql":
                    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                else:
                    connection.exec_driver_sql("BEGIN")
                return work(connection)
        except OperationalError as error:
            raise unavailable(error) from error

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction, durable on return. Raises Unavailable, Conflict after lost races."""
        if self._writer:
            if self._writer.is_current_thread():
                return self._writer.inline(work)
            return self._writer.submit(work).result()
        return self._write_postgresql(work)

    def submit(self, work: Work[T]) -> Future[T]:
        """Like ``write``, answering a future at once; for callers who must not block, such as an event loop."""
        if self._writer:
            return self._writer.submit(work)
        if self._waiting is None:
            self._waiting = ThreadPoolExecutor(max_workers=8, thread_name_prefix="rung-write")
            self.on_close.append(self._waiting.shutdown)
        return self._waiting.submit(self._write_postgresql, work)

    def _write_postgresql(self, work: Work[T]) -> T:
        for attempt in range(_RETRIES):
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except IntegrityError:
                if attempt == _RETRIES - 1:
                    raise Conflict(
                        "Somebody else wrote the same rows first.", code="storage.lost_race", hint="Repeat the request."
                    ) from None
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) not in {"40001", "40P01"} or attempt == _RETRIES - 1:
                    raise unavailable(error) from error
        raise Unavailable("The database kept refusing the transaction.", code="storage.unavailable")

    def close(self) -> None:
        """Let go of what was opened beside the database, finish waiting writes and let go of every connection."""
        while self.on_close:
            self.on_close.pop()()
        if self._writer:
            self._writer.close()
        self._engine.dispose()


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def unavailable(error: DBAPIError | sqlite3.OperationalError) -> Unavailable:
    """What a driver's operational error means to the caller, in words without SQL."""
    cause = str(error.orig if isinstance(error, DBAPIError) else error)
    if "readonly" in cause:
        return Unavailable("The database is read-only.", code="storage.read_only", hint="Make the home writable.")
    if "locked" in cause or "busy" in cause:
        return Unavailable(
            "The database is locked by another process.", code="storage.locked", hint="Wait for it, or stop it, then repeat."
        )
    if "full" in cause:
        return Unavailable("The disk is full.", code="storage.full", hint="Free some space; nothing was half-written.")
    if "unable to open" in cause:
        return Unavailable("The database file cannot be opened.", code="storage.unopenable", hint="Check the home's path and rights.")
    return Unavailable(f"The database does not answer: {cause.splitlines()[0]}.", code="storage.unavailable", hint="Check that it runs.")


class _Writer:
    """The one thread that writes to a SQLite file; functions that wait together share a commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.Queue[tuple[Work[Any], Future[Any]] | None] = queue.Queue(maxsize=10_000)
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="rung-writer", daemon=True)
        self._thread.start()

    def is_current_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def inline(self, work: Work[T]) -> T:
        if self._connection is None:
            raise Unavailable("The writer has no transaction open.", code="storage.unavailable")
        return work(self._connection)

    def submit(self, work: Work[T]) -> Future[T]:
        if not self._thread.is_alive():  # its answer would be waited for without end
            raise Unavailable("The database is closed.", code="storage.closed", hint="Open the platform again.")
        answer: Future[T] = Future()
        try:
            self._queue.put((work, answer), timeout=10)
        except queue.Full:
            raise Unavailable("Too many writes are waiting.", code="storage.busy", hint="Repeat in a moment.") from None
        return answer

    def close(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout=30)
        self._engine.dispose()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            stop = False
            while len(group) < _GROUP:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    stop = True
                    break
                group.append(item)
            self._commit(group)
            if stop:
                return

    def _commit(self, group: list[tuple[Work[Any], Future[Any]]]) -> None:
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self._engine.connect() as connection:
                self._connection = connection
                raw = Raw(connection)
                raw.change("BEGIN IMMEDIATE")
                for work, answer in group:
                    outcomes.append((answer, *self._one(connection, raw, work)))
                raw.change("COMMIT")
        except BaseException as error:
            told = unavailable(error) if isinstance(error, (DBAPIError, sqlite3.OperationalError)) else error
            for _, answer in group:
                answer.set_exception(told)
            return
        finally:
            self._connection = None
        for answer, value, failure in outcomes:
            if failure is None:
                answer.set_result(value)
            else:
                answer.set_exception(failure)

    def _one(self, connection: Connection, raw: Raw, work: Work[Any]) -> tuple[Any, BaseException | None]:
        raw.change("SAVEPOINT one")
        try:
            value = work(connection)
        except (OperationalError, sqlite3.OperationalError):
            raise  # disk full, I/O: the state of the whole group is unknown
        except BaseException as error:
            raw.change("ROLLBACK TO one")
            raw.change("RELEASE one")
            return None, _told(error)
        raw.change("RELEASE one")
        return value, None


def _told(error: BaseException) -> BaseException:
    if isinstance(error, (IntegrityError, sqlite3.IntegrityError)):
        return Conflict("The rows contradict others that are already there.", code="storage.conflict", hint="Look again, then repeat.")
    return error


def _sqlite_engine(url: str, *, query_only: bool) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 10})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are opened and closed by hand, see Database
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if query_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        cursor.close()

    return engine


def _psycopg(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in {"postgres", "postgresql"} else url
