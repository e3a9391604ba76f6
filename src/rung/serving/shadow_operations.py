"""Handlers of the shadow's comparison: made anew from the log while the shadow stands, and kept for when log and shadow are gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rung.core.errors import Conflict
from rung.core.records import replaced
from rung.core.requests import handles
from rung.registry.store import RegistryStore
from rung.serving.comparing_records import CompareShadow, KeepComparison, ListShadowComparisons, ShadowComparison
from rung.serving.records import Revision, Route
from rung.serving.rollout_store import RolloutStore
from rung.serving.store import ServingStore
from rung.storage.scope import Scope

_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Period:
    """The revisions in which one version was a deployment's shadow; ``ended`` is when it was one no more."""

    deployment: str
    shadow: Route
    beside: Route
    first: Revision
    last: Revision
    threshold: float
    ended: datetime | None = None


@handles(CompareShadow)
def compare_shadow(request: CompareShadow, scope: Scope) -> ShadowComparison:
    """The comparison so far; without a shadow the newest one kept. Raises NotFound, Conflict when there never was one."""
    period = newest_period(scope, request.deployment)
    if period is not None and period.ended is None:
        return made(scope, period, request.threshold)
    kept = RolloutStore(scope.connection, scope.project).comparisons(request.deployment)
    if not kept:
        raise Conflict(
            f"{request.deployment!r} has no shadow.", code="serving.no_shadow",
            hint=f"Start one: rung deploy MODEL:N --name {request.deployment} --shadow.",
        )  # fmt: skip
    return kept[0]


@handles(ListShadowComparisons)
def list_shadow_comparisons(request: ListShadowComparisons, scope: Scope) -> tuple[ShadowComparison, ...]:
    """Comparisons kept, newest first. Raises NotFound."""
    ServingStore(scope.connection, scope.project).get(request.deployment)
    return RolloutStore(scope.connection, scope.project).comparisons(request.deployment)


@handles(KeepComparison)
def keep_comparison(request: KeepComparison, scope: Scope) -> Callable[[Scope], ShadowComparison | None]:
    """The comparison as it is kept now; nothing where there was no shadow. Raises NotFound."""
    period = scope.read(lambda s: newest_period(s, request.deployment, request.revision))
    return keeping(period, made(scope, period)) if period is not None else lambda _: None


def keeping(period: Period, found: ShadowComparison) -> Callable[[Scope], ShadowComparison]:
    """What keeps a comparison: the one that reaches further wins, so that a log which has lost rows takes nothing away."""

    def save(inside: Scope) -> ShadowComparison:
        store = RolloutStore(inside.connection, inside.project)
        held = store.comparison(period.deployment, period.first.id)
        best = found if held is None or _reach(found) >= _reach(held) else held
        best = replaced(best, ended_at=period.ended, compared_at=best.compared_at or inside.now)
        store.keep_comparison(period.first.id, best)
        return best

    return save


def newest_period(scope: Scope, deployment: str, within: int | None = None) -> Period | None:
    """The shadow under way, else the last one that was, up to a revision; None where there never was one. Raises NotFound."""
    store = ServingStore(scope.connection, scope.project)
    revisions = store.revisions(store.get(deployment).name)
    held = [_shadow(revision) if within is None or revision.number <= within else None for revision in revisions]
    newest = next((place for place, shadow in enumerate(held) if shadow is not None), None)
    if newest is None:
        return None
    last, shadow = revisions[newest], held[newest]
    beside = next(x for x in last.routes if x.arm == "stable")
    assert shadow is not None  # noqa: S101 - looked for above
    while newest and _same(_shadow(revisions[newest - 1]), shadow):
        newest -= 1
        last = revisions[newest]
    version = RegistryStore(scope.connection, scope.project).version(beside.model, beside.number)
    return Period(
        deployment=deployment, shadow=shadow, beside=beside, first=_first(revisions[newest:], shadow), last=last,
        threshold=0.5 if version.threshold is None else version.threshold, ended=revisions[newest - 1].created_at if newest else None,
    )  # fmt: skip


def made(scope: Scope, period: Period, threshold: float | None = None) -> ShadowComparison:
    """The comparison that the log shows; in a transaction or without."""
    from rung.serving import predictions  # noqa: PLC0415 - Polars, which `rung up` must not wait for
    from rung.serving.answering import settle  # noqa: PLC0415 - the same
    from rung.serving.comparing import between_revisions, compared  # noqa: PLC0415 - the same

    settle()
    since, until = period.first.number, period.last.number if period.ended else None
    frame = predictions.chosen(scope, period.deployment, between_revisions(since, until), columns=[], details=True)
    totals = predictions.totals(scope, period.deployment)
    errors = sum(x.errors for x in totals if since <= x.revision <= (until or x.revision) and x.arm == "shadow")
    return compared(
        period.deployment, frame, shadow=period.shadow, beside=period.beside, since=since, errors=errors,
        threshold=period.threshold if threshold is None else threshold,
    )  # fmt: skip


def _shadow(revision: Revision) -> Route | None:
    return next((x for x in revision.routes if x.arm == "shadow"), None)


def _same(now: Route | None, shadow: Route) -> bool:
    return now is not None and (now.model, now.number) == (shadow.model, shadow.number)


def _first(revisions: Sequence[Revision], shadow: Route) -> Revision:
    """The revision in which a shadow began, of those up to its last, newest first."""
    first = revisions[0]
    for revision in revisions:
        if not _same(_shadow(revision), shadow):
            break
        first = revision
    return first


def _reach(held: ShadowComparison) -> tuple[datetime, int, int]:
    return held.last_event or _NEVER, held.pairs, held.errors
