"""Batch while busy: one thread a version scores together whatever came while it was scoring, so that a lone request waits for nobody.

Requests that an event loop reads are handed over once it has read all there is, and their scores come back in one go: handing over
costs more than reading. Callers who are answered together usually ask again together; so where fewer wait than were just answered,
the next batch is begun when these are back, or a millisecond later, and without waiting once they did not come.

Only rows of one shape and one set of types are joined, everybody gets his own rows back, and when a joined batch fails each
request is scored by itself, so that one caller's bad row harms nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future

import numpy as np

from rung.core.errors import Unavailable
from rung.serving.inference import Floats, Rows

LOG = logging.getLogger("rung.serving")
Score = Callable[[Rows], Floats]
_IDLE_S = 10.0
_STUCK_S = 0.05  # an event loop that does not come round for so long is not waited for
_BACK_S, _WORTH_S = 0.001, 0.0005
_ALONE = 32


class Told:
    """How scores were made: microseconds of waiting and of scoring, rows scored together, this request's share of that."""

    def __init__(self) -> None:
        super().__init__()
        self._since = time.perf_counter_ns()
        self.queue_us = self.compute_us = 0.0
        self.rows, self.share = 0, 1.0

    def told(self, begun: int, ended: int, rows: int, requests: int) -> None:
        """Keep when scoring began and ended, and with what it was scored."""
        self.queue_us, self.compute_us = (begun - self._since) / 1000, (ended - begun) / 1000
        self.rows, self.share = rows, 1 / requests


class Waiting(Told, Future[Floats]):
    """Scores to come; once they came, how."""


class Calling(Told):
    """Scores to come to an event loop, which is then called with this: either ``scores`` or ``error`` is there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, came: Callable[[Calling], None]) -> None:
        super().__init__()
        self.loop, self.came = loop, came
        self.scores: Floats | None = None
        self.error: BaseException | None = None
        self.dropped = False

    def drop(self) -> None:
        """Nobody wants the scores any more."""
        self.dropped, self.came = True, _nobody

    def set_running_or_notify_cancel(self) -> bool:
        """Whether the scores are still wanted."""
        return not self.dropped

    def set_result(self, scores: Floats) -> None:
        """Keep the scores until the loop is called."""
        self.scores = scores

    def set_exception(self, error: BaseException) -> None:
        """Keep what went wrong until the loop is called."""
        self.error = error


def _nobody(calling: Calling) -> None:
    """Who is called with scores that came too late."""


Who = Waiting | Calling


class Batcher:
    """Scores rows of one version in a thread of its own, which ends when nothing comes for a while.

    Args:
        name: of the version, for the thread.
        score: rows to scores; called in that thread only.
        max_rows: most rows scored together; a request of its own may have more.
        queue: requests that may wait.
        begin: what the thread does first.
    """

    def __init__(
        self, name: str, score: Score, *, max_rows: int = 1024, queue: int = 1024, begin: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self._score = score
        self._max_rows = max_rows
        self._most = queue
        self._begin = begin
        self._waiting: deque[tuple[Rows, Hashable, Who]] = deque()
        self._ready = threading.Condition()
        self._running = self._busy = False
        self._gathering = False  # an event loop reads what there is, and says when to go on
        self._posted = self._seen = 0
        self._goal, self._alone, self._took_s = 0, 0, 0.0

    def submit(self, rows: Rows, kind: Hashable = ()) -> Waiting:
        """The scores, later. Requests are joined only with others of the same ``kind``. Raises Unavailable when too many wait."""
        future = Waiting()
        with self._ready:
            self._enter(rows, kind, future)
            if not self._gathering or not self._running:  # whom the loop that gathers leaves behind, the thread takes up
                self._wake()
        return future

    def post(self, rows: Rows, kind: Hashable, calling: Calling) -> None:
        """The same for who must not wait: the loop it runs on is called. Raises Unavailable when too many wait."""
        with self._ready:
            self._enter(rows, kind, calling)
            self._posted += 1
            if self._busy or self._gathering:
                if not self._running:
                    self._wake()
                if not self._goal or self._posted < self._goal:
                    return
                self._goal = 0  # all are back
            self._gathering = True
        calling.loop.call_soon(self._settle, calling.loop)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def _enter(self, rows: Rows, kind: Hashable, who: Who) -> None:
        if len(self._waiting) >= self._most:
            raise Unavailable(
                f"{len(self._waiting)} requests wait for {self.name}.", code="serving.busy", hint="Send it again in a moment."
            )
        self._waiting.append((rows, (kind, shape_of(rows)), who))

    def _wake(self) -> None:
        if self._running:
            self._ready.notify()
        else:
            threading.Thread(target=self._run, name=f"rung-batch-{self.name}", daemon=True).start()
            self._running = True  # only now: where no thread can be started, the next request tries again

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the thread go on once the loop found nothing more to read."""
        if self._posted != self._seen and len(self._waiting) < self._max_rows:
            self._seen = self._posted
            loop.call_soon(self._settle, loop)
            return
        with self._ready:
            self._gathering = False
            if self._waiting:
                self._wake()

    def _deliver(self, calls: list[Calling]) -> None:
        """Called by the loop: tell callers, then wait for them where that is worth it."""
        for calling in calls:
            try:
                calling.came(calling)
            except Exception:
                LOG.exception("an answer of %s was lost", self.name)
        loop, posted = calls[0].loop, self._posted
        with self._ready:
            waiting = len(self._waiting)
            if self._busy or not self._gathering:
                return
            if not waiting:
                self._gathering = False
                return
            few = waiting < len(calls) and self._took_s > _WORTH_S
            if few and self._alone:
                self._alone, few = self._alone - 1, False
            self._goal = posted + len(calls) if few else 0
        if self._goal:
            loop.call_later(_BACK_S, self._give_up, loop, self._goal, posted)
        else:
            loop.call_soon(self._settle, loop)

    def _give_up(self, loop: asyncio.AbstractEventLoop, goal: int, posted: int) -> None:
        """Wait no longer for those who were answered; and for a while not again, if less than half of them came."""
        if self._goal == goal:
            self._goal = 0
            self._alone = _ALONE if self._posted - posted < (goal - posted) / 2 else 0
            self._settle(loop)

    def _run(self) -> None:
        if self._begin is not None:
            self._begin()
        while True:
            with self._ready:
                self._busy = False
                while not self._waiting or self._gathering:
                    if not self._ready.wait(_STUCK_S if self._gathering else _IDLE_S):
                        if not self._waiting and not self._gathering:
                            self._running = False
                            return
                        self._gathering = False
                groups, self._busy = self._taken(), True
            begun = time.perf_counter()
            for place, group in enumerate(groups):
                _answer(self._score, group)
                self._took_s = time.perf_counter() - begun
                self._return([who for _, who in group if isinstance(who, Calling)], last=place == len(groups) - 1)

    def _return(self, calls: list[Calling], *, last: bool) -> None:
        """Give event loops what they wait for; after the last group the thread goes on when they say so."""
        for loop in {calling.loop: None for calling in calls}:
            if last:
                with self._ready:
                    self._busy, self._gathering = False, True
            try:
                loop.call_soon_threadsafe(self._deliver, [calling for calling in calls if calling.loop is loop])
            except RuntimeError:  # it was closed meanwhile: nobody is there to be told
                self._gathering = False

    def _taken(self) -> list[list[tuple[Rows, Who]]]:
        """What waits, up to the most rows, joined by what agrees."""
        groups: dict[Hashable, list[tuple[Rows, Who]]] = {}
        rows = 0
        while self._waiting and (not groups or rows + self._waiting[0][0].height <= self._max_rows):
            one, key, future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                groups.setdefault(key, []).append((one, future))
                rows += one.height
        return list(groups.values())


