"""Walking through segments of the prediction log, of either version: where the whole, sound frames are.

Whatever the bytes are, walking ends at the first frame that is not whole and sound; it does not raise.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from rung.serving.packing import CALLER, COLUMNS, HEAD, HEADER, MAGIC, MATRIX, NOTHING, ROWS, SOURCE, Source

FIRST_FRAME = struct.Struct("<II")  # length, crc32 of length and payload: version 1
MAX_FRAME = 1 << 28
_CHUNK = 1 << 20
_NEWEST = 253_402_300_799_999_999
_decode_source = msgspec.msgpack.Decoder(Source).decode


class Cursor:
    """Reads one segment onwards, frame after frame; what is appended later is seen by the next call. Close it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        head = os.pread(self._file, HEADER.size, 0)
        magic, self.version = (HEADER.unpack(head)[:2]) if len(head) == HEADER.size else (b"", 0)
        if magic != MAGIC:
            self.version = 0
        self.offset = HEADER.size
        self.sources: dict[int, Source] = {}
        self.callers: list[str] = [""]

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    @property
    def size(self) -> int:
        """Bytes of the file, with what is allocated ahead."""
        return os.fstat(self._file).st_size

    def rewind(self) -> None:
        """Begin anew."""
        self.offset = HEADER.size
        self.sources, self.callers = {}, [""]

    def raw(self, start: int, end: int) -> bytes:
        """The bytes from one place to another."""
        return os.pread(self._file, end - start, start)

    def first_answer_us(self) -> int:
        """When the first entry from here on was answered; 0 when there is none."""
        for _, body in sound_frames(self._file, self.offset):
            if len(body) >= HEAD.size and body[4] not in {SOURCE, CALLER}:
                return int(HEAD.unpack_from(body)[10])
        return 0

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Every frame with answers from here on, and the offset after it."""
        for end, body in sound_frames(self._file, self.offset):
            if len(body) >= HEAD.size and body[4] not in {SOURCE, CALLER}:
                kind, source, n = body[4], int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:12], "little")
                if source not in self.sources or not _plausible(body, kind, n, len(self.sources[source].names)):
                    return
                self.offset = end
                yield end, body
            elif self._defined(body):
                self.offset = end
            else:
                return

    def _defined(self, body: bytes) -> bool:
        try:
            if body[4] == SOURCE:
                source = _decode_source(body[5:])
                self.sources[source.index] = source
            elif body[4] == CALLER and int.from_bytes(body[5:9], "little") == len(self.callers):
                self.callers.append(body[9:].decode())
            else:
                return False
        except (msgspec.DecodeError, ValueError, IndexError):
            return False
        return True


def sound_frames(file: int, offset: int) -> Iterator[tuple[int, bytes]]:
    """Whole frames from an offset on, length first and without their checksum, with the offset after each."""
    data, at, base = os.pread(file, _CHUNK, offset), 0, offset
    while True:
        needed = 8 if at + 8 > len(data) else 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if at + needed > len(data):
            if needed > MAX_FRAME:
                return
            more = os.pread(file, max(_CHUNK, needed), base + len(data))
            data, base, at = data[at:] + more, base + at, 0
            if not more:
                return
            continue
        end = at + needed
        body = data[at + 4 : end]
        if needed == 8 or zlib.crc32(body) != int.from_bytes(data[at : at + 4], "little"):  # noqa: PLR2004 - nothing after the length
            return
        yield base + end, body
        at = end


def whole_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Payloads of the whole, undamaged frames of a segment of version 1 with the offset after each."""
    offset = HEADER.size
    while offset + FIRST_FRAME.size <= len(data):
        length, crc = FIRST_FRAME.unpack_from(data, offset)
        end = offset + FIRST_FRAME.size + length
        if not 0 < length <= MAX_FRAME or end > len(data):
            return
        payload = data[offset + FIRST_FRAME.size : end]
        if zlib.crc32(payload, zlib.crc32(struct.pack("<I", length))) != crc:
            return
        yield end, payload
        offset = end


def sound_end(path: Path) -> int:
    """Where the sound part of a segment ends."""
    cursor = Cursor(path)
    try:
        if cursor.version == 1:
            for end, _ in whole_frames(path.read_bytes()):
                cursor.offset = end
        elif cursor.version:
            for _ in cursor.entries():
                pass
        return cursor.offset
    finally:
        cursor.close()


def _plausible(body: bytes, kind: int, n: int, inputs: int) -> bool:
    """Whether the sections that the shape announces fit into the frame."""
    _, _, _, _, _, width, idw, extra, _, _, answered, _, _ = HEAD.unpack_from(body)
    rest = len(body) - HEAD.size - extra - n * (8 + 8 * width)
    if not 0 <= answered <= _NEWEST or kind not in {MATRIX, ROWS, COLUMNS, NOTHING}:
        return False
    if kind == NOTHING:
        return n == 0
    if not n or not width:
        return False
    ids = n * idw
    if not idw and rest >= 2 * n:
        ids = 2 * n + int(np.frombuffer(body, dtype="<u2", count=n, offset=HEAD.size).sum(dtype=np.int64))
    fits = rest == ids + 8 * n * inputs if kind == MATRIX else rest >= max(ids, 2 * n * (not idw))
    return bool(fits)
