"""Reading segments of the prediction log, of either version: rows as frames, and totals of what was answered.

Frames of one shape are joined as bytes and read as one table, so a column is decoded once for thousands of answers.
Whatever the bytes are, reading ends at the first frame that is not whole and sound; it does not raise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.serving.frames import Batch, PackedColumn, frame_of_all, unpack_column, unpacked
from rung.serving.packing import CRC, HEAD, HEADER, MATRIX, NOTHING, ROWS, SHED, Extra, Source
from rung.serving.walking import Cursor, whole_frames

LOG = logging.getLogger("rung.serving")
DETAILS = {
    "latency_us": pl.Int64(), "caller": pl.String(), "request_id": pl.String(), "trace_id": pl.String(),
    "flags": pl.List(pl.String()), "scores": pl.List(pl.Float64()),
}  # fmt: skip
_OWN = ("prediction_id", "event_time", "answered_at", "model", "version", "revision", "arm", "score")
_DAY_US = 86_400_000_000
_OLDEST_US, _NEWEST_US = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 for year in (2, 9999))
_SHAPE = slice(CRC.size, CRC.size + 16)
_FIXED = [
    ("length", "<u4"), ("kind", "u1"), ("bits", "u1"), ("source", "<u2"), ("n", "<u4"), ("width", "<u2"), ("idw", "<u2"), ("extra", "<u4"),
    ("unkept", "<u4"), ("errors", "<u4"), ("answered", "<i8"), ("elapsed", "<u4"), ("caller", "<u4"),
]  # fmt: skip
_FIXED_DTYPE = np.dtype(_FIXED)
_decode_extra = msgspec.msgpack.Decoder(Extra).decode
_decode_rows = msgspec.msgpack.Decoder(tuple[list[str], list[list[Any]]]).decode
_decode_columns = msgspec.msgpack.Decoder(list[PackedColumn]).decode
_MISTAKES = (msgspec.DecodeError, ValueError, KeyError, IndexError, TypeError, OverflowError, pl.exceptions.PolarsError)


@dataclass(frozen=True)
class Total:
    """Answers of one arm of one revision on one UTC day: ``rows`` in the log, ``unlogged`` left out by the share, ``shed`` for want of room."""

    model: str
    number: int
    revision: int
    arm: str
    day: str
    rows: int = 0
    errors: int = 0
    unlogged: int = 0
    shed: int = 0
    elapsed_us: int = 0

    @property
    def key(self) -> tuple[str, int, int, str, str]:
        """What totals are added up by."""
        return (self.model, self.number, self.revision, self.arm, self.day)


@dataclass
class Piece:
    """Frames of one shape and source."""

    source: Source
    kind: int
    names: list[str]
    bodies: list[bytes] = field(default_factory=list)

    def frame(self, wanted: set[str] | None, *, details: bool) -> pl.DataFrame:
        """Rows as the log's own columns, then the inputs (all, or those wanted), then masked ones as hashes."""
        fixed = self.kind == MATRIX and HEAD.unpack_from(self.bodies[0])[6] > 0
        return self._table(wanted, details=details) if fixed else self._one_by_one(wanted, details=details)

    def heads(self) -> NDArray[Any]:
        """The numbers at the head of every frame."""
        return np.frombuffer(b"".join(body[: HEAD.size] for body in self.bodies), dtype=_FIXED_DTYPE)

    def _table(self, wanted: set[str] | None, *, details: bool) -> pl.DataFrame:
        _, _, _, _, n, width, idw, extra, *_ = HEAD.unpack_from(self.bodies[0])
        inputs = len(self.source.names)
        table = np.frombuffer(
            b"".join(self.bodies),
            dtype=np.dtype(
                [*_FIXED, ("ids", f"V{idw}", (n,)), ("times", "<i8", (n,)), ("scores", "<f8", (n, width)), ("inputs", "<f8", (n, inputs))]
                + ([("extras", f"V{extra}")] if extra else [])
            ),
        )
        rows = len(self.bodies) * n
        scores = table["scores"].reshape(rows, width)
        ids = _fixed_width(np.ascontiguousarray(table["ids"]).tobytes(), idw, rows)
        own = self._own(ids, table["times"].reshape(rows), scores, np.repeat(table["answered"], n))
        taken = [place for place, name in enumerate(self.source.names) if wanted is None or name in wanted]
        columns = np.ascontiguousarray(table["inputs"].reshape(rows, inputs)[:, taken].T)
        data = {self.source.names[place]: _typed(columns[at], self.source.dtypes[place]) for at, place in enumerate(taken)}
        extras = [_decode_extra(raw.tobytes()) for raw in table["extras"]] if extra else []
        return self._whole(own, data, extras, [n] * len(self.bodies), table, scores, wanted, details=details)

    def _one_by_one(self, wanted: set[str] | None, *, details: bool) -> pl.DataFrame:
        ids: list[str] = []
        times, scores, extras, counts, parts = [], [], [], [], []
        for body in self.bodies:
            _, kind, _, _, n, width, idw, extra, *_ = HEAD.unpack_from(body)
            lengths = [idw] * n if idw else np.frombuffer(body, dtype="<u2", count=n, offset=HEAD.size).tolist()
            at = HEAD.size + (0 if idw else 2 * n)
            for length in lengths:
                ids.append(body[at : at + length].decode())
                at += length
            times.append(body[at : at + 8 * n])
            scores.append(np.frombuffer(body, dtype="<f8", count=n * width, offset=at + 8 * n).reshape(n, width))
            at += 8 * n * (1 + width)
            parts.append(_inputs(self.source, kind, body[at : len(body) - extra], n))
            extras.append(_decode_extra(body[len(body) - extra :]) if extra else Extra())
            counts.append(n)
        heads = self.heads()
        every = np.concatenate(scores)
        own = self._own(
            pl.Series(ids, dtype=pl.String), np.frombuffer(b"".join(times), dtype="<i8"), every, np.repeat(heads["answered"], heads["n"])
        )
        held = _stacked(self.source, parts)
        data = {name: held[name] for name in held.columns if wanted is None or name in wanted}
        return self._whole(own, data, extras, counts, heads, every, wanted, details=details)

    def _own(self, ids: pl.Series, times: Any, scores: Any, answered: Any) -> dict[str, pl.Series]:
        rows = len(ids)
        said = self.source
        return {
            "prediction_id": ids,
            "event_time": _instants(times),
            "answered_at": _instants(answered),
            "model": pl.repeat(said.model, rows, dtype=pl.String, eager=True),
            "version": pl.repeat(said.number, rows, dtype=pl.Int64, eager=True),
            "revision": pl.repeat(said.revision, rows, dtype=pl.Int64, eager=True),
            "arm": pl.repeat(said.arm, rows, dtype=pl.String, eager=True),
            "score": pl.Series(np.ascontiguousarray(scores[:, 0] if scores.shape[1] == 1 else scores.max(axis=1))),
        }

    def _whole(
        self, own: dict[str, pl.Series], data: dict[str, pl.Series], extras: list[Extra], counts: list[int], heads: Any, scores: Any,
        wanted: set[str] | None, *, details: bool,
    ) -> pl.DataFrame:  # fmt: skip
        for place, name in enumerate(self.source.masked):
            if wanted is None or name in wanted:
                data[name] = pl.Series(
                    [v for extra, n in zip(extras, counts, strict=True) for v in (extra.masked[place] if extra.masked else [None] * n)],
                    dtype=pl.String,
                )
        if not details:
            return pl.DataFrame({**own, **{name: series for name, series in data.items() if name not in own}})
        extras = extras or [Extra()] * len(counts)
        repeated = np.array(counts)

        def told(values: list[str]) -> pl.Series:
            return pl.Series(np.repeat(np.array([value or None for value in values], dtype=object), repeated).tolist(), dtype=pl.String)

        more = {
            "latency_us": pl.Series(np.repeat(heads["elapsed"], repeated)).cast(pl.Int64),
            "caller": told([self.names[c] if c < len(self.names) else "" for c in heads["caller"].tolist()]),
            "request_id": told([extra.request_id for extra in extras]),
            "trace_id": told([extra.trace_id for extra in extras]),
            "flags": pl.Series(
                [f or None for extra, n in zip(extras, counts, strict=True) for f in (extra.flags or [()] * n)], dtype=DETAILS["flags"]
            ),
            "scores": pl.Series(scores.tolist() if scores.shape[1] > 1 else [None] * len(scores), dtype=DETAILS["scores"]),
        }
        both = {**own, **more}
        return pl.DataFrame({**both, **{input_name(name): series for name, series in data.items()}})

    def totals(self) -> Iterator[Total]:
        """What was answered, by day."""
        heads, said = self.heads(), self.source
        days = heads["answered"] // _DAY_US
        for day in np.unique(days).tolist():
            of = heads[days == day]
            shed = (of["bits"] & SHED) > 0
            unkept = of["unkept"].astype(np.int64)
            yield Total(
                said.model, said.number, said.revision, said.arm, _day(day), rows=int(of["n"].sum()), errors=int(of["errors"].sum()),
                unlogged=int(unkept[~shed].sum()), shed=int(unkept[shed].sum()), elapsed_us=int(of["elapsed"].sum(dtype=np.int64)),
            )  # fmt: skip


