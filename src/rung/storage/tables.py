"""The one metadata all tables belong to, and the column types that records need."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import rung
from rung.storage.later import Declared, Declaring, Later, Word
from rung.storage.sql import Column, String, Table

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from rung.storage.types import InstantType as InstantType
    from rung.storage.types import JsonType as JsonType
    from rung.storage.types import RowNumber as RowNumber
else:
    InstantType, JsonType, RowNumber = (Declaring(name, "rung.storage.types") for name in ("InstantType", "JsonType", "RowNumber"))

_DECLARED: list[Later] = []


@cache
def _entered() -> MetaData:
    from sqlalchemy import MetaData  # noqa: PLC0415 - see rung.storage.sql

    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def metadata() -> MetaData:
    """The metadata with every area's tables; they are imported now, since a command loads only those that it uses."""
    for area in pkgutil.iter_modules(rung.__path__, "rung."):
        if area.ispkg and find_spec(f"{area.name}.store"):
            importlib.import_module(f"{area.name}.store")
            for item in pkgutil.iter_modules(importlib.import_module(area.name).__path__, f"{area.name}."):
                if item.name.endswith("_store"):
                    importlib.import_module(item.name)
    for name in ("outbox", "queue", "migrate"):
        importlib.import_module(f"rung.storage.{name}")
    for declared in _DECLARED:
        declared.made()
    return _entered()


def id_column(name: str = "id", *, primary_key: bool = True) -> Column[str]:
    """A column of 32-hex-digit ids."""
    return Column(name, String(32), primary_key=primary_key, nullable=False)


def project_column() -> Column[str]:
    """The project every row belongs to."""
    return Column("project", String(32), nullable=False)


def table(name: str, *parts: Any, **options: Any) -> Table:
    """A table of ours, made when a statement first needs it; options are those of one engine, such as ``sqlite_with_rowid``."""
    declared = _DeclaredTable(name, parts, options)
    _DECLARED.append(declared)
    return declared  # type: ignore[return-value]  # it stands for the table wherever SQLAlchemy looks


class _DeclaredTable(Declared):
    """A table as it was declared: its name and columns can be read before it is made."""

    def __init__(self, name: str, parts: tuple[Any, ...], options: dict[str, Any]) -> None:
        Later.__init__(self, lambda: Word("Table")(name, _entered(), *parts, **options))
        self.word, self.name, self.parts = "Table", name, parts


def columns_of(table: Table) -> dict[str, str]:
    """The columns of a declared table, each with the name of its type."""
    declared: Any = table
    kinds: dict[str, str] = {}
    for part in declared.parts:
        if isinstance(part, Declared) and part.word == "Column":
            name, kind = part.parts[:2]
            kinds[name] = kind.word if isinstance(kind, Declared) else kind.name
    return kinds
