"""Handler of garbage collection: rows of deleted things first, each kind in a transaction of its own, then orphaned blobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from rung.core.requests import handles
from rung.governance import records as r
from rung.storage.purging import PURGES, collectable, import_purges, orphans, swept
from rung.storage.scope import Scope


class _Undone(Exception):
    """Carries a count out of a transaction that shall not be kept."""

    def __init__(self, count: int) -> None:
        self.count = count


@handles(r.CollectGarbage)
def collect_garbage(request: r.CollectGarbage, scope: Scope) -> Callable[[Scope], r.Collected]:
    """What was removed. Blobs that deleted things alone named are counted by a later dry run, not by this one."""
    collectable(scope.blobs)
    import_purges()
    young = scope.now - timedelta(hours=request.grace_hours)
    before = scope.now - timedelta(days=request.older_than_days)
    removed = {what: _purged(scope, what, before, dry_run=request.dry_run) for what in sorted(PURGES)}
    found = orphans(scope, young)
    count, freed = (len(found), sum(blob.size for blob in found)) if request.dry_run else swept(scope, found, young)
    answer = r.Collected(removed=removed, blobs=count, freed_bytes=freed, dry_run=request.dry_run)
    return lambda _: answer


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
