"""From uploaded files to a table: Parquet is checked and kept, CSV is parsed into canonical Parquet."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence

import numpy as np
import polars as pl

from rung.core.errors import Invalid
from rung.data.records import Column, FileEntry, Format
from rung.storage.blobs import BlobStore

PARQUET, CSV = (".parquet",), (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_SNIFF = 64 << 10
_SPECIALS = ("nan", "inf", "+inf", "-inf")


def reading_of(files: Sequence[FileEntry]) -> str:
    """How files are read when nobody said: as Parquet or CSV when all end so, else as they are."""
    for ending, reading in ((PARQUET, "parquet"), (CSV, "csv")):
        if all(entry.path.lower().endswith(ending) for entry in files):
            return reading
    return "files"


def table_of(
    blobs: BlobStore, files: Sequence[FileEntry], reading: str, nulls: Sequence[str], separator: str
) -> tuple[Format, list[FileEntry], list[Column], int | None]:
    """Format, stored files, schema and rows of an upload.

    Raises:
        Invalid: a file is empty, is not what its ending says, or the files are not of one schema.
    """
    if reading == "files":
        return "files", sorted(files, key=lambda entry: entry.path), [], None
    kept, schema, rows = [], None, 0
    for entry in sorted(files, key=lambda e: e.path):
        stored, frame_schema, height = _parquet(blobs, entry) if reading == "parquet" else _csv(blobs, entry, nulls, separator)
        if schema is not None and frame_schema != schema:
            raise Invalid(
                f"{entry.path} has other columns than {kept[0].path}: {_difference(schema, frame_schema)}.",
                code="data.mixed_schema",
                hint="Add files of one schema together, others as a dataset of their own.",
            )
        schema, rows = frame_schema, rows + height
        kept.append(stored)
    assert schema is not None  # noqa: S101 - a request has at least one file
    table = pl.scan_parquet([blobs.url(entry.digest) for entry in kept])
    gaps = table.select(pl.all().null_count()).collect().row(0, named=True)
    return "table", kept, [Column(name=name, dtype=str(dtype), nullable=gaps[name] > 0) for name, dtype in schema.items()], rows


def _parquet(blobs: BlobStore, entry: FileEntry) -> tuple[FileEntry, dict[str, pl.DataType], int]:
    try:
        frame = pl.scan_parquet(blobs.url(entry.digest))
        schema = dict(frame.collect_schema())
        height = frame.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(entry.path, "Parquet", error) from None
    if not schema:
        raise Invalid(f"{entry.path} has no columns.", code="data.no_columns", hint="Give a table.")
    return entry, schema, int(height)


def _csv(blobs: BlobStore, entry: FileEntry, nulls: Sequence[str], separator: str) -> tuple[FileEntry, dict[str, pl.DataType], int]:
    data = blobs.get(entry.digest)
    if entry.path.lower().endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise _unreadable(entry.path, "gzip", error) from None
    frame = parsed_csv(data, entry.path, nulls, separator or ("\t" if ".tsv" in entry.path.lower() else ""))
    sink = io.BytesIO()
    frame.write_parquet(sink, compression="zstd", statistics=True)
    content = sink.getvalue()
    path = entry.path.rsplit(".", 2 if entry.path.lower().endswith(".gz") else 1)[0] + ".parquet"
    stored = FileEntry(path=path, digest=blobs.put(content), size_bytes=len(content))
    return stored, dict(frame.schema), frame.height


def parsed_csv(data: bytes, name: str, nulls: Sequence[str], separator: str) -> pl.DataFrame:
    """A frame from the bytes of a CSV file with a header. Raises Invalid, naming the line or column that is wrong."""
    data = _text(data, name)
    head = data[:_SNIFF].decode("utf-8", errors="ignore").lstrip("\r\n")
    separator = separator or _separator(head)
    header = next(csv.reader([head.splitlines()[0]], delimiter=separator))
    for place, column in enumerate(header, 1):
        if not column.strip():
            raise Invalid(f"{name} does not name column {place} in its first line.", code="data.unnamed_column", hint="Name every column.")
        if column in header[: place - 1]:
            raise Invalid(f"{name} has column {column!r} twice.", code="data.duplicate_column", hint="Rename one of them.")
    _refuse_ragged(data, name, len(header), separator)
    try:
        frame = pl.read_csv(io.BytesIO(data), separator=separator, null_values=list(nulls), infer_schema_length=None, try_parse_dates=True)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise _unreadable(name, "CSV", error) from None
    return frame.with_columns(_with_specials(frame[column]) for column in frame.columns if frame.schema[column] == pl.String)


def _with_specials(texts: pl.Series) -> pl.Series:
    """Texts that are all numbers but for NaN and infinities as numbers; Polars would leave such a column as text."""
    lowered = texts.str.to_lowercase()
    special = lowered.is_in(_SPECIALS)
    if not special.any():
        return texts
    numbers = lowered.filter(~special).drop_nulls().cast(pl.Float64, strict=False)
    if numbers.is_empty() or numbers.null_count():
        return texts
    return lowered.cast(pl.Float64)


def _separator(head: str) -> str:
    first = head.splitlines()[0]
    counts = {candidate: first.count(candidate) for candidate in (",", ";", "\t", "|")}
    best = max(counts, key=lambda candidate: counts[candidate])
    return best if counts[best] else ","


def _text(data: bytes, name: str) -> bytes:
    """The bytes, without a byte order mark. Raises Invalid, naming the line, for what is empty or no text."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise Invalid(f"{name} is empty.", code="data.empty_file", hint="Give a CSV file with a header line.")
    at = data.find(b"\0")
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise Invalid(f"{name} is not text: line {line} holds a NUL byte.", code="data.not_csv", hint="Add it as files, or convert it.")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(
            f"{name} is not text: line {line} holds byte 0x{data[error.start]:02x}, which is not UTF-8.",
            code="data.not_csv",
            hint="Save it as UTF-8, or add it as files.",
        ) from None
    return data


