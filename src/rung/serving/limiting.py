"""Bounds of what callers may ask: rates and daily rows of a token, sizes of bodies, time of answers.

The state of rates lies in one mapped file of the home, so the processes of a machine count together. Two that write one cell at
the same moment may let a request more through; none is refused wrongly.
"""

from __future__ import annotations

import mmap
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rung.core.errors import Invalid, Unavailable
from rung.core.settings import ServingSettings
from rung.serving.options import LimitOptions

FILE = "serving-limits.cells"
_SLOTS = 16384
_WIDTH = 32
_TRIES = 16
_DAY_S = 86_400
_CHUNK = 1 << 16
_SLICE = 1 << 13
_MIB = 1 << 20


class Limited(Unavailable):
    """Too much was asked for now; ``retry_after_s`` says when it may be asked again."""

    def __init__(self, message: str, *, code: str, hint: str | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one deployment takes; 0 means no bound."""

    max_body: int
    max_rows: int
    timeout_s: float
    queue: int
    rate: float
    burst: int
    rows_per_day: int


def bounds(options: LimitOptions, settings: ServingSettings, max_body_mb: int) -> Bounds:
    """The bounds of a deployment: of the server's and its own, the smaller."""
    rate = _smaller(options.requests_per_s, settings.requests_per_s)
    return Bounds(
        max_body=_smaller(options.max_body_mb, max_body_mb) * _MIB,
        max_rows=_smaller(options.max_rows, settings.max_rows),
        timeout_s=_smaller(options.timeout_ms, settings.timeout_ms) / 1000,
        queue=_smaller(options.queue, settings.queue),
        rate=rate,
        burst=options.burst or max(1, round(2 * rate)),
        rows_per_day=_smaller(options.rows_per_day, settings.rows_per_day),
    )


def _smaller(one: Any, other: Any) -> Any:
    return min(one, other) if one and other else one or other


class Limiter:
    """Rate and daily rows of the tokens that ask one deployment.

    The rate is a token bucket in the form that keeps one instant a key: when the bucket would be full again
    (generic cell rate algorithm; ITU-T I.371, annex A).
    """

    def __init__(self, folder: Path, name: str, held: Bounds) -> None:
        self._name = name
        self._said = name.rpartition("/")[2]  # the project's id tells its callers nothing
        self._bounds = held
        self._cells: Cells | None = Cells.of(folder / FILE) if held.rate or held.rows_per_day else None
        self._step = 1.0 / held.rate if held.rate else 0.0
        self._slack = self._step * (held.burst - 1)

    @property
    def none(self) -> bool:
        """Whether nothing is counted."""
        return self._cells is None

    def admit(self, token: str) -> None:
        """Count one request of a token. Raises Limited when they come too fast."""
        if self._cells is None or not self._step:
            return
        cells, at, now = self._cells.floats, self._cells.place(f"{self._name}\0{token}"), time.monotonic()
        full = cells[at + 1]
        if full > now + self._slack + self._bounds.burst * self._step + 1:  # the machine was started anew since
            full = now
        full = max(full, now)
        if full - now > self._slack:
            raise Limited(
                f"This token may send {self._bounds.rate:g} {'request' if self._bounds.rate == 1 else 'requests'} a second to {self._said!r}.",
                code="serving.rate_limited", hint="Send them more slowly, or more rows in each.", retry_after_s=full - now - self._slack,
            )  # fmt: skip
        cells[at + 1] = full + self._step

    def spend(self, token: str, rows: int) -> None:
        """Count rows of a token. Raises Limited when the day's are used up."""
        if self._cells is None or not self._bounds.rows_per_day:
            return
        cells, at, now = self._cells.floats, self._cells.place(f"{self._name}\0{token}"), time.time()
        day = now // _DAY_S
        used = cells[at + 3] if cells[at + 2] == day else 0.0
        if used + rows > self._bounds.rows_per_day:
            raise Limited(
                f"This token may ask {self._said!r} for {self._bounds.rows_per_day} rows a day and has asked for {int(used)}.",
                code="serving.quota", hint="Ask for the rest tomorrow (UTC).", retry_after_s=(day + 1) * _DAY_S - now,
            )  # fmt: skip
        cells[at + 2], cells[at + 3] = day, used + rows


class Cells:
    """Slots of (key, instant, day, rows) in a mapped file, found by hash."""

    _open: dict[Path, Cells] = {}  # one mapping a file and process

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, _SLOTS * _WIDTH)
            memory = memoryview(mmap.mmap(descriptor, _SLOTS * _WIDTH))
        finally:
            os.close(descriptor)
        self.floats = memory.cast("d")
        self._keys = memory.cast("Q")
        self._known: dict[str, int] = {}

    @classmethod
    def of(cls, path: Path) -> Cells:
        """The cells of a file; mapped once a process."""
        held = cls._open.get(path)
        if held is None:
            held = cls._open[path] = cls(path)
        return held

    def place(self, key: str) -> int:
        """Where the floats of a key begin; the slot of another key is taken when all near ones are held."""
        held = self._known.get(key)
        if held is not None and self._keys[held] == self._known_hash(key):
            return held
        number = self._known_hash(key)
        first = number % _SLOTS
        at = first * 4
        for step in range(_TRIES):
            at = (first + step) % _SLOTS * 4
            if self._keys[at] in {0, number}:
                break
        if self._keys[at] != number:
            self._keys[at], self.floats[at + 1], self.floats[at + 2], self.floats[at + 3] = number, 0.0, 0.0, 0.0
        if len(self._known) > _SLOTS:
            self._known.clear()
        self._known[key] = at
        return at

    @staticmethod
    def _known_hash(key: str) -> int:
        return int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=8).digest(), "little") or 1


