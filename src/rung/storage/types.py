"""The column types that records need, as SQLAlchemy knows them; stores name them by ``rung.storage.tables``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator

from rung.core.clock import from_micros, to_micros


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


def RowNumber() -> Any:  # noqa: N802 - a type
    """An integer that a table counts up by itself; only INTEGER does so on SQLite."""
    return BigInteger().with_variant(Integer(), "sqlite")
