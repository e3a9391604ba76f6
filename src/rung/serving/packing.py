"""Frames of the prediction log, version 2: entries as bytes, a few microseconds each.

    segment = header frame* zeros           "RLOG" version:u8 0:u8 0:u16 segment id:16 bytes
    frame   = crc32:u32 length:u32 payload  crc over length and payload; a length of 0 ends the segment; little-endian
    payload = shape varying section*

``shape`` (16 bytes) says how the sections lie, so frames of one shape are read as one table; ``varying`` (24 bytes) are an
entry's own numbers. Sections: ids, event times, scores, inputs, extra. What repeats (a source: who answered with which
inputs; a caller's name) is written once a segment, as a frame of its own, and named by number.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.serving.keeping import Keeping

if TYPE_CHECKING:
    import polars as pl

HEADER = struct.Struct("<4sBBH16s")
MAGIC, VERSION = b"RLOG", 2
SOURCE, CALLER, MATRIX, ROWS, COLUMNS, NOTHING = range(1, 7)
SHED = 1  # bit: the rows not kept were shed, not left out by the share
SHAPE = struct.Struct("<BBHIHHI")  # kind, bits, source, rows, scores a row, id width (0: lengths before them), bytes of extra
VARYING = struct.Struct("<IIqII")  # rows not kept, rows failed, answered (us), elapsed (us), caller
HEAD = struct.Struct("<IBBHIHHIIIqII")  # length, shape, varying
CRC = struct.Struct("<I")
_AFTER_LENGTH = HEAD.size - CRC.size
MAX_ENTRY = 4 << 20
_MAX_ELAPSED = (1 << 32) - 1
_FEW = 16
_MOST_NEAR = 4096
_FLOAT, _INT = np.dtype(np.float64), np.dtype(np.int64)
_PLAIN = frozenset({"Float64", "Float32", "Int64", "Int32", "Int16", "Int8", "UInt64", "UInt32", "UInt16", "UInt8", "Boolean", "String"})
_encode = msgspec.msgpack.Encoder().encode
_crc32 = zlib.crc32
_head = HEAD.pack
_crc = CRC.pack
_EMPTY_TIMES: NDArray[np.int64] = np.empty(0, dtype=np.int64)
_EMPTY_SCORES: NDArray[np.float64] = np.empty(0, dtype=np.float64)


class Entry(msgspec.Struct, gc=False):
    """Answers of one arm of one revision to one request: n rows that were answered, or ``errors`` rows that failed.

    ``scores`` is (n,) or (n, classes), then ``outputs`` names the classes. The inputs are a ``matrix`` (n, inputs), float64 with
    NaN for missing, or a ``frame``; ``names`` and ``dtypes`` (Polars' words: Float64, Int64, Boolean, String) are those of the
    version's signature: hand over the same two tuples with every entry of a version, they are told apart by identity.
    """

    deployment: str
    model: str
    number: int
    revision: int
    arm: str
    answered_us: int
    elapsed_us: int
    ids: list[str]
    times_us: NDArray[np.int64] = _EMPTY_TIMES
    scores: NDArray[np.float64] = _EMPTY_SCORES
    matrix: NDArray[np.float64] | None = None
    frame: pl.DataFrame | None = None
    names: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    flags: list[tuple[str, ...]] | None = None
    caller: str = ""
    errors: int = 0
    outputs: tuple[str, ...] = ()
    request_id: str = ""
    trace_id: str = ""
    keeping: Keeping | None = None


class Source(msgspec.Struct, array_like=True):
    """Who answered, and what the inputs are: ``names`` as they lie in the frames, then the masked ones."""

    index: int
    deployment: str
    model: str
    number: int
    revision: int
    arm: str
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()


class Extra(msgspec.Struct, omit_defaults=True, array_like=True):
    """What few entries have: ids of request and trace, flags a row, hashes of masked columns a row."""

    request_id: str = ""
    trace_id: str = ""
    flags: list[tuple[str, ...]] | None = None
    masked: list[list[str | None]] | None = None


class _Known(msgspec.Struct):
    """A source as the packer remembers it; names and keeping are held so that their identities stay their own."""

    index: int
    names: tuple[str, ...]
    keeping: Keeping | None
    kept: NDArray[np.intp] | None
    masked: tuple[int, ...]
    plain_bytes: int  # of one row's inputs as they come, when that is how they are kept; -1 otherwise


class Packer:
    """Packs entries for one segment. ``undo`` forgets what was defined since the last ``keep``, for frames never written."""

    def __init__(self) -> None:
        self._near: dict[tuple[object, ...], _Known] = {}
        self._sources: dict[tuple[object, ...], _Known] = {}
        self._callers: dict[str, int] = {"": 0}
        self._fresh: list[tuple[dict[Any, Any], Any]] = []

    @property
    def unsure(self) -> bool:
        """Whether definitions were made that ``keep`` or ``undo`` must be told of."""
        return bool(self._fresh)

    def keep(self) -> None:
        """Definitions made so far are in the segment."""
        self._fresh.clear()

    def undo(self) -> None:
        """Definitions made since ``keep`` are not in the segment."""
        for table, key in self._fresh:
            del table[key]
        self._fresh.clear()
        self._near.clear()

    def numbers(self, source: tuple[object, ...], caller: str) -> tuple[int, int] | None:
        """By what numbers the segment names a source (``source_key``) of one-row matrices kept as they come, and a caller; None as yet."""
        known, number = self._near.get(source), self._callers.get(caller)
        return None if known is None or number is None or known.plain_bytes < 0 or self._fresh else (known.index, number)

    def packed(self, entry: Entry) -> bytes:
        """Frames of an entry, with those of definitions it needs before them. Raises Invalid for arrays that do not fit together."""
        ids, keeping, matrix = entry.ids, entry.keeping, entry.matrix
        if matrix is not None and len(ids) == 1 and matrix.dtype is _FLOAT and entry.scores.dtype is _FLOAT:
            # the way of nearly every entry: one row of numbers; whatever does not fit is refused by the way of all others below
            known = self._near.get((id(entry.names), entry.number, entry.revision, entry.arm, entry.deployment, entry.model, id(keeping)))
            caller = self._callers.get(entry.caller)
            if known is not None and caller is not None:
                said, inputs, scores, times = ids[0].encode(), matrix.tobytes(), entry.scores.tobytes(), entry.times_us.tobytes()
                if len(inputs) == known.plain_bytes and said and (len(scores) == 8 or entry.scores.ndim > 1) and len(times) == 8:  # noqa: PLR2004 - one instant
                    extra = (
                        _encode(Extra(entry.request_id, entry.trace_id, entry.flags))
                        if entry.trace_id or entry.request_id or entry.flags
                        else b""
                    )
                    width, elapsed = len(said), entry.elapsed_us
                    body = b"".join((
                        _head(
                            _AFTER_LENGTH + width + 8 + len(scores) + len(inputs) + len(extra), MATRIX, 0, known.index, 1, len(scores) >> 3, width,
                            len(extra), 0, entry.errors, entry.answered_us, elapsed if elapsed <= _MAX_ELAPSED else _MAX_ELAPSED, caller,
                        ),
                        said, times, scores, inputs, extra,
                    ))  # fmt: skip
                    return _crc(_crc32(body)) + body
        if keeping is None or keeping.share >= 1 or not ids:
            return self._packed(entry)
        kept = [place for place, key in enumerate(ids) if keeping.keeps(key)]
        if len(kept) == len(ids):
            return self._packed(entry)
        left = self.unkept(entry, len(ids) - len(kept), shed=False)
        return left + self._packed(_rows(entry, kept)) if kept else left

    def unkept(self, entry: Entry, rows: int, *, shed: bool) -> bytes:
        """A frame that counts rows of an entry which are not in the log."""
        known, defined = self._known(entry)
        counted = msgspec.structs.replace(entry, errors=0, elapsed_us=0)
        return defined + _frame(NOTHING, SHED * shed, known.index, (0, 0, 0, rows, 0), b"", counted, (b"", b"", b""), b"")

    def _packed(self, entry: Entry) -> bytes:
        ids, n = entry.ids, len(entry.ids)
        known = self._near.get((id(entry.names), entry.number, entry.revision, entry.arm, entry.deployment, entry.model, id(entry.keeping)))
        defined = b""
        if known is None:
            known, defined = self._known(entry)
        caller = self._callers.get(entry.caller, -1)
        if caller < 0:
            caller, told = self._call(entry.caller)
            defined += told
        if not n:
            return defined + _frame(NOTHING, 0, known.index, (0, 0, 0, 0, caller), b"", entry, (b"", b"", b""), b"")
        scores, times, matrix = entry.scores, entry.times_us, entry.matrix
        width = 1 if scores.ndim == 1 else scores.shape[1]
        if scores.shape[0] != n or times.shape[0] != n or scores.dtype != _FLOAT or times.dtype != _INT:
            raise _unfit(f"{n} ids, {scores.shape[0]} scores ({scores.dtype}) and {times.shape[0]} times ({times.dtype})")
        extra = b""
        if entry.request_id or entry.trace_id or entry.flags or known.masked:
            extra = _extra(entry, known)
        if matrix is None:
            kind, body = _body(entry, known)
        else:
            if matrix.shape != (n, len(entry.names)) or matrix.dtype != _FLOAT:
                raise _unfit(f"a matrix {matrix.shape} ({matrix.dtype}) for {n} rows of {len(entry.names)} inputs")
            kind, body = MATRIX, matrix.tobytes() if known.kept is None else matrix[:, known.kept].tobytes()
        if n == 1:
            said = ids[0].encode()
            idw = len(said)
        else:
            said, idw = _ids(ids)
            if n * (8 + 8 * width) + len(said) + len(body) + len(extra) > MAX_ENTRY:
                return defined + self._halves(entry, n)
        return defined + _frame(
            kind, 0, known.index, (n, width, idw, 0, caller), said, entry, (times.tobytes(), scores.tobytes(), body), extra
        )

    def _halves(self, entry: Entry, n: int) -> bytes:
        middle = n // 2
        first, second = _rows(entry, list(range(middle))), _rows(entry, list(range(middle, n)))
        first.errors = 0
        first.elapsed_us, second.elapsed_us = middle * entry.elapsed_us // n, entry.elapsed_us - middle * entry.elapsed_us // n
        return self._packed(first) + self._packed(second)

    def _known(self, entry: Entry) -> tuple[_Known, bytes]:
        keeping, names = entry.keeping, entry.names
        who = (entry.number, entry.revision, entry.arm, entry.deployment, entry.model)
        key = (names, entry.dtypes, entry.outputs, *who, keeping)
        known, defined = self._sources.get(key), b""
        if known is None:
            known, defined = self._define(entry)
            self._sources[key] = known
            self._fresh.append((self._sources, key))
        if len(self._near) < _MOST_NEAR:
            held = (
                known if known.names is names and known.keeping is keeping else msgspec.structs.replace(known, names=names, keeping=keeping)
            )
            self._near[(id(names), *who, id(keeping))] = held
        return known, defined

    def _define(self, entry: Entry) -> tuple[_Known, bytes]:
        keeping, names, dtypes = entry.keeping, entry.names, entry.dtypes or ("",) * len(entry.names)
        away = {*keeping.dropped, *keeping.masked} if keeping else set()
        kept = [place for place, name in enumerate(names) if name not in away]
        masked = tuple(place for place, name in enumerate(names) if keeping and name in keeping.masked)
        index = len(self._sources)
        if len(dtypes) != len(names):
            raise _unfit(f"{len(names)} names and {len(dtypes)} types of inputs")
        if index >= 1 << 16:
            raise _unfit("more than 65,536 sources in one segment")
        source = Source(
            index, entry.deployment, entry.model, entry.number, entry.revision, entry.arm, tuple(names[i] for i in kept),
            tuple(dtypes[i] for i in kept), entry.outputs, tuple(names[i] for i in masked),
        )  # fmt: skip
        places = None if len(kept) == len(names) else np.array(kept, dtype=np.intp)
        plain = 8 * len(names) if places is None and (keeping is None or keeping.share >= 1) else -1
        known = _Known(index=index, names=names, keeping=keeping, kept=places, masked=masked, plain_bytes=plain)
        return known, definition(SOURCE, _encode(source))

    def _call(self, caller: str) -> tuple[int, bytes]:
        number = len(self._callers)
        self._callers[caller] = number
        self._fresh.append((self._callers, caller))
        return number, definition(CALLER, number.to_bytes(4, "little") + caller.encode())


def source_key(entry: Entry) -> tuple[object, ...]:
    """What tells sources of entries apart, as long as the entry's names and keeping are held."""
    return (id(entry.names), entry.number, entry.revision, entry.arm, entry.deployment, entry.model, id(entry.keeping))


def definition(kind: int, said: bytes) -> bytes:
    """A frame that defines a source or a caller: the kind, then what is said of it."""
    body = CRC.pack(1 + len(said)) + bytes((kind,)) + said
    return _crc(_crc32(body)) + body


def _frame(
    kind: int, bits: int, source: int, counts: tuple[int, int, int, int, int], ids: bytes, entry: Entry,
    sections: tuple[bytes, bytes, bytes], extra: bytes,
) -> bytes:  # fmt: skip
    """``counts``: rows, scores a row, id width, rows not kept, caller. ``sections``: times, scores, inputs."""
    n, width, idw, unkept, caller = counts
    times, scores, inputs = sections
    length = _AFTER_LENGTH + len(ids) + len(times) + len(scores) + len(inputs) + len(extra)
    elapsed = entry.elapsed_us if entry.elapsed_us <= _MAX_ELAPSED else _MAX_ELAPSED
    head = _head(length, kind, bits, source, n, width, idw, len(extra), unkept, entry.errors, entry.answered_us, elapsed, caller)
    crc = 0
    for part in (head, ids, times, scores, inputs, extra):
        crc = _crc32(part, crc)
    return b"".join((_crc(crc), head, ids, times, scores, inputs, extra))


def _ids(ids: list[str]) -> tuple[bytes, int]:
    """Ids one after the other and their width; of different widths, lengths (u16 each) before them and 0."""
    together = "".join(ids).encode()
    width = len(together) // len(ids)
    if width and set(map(len, ids)) == {width}:  # as many bytes as characters: ASCII, and all alike
        return together, width
    encoded = [key.encode() for key in ids]
    if width and set(map(len, encoded)) == {width}:
        return together, width
    return np.array([len(key) for key in encoded], dtype="<u2").tobytes() + together, 0


def _extra(entry: Entry, known: _Known) -> bytes:
    masked = None
    if known.masked and entry.keeping is not None:
        masked = [_hashes(entry, place, entry.keeping) for place in known.masked]
    flags = entry.flags if entry.flags and any(entry.flags) else None
    if not (entry.request_id or entry.trace_id or flags or masked):
        return b""
    return _encode(Extra(entry.request_id, entry.trace_id, flags, masked))


def _hashes(entry: Entry, place: int, keeping: Keeping) -> list[str | None]:
    name = entry.names[place]
    if entry.matrix is not None:
        return [keeping.mask(value, entry.dtypes[place] if entry.dtypes else "") for value in entry.matrix[:, place].tolist()]
    if entry.frame is None or name not in entry.frame.columns:
        return [None] * len(entry.ids)
    return [keeping.mask(value) for value in entry.frame[name].to_list()]


def _body(entry: Entry, known: _Known) -> tuple[int, bytes]:
    if entry.frame is None or not entry.frame.width:
        return COLUMNS, _encode([])
    frame = entry.frame
    if frame.height != len(entry.ids):
        raise _unfit(f"a frame of {frame.height} rows for {len(entry.ids)} ids")
    if frame.columns != list(entry.names):
        raise _unfit(f"a frame of {', '.join(frame.columns)} under the names {', '.join(entry.names)}")
    if known.kept is not None:
        frame = frame.select([entry.names[place] for place in known.kept.tolist()])
    if frame.height <= _FEW and all(str(dtype) in _PLAIN for dtype in frame.dtypes):
        return ROWS, _encode([[str(dtype) for dtype in frame.dtypes], frame.rows()])
    from rung.serving.frames import pack_columns  # noqa: PLC0415 - polars, only for inputs that are no matrix

    return COLUMNS, _encode(pack_columns(frame))


def _rows(entry: Entry, kept: list[int]) -> Entry:
    places = np.array(kept, dtype=np.intp)
    return msgspec.structs.replace(
        entry,
        ids=[entry.ids[place] for place in kept],
        times_us=entry.times_us[places],
        scores=entry.scores[places],
        matrix=None if entry.matrix is None else entry.matrix[places],
        frame=None if entry.frame is None else entry.frame[kept],
        flags=None if entry.flags is None else [entry.flags[place] for place in kept],
    )


def _unfit(what: str) -> Invalid:
    return Invalid(f"An entry of the prediction log has {what}.", code="serving.unfit_entry", hint="Log what was answered, row by row.")
