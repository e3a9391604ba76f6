"""Leases as an observer sees them: a holder is silent when it gave no sign of life for the length of its lease.

Only this process's monotonic clock is asked, so neither an observer nor a holder whose clock is wrong takes a lease
away early or keeps one for longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rung.storage.queue import Job


class LeaseWatch:
    """What has been seen of each leased job, and since when it has stood like that."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, int, float]] = {}

    def silent(self, leased: Iterable[Job]) -> list[Job]:
        """Those of the leased jobs whose holders have been silent for too long."""
        now = self._monotonic()
        seen, silent = {}, []
        for job in leased:
            fence, beats, since = self._seen.get(job.id, (-1, -1, now))
            if (fence, beats) != (job.fence, job.beats):
                since = now
            seen[job.id] = (job.fence, job.beats, since)
            if now - since > job.lease_s:
                silent.append(job)
        self._seen = seen
        return silent
