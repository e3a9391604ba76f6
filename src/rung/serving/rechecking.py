"""Before a version gets more of the traffic than it has: what is said of it now counts, not what was said when it came in."""

from __future__ import annotations

from rung.core.errors import Conflict, NotFound
from rung.registry.approving import check_approved
from rung.registry.store import RegistryStore
from rung.serving import records as r
from rung.serving.revising import check_override, cleared, version_of
from rung.serving.store import ServingStore
from rung.storage.scope import Scope

ARCHIVED = "archived"


def recheck(scope: Scope, held: r.Deployment, route: r.Route, override: str = "") -> str | None:
    """The verdict that lets a version of a deployment have more of its traffic.

    An override that let it in covers the verdict that it lacked then, but no verdict that failed since, and no approval.

    Raises:
        NotFound, Conflict: the version is gone or archived, or its approvals or its verdict do not let it into the environment now.
        Denied: the caller may not override.
    """
    version = version_of(scope, route.model, route.number)
    if version.stage == ARCHIVED:
        if not override:
            raise Conflict(
                f"{route.model}:{route.number} is archived.", code="serving.archived",
                hint="Move it to another stage, take it out of the traffic, or override with a reason.",
            )  # fmt: skip
        check_override(scope)
    came = _came(scope, held.name, route)
    if not override and held.environment == r.PRODUCTION and came is not None and came.override_reason:
        newest = next(iter(RegistryStore(scope.connection, scope.project).verdicts(version.model, version.number, limit=1)), None)
        if newest is None or newest.created_at <= came.created_at:
            check_approved(scope, version)
            return None
    return cleared(scope, version, held.environment, override)


def held_back(scope: Scope, held: r.Deployment, route: r.Route) -> str:
    """Why a version may not have more of the traffic now; empty when it may."""
    try:
        recheck(scope, held, route)
    except (Conflict, NotFound) as error:
        return error.message
    return ""


def _came(scope: Scope, deployment: str, route: r.Route) -> r.Revision | None:
    """The revision in which a version came into a deployment, of those that it has been in without a break."""
    first = None
    for revision in ServingStore(scope.connection, scope.project).revisions(deployment):
        if all((x.model, x.number) != (route.model, route.number) for x in revision.routes):
            break
        first = revision
    return first
