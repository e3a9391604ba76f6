"""Training data as libraries take it (arrays, frames, sparse matrices, lists): its rows, names, digest and schema.

Nothing here copies the whole of it, consumes an iterator or loads a library.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rung.core.digests import digest_of
from rung.tracking.records import Input

if TYPE_CHECKING:
    import polars as pl

_DIGESTED_ROWS = 10_000
_MOST_COLUMNS = 1000
_TWO = 2
_CONTEXT = "mlflow.data.context"
_KINDS = {"i": "long", "u": "long", "f": "double", "b": "boolean", "M": "datetime"}


def height(table: Any) -> int | None:
    """Number of rows; None for what can only be read once, or is no table."""
    shape = getattr(table, "shape", None)
    if isinstance(shape, tuple) and shape:
        return int(shape[0])
    return len(table) if isinstance(table, (list, tuple)) else None


def width(table: Any) -> int:
    """Number of columns; 1 for a column."""
    shape = getattr(table, "shape", None)
    if isinstance(shape, tuple):
        return int(shape[1]) if len(shape) == _TWO else 1
    first = table[0] if isinstance(table, (list, tuple)) and table else None
    return len(first) if isinstance(first, (list, tuple)) else 1


def columns(table: Any) -> list[str] | None:
    """Names of the columns, None where there are none."""
    names = getattr(table, "columns", None)
    if names is not None:
        return [str(name) for name in names]
    name = getattr(table, "name", None)
    return [str(name)] if isinstance(name, str) else None


def some_rows(table: Any, places: NDArray[np.int64]) -> Any:
    """Rows at these places, of the table's own kind."""
    if hasattr(table, "iloc"):
        return table.iloc[places]
    if isinstance(table, (list, tuple)):
        return [table[place] for place in places]
    if hasattr(table, "tocsr"):
        return table.tocsr()[places]
    return table[places]


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many places, evenly spread over ``count`` rows."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def frame_of(table: Any, rows: int, names: list[str] | None = None) -> pl.DataFrame | None:
    """The first rows as Polars; None for what is too wide or no table."""
    import polars as pl  # noqa: PLC0415 - half a second that `rung.autolog()` alone need not pay

    count = height(table)
    if not count or width(table) > _MOST_COLUMNS:
        return None
    head = some_rows(table, np.arange(min(count, rows)))
    if hasattr(head, "toarray"):
        head = head.toarray()
    if isinstance(head, pl.DataFrame):
        return head
    if hasattr(head, "iloc"):
        frame = head.to_frame() if not hasattr(head, "columns") else head
        return pl.from_pandas(frame.rename(columns=str), include_index=False)
    if isinstance(head, list) and head and isinstance(head[0], str):
        return pl.DataFrame({"text": head})
    array = np.asarray(head)
    array = array.reshape(len(array), -1)
    names = names if names and len(names) == array.shape[1] else [f"f{place}" for place in range(array.shape[1])]
    return pl.DataFrame({name: pl.Series(array[:, place].tolist()) for place, name in enumerate(names)}, strict=False)


def described(
    table: Any, name: str, context: str = "train", target: Any = None, *, rows: int | None = None, names: list[str] | None = None
) -> Input | None:
    """What is said of data that went in: digest, schema, rows; never a row of it. None for what can only be read once.

    ``rows``, ``names``: of the whole, where ``table`` holds only some rows of it, without their names.
    """
    count = rows if rows is not None else height(table)
    if count is None:
        return None
    wide, kind = width(table), f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"
    named = names or columns(table) or [f"f{place}" for place in range(min(wide, _MOST_COLUMNS))]
    kinds = _dtypes(table, len(named))
    fields = [{"name": item, "type": what, "required": True} for item, what in zip(named, kinds, strict=False)][:_MOST_COLUMNS]
    source = {"kind": kind, "rows": count, "columns": wide}
    return Input(
        name=(name or "training")[:500], digest=_digest(table, target, count), source_type="memory",
        source=msgspec.json.encode(source).decode(), schema=msgspec.json.encode({"mlflow_colspec": fields}).decode(),
        profile=msgspec.json.encode({"num_rows": count, "num_elements": count * wide}).decode(), tags={_CONTEXT: context},
    )  # fmt: skip


def name_of(value: Any) -> str:
    """What the caller calls a value: the name of a variable of his that holds it, else nothing."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - looks at the caller's variables
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("rung.client.autolog"):
        frame = frame.f_back
    if frame is None or value is None:
        return ""
    for names in (frame.f_locals, frame.f_globals):
        for name, held in list(names.items()):
            if held is value and name.isidentifier() and not name.startswith("_"):
                return name
    return ""


def _dtypes(table: Any, count: int) -> list[str]:
    kinds = getattr(table, "dtypes", None)
    if kinds is not None and hasattr(table, "columns"):
        return [_kind(str(item)) for item in kinds]
    kind = getattr(table, "dtype", None)
    return [_KINDS.get(getattr(kind, "kind", ""), "string" if kind is None else "double" if "loat" in str(kind) else "string")] * count


def _kind(dtype: str) -> str:
    lowered = dtype.lower()
    for start, kind in (("int", "long"), ("uint", "long"), ("float", "double"), ("bool", "boolean"), ("date", "datetime")):
        if lowered.startswith(start):
            return kind
    return "string"


def _digest(table: Any, target: Any, rows: int) -> str:
    """Of shape, names and at most 10,000 rows evenly spread, the target's beside them."""
    parts = [repr((rows, width(table), columns(table))).encode()]
    for item in (table, target):
        count = height(item) if item is not None else None
        if count:
            parts.append(_bytes(some_rows(item, spread(count, _DIGESTED_ROWS))))
    return digest_of(b"\0".join(parts)).partition(":")[2][:32]


def _bytes(rows: Any) -> bytes:
    if hasattr(rows, "tocsr"):
        rows = rows.tocsr()
        return b"".join((rows.indptr.tobytes(), rows.indices.tobytes(), rows.data.tobytes()))
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        return b"\0".join(_bytes(rows.iloc[:, place].to_numpy()) for place in range(rows.shape[1]))
    array = np.asarray(rows)
    return repr(array.tolist()).encode("utf-8", "replace") if array.dtype.kind in "OUSM" else np.ascontiguousarray(array).tobytes()
