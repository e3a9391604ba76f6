"""The cache of step results from Python."""

from __future__ import annotations

from datetime import datetime

from rung.client.transports import Transport
from rung.core.records import Page
from rung.pipelines import caching as c


class CacheVerbs:
    """What the cache holds, and dropping it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, step: str | None = None, pipeline: str | None = None, after: str | None = None, limit: int = 50
    ) -> Page[c.CachedResult]:
        """Cached results, newest first."""
        return self._transport.call(c.ListCache(step=step, pipeline=pipeline, after=after, limit=limit))

    def get(self, cache_key: str) -> c.CachedDetail:
        """One result with the parts of its key, by the key or its first digits."""
        return self._transport.call(c.GetCached(cache_key=cache_key))

    def clear(
        self, *, step: str | None = None, pipeline: str | None = None, before: datetime | None = None, cache_key: str | None = None
    ) -> int:
        """Drop results, all of them if nothing narrows them down; how many were dropped."""
        return self._transport.call(c.ClearCache(step=step, pipeline=pipeline, before=before, cache_key=cache_key)).count
