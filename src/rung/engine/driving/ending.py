"""How a batch of a map ends, item by item, and what a map answers."""

from __future__ import annotations

import random

from rung.core.digests import digest_of
from rung.engine.driving.states import LOSSES, Live, Work
from rung.engine.executors import Outcome
from rung.engine.executors.family import INLINE_BYTES
from rung.pipelines.items import ITEMS, manifest
from rung.pipelines.records import Artifact, AttemptStatus, StepOptions
from rung.pipelines.retrying import is_retried, pause_s
from rung.storage.blobs import BlobStore

_SPREAD = random.Random()  # noqa: S311 - no secret


def ended_item_by_item(work: Work, outcome: Outcome, *, stops: bool, goes_on: bool) -> list[tuple[float, int]]:
    """Enter in the map how each item of a batch ended; the items to be tried again, each with its pause in seconds.

    Items whose batch was lost or took too long are run alone then, which is no failure of theirs: one that is lost
    alone has failed, unless its machine died with it.

    Args:
        stops: nothing more of this map is to begin.
        goes_on: a failed item does not keep the others from beginning.
    """
    found, options = work.live.mapped, work.live.node.step.options
    assert found is not None  # noqa: S101 - a batch is one of a map
    found.running -= 1
    again: list[tuple[float, int]] = []

    def fails(place: int, status: AttemptStatus, error: str, error_types: tuple[str, ...]) -> None:
        found.tries[place] = found.tries.get(place, 0) + 1
        if outcome.blameless and not stops and found.losses.get(place, 0) < LOSSES:
            found.losses[place] = found.losses.get(place, 0) + 1
            again.append((retry_pause(options, found.losses[place]), place))
        elif not stops and is_retried(options, status, error_types, found.tries[place]):
            again.append((retry_pause(options, found.tries[place]), place))
        else:
            found.failed[place] = error

    ended = list(zip(work.positions, outcome.items, strict=False))
    left = work.positions[len(ended) :]
    if ended:
        found.timed(sum(item.wall_s for _, item in ended), len(ended))
    for place, item in ended:
        if item.status == "succeeded":
            found.tries[place] = found.tries.get(place, 0) + 1
            found.outputs[place] = item.outputs
        else:
            fails(place, "failed", item.error, item.error_types)
    if outcome.status == "cancelled" or stops:
        found.waiting.extendleft(reversed(left))
    elif len(work.positions) > 1 and outcome.status != "failed":
        found.alone.extend(left)
    else:
        for place in left:
            fails(place, outcome.status, outcome.error, outcome.error_types)
    if found.failed and not goes_on:
        found.stopped = True
    return again


def map_answer(live: Live, blobs: BlobStore) -> tuple[Artifact, ...]:
    """The artifact of the list of all results, in the order of the collection."""
    found = live.mapped
    assert found is not None  # noqa: S101 - asked of maps only
    data = manifest(tuple(found.outputs[place] for place in range(len(found.items))))
    meta = {"count": len(found.items)}
    if len(data) <= INLINE_BYTES:
        return (Artifact(name="output", kind=ITEMS, digest=digest_of(data), size_bytes=len(data), meta=meta, inline=data),)
    return (Artifact(name="output", kind=ITEMS, digest=blobs.put(data), size_bytes=len(data), meta=meta),)


def retry_pause(options: StepOptions, failures: int) -> float:
    """Seconds until the next try, spread by a generator of the driver's own: Python's belongs to the steps that run inline."""
    return pause_s(options, failures, _SPREAD.random())
