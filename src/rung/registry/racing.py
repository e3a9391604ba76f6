"""What one row costs, by a serving engine and by the model's own library, so that a busy machine changes no choice.

Only the processor time of the asking thread decides, the best of several calls taken by turns: time spent waiting for a
processor counts against nobody, and an engine is refused only by a margin that noise does not bridge.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_AT_LEAST_S = 0.02
_FEWEST_CALLS, _MOST_CALLS = 5, 50
_MOST_RACES = 3
_MARGIN, _SLACK_US = 2.0, 20.0

Call = Callable[[], Any]


def raced(ours: Call, native: Call) -> tuple[float, float]:
    """Microseconds of processor time of the best call of each, called by turns; again while ours looks clearly slower."""
    best = (float("inf"), float("inf"))
    for _ in range(_MOST_RACES):
        started, calls = time.perf_counter(), 0
        while calls < _FEWEST_CALLS or (calls < _MOST_CALLS and time.perf_counter() - started < _AT_LEAST_S):
            best = (min(best[0], _cpu_us(ours)), min(best[1], _cpu_us(native)))
            calls += 1
        if not clearly_slower(*best):
            break
    return best


def clearly_slower(ours_us: float, native_us: float) -> bool:
    """Whether an engine takes more than twice what the model's own library does, and not only some microseconds more.

    >>> clearly_slower(190.0, 100.0), clearly_slower(230.0, 100.0)
    (False, True)
    """
    return ours_us > _MARGIN * native_us + _SLACK_US


def cost_us(call: Call) -> float:
    """Microseconds the fastest of some calls took by the clock: what a caller waits for."""
    best, started, calls = float("inf"), time.perf_counter(), 0
    while calls < _FEWEST_CALLS or (calls < _MOST_CALLS and time.perf_counter() - started < _AT_LEAST_S):
        before = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - before)
        calls += 1
    return round(best * 1e6, 2)


def _cpu_us(call: Call) -> float:
    before = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - before) / 1000
