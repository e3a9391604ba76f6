"""SQL as the driver takes it, for the few measured paths where building or wrapping a statement costs more than running it.

Parameters are question marks. The driver's connection is used as it is, inside the transaction SQLAlchemy opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rung.storage.connection import Connection

_PARAMETERS = 4000  # of one statement; PostgreSQL takes 65,535


class Raw:
    """Plain SQL on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._sqlite = connection.sqlite
        self._psycopg = connection.driver

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Any]:
        """The rows of a query."""
        if self._sqlite is not None:
            return self._sqlite.execute(sql, tuple(parameters)).fetchall()
        found: Sequence[Any] = self._postgresql(sql, tuple(parameters)).fetchall()
        return found

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement that changes rows; how many it changed."""
        if self._sqlite is not None:
            return self._sqlite.execute(sql, tuple(parameters)).rowcount
        return int(self._postgresql(sql, tuple(parameters)).rowcount)

    def change_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of parameters."""
        held = list(rows)
        if self._sqlite is None:
            if len(held) == 1:
                self._postgresql(sql, held[0])
            elif held:
                with self._psycopg.cursor() as cursor:
                    cursor.executemany(sql.replace("?", "%s"), held)
        elif len(held) == 1:
            self._sqlite.execute(sql, held[0])
        else:
            self._sqlite.executemany(sql, held)

    def insert_many(self, into: str, rows: Sequence[Sequence[Any]], conflict: str = "") -> None:
        """Insert rows ``into`` a table with its columns; on PostgreSQL hundreds in one statement, so no two may conflict with each other."""
        if not rows:
            return
        one = f"({', '.join('?' * len(rows[0]))})"
        if self._sqlite is not None:
            self._sqlite.executemany(f"INSERT INTO {into} VALUES {one} {conflict}", rows)  # noqa: S608 - names of ours
            return
        at_once = _PARAMETERS // len(rows[0])
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            sql = f"INSERT INTO {into} VALUES {', '.join([one] * len(some))} {conflict}"  # noqa: S608 - names of ours
            self._postgresql(sql, tuple(value for row in some for value in row))

    def take_turn(self, *names: str) -> None:
        """Wait until no other transaction has a turn by these names; this one has it until it ends.

        For who reads before it writes: PostgreSQL would let two read the same, and the later write undo the other's. SQLite
        lets one write at a time.
        """
        if self._sqlite is None:
            self._postgresql("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", ("\x1f".join(names),))

    def _postgresql(self, sql: str, parameters: Sequence[Any]) -> Any:  # a cursor of psycopg
        return self._psycopg.execute(sql.replace("?", "%s"), parameters)
