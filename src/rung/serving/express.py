"""The express way of a request: one row in the protocol's plain form, read, scored, logged and answered by one call of the compiled part.

It does byte for byte what codec, answering and log do one after the other, for the deployments and requests it knows; for all others
``answer`` is None, nothing has been done, and they do it. So nothing depends on it but speed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from rung.core.ids import new_id
from rung.serving.checking import whole_bounds
from rung.serving.packing import Entry, source_key
from rung.stats import kernel

if TYPE_CHECKING:
    from rung.serving.preparing import LiveDeployment

CLASS, SCORE, ID = range(3)


@dataclass(frozen=True, slots=True)
class Said:
    """What a protocol says around the values of an answer, as it stands on the wire.

    ``outputs`` are those of who names none: name, what it holds (``CLASS``, ``SCORE`` or ``ID``), and what stands before its value.
    ``texts`` are the two classes; of a regression they are not used.
    """

    front: bytes
    back: bytes
    outputs: Sequence[tuple[bytes, int, bytes]]
    texts: tuple[bytes, bytes]
    threshold: float


@runtime_checkable
class Expressive(Protocol):
    """A codec that has an express way."""

    def plain(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a body behind these headers may be of the plain form."""
        ...

    def said(self, live: LiveDeployment) -> Said | None:
        """What it says around the values of this deployment's answers to one row with one score; None where it says something else."""
        ...


def never_plain(headers: Mapping[bytes, bytes]) -> bool:
    """Of a codec that has no express way."""
    return False


@dataclass(frozen=True, slots=True)
class Express:
    """The express way of one deployment in one protocol."""

    lane: Any
    live: LiveDeployment
    source: tuple[object, ...]
    ask: Any

    def answer(self, body: bytes, caller: str, trace_id: str = "") -> tuple[bytes, int, float, float] | None:
        """The body of the answer, where its frame of the log ends, and microseconds for reading and scoring; None: go the ordinary way."""
        live, now_us = self.live, time.time_ns() // 1000
        found: tuple[bytes, int, float, float] | None = live.log.direct(
            self.source, caller, live.name, self.ask, self.lane, body, new_id(), trace_id, now_us
        )
        return found


def express_of(live: LiveDeployment, codec: object) -> Express | None:
    """The express way of a deployment in a protocol; None where more is wanted of it than scores of one compiled model, one a row."""
    held, route, keeping = kernel.KERNEL, live.stable, live.keeping
    alone = route.scoring.predictor.alone
    if held is None or alone is None or not live.plain or route.columns is not None or not live.limiter.none or live.log.fsync:
        return None
    if not isinstance(codec, Expressive) or (said := codec.said(live)) is None:
        return None
    if keeping is not None and (keeping.share < 1 or keeping.masked or keeping.dropped):
        return None
    try:
        lane = held.lane(
            alone.compiled, np.ascontiguousarray(whole_bounds(route.version.signature)), said.front, said.back, tuple(said.outputs),
            *said.texts, said.threshold,
        )  # fmt: skip
    except ValueError:  # more columns than a lane has room for, say
        return None
    entry = Entry(
        deployment=live.name, model=route.route.model, number=route.route.number, revision=live.revision, arm="stable", answered_us=0,
        elapsed_us=0, ids=[], names=route.names, dtypes=route.dtypes, outputs=route.outputs, keeping=keeping,
    )  # fmt: skip
    return Express(lane, live, source_key(entry), held.answer)
