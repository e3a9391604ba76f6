"""Answering callers on an event loop whose model is scored by a batcher: nobody waits, no task is made, the loop is called back."""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

from rung.core.errors import RungError
from rung.serving.answering import alone, checked, failure, too_slow
from rung.serving.batcher import Calling
from rung.serving.inference import Answered, Asked
from rung.serving.live import LiveDeployment


def one_answers(live: LiveDeployment) -> bool:
    """Whether one version answers every request, and nothing besides is asked."""
    return live.router is None and live.graph is None and not live.shadows


def call(live: LiveDeployment, asked: Asked, caller: str, loop: AbstractEventLoop, came: Callable[[Answered | RungError], None]) -> None:
    """Score and log a request of a deployment that one version answers, and tell the loop that this runs on.

    Raises:
        Invalid: the rows do not fit the signature, or there are none, or too many.
        Unavailable: too many requests wait.
    """
    now_us = time.time_ns() // 1000
    ids = checked(live, asked)
    timer: TimerHandle | None = None

    def scored(calling: Calling) -> None:
        if timer is not None:
            timer.cancel()
        came(found_by(calling))

    def found_by(calling: Calling) -> Answered | RungError:
        if calling.scores is None:
            return failure(live, live.stable, "stable", len(ids), now_us, calling.error or RuntimeError("it answered nothing"))
        elapsed_us = calling.queue_us + calling.compute_us
        try:
            found = alone(live, asked, ids, now_us, caller, calling.scores, elapsed_us, calling.compute_us)
        except RungError as error:
            return error
        found.queue_us, found.batches = calling.queue_us, ((calling.rows, calling.share, calling.compute_us),)
        return found

    def late() -> None:
        calling.drop()
        came(too_slow(live))

    calling = Calling(loop, scored)
    live.stable.scoring.call(asked.rows, asked.outputs, calling)
    if live.bounds.timeout_s:
        timer = loop.call_later(live.bounds.timeout_s, late)
