"""The one metadata all tables belong to, and the column types that records need."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Dialect, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator

from rung.core.clock import from_micros, to_micros

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class InstantType(TypeDecorator[datetime]):
    """An aware UTC datetime kept as integer microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To microseconds."""
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From microseconds."""
        return None if value is None else from_micros(value)


class JsonType(TypeDecorator[Any]):
    """Plain values or records kept as JSON text; read back as plain values."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """To JSON with sorted keys."""
        return None if value is None else msgspec.json.encode(value, order="sorted").decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """From JSON."""
        return None if value is None else msgspec.json.decode(value)


def id_column(name: str = "id", *, primary_key: bool = True) -> Column[str]:
    """A column of 32-hex-digit ids."""
    return Column(name, String(32), primary_key=primary_key, nullable=False)


def project_column() -> Column[str]:
    """The project every row belongs to."""
    return Column("project", String(32), nullable=False)


def table(name: str, *parts: Any, **options: Any) -> Table:
    """A table of ours, entered in ``METADATA``; options are those of one engine, such as ``sqlite_with_rowid``."""
    return Table(name, METADATA, *parts, **options)
