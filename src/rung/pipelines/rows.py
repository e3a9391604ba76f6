"""Records of pipelines to rows and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from rung.core.records import prepared

T = TypeVar("T")
_PLAIN_TYPES = (str, int, float, bool, datetime, type(None))


def values(record: Any) -> dict[str, Any]:
    return plain({name: getattr(record, name) for name in record.__struct_fields__})


def plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, _PLAIN_TYPES) else msgspec.to_builtins(value) for name, value in values.items()}


def record(row: Any, kind: type[T]) -> T:
    plain = {name: row[name] for name in kind.__struct_fields__}  # type: ignore[attr-defined]  # a Struct, see core.records
    return msgspec.convert(plain, prepared(kind))
