"""Plain statements made from a table: what SQLAlchemy would build, wrap and look up anew each time, in a tenth of its time.

For the stores that a short command goes through. A ``where`` is SQL with question marks, its parameters as the driver
takes them (instants in microseconds); values to write and rows that are read pass through the types of their columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from rung.core.clock import from_micros, to_micros
from rung.storage.raw import Raw
from rung.storage.sql import Connection, Table
from rung.storage.tables import columns_of

Convert = Callable[[Any], Any]


class Plain:
    """Statements of one table."""

    def __init__(self, table: Table, *, as_text: Sequence[str] = ()) -> None:
        """``as_text`` names columns of JSON that are read as the text they hold."""
        kinds = columns_of(table)
        self.name = table.name
        self.columns = tuple(kinds)
        self._told = {name: _TOLD[kind] for name, kind in kinds.items() if kind in _TOLD}
        self._read = {name: _READ[kind] for name, kind in kinds.items() if kind in _READ and name not in as_text}

    def rows(
        self, connection: Connection, where: str = "", parameters: Sequence[Any] = (), *, tail: str = "", columns: tuple[str, ...] = ()
    ) -> list[dict[str, Any]]:
        """Rows, each by the names of its columns; ``tail`` orders and bounds them."""
        names = columns or self.columns
        found = Raw(connection).rows(_select(self.name, names, where, tail), parameters)
        rows = [dict(zip(names, row, strict=True)) for row in found]
        for name, read in self._read.items():
            if not columns or name in columns:
                for row in rows:
                    if row[name] is not None:
                        row[name] = read(row[name])
        return rows

    def first(
        self, connection: Connection, where: str, parameters: Sequence[Any] = (), *, tail: str = "", columns: tuple[str, ...] = ()
    ) -> dict[str, Any] | None:
        """The first of such rows."""
        return next(iter(self.rows(connection, where, parameters, tail=f"{tail} LIMIT 1", columns=columns)), None)

    def insert(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Enter a row; columns that are not given are null."""
        Raw(connection).change(_insert(self.name, tuple(values)), self._parameters(values))

    def insert_new(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Enter rows, all of the same columns; those that are there already, by any unique key, stay as they are."""
        if rows:
            into = f"{self.name} ({_listed(tuple(rows[0]))})"
            Raw(connection).insert_many(into, [self._parameters(row) for row in rows], "ON CONFLICT DO NOTHING")

    def update(self, connection: Connection, values: Mapping[str, Any], where: str, parameters: Sequence[Any]) -> int:
        """Change rows; how many."""
        return Raw(connection).change(_update(self.name, tuple(values), where), (*self._parameters(values), *parameters))

    def _parameters(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        told = self._told
        return tuple(told[name](value) if name in told and value is not None else value for name, value in values.items())


@lru_cache(maxsize=500)
def _select(table: str, names: tuple[str, ...], where: str, tail: str) -> str:
    return f"SELECT {_listed(names)} FROM {table}{f' WHERE {where}' if where else ''} {tail}"  # noqa: S608 - names of ours


@lru_cache(maxsize=500)
def _insert(table: str, names: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({_listed(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - names of ours


@lru_cache(maxsize=500)
def _update(table: str, names: tuple[str, ...], where: str) -> str:
    changes = ", ".join(f'"{name}" = ?' for name in names)
    return f"UPDATE {table} SET {changes} WHERE {where}"  # noqa: S608 - names of ours


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


_TOLD: dict[str, Convert] = {"InstantType": to_micros, "JsonType": _json}  # how values are given to the driver, by type
_READ: dict[str, Convert] = {"InstantType": from_micros, "JsonType": msgspec.json.decode, "Boolean": bool}
