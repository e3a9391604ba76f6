"""Handler of the check of what is stored: ``rung fsck``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rung.core.requests import handles
from rung.governance import records as r
from rung.storage.checking import check_blobs, check_database, check_files, check_rows, sampled
from rung.storage.scope import Scope

_TOLD = 1000
_UNTIDY = {"leftover", "stray"}


@handles(r.CheckStorage)
def check_storage(request: r.CheckStorage, scope: Scope) -> Callable[[Scope], r.StorageReport]:
    """What is wrong with blobs, packs, rows and database, after what could safely be mended was."""
    digests = list(scope.blobs.list())
    chosen = sampled(digests, request.sample)
    flaws = list(check_blobs(scope, chosen, repair=request.repair))
    flaws += check_files(scope, thorough=request.sample is None, repair=request.repair)
    followed, missing = check_rows(scope, set(scope.blobs.list()) if request.repair else set(digests))
    flaws += [*missing, *check_database(scope)]
    report = r.StorageReport(
        blobs=len(digests),
        read=len(chosen),
        names=followed,
        flaws=tuple(r.StorageFlaw(kind=flaw.kind, where=flaw.where, detail=flaw.detail, mended=flaw.mended) for flaw in flaws[:_TOLD]),
        counts=dict(Counter(flaw.kind for flaw in flaws)),
        mended=sum(flaw.mended for flaw in flaws),
        sound=all(flaw.mended or flaw.kind in _UNTIDY for flaw in flaws),
    )
    return lambda _: report
