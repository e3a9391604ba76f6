"""The database in a SQLite file: reads see a snapshot, one thread writes, and writes that wait together share a commit."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from rung.core.errors import Conflict, Unavailable
from rung.storage.faults import unavailable
from rung.storage.raw import Raw

T = TypeVar("T")
Work = Callable[[Connection], T]
_GROUP = 1000
_APPLICATION_ID = 0x52554E47  # "RUNG"


class SQLite:
    """Readers and the one writer of a file."""

    def __init__(self, url: str) -> None:
        self._engine = _sqlite_engine(url, query_only=True)
        self._writer = _Writer(_sqlite_engine(url, query_only=False))

    def read(self, work: Work[T]) -> T:
        """Run ``work`` in a snapshot; on the writer's own thread, in its transaction. Raises Unavailable."""
        if self._writer.is_current_thread():
            return self._writer.inline(work)
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                return work(connection)
        except OperationalError as error:
            raise unavailable(error) from error

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in its share of the next commit. Raises Unavailable, Conflict."""
        if self._writer.is_current_thread():
            return self._writer.inline(work)
        return self._writer.submit(work).result()

    def submit(self, work: Work[T]) -> Future[T]:
        """Like ``write``, answering a future at once."""
        return self._writer.submit(work)

    def close(self) -> None:
        """Finish waiting writes and let go of every connection."""
        self._writer.close()
        self._engine.dispose()


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
