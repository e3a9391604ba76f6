"""Frames as Parquet with fixed writer settings: Polars frames and lazy frames, Arrow tables, pandas frames and series."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from rung.core.errors import Invalid
from rung.pipelines.materialisers.array import compare_arrays
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Part, Payload


@MATERIALISERS.member("polars")
class PolarsFrame:
    """polars.DataFrame, LazyFrame (collected) and Series."""

    rank = 90

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a Polars frame or series."""
        polars = sys.modules.get("polars")
        return polars is not None and isinstance(value, (polars.DataFrame, polars.LazyFrame, polars.Series))

    @staticmethod
    def dump(value: Any) -> Payload:
        """Parquet; a lazy frame is collected first."""
        import polars as pl  # noqa: PLC0415 - pipelines without frames never load it

        kind = type(value).__name__
        if isinstance(value, pl.LazyFrame):
            value = value.collect()
        frame = value.to_frame() if isinstance(value, pl.Series) else value
        objects = [name for name, dtype in frame.schema.items() if dtype == pl.Object]
        if objects:
            raise Invalid(
                f"column {objects[0]!r} holds Python objects.",
                code="pipelines.unserialisable",
                hint="Convert it to numbers, text or a list.",
            )
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd", compression_level=3, statistics=True)
        return Payload(buffer.getvalue(), {"kind": kind})

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The frame, series or lazy frame."""
        import polars as pl  # noqa: PLC0415 - see dump

        frame = pl.read_parquet(io.BytesIO(payload.data) if isinstance(payload.data, bytes) else payload.data)
        kind = payload.meta.get("kind", "DataFrame")
        if kind == "Series":
            return frame.to_series()
        return frame.lazy() if kind == "LazyFrame" else frame

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Same columns and rows, numbers within the tolerance."""
        import polars as pl  # noqa: PLC0415 - see dump

        frames = [
            value.collect() if isinstance(value, pl.LazyFrame) else value.to_frame() if isinstance(value, pl.Series) else value
            for value in (original, repeated)
        ]
        return compare_frames(frames[0], frames[1], tolerance)


@MATERIALISERS.member("pandas")
class PandasFrame:
    """pandas.DataFrame and Series, their index included."""

    rank = 90

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a pandas frame or series."""
        pandas = sys.modules.get("pandas")
        return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series))

    @staticmethod
    def dump(value: Any) -> Payload:
        """Parquet with pandas' own metadata."""
        import pandas as pd  # noqa: PLC0415 - only where a pandas frame is

        series = isinstance(value, pd.Series)
        named = series and value.name is not None
        frame = (value if named else value.rename("values")).to_frame() if series else value
        if not all(isinstance(name, str) for name in frame.columns):
            raise Invalid("its column names are not all text.", code="pipelines.unserialisable", hint="Rename the columns to text.")
        buffer = io.BytesIO()
        frame.to_parquet(buffer, engine="pyarrow", compression="zstd")
        return Payload(buffer.getvalue(), {"kind": "Series" if series else "DataFrame", "named": named})

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The frame or series."""
        import pandas as pd  # noqa: PLC0415 - see dump

        frame = pd.read_parquet(io.BytesIO(payload.data) if isinstance(payload.data, bytes) else payload.data, engine="pyarrow")
        if payload.meta.get("kind") != "Series":
            return frame
        series = frame.iloc[:, 0]
        return series if payload.meta.get("named") else series.rename(None)

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Same columns, index and rows, numbers within the tolerance."""
        import pandas as pd  # noqa: PLC0415 - see dump
        import polars as pl  # noqa: PLC0415

        frames = [value.to_frame() if isinstance(value, pd.Series) else value for value in (original, repeated)]
        if not frames[0].index.equals(frames[1].index):
            return Difference("different", "the index is another")
        return compare_frames(pl.from_pandas(frames[0].reset_index(drop=True)), pl.from_pandas(frames[1].reset_index(drop=True)), tolerance)


@MATERIALISERS.member("arrow")
class ArrowTable:
    """pyarrow.Table."""

    rank = 90

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is an Arrow table."""
        pyarrow = sys.modules.get("pyarrow")
        return pyarrow is not None and isinstance(value, pyarrow.Table)

    @staticmethod
    def dump(value: Any) -> Payload:
        """Parquet."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - only where an Arrow table is

        buffer = io.BytesIO()
        pq.write_table(value, buffer, compression="zstd")
        return Payload(buffer.getvalue())

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The table."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - see dump

        return pq.read_table(io.BytesIO(payload.data) if isinstance(payload.data, bytes) else payload.data)

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """As frames."""
        import polars as pl  # noqa: PLC0415 - see dump

        first, second = pl.from_arrow(original), pl.from_arrow(repeated)
        if not isinstance(first, pl.DataFrame) or not isinstance(second, pl.DataFrame):
            return Difference("different", "not a table")
        return compare_frames(first, second, tolerance)


def compare_frames(original: Any, repeated: Any, tolerance: float) -> Difference:
    """How alike two Polars frames are: schema, number of rows, every column in the order of rows; else rows in any order."""
    if original.schema != repeated.schema:
        changed = [name for name in {**original.schema, **repeated.schema} if original.schema.get(name) != repeated.schema.get(name)]
        return Difference("different", f"columns {', '.join(changed) or 'in another order'} differ")
    if original.height != repeated.height:
        return Difference("different", f"had {original.height} rows, has {repeated.height}")
    parts = tuple(part for name in original.columns if (part := _compare_column(name, original[name], repeated[name], tolerance)))
    different = [part for part in parts if part.likeness == "different"]
    if not parts:
        return Difference("identical", "equal")
    if different and _same_rows(original, repeated):
        return Difference("equivalent", "the same rows in another order", parts)
    worst = max(parts, key=lambda part: (part.likeness == "different", part.relative or 0.0))
    if different:
        names = ", ".join(repr(part.name) for part in different[:10])
        what = f"column{'s' if len(different) > 1 else ''} {names} differ{'s' if len(different) == 1 else ''}"
        by = f" by up to {worst.relative:.3g} of itself" if len(different) == 1 and worst.relative is not None else ""
        return Difference("different", what + by, parts)
    return Difference("equivalent", f"column {worst.name!r} differs by at most {worst.relative or 0.0:.3g} of itself", parts)


def _compare_column(name: str, first: Any, second: Any, tolerance: float) -> Part | None:
    """How a column differs; None when it does not."""
    if first.equals(second, null_equal=True):
        return None
    if not first.dtype.is_float() or not first.is_null().equals(second.is_null()):
        count = int((~first.eq_missing(second)).sum())
        return Part(name, "different", f"{count} of {len(first)} values differ")
    found = compare_arrays(first.fill_null(0.0).to_numpy(), second.fill_null(0.0).to_numpy(), tolerance, f"column {name!r}")
    return replace(found.parts[0], name=name) if found.parts else None


def _same_rows(original: Any, repeated: Any) -> bool:
    """Whether two frames hold the same rows, each as often, in whatever order."""
    import polars as pl  # noqa: PLC0415 - see dump

    try:
        return bool(original.hash_rows().sort().equals(repeated.hash_rows().sort()))
    except pl.exceptions.PolarsError:
        return False  # columns that cannot be hashed have no order of their own to be lost
