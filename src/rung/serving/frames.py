"""Frames of the prediction log, version 1: read only, for segments that an older Rung wrote. ``packing`` writes version 2.

payload = msgpack of the batch; numbers as raw little-endian bytes with a null bitmap, the rest as arrays
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

_NUMPY = {
    "Float64": "<f8", "Float32": "<f4", "Int64": "<i8", "Int32": "<i4", "Int16": "<i2", "Int8": "<i1",
    "UInt64": "<u8", "UInt32": "<u4", "UInt16": "<u2", "UInt8": "<u1",
}  # fmt: skip


class PackedColumn(msgspec.Struct, array_like=True):
    """One column: numbers as bytes, everything else as a list."""

    name: str
    dtype: str
    data: bytes | list[Any]
    nulls: bytes | None = None


class Batch(msgspec.Struct):
    """Answers of one arm of one revision to one request."""

    deployment: str
    model: str
    number: int
    revision: int
    arm: str
    answered_us: int
    elapsed_us: int
    ids: list[str]
    times_us: bytes
    scores: bytes
    columns: list[PackedColumn]
    errors: int = 0

    @property
    def rows(self) -> int:
        """Number of answers."""
        return len(self.ids)


_DECODE = msgspec.msgpack.Decoder(Batch).decode


def unpacked(payload: bytes) -> Batch:
    """The batch of a payload."""
    return _DECODE(payload)


def pack_columns(frame: pl.DataFrame) -> list[PackedColumn]:
    """The columns of a frame, ready for the wire."""
    return [_pack(series) for series in frame.get_columns()]


def frame_of(batch: Batch, wanted: set[str] | None = None) -> pl.DataFrame:
    """A batch as a frame: the log's own columns, then the inputs (all, or those wanted)."""
    return frame_of_all([batch], wanted)


def frame_of_all(batches: Sequence[Batch], wanted: set[str] | None = None) -> pl.DataFrame:
    """Batches as one frame, in order. Batches of one shape are joined as bytes, so a column is decoded once for all."""
    shapes: dict[tuple[tuple[str, str], ...], list[Batch]] = {}
    ordered: list[list[Batch]] = []
    for batch in batches:
        shape = tuple((c.name, c.dtype) for c in batch.columns)
        if not ordered or ordered[-1] is not shapes.get(shape):
            shapes[shape] = []
            ordered.append(shapes[shape])
        shapes[shape].append(batch)
    return pl.concat([_joined(group, wanted) for group in ordered], how="diagonal_relaxed")


def _joined(group: Sequence[Batch], wanted: set[str] | None) -> pl.DataFrame:
    rows = np.array([batch.rows for batch in group])

    def told(values: list[Any], dtype: Any) -> pl.Series:
        return pl.Series(np.repeat(np.array(values), rows), dtype=dtype)

    own = {
        "prediction_id": pl.Series([key for batch in group for key in batch.ids], dtype=pl.String),
        "event_time": _instants(np.frombuffer(b"".join(batch.times_us for batch in group), dtype="<i8")),
        "answered_at": told([batch.answered_us for batch in group], pl.Int64).cast(pl.Datetime("us", "UTC")),
        "model": told([batch.model for batch in group], pl.String),
        "version": told([batch.number for batch in group], pl.Int64),
        "revision": told([batch.revision for batch in group], pl.Int64),
        "arm": told([batch.arm for batch in group], pl.String),
        "score": pl.Series(np.frombuffer(b"".join(batch.scores for batch in group), dtype="<f8")),
    }
    inputs = {
        column.name: unpack_column([batch.columns[place] for batch in group], rows)
        for place, column in enumerate(group[0].columns)
        if (wanted is None or column.name in wanted) and column.name not in own
    }
    return pl.DataFrame({**own, **inputs})


def _instants(micros: Any) -> pl.Series:
    return pl.Series(micros).cast(pl.Datetime("us", "UTC"))


def _pack(series: pl.Series) -> PackedColumn:
    name, dtype = series.name, str(series.dtype)
    if dtype not in _NUMPY:
        values = series.cast(pl.String) if series.dtype in {pl.Categorical, pl.Enum} else series
        if series.dtype == pl.Boolean or values.dtype == pl.String:
            return PackedColumn(name=name, dtype="Boolean" if series.dtype == pl.Boolean else "String", data=values.to_list())
        return PackedColumn(name=name, dtype="String", data=values.cast(pl.String).to_list())
    nulls = None
    if series.null_count():
        nulls = np.packbits(series.is_null().to_numpy()).tobytes()
        series = series.fill_null(0)
    return PackedColumn(name=name, dtype=dtype, data=series.to_numpy().astype(_NUMPY[dtype], copy=False).tobytes(), nulls=nulls)


def unpack_column(parts: list[PackedColumn], rows: Any) -> pl.Series:
    """One column from its parts; ``rows`` are the rows of each."""
    name, dtype = parts[0].name, parts[0].dtype
    if dtype not in _NUMPY:
        values = [value for part in parts for value in part.data]
        return pl.Series(name, values, dtype=pl.Boolean if dtype == "Boolean" else pl.String)
    numbers = np.frombuffer(b"".join(bytes(part.data) for part in parts if isinstance(part.data, bytes)), dtype=_NUMPY[dtype])
    series = pl.Series(name, numbers)
    if all(part.nulls is None for part in parts):
        return series
    missing = np.concatenate([_missing(part, int(n)) for part, n in zip(parts, rows, strict=True)])
    return pl.select(pl.when(pl.Series(~missing)).then(series).otherwise(None).alias(name)).to_series()


def _missing(part: PackedColumn, n: int) -> Any:
    if part.nulls is None:
        return np.zeros(n, dtype=bool)
    return np.unpackbits(np.frombuffer(part.nulls, dtype=np.uint8), count=n).astype(bool)
