"""How a deployment answers, changed by path or as a whole; plans and differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rung.core.errors import Conflict, NotFound
from rung.core.records import decoded
from rung.core.requests import handles
from rung.serving import deploying
from rung.serving import records as r
from rung.serving.configuring_records import Configure, DiffRevisions, PlanChange, RevisionDiff
from rung.serving.gates import ROLLOUT_GATES
from rung.serving.graph.setting import frozen
from rung.serving.option_rules import differences, state_of, with_options
from rung.serving.options import DeploymentOptions
from rung.serving.revising import Draft, check_runtime, drafted, laid, saved, version_of
from rung.serving.routing import ROUTING
from rung.serving.store import ServingStore
from rung.storage.scope import Scope


@handles(Configure)
def configure(request: Configure, scope: Scope) -> Callable[[Scope], r.Revision]:
    """The revision with other options. Raises NotFound, Invalid naming the option and the nearest known one."""
    draft = scope.read(lambda inside: draft_options(request, inside))
    held, options = draft.held, draft.options
    if held is not None and held.stable is not None and options.graph != held.options.graph:
        own = scope.read(lambda s: version_of(s, held.stable.model, held.stable.number))  # type: ignore[union-attr]  # looked at above
        options = frozen(scope, held.name, options, own)  # reads datasets, so before the transaction

    def save(inside: Scope) -> r.Revision:
        now = ServingStore(inside.connection, inside.project).get(request.deployment)
        if held is not None and now.revision != held.revision:
            raise Conflict(f"{now.name!r} has another revision since.", code="serving.changed", hint="Configure it again.")
        return saved(inside, drafted(now, now.routes, "configure", request.reason, options=options))

    return save


def draft_options(request: Configure, scope: Scope) -> Draft:
    """The routes in force, answering otherwise."""
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    options = with_options(request.options or held.options, request.set)
    check_options(options)
    return drafted(held, held.routes, "configure", request.reason, options=options)


def check_options(options: DeploymentOptions) -> None:
    """Raise NotFound or Invalid for a plug-in that is not there, or a setting that it does not know."""
    ROUTING.get(options.routing.policy).checked(options.routing.settings)
    for name, settings in (options.rollout.gates if options.rollout else {}).items():
        ROLLOUT_GATES.get(name).checked(settings)


_DRAFTS: dict[str, tuple[Any, Callable[[Any, Scope], Draft]]] = {
    "deploy": (r.Deploy, deploying.draft_deploy),
    "start_canary": (r.StartCanary, deploying.draft_canary),
    "set_traffic": (r.SetTraffic, deploying.draft_traffic),
    "promote_canary": (r.PromoteCanary, deploying.draft_promotion),
    "abort_canary": (r.AbortCanary, deploying.draft_abort),
    "rollback": (r.Rollback, deploying.draft_rollback),
    "undeploy": (r.Undeploy, deploying.draft_undeploy),
    "configure": (Configure, draft_options),
}


@handles(PlanChange)
def plan(request: PlanChange, scope: Scope) -> RevisionDiff:
    """What would change. Raises whatever the verb itself would raise."""
    kind, draft_of = _DRAFTS[request.verb]
    draft = draft_of(decoded(request.fields, kind), scope)
    check_runtime(scope, draft)
    held, routes = draft.held, laid(draft)
    before = state_of(held.routes, held.options) if held else state_of((), None)
    notes = []
    if held is None:
        notes.append(f"A new deployment in {draft.environment}.")
    if draft.plan is not None:
        notes.append("It grows by its gates: " + ", ".join(f"{step:.0%}" for step in draft.plan.steps) + ".")
    if draft.override:
        notes.append("Its gates are overridden.")
    after = state_of(routes, draft.options if held else None)
    return RevisionDiff(
        deployment=draft.deployment, before=held.revision if held else None, after=None, change=draft.change,
        changes=differences(before, after), routes=routes, notes=tuple(notes),
    )  # fmt: skip


@handles(DiffRevisions)
def diff_revisions(request: DiffRevisions, scope: Scope) -> RevisionDiff:
    """What differs. Raises NotFound."""
    store = ServingStore(scope.connection, scope.project)
    revisions = {x.number: x for x in store.revisions(store.get(request.deployment).name)}
    after = request.after or max(revisions)
    for number in (request.before, after):
        if number not in revisions:
            known = ", ".join(map(str, sorted(revisions)))
            raise NotFound(f"{request.deployment!r} has no revision {number}.", code="serving.no_revision", hint=f"Known: {known}.")
    one, other = revisions[request.before], revisions[after]
    return RevisionDiff(
        deployment=request.deployment, before=one.number, after=other.number, change=other.change, routes=other.routes,
        changes=differences(state_of(one.routes, one.options), state_of(other.routes, other.options)),
    )  # fmt: skip