def shape_of(rows: Rows) -> Hashable:
    """What must agree before rows are joined: the columns of a matrix, or names and types of a frame's."""
    if rows.matrix is not None:
        return int(rows.matrix.shape[1])
    return () if rows.frame is None else tuple(rows.frame.schema.items())


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows of several requests, one after the other."""
    matrices = [part.matrix for part in parts if part.matrix is not None]
    if matrices:
        return Rows(matrix=np.concatenate(matrices))
    import polars as pl  # noqa: PLC0415 - a matrix needs no frames

    return Rows(frame=pl.concat([part.frame for part in parts if part.frame is not None]))


def _answer(score: Score, group: list[tuple[Rows, Who]]) -> None:
    if len(group) == 1:
        _answer_one(score, *group[0])
        return
    begun = time.perf_counter_ns()
    try:
        scores = score(joined([rows for rows, _ in group]))
        ended = time.perf_counter_ns()
        heights = [rows.height for rows, _ in group]
        agree = scores.shape[0] == sum(heights)
    except BaseException:  # each request is tried by itself below, and gets its own error
        agree = False
    if not agree:
        for rows, future in group:
            _answer_one(score, rows, future)
        return
    start = 0
    for (_, future), height in zip(group, heights, strict=True):
        future.told(begun, ended, sum(heights), len(group))
        future.set_result(scores[start : start + height])
        start += height


def _answer_one(score: Score, rows: Rows, future: Who) -> None:
    begun = time.perf_counter_ns()
    try:
        scores = score(rows)
        future.told(begun, time.perf_counter_ns(), rows.height, 1)
        future.set_result(scores)
    except BaseException as error:  # whatever the model raises is its caller's to see, and the thread goes on
        future.set_exception(error)