@dataclass
class Contents:
    """What a segment holds; ``end`` is where its sound part ends, ``whole`` whether that is all of it."""

    end: int
    whole: bool
    pieces: list[Piece] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def deployments(self) -> list[str]:
        """Those that answered, by name."""
        return sorted({piece.source.deployment for piece in self.pieces} | {batch.deployment for batch in self.batches})

    def frame(self, deployment: str, wanted: set[str] | None = None, *, details: bool = False) -> pl.DataFrame | None:
        """Rows of a deployment; None when there are none."""
        mine = [piece for piece in self.pieces if piece.source.deployment == deployment and piece.kind != NOTHING]
        parts = [frame for piece in mine if (frame := _read(piece, wanted, details=details)) is not None]
        old = [batch for batch in self.batches if batch.deployment == deployment and batch.rows]
        if old:
            parts.append(_with_details(frame_of_all(old, wanted)) if details else frame_of_all(old, wanted))
        return joined(parts) if parts else None

    def totals(self, deployment: str) -> list[Total]:
        """What a deployment answered, by model version, revision, arm and day."""
        found = [total for piece in self.pieces if piece.source.deployment == deployment for total in piece.totals()]
        for batch in self.batches:
            if batch.deployment == deployment:
                day = _day(batch.answered_us // _DAY_US)
                found.append(
                    Total(
                        batch.model, batch.number, batch.revision, batch.arm, day, rows=batch.rows, errors=batch.errors,
                        elapsed_us=batch.elapsed_us,
                    )
                )  # fmt: skip
        return added(found)


def contents(path: Path) -> Contents | None:
    """What a segment holds; None when it went away."""
    try:
        cursor = Cursor(path)
    except FileNotFoundError:
        return None
    try:
        if cursor.version == 1:
            return _first_version(path)
        pieces: dict[object, Piece] = {}
        if cursor.version:
            for _, body in cursor.entries():
                kind, idw = body[4], body[14] | body[15]
                key = body[_SHAPE] if kind == MATRIX and idw else (body[6:8], NOTHING if kind == NOTHING else ROWS)
                piece = pieces.get(key)
                if piece is None:
                    source = cursor.sources[int.from_bytes(body[6:8], "little")]
                    piece = pieces[key] = Piece(source, MATRIX if kind == MATRIX and idw else kind, cursor.callers)
                piece.bodies.append(body)
        return Contents(cursor.offset, cursor.version > 0 and cursor.offset >= cursor.size, list(pieces.values()))
    finally:
        cursor.close()


def joined(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames one under the other; columns that one lacks are missing there, and a column of two types becomes the wider one or text."""
    if len(parts) == 1:
        return parts[0]
    try:
        return pl.concat(parts, how="diagonal_relaxed")
    except (pl.exceptions.SchemaError, pl.exceptions.ComputeError):
        kinds: dict[str, set[pl.DataType]] = {}
        for part in parts:
            for name, dtype in part.schema.items():
                kinds.setdefault(name, set()).add(dtype)
        mixed = [name for name, dtypes in kinds.items() if len(dtypes) > 1]
        return pl.concat(
            [p.with_columns(pl.col([n for n in mixed if n in p.columns]).cast(pl.String)) for p in parts], how="diagonal_relaxed"
        )


def added(totals: Sequence[Total]) -> list[Total]:
    """Totals of the same things added up, in the order of their keys."""
    sums: dict[tuple[str, int, int, str, str], Total] = {}
    for one in totals:
        held = sums.get(one.key)
        sums[one.key] = one if held is None else Total(
            *one.key, rows=held.rows + one.rows, errors=held.errors + one.errors, unlogged=held.unlogged + one.unlogged,
            shed=held.shed + one.shed, elapsed_us=held.elapsed_us + one.elapsed_us,
        )  # fmt: skip
    return [sums[key] for key in sorted(sums)]


def input_name(name: str) -> str:
    """The column of an input in a frame with details: its own name, or ``input.NAME`` where the log has a column of that name."""
    return f"input.{name}" if name in DETAILS or name in _OWN else name


def _read(piece: Piece, wanted: set[str] | None, *, details: bool) -> pl.DataFrame | None:
    try:
        return piece.frame(wanted, details=details)
    except _MISTAKES as error:
        # its sums hold, so the disk is well: another program wrote it, and the rest of the log must be read all the same
        LOG.warning("%d frames of the prediction log of %s cannot be read: %s", len(piece.bodies), piece.source.deployment, error)
        return None


def _first_version(path: Path) -> Contents:
    data = path.read_bytes()
    end, batches = HEADER.size, []
    for offset, payload in whole_frames(data):
        try:
            batches.append(unpacked(payload))
        except msgspec.DecodeError:
            break
        end = offset
    return Contents(end, end >= len(data), batches=batches)


def _inputs(source: Source, kind: int, body: bytes, n: int) -> pl.DataFrame | tuple[list[str], list[list[Any]]]:
    if kind == MATRIX:
        columns = np.frombuffer(body, dtype="<f8").reshape(n, len(source.names)).T
        return pl.DataFrame({name: _typed(columns[at], source.dtypes[at]) for at, name in enumerate(source.names)})
    if kind == ROWS:
        dtypes, rows = _decode_rows(body)
        return dtypes, rows
    return pl.DataFrame({column.name: unpack_column([column], [n]) for column in _decode_columns(body)})


def _stacked(source: Source, parts: list[pl.DataFrame | tuple[list[str], list[list[Any]]]]) -> pl.DataFrame:
    """Inputs of frames one under the other; rows of the same types are made into columns together."""
    frames: list[pl.DataFrame] = []
    types: list[str] = []
    rows: list[list[Any]] = []

    def flush() -> None:
        if rows:
            schema = {name: getattr(pl, dtype) for name, dtype in zip(source.names, types, strict=True)}
            frames.append(pl.DataFrame(rows, schema=schema, orient="row"))
            rows.clear()

    for part in parts:
        if isinstance(part, pl.DataFrame):
            flush()
            frames.append(part)
            continue
        if part[0] != types:
            flush()
            types = part[0]
        rows.extend(part[1])
    flush()
    return joined(frames)


def _typed(values: NDArray[np.float64], dtype: str) -> pl.Series:
    series = pl.Series(values)
    if np.isnan(values).any():
        series = series.fill_nan(None)
    kind = getattr(pl, dtype, None) if dtype and dtype != "Float64" else None
    return series if kind is None else series.cast(kind, strict=False)


def _fixed_width(data: bytes, width: int, rows: int) -> pl.Series:
    """Texts of one width as a column; ASCII without a Python object for each."""
    if not data.isascii():
        return pl.Series([data[at : at + width].decode() for at in range(0, len(data), width)], dtype=pl.String)
    import pyarrow as pa  # noqa: PLC0415 - readers only

    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int64)
    array = pa.LargeStringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(data))
    return pl.Series(pl.from_arrow(array))


def _instants(micros: Any) -> pl.Series:
    # older logs may hold times that no calendar has; one of them must not keep the others from being read
    return pl.Series(np.clip(np.ascontiguousarray(micros), _OLDEST_US, _NEWEST_US)).cast(pl.Datetime("us", "UTC"))


def _with_details(frame: pl.DataFrame) -> pl.DataFrame:
    inputs = {name: input_name(name) for name in frame.columns if name not in _OWN}
    return frame.rename(inputs).with_columns([pl.lit(None, dtype=dtype).alias(name) for name, dtype in DETAILS.items()])


def _day(days: int) -> str:
    return datetime.fromtimestamp(days * 86_400, tz=UTC).strftime("%Y-%m-%d")
