"""Handler of what each arm does."""

from __future__ import annotations

from collections.abc import Sequence

from rung.core.requests import handles
from rung.serving.arm_records import ArmFigures, ListSwaps, MeasureArms, SwapTime
from rung.serving.live import live_table
from rung.serving.records import Revision, Route
from rung.serving.store import ServingStore
from rung.storage.scope import Scope

_SWAPS = 200


@handles(MeasureArms)
def measure_arms(request: MeasureArms, scope: Scope) -> tuple[ArmFigures, ...]:
    """Figures by arm. Raises NotFound."""
    from rung.serving import predictions  # noqa: PLC0415 - Polars, which `rung up` must not wait for
    from rung.serving.comparing import between_revisions, figures_of  # noqa: PLC0415 - the same

    store = ServingStore(scope.connection, scope.project)
    held = store.get(request.deployment)
    revisions = store.revisions(held.name)
    routes = list(held.routes)
    if held.stable is not None and held.options.routing.holdout:
        routes.append(Route(model=held.stable.model, number=held.stable.number, share=held.options.routing.holdout, arm="holdout"))
    begun = {route.arm: since(revisions, route) for route in routes}
    if not begun:
        return ()
    frame = predictions.chosen(scope, held.name, between_revisions(min(begun.values()), None), columns=[], details=True)
    totals = predictions.totals(scope, held.name)
    return tuple(
        figures_of(
            frame, route, begun[route.arm], errors=sum(x.errors for x in totals if x.arm == route.arm and x.revision >= begun[route.arm])
        )
        for route in routes
    )


@handles(ListSwaps)
def list_swaps(request: ListSwaps, scope: Scope) -> tuple[SwapTime, ...]:
    """Swaps this process has seen. Raises NotFound."""
    store = ServingStore(scope.connection, scope.project)
    table = live_table(scope.database, scope.blobs, scope.settings)
    newest = store.get(request.deployment).revision
    seen = ((number, table.swap(scope.project, request.deployment, number)) for number in range(newest, max(newest - _SWAPS, 0), -1))
    return tuple(SwapTime(revision=number, after_s=swap.after_s, load_ms=swap.load_ms) for number, swap in seen if swap is not None)


def since(revisions: Sequence[Revision], route: Route) -> int:
    """The first of the newest unbroken revisions (given newest first) in which an arm served its version."""
    arm = "stable" if route.arm == "holdout" else route.arm
    first = revisions[0].number
    for revision in revisions:
        if not any((x.arm, x.model, x.number) == (arm, route.model, route.number) for x in revision.routes):
            break
        first = revision.number
    return first