def inflated(coding: str, body: bytes, limit: int) -> bytes:
    """A body without its content coding. Raises Invalid for damaged ones, and for larger ones as soon as the limit is passed."""
    if coding in {"", "identity"}:
        return body
    if coding in {"gzip", "x-gzip"}:
        return _zlib(coding, body, limit, 31)
    if coding == "deflate":
        return _zlib(coding, body, limit, 15 if body[:1] and body[0] & 0x0F == 8 else -15)  # noqa: PLR2004 - RFC 1950's method 8
    if coding == "zstd":
        return _zstd(body, limit)
    raise Invalid(f"Content-Encoding {coding!r} is not understood.", code="request.encoding", hint="Send gzip, deflate, zstd, or plain.")


def _zlib(coding: str, body: bytes, limit: int, window: int) -> bytes:
    """Slice by slice: zlib copies what it has not read yet, which for a whole body would take the square of its length."""
    parts, size, at = [], 0, 0
    reader = zlib.decompressobj(window)
    while at < len(body):
        piece = body[at : at + _SLICE]
        at += len(piece)
        while piece or reader.unconsumed_tail:
            if reader.eof:  # gzip may have several members, with zeros between them
                piece = piece.lstrip(b"\0") if window == 31 else b""  # noqa: PLR2004 - gzip
                if not piece:
                    break
                reader = zlib.decompressobj(window)
            try:
                part = reader.decompress(piece, _CHUNK)
            except zlib.error as error:
                raise _damaged(coding, str(error)) from None
            piece = reader.unused_data if reader.eof else reader.unconsumed_tail
            size += len(part)
            if size > limit:
                raise too_large(limit)
            parts.append(part)
    if body and not reader.eof:
        raise _damaged(coding, "it is cut off")
    return b"".join(parts)


def _zstd(body: bytes, limit: int) -> bytes:
    reader = _zstd_reader()
    try:
        return reader(body, limit)
    except _TooMuch:
        raise too_large(limit) from None
    except (OSError, ValueError) as error:
        raise _damaged("zstd", str(error)) from None


class _TooMuch(Exception):
    """The inflated body passed the limit."""


def _zstd_reader() -> Callable[[bytes, int], bytes]:
    import pyarrow as pa  # noqa: PLC0415 - large, and only for this coding

    def read(body: bytes, limit: int) -> bytes:
        parts, size = [], 0
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            while part := stream.read(_CHUNK):
                size += len(part)
                if size > limit:
                    raise _TooMuch
                parts.append(part)
        return b"".join(parts)

    return read


def too_large(limit: int) -> Invalid:
    """The error for a body beyond the limit."""
    return Invalid(f"The body is larger than {limit / _MIB:g} MiB.", code="request.too_large", hint="Send smaller batches.")


def _damaged(coding: str, reason: str) -> Invalid:
    return Invalid(f"The body is not {coding}: {reason}.", code="request.damaged", hint="Send it plain, or whole.")
