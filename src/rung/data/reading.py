"""Reading what users hand in: Parquet as it is, CSV into canonical Parquet, with one clear error naming the place.

A text is a CSV when its first line names distinct columns and every line has as many fields as the first.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable

import numpy as np
import polars as pl

from rung.core.errors import Invalid
from rung.data.records import Column

CSV_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET_ENDINGS = (".parquet", ".pq")
ROW_GROUP = 262_144
_SEPARATORS = ",;\t|"


def is_csv(path: str) -> bool:
    """Whether a path ends like a CSV file."""
    return path.lower().endswith(CSV_ENDINGS)


def is_parquet(path: str) -> bool:
    """Whether a path ends like a Parquet file."""
    return path.lower().endswith(PARQUET_ENDINGS)


def as_parquet(path: str) -> str:
    """The path under which a CSV file's rows are kept."""
    for ending in sorted(CSV_ENDINGS, key=len, reverse=True):
        if path.lower().endswith(ending):
            return path[: -len(ending)] + ".parquet"
    return path + ".parquet"


def to_parquet(frame: pl.DataFrame) -> bytes:
    """The one way rows become bytes: equal frames give equal bytes, so the same content has the same digest."""
    target = io.BytesIO()
    try:
        frame.write_parquet(target, compression="zstd", compression_level=1, statistics=True, row_group_size=ROW_GROUP)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Invalid(
            f"The frame cannot be kept as Parquet: {_first(error)}.", code="data.not_parquet", hint="Turn objects into text or numbers."
        ) from None
    return target.getvalue()


def read_parquet(data: bytes, path: str) -> pl.DataFrame:
    """The frame of a Parquet file. Raises Invalid for anything else."""
    if not data:
        raise Invalid(f"{path} is empty.", code="data.empty_file", hint="Give a file with content.")
    try:
        return pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Invalid(f"{path} is not a Parquet file: {_first(error)}.", code="data.not_parquet", hint="Check the file.") from None


def schema_of(frame: pl.DataFrame | pl.LazyFrame, nulls: dict[str, int]) -> tuple[Column, ...]:
    """Columns of a frame; ``nulls`` holds the number of nulls by column."""
    return tuple(Column(name=name, dtype=str(dtype), nullable=nulls.get(name, 0) > 0) for name, dtype in frame.collect_schema().items())


def read_csv(data: bytes, path: str, *, separator: str = "", nulls: Iterable[str] = ("", "NA", "NULL", "null")) -> pl.DataFrame:
    """The frame of a CSV text, types inferred from all rows.

    Raises:
        Invalid: empty, not text, no columns, a column named twice or not at all, or a line with too few or too many
            fields; the message names line and column.
    """
    data = _plain(data, path)
    separator = separator or _separator(data)
    names = _header(data, path, separator)
    _refuse_ragged(data, path, separator, len(names))
    marks = list(nulls)
    try:
        frame = pl.read_csv(
            io.BytesIO(data),
            separator=separator,
            null_values=marks,
            infer_schema_length=None,
            try_parse_dates=True,
            missing_utf8_is_empty_string="" not in marks,
        )
    except pl.exceptions.PolarsError as error:
        raise Invalid(f"{path} cannot be read as CSV: {_first(error)}.", code="data.not_csv", hint="Check the file.") from None
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _plain(data: bytes, path: str) -> bytes:
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise Invalid(f"{path} is not a whole gzip file: {error}.", code="data.not_csv", hint="Compress it again.") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise Invalid(f"{path} is empty.", code="data.empty_file", hint="Give a file with a line of column names.")
    at = data.find(b"\0")
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise Invalid(f"{path} is not a CSV: line {line} holds a zero byte.", code="data.not_csv", hint="Is it a binary file?")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(
            f"{path} is not UTF-8: line {line} holds byte 0x{data[error.start]:02x}.", code="data.not_csv", hint="Save it as UTF-8."
        ) from None
    return data


def _separator(data: bytes) -> str:
    line = data.lstrip(b"\r\n").split(b"\n", 1)[0].decode()
    return max(_SEPARATORS, key=line.count)


def _header(data: bytes, path: str, separator: str) -> list[str]:
    try:
        names = next(row for row in csv.reader(io.StringIO(data.decode(), newline=""), delimiter=separator) if row)
    except (StopIteration, csv.Error) as error:
        raise Invalid(
            f"{path} has no line of column names: {error}.", code="data.not_csv", hint="Name the columns in the first line."
        ) from None
    seen: set[str] = set()
    for place, name in enumerate(names, 1):
        if not name.strip():
            raise Invalid(f"{path} does not name column {place} in its first line.", code="data.unnamed_column", hint="Name every column.")
        if name in seen:
            raise Invalid(f"{path} names column {name!r} twice.", code="data.duplicate_column", hint="Rename one of them.")
        seen.add(name)
    return names


def _refuse_ragged(data: bytes, path: str, separator: str, width: int) -> None:
    found = _first_ragged_quoted(data, separator, width) if b'"' in data else _first_ragged(data, separator, width)
    if found:
        line, fields = found
        raise Invalid(
            f"{path} is not a CSV: line {line} has {fields} field{'' if fields == 1 else 's'}, the first line names {width} columns.",
            code="data.ragged",
            hint="Mend the line, or give the separator.",
        )


def _first_ragged(data: bytes, separator: str, width: int) -> tuple[int, int] | None:
    """Line and number of fields of the first line of another width, by counting bytes: no quotes, so no hidden separators."""
    raw = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    before = np.searchsorted(np.flatnonzero(raw == ord(separator)), ends)
    fields = np.diff(before, prepend=0) + 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    blank = (ends == starts) | ((ends == starts + 1) & (raw[starts] == ord("\r")))
    allowed = blank if width == 1 else _edges(blank)
    wrong = np.flatnonzero((fields != width) & ~allowed)
    return None if wrong.size == 0 else (int(wrong[0]) + 1, int(0 if blank[wrong[0]] else fields[wrong[0]]))


def _edges(blank: np.ndarray) -> np.ndarray:
    """Blank lines before the first and after the last line with content."""
    filled = np.flatnonzero(~blank)
    places = np.arange(blank.size)
    return blank & ((places < filled[0]) | (places > filled[-1]))


def _first_ragged_quoted(data: bytes, separator: str, width: int) -> tuple[int, int] | None:
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=separator, strict=True)
    blanks: tuple[int, int] | None = None
    seen = False
    try:
        for row in reader:
            if not row:
                blanks = blanks or ((reader.line_num, 0) if seen and width > 1 else None)
            elif blanks:
                return blanks
            elif len(row) != width:
                return reader.line_num, len(row)
            else:
                seen = True
    except csv.Error as error:
        raise Invalid(f"The CSV breaks off in line {reader.line_num}: {error}.", code="data.not_csv", hint="Close every quote.") from None
    return None


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".: ")[:300]
