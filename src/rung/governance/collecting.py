"""Handler of garbage collection: rows of deleted things first, each kind in a transaction of its own, then orphaned blobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from rung.core.errors import Conflict
from rung.core.requests import handles
from rung.governance import records as r
from rung.storage.purging import PURGES, swept, unreferenced
from rung.storage.scope import Scope


class _Undone(Exception):
    """Carries a count out of a transaction that shall not be kept."""

    def __init__(self, count: int) -> None:
        self.count = count


@handles(r.CollectGarbage)
def collect_garbage(request: r.CollectGarbage, scope: Scope) -> Callable[[Scope], r.Collected]:
    """What was removed. Blobs that deleted things alone named are counted by a later dry run, not by this one."""
    if not hasattr(scope.blobs, "stored_at"):
        raise Conflict("This blob store does not tell how old its blobs are.", code="storage.no_ages", hint="Use its own lifecycle rules.")
    before = scope.now - timedelta(days=request.older_than_days)
    removed = {what: _purged(scope, what, before, dry_run=request.dry_run) for what in sorted(PURGES)}
    orphans = unreferenced(scope, scope.now - timedelta(hours=request.grace_hours))
    if request.dry_run:
        count, freed = len(orphans), sum(scope.blobs.size(digest) for digest in orphans)  # type: ignore[attr-defined]  # asked above
    else:
        count, freed = swept(scope, orphans)
    found = r.Collected(removed=removed, blobs=count, freed_bytes=freed, dry_run=request.dry_run)
    return lambda _: found


def _purged(scope: Scope, what: str, before: datetime, *, dry_run: bool) -> int:
    def work(inside: Scope) -> int:
        count = PURGES[what](inside, before)
        if dry_run:
            raise _Undone(count)
        return count

    try:
        return scope.write(work)
    except _Undone as undone:
        return undone.count