def _refuse_ragged(data: bytes, name: str, columns: int, separator: str) -> None:
    # Polars pads short rows in silence; a table with a row cut short is a broken upload, so the lines are counted first.
    found = _ragged_quoted(data, name, separator, columns) if b'"' in data else _ragged(data, separator, columns)
    if found:
        number, values = found
        raise Invalid(
            f"{name} line {number} has {values} values, the header has {columns}.",
            code="data.ragged_csv",
            hint="Mend the line, or quote its text.",
        )


def _ragged(data: bytes, separator: str, columns: int) -> tuple[int, int] | None:
    """Line and values of the first line of another width. No quotes, so every separator and line end is what it seems."""
    raw = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    values = np.diff(np.searchsorted(np.flatnonzero(raw == ord(separator)), ends), prepend=0) + 1
    blank = (ends == starts) | ((ends == starts + 1) & (raw[starts] == ord("\r")))
    wrong = np.flatnonzero((values != columns) & ~blank)
    return (int(wrong[0]) + 1, int(values[wrong[0]])) if wrong.size else None


def _ragged_quoted(data: bytes, name: str, separator: str, columns: int) -> tuple[int, int] | None:
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline=""), delimiter=separator, strict=True)
    try:
        return next(((reader.line_num, len(row)) for row in reader if row and len(row) != columns), None)
    except csv.Error as error:
        raise Invalid(f"{name} breaks off in line {reader.line_num}: {error}.", code="data.not_csv", hint="Close every quote.") from None


def _unreadable(name: str, kind: str, error: Exception) -> Invalid:
    return Invalid(
        f"{name} is not {kind}: {str(error).splitlines()[0]}.", code=f"data.not_{kind.lower()}", hint="Check the file, or add it as files."
    )


def _difference(one: dict[str, pl.DataType], other: dict[str, pl.DataType]) -> str:
    missing, extra = [n for n in one if n not in other], [n for n in other if n not in one]
    changed = [f"{n} {one[n]} and {other[n]}" for n in one if n in other and one[n] != other[n]]
    return (
        "; ".join(
            part
            for part in (f"misses {', '.join(missing)}" if missing else "", f"adds {', '.join(extra)}" if extra else "", ", ".join(changed))
            if part
        )
        or "another order"
    )
