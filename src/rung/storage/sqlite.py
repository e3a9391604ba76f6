"""The database in a SQLite file: reads see a snapshot, one thread writes, and writes that wait together share a commit."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from rung.core.errors import Conflict, RungError, Unavailable
from rung.storage.connection import Connection
from rung.storage.faults import cause_of, unavailable
from rung.storage.raw import Raw

if TYPE_CHECKING:
    import sqlalchemy

T = TypeVar("T")
Work = Callable[[Connection], T]
_GROUP = 1000
_IDLE = 8  # connections that are kept open
_BUSY_S = 60  # how long another process may keep the file: one commit to a disk that is very busy may take many seconds
_AGAIN_S = 0.01
_APPLICATION_ID = 0x52554E47  # "RUNG"


class SQLite:
    """Readers and the one writer of a file."""

    def __init__(self, url: str) -> None:
        self._reading = _File(url, query_only=True)
        self._writing = _File(url, query_only=False)
        self._writer = _Writer(self._writing)

    def read(self, work: Work[T]) -> T:
        """Run ``work`` in a snapshot; on the writer's own thread, in its transaction. Raises Unavailable."""
        if self._writer.is_current_thread():
            return self._writer.inline(work)
        try:
            with self._reading.connected() as connection:
                Raw(connection).change("BEGIN")
                return work(connection)
        except Exception as error:
            if isinstance(cause_of(error), sqlite3.OperationalError):
                raise unavailable(error) from error
            raise

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in its share of the next commit. Raises Unavailable, Conflict."""
        if self._writer.is_current_thread():
            return self._writer.inline(work)
        return self._writer.run(work)

    def submit(self, work: Work[T]) -> Future[T]:
        """Like ``write``, answering a future at once."""
        return self._writer.submit(work)

    def close(self) -> None:
        """Finish waiting writes and let go of every connection."""
        self._writer.close()
        self._writing.close()
        self._reading.close()


class _Writer:
    """The one that writes to a SQLite file: a thread, whose waiting functions share a commit, or a caller while nobody waits."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._queue: queue.Queue[tuple[Work[Any], Future[Any]] | None] = queue.Queue(maxsize=10_000)
        self._connection: Connection | None = None
        self._turn = threading.Lock()
        self._has_turn = 0
        self._ended = False  # nobody takes from the queue any more
        self._thread = threading.Thread(target=self._run, name="rung-writer", daemon=True)
        self._thread.start()

    def is_current_thread(self) -> bool:
        return self._has_turn == threading.get_ident()

    def inline(self, work: Work[T]) -> T:
        if self._connection is None:
            raise Unavailable("The writer has no transaction open.", code="storage.unavailable")
        return work(self._connection)

    def run(self, work: Work[T]) -> T:
        """Run ``work`` here and now where nobody else writes: handing it to the thread would cost more than most of them do."""
        if self._queue.empty() and self._thread.is_alive() and self._turn.acquire(blocking=False):
            answer: Future[T] = Future()
            try:
                self._commit([(work, answer)])
            finally:
                self._turn.release()
            return answer.result()
        return self.submit(work).result()

    def submit(self, work: Work[T]) -> Future[T]:
        if not self._thread.is_alive():  # its answer would be waited for without end
            raise _is_closed()
        answer: Future[T] = Future()
        try:
            self._queue.put((work, answer), timeout=10)
        except queue.Full:
            raise Unavailable("Too many writes are waiting.", code="storage.busy", hint="Repeat in a moment.") from None
        if self._ended:  # it was put in line behind the last one that was taken
            self._refuse_waiting()
        return answer

    def close(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout=30)

    def _run(self) -> None:
        try:
            self._take_turns()
        finally:
            self._ended = True
            self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """Answer those who got in line behind the end: nobody else will."""
        with suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                if item is not None and item[1].set_running_or_notify_cancel():
                    item[1].set_exception(_is_closed())

    def _take_turns(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            stop = False
            with self._turn:
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
        group = [item for item in group if item[1].set_running_or_notify_cancel()]  # from here on none can be cancelled, only answered
        if not group:
            return
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        self._has_turn = threading.get_ident()
        try:
            with self._file.connected() as connection:
                self._connection = connection
                raw = Raw(connection)
                raw.change("BEGIN IMMEDIATE")
                if len(group) == 1:
                    outcomes.append((group[0][1], group[0][0](connection), None))
                else:
                    for work, answer in group:
                        outcomes.append((answer, *self._one(connection, raw, work)))
                raw.change("COMMIT")
        except BaseException as error:
            told = _told(error)
            cause = cause_of(told)
            if isinstance(cause, sqlite3.OperationalError) or (cause is not told and isinstance(cause, sqlite3.Error)):
                told = unavailable(told)
            for _, answer in group:
                answer.set_exception(told)
            return
        finally:
            self._connection = None
            self._has_turn = 0
        for answer, value, failure in outcomes:
            if failure is None:
                answer.set_result(value)
            else:
                answer.set_exception(failure)

    def _one(self, connection: Connection, raw: Raw, work: Work[Any]) -> tuple[Any, BaseException | None]:
        raw.change("SAVEPOINT one")
        try:
            value = work(connection)
        except BaseException as error:
            if isinstance(cause_of(error), sqlite3.OperationalError):
                raise  # disk full, I/O: the state of the whole group is unknown
            raw.change("ROLLBACK TO one")
            raw.change("RELEASE one")
            return None, _told(error)
        raw.change("RELEASE one")
        return value, None


def _is_closed() -> Unavailable:
    return Unavailable("The database is closed.", code="storage.closed", hint="Open the platform again.")


def _told(error: BaseException) -> BaseException:
    if isinstance(cause_of(error), sqlite3.IntegrityError):
        return Conflict("The rows contradict others that are already there.", code="storage.conflict", hint="Look again, then repeat.")
    return error


class _File:
    """Connections to a file; a few that nobody uses are kept open."""

    def __init__(self, url: str, *, query_only: bool) -> None:
        self._url, self._query_only = url, query_only
        self._idle: deque[Connection] = deque()
        self._times_closed = 0

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection without a transaction; one that served before without a fault, where there is one."""
        times_closed = self._times_closed
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._opened()
        refused: RungError | None = None
        try:
            try:
                yield connection
            except RungError as error:  # what a handler says, which is no fault of the connection's
                refused = error
            core = connection.opened_core
            if core is not None and core.in_transaction():
                core.rollback()
            connection.driver.rollback()  # nothing where it was committed
        except BaseException:
            _closed(connection)
            raise
        if times_closed == self._times_closed and len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:
            _closed(connection)
        if refused is not None:
            raise refused

    def close(self) -> None:
        """Let go of every connection; those in use are closed when they are not any more."""
        self._times_closed += 1
        with suppress(IndexError):  # a reader may take the last one
            while True:
                _closed(self._idle.pop())

    def _opened(self) -> Connection:
        driver = _connected(self._url)
        try:
            driver.isolation_level = None  # transactions are opened and closed by hand, see Database
            driver.execute(f"PRAGMA busy_timeout={_BUSY_S * 1000}")
            _turn_to_wal(driver)
            for pragma in ("synchronous=FULL", "foreign_keys=ON"):
                driver.execute(f"PRAGMA {pragma}")
            driver.execute("PRAGMA query_only=ON" if self._query_only else f"PRAGMA application_id={_APPLICATION_ID}")
        except BaseException:
            driver.close()
            raise
        return Connection("sqlite", driver, lambda: _core_over(driver))


def _turn_to_wal(driver: sqlite3.Connection) -> None:
    """Keep the journal as a WAL. In a new file the first to say so writes that down, and SQLite lets nobody else wait meanwhile."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            driver.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _closed(connection: Connection) -> None:
    if connection.opened_core is not None:
        connection.opened_core.close()
    connection.driver.close()


def _connected(url: str) -> sqlite3.Connection:
    path = url.removeprefix("sqlite:///")
    if path != url and "?" not in path:
        return sqlite3.connect(path or ":memory:", timeout=_BUSY_S, check_same_thread=False)
    from sqlalchemy import make_url  # noqa: PLC0415 - options in a URL are SQLAlchemy's

    given = make_url(url)
    parts, options = given.get_dialect()().create_connect_args(given)
    asked: dict[str, Any] = {"timeout": _BUSY_S, **options, "check_same_thread": False}
    opened: sqlite3.Connection = sqlite3.connect(parts[0], **asked)
    return opened


_handed = threading.local()


def _core_over(driver: sqlite3.Connection) -> sqlalchemy.Connection:
    """SQLAlchemy's connection over one of ours, in whatever transaction that is in."""
    _handed.driver = driver
    return _engine().connect()


@cache
def _engine() -> sqlalchemy.Engine:
    """The one engine of the process: it takes the driver's connections as they are handed to it, and closes them."""
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 - see rung.storage.sql

    from rung.storage.statements import STATEMENTS  # noqa: PLC0415 - see rung.storage.sql

    engine = create_engine(
        "sqlite://", creator=lambda: _handed.driver, poolclass=NullPool, execution_options={"compiled_cache": STATEMENTS}
    )
    ours, _handed.driver = getattr(_handed, "driver", None), sqlite3.connect(":memory:", check_same_thread=False)
    engine.connect().close()  # what it asks its first connection would end the transaction of one of ours
    _handed.driver = ours
    return engine
