"""Reading a journal back in batches, and marking what has arrived."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from rung.client.journal import BLOB, HEAD, KEY, KEY_HEAD, MAGIC, MARKS, MARKS_AT, POINT, POINTS, REQUEST, START
from rung.core.errors import Conflict
from rung.tracking.records import MetricColumns

BATCH = 10_000
_KIND_AT = HEAD.size
# Where the fields of a point lie, in words of their size; journals are little-endian, as every machine Rung runs on.
_KEY_WORD, _STEP_WORD, _AT_WORD, _VALUE_WORD = 3, 2, 3, 4


@dataclass(frozen=True)
class Batch:
    """What is sent next: points, or one request by its operation, or the digest of a blob that comes before one."""

    id: str
    end: int
    points: MetricColumns | None = None
    request: tuple[str, bytes] | None = None
    blob: str = ""


class Reader:
    """Reads a journal that its process, or a dead one, wrote. Only the holder of the run's sending lock may use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(self._file, 0)
        except ValueError:  # of no length: its disk was full
            os.close(self._file)
            raise Conflict(f"{path} is empty.", code="tracking.damaged_journal", hint="Delete it: nothing was logged to it.") from None
        if self._map[: len(MAGIC)] != MAGIC:
            self.close()
            raise Conflict(f"{path} is no journal.", code="tracking.damaged_journal", hint="Move it out of the spool.")
        self.sealed, self.sent = MARKS.unpack_from(self._map, MARKS_AT)
        self._keys: dict[int, str] = {}
        self._learn_keys()

    def next(self, limit: int = BATCH, sure: int = 0) -> Batch | None:
        """The next batch; the one that was under way when its sender died, before any other. None when there is no more.

        Args:
            limit: points in a batch.
            sure: place before which this very process wrote every frame whole, so that its CRC need not be computed again.
        """
        at, again = self.sent, self.sealed > self.sent
        stop = self.sealed if again else len(self._map)
        runs: list[bytes] = []
        count = 0
        while at < stop and (again or count < limit):
            found = self._run_of_points(at, stop if again else min(stop, at + (limit - count) * POINTS.size), sure)
            if found:
                runs.append(found)
                count += len(found) // POINTS.size
                at += len(found)
                continue
            content = self._frame(at, stop)
            if content is None or (runs and content[0] != KEY):
                break
            at += HEAD.size + len(content)
            if content[0] != KEY:
                return self._single(content, at)
            self._learn(content)
        if again and at != self.sealed:
            raise Conflict(
                f"{self.path} is damaged at byte {at}: a batch that was being sent cannot be read again.",
                code="tracking.damaged_journal", hint="Move the file out of the spool; what it holds beyond is lost.",
            )  # fmt: skip
        return Batch(id=self._batch_id(at), end=at, points=self._columns(b"".join(runs))) if runs else None

    def seal(self, batch: Batch) -> None:
        """Fix the batch before it leaves: whoever sends again will send the same. On disk when this returns."""
        self.sealed = batch.end
        self._mark()
        os.fdatasync(self._file)

    def done(self, batch: Batch) -> None:
        """Note that a batch has arrived."""
        self.sent = batch.end
        self._mark()

    def unreadable(self) -> int:
        """Bytes after the last whole frame that are no single frame cut short: 0 unless the file was damaged."""
        size = HEAD.unpack_from(self._map, self.sent)[0] if self.sent + HEAD.size <= len(self._map) else 0
        rest = self._map[self.sent + size :] if size <= len(self._map) - self.sent else self._map[self.sent :]
        return len(rest.rstrip(b"\0"))

    def abandoned(self) -> bool:
        """Whether nobody appends any more; from then on this reader keeps others from thinking so too."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        if hasattr(self, "_map"):
            self._map.close()
        os.close(self._file)

    def _mark(self) -> None:
        MARKS.pack_into(self._map, MARKS_AT, self.sealed, self.sent)

    def _batch_id(self, end: int) -> str:
        return hashlib.blake2b(f"{self.path.stem}:{self.sent}:{end}".encode(), digest_size=16).hexdigest()

    def _run_of_points(self, at: int, stop: int, sure: int = 0) -> bytes:
        """The whole points that lie side by side from a place on."""
        chunk = self._map[at : at + (stop - at) // POINTS.size * POINTS.size]
        # Every point is of one size, so as long as the kinds at that distance are points, that is where frames begin.
        kinds = chunk[_KIND_AT :: POINTS.size]
        count = len(kinds) - len(kinds.lstrip(bytes([POINT])))
        chunk = chunk[: count * POINTS.size]
        words = memoryview(chunk).cast("I")
        sizes, crcs = words[0 :: POINTS.size // 4].tolist(), words[1 :: POINTS.size // 4].tolist()
        for index in range(max(sure - at, 0) // POINTS.size, count):
            begin = index * POINTS.size
            if sizes[index] != POINTS.size or crcs[index] != zlib.crc32(chunk[begin + HEAD.size : begin + POINTS.size]):
                return chunk[:begin]
        return chunk

    def _frame(self, at: int, stop: int) -> bytes | None:
        """Kind and body of the frame at a place; None when there is no whole one."""
        if at + HEAD.size > stop:
            return None
        size, crc = HEAD.unpack_from(self._map, at)
        content = self._map[at + HEAD.size : at + size]
        whole = HEAD.size < size <= stop - at and zlib.crc32(content) == crc
        return content if whole else None

    def _single(self, content: bytes, end: int) -> Batch:
        kind, body = content[0], content[1:]
        if kind == BLOB:
            return Batch(id=self._batch_id(end), end=end, blob=body.rstrip(b"\0").decode())
        if kind != REQUEST:
            raise Conflict(
                f"{self.path} has a frame of kind {kind}.", code="tracking.damaged_journal", hint="Send it with the Rung that wrote it."
            )
        operation, _, rest = body.partition(b"\0")
        length = int.from_bytes(rest[:8], "little")
        return Batch(id=self._batch_id(end), end=end, request=(operation.decode(), rest[8 : 8 + length]))

    def _columns(self, frames: bytes) -> MetricColumns:
        """Points side by side as columns: a frame is ten words of 4 bytes or five of 8, and a column every tenth or fifth of them."""
        whole, double = memoryview(frames).cast("q"), memoryview(frames).cast("d")
        key = memoryview(frames).cast("I")[_KEY_WORD :: POINTS.size // 4].tolist()
        fields = POINTS.size // 8
        places = {index: place for place, index in enumerate(dict.fromkeys(key))}
        return MetricColumns(
            keys=tuple(self._keys[index] for index in places), key=tuple(map(places.__getitem__, key)),
            step=tuple(whole[_STEP_WORD::fields].tolist()), at=tuple(whole[_AT_WORD::fields].tolist()),
            value=tuple(double[_VALUE_WORD::fields].tolist()),
        )  # fmt: skip

    def _learn(self, content: bytes) -> None:
        _, index = KEY_HEAD.unpack_from(content)
        self._keys[index] = content[KEY_HEAD.size :].rstrip(b"\0").decode()

    def _learn_keys(self) -> None:
        at = START
        while at < self.sent:
            at += len(self._run_of_points(at, self.sent))
            content = self._frame(at, self.sent)
            if content is None:
                return
            if content[0] == KEY:
                self._learn(content)
            at += HEAD.size + len(content)
