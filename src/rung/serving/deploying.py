"""Deploying, canaries, rollback: each verb drafts a revision, which is saved or, in a plan, shown."""

from __future__ import annotations

from rung.core.errors import Conflict
from rung.core.records import replaced
from rung.core.requests import handles
from rung.serving import records as r
from rung.serving.options import DeploymentOptions
from rung.serving.rechecking import recheck
from rung.serving.revising import Draft, check_override, cleared, drafted, saved, version_of
from rung.serving.rollout_store import RolloutStore
from rung.serving.rules import candidate, grown_from, promoted, rollback_target, with_canary, with_share, without_canary
from rung.serving.store import ServingStore
from rung.storage.scope import Scope


@handles(r.Deploy)
def deploy(request: r.Deploy, scope: Scope) -> r.Revision:
    """The new revision. Raises NotFound, Conflict without a passing verdict in production, Denied for an override."""
    return saved(scope, draft_deploy(request, scope))


def draft_deploy(request: r.Deploy, scope: Scope) -> Draft:
    """One version with all of the traffic."""
    version = version_of(scope, request.model, request.number, request.alias)
    held = ServingStore(scope.connection, scope.project).find(request.deployment)
    environment = held.environment if held else request.environment
    verdict = cleared(scope, version, environment, request.override_reason)
    options = request.options or (held.options if held else DeploymentOptions())
    return Draft(
        deployment=request.deployment, held=held, routes=(r.Route(model=version.model, number=version.number, share=1.0, arm="stable"),),
        change="deploy", options=options, environment=environment, reason=request.reason, verdict=verdict, override=request.override_reason,
    )  # fmt: skip


@handles(r.StartCanary)
def start_canary(request: r.StartCanary, scope: Scope) -> r.Revision:
    """The revision with a canary, or a shadow. Raises NotFound, Conflict."""
    return saved(scope, draft_canary(request, scope))


def draft_canary(request: r.StartCanary, scope: Scope) -> Draft:
    """A version beside the stable one; with a plan its share is the plan's first step."""
    held = _serving(scope, request.deployment)
    stable = held.stable
    assert stable is not None  # noqa: S101 - seen to by _serving
    version = version_of(scope, request.model or stable.model, request.number)
    plan = None
    if request.grow and request.share > 0:
        plan = grown_from(request.share, request.plan or held.options.rollout)
    share = plan.steps[0] if plan else request.share
    verdict = cleared(scope, version, held.environment, request.override_reason) if share > 0 else None
    routes = with_canary(held.routes, version.model, version.number, share)
    change: r.Change = "canary" if share > 0 else "shadow"
    return drafted(held, routes, change, request.reason, verdict=verdict, override=request.override_reason, plan=plan)


@handles(r.SetTraffic)
def set_traffic(request: r.SetTraffic, scope: Scope) -> r.Revision:
    """The revision with another share. Raises NotFound, Conflict."""
    return saved(scope, draft_traffic(request, scope))


def draft_traffic(request: r.SetTraffic, scope: Scope) -> Draft:
    """Another share for the canary."""
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    trial = candidate(held.routes)
    if request.share > trial.share:
        recheck(scope, held, trial)
    return drafted(held, with_share(held.routes, request.share), "traffic", request.reason)


@handles(r.PromoteCanary)
def promote_canary(request: r.PromoteCanary, scope: Scope) -> r.Revision:
    """The revision with the canary as stable. Raises NotFound, Conflict without a passed judgement, Denied."""
    return saved(scope, draft_promotion(request, scope))


def draft_promotion(request: r.PromoteCanary, scope: Scope) -> Draft:
    """The canary alone; it must have passed, or somebody must answer for it."""
    store = ServingStore(scope.connection, scope.project)
    held = store.get(request.deployment)
    trial = candidate(held.routes)
    judgement = next((v for v in store.canary_verdicts(held.name) if v.revision == held.revision), None)
    if request.override_reason:
        check_override(scope)
    elif judgement is None or judgement.outcome != "passed":
        said = " ".join(judgement.reasons) if judgement else "It was not judged yet."
        raise Conflict(
            f"The canary {trial.model}:{trial.number} has not passed. {said}",
            code="serving.canary_not_passed",
            hint="Judge it after it has answered, or override with a reason.",
        )
    verdict, reason = recheck(scope, held, trial, request.override_reason), request.reason
    if trial.arm == "shadow":
        kept = next(iter(RolloutStore(scope.connection, scope.project).comparisons(held.name)), None)
        if kept is not None and (kept.model, kept.number, kept.ended_at) == (trial.model, trial.number, None):
            reason = f"{reason.rstrip('. ')}. {kept.conclusion}" if reason else kept.conclusion
    return drafted(held, promoted(held.routes), "promote", reason, verdict=verdict, override=request.override_reason)


@handles(r.AbortCanary)
def abort_canary(request: r.AbortCanary, scope: Scope) -> r.Revision:
    """The revision with the stable version alone. Raises NotFound, Conflict."""
    return saved(scope, draft_abort(request, scope))


def draft_abort(request: r.AbortCanary, scope: Scope) -> Draft:
    """The stable version alone."""
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    return drafted(held, without_canary(held.routes), "abort", request.reason)


@handles(r.Rollback)
def rollback(request: r.Rollback, scope: Scope) -> r.Revision:
    """The revision that serves as an earlier one did, its options too; a drill goes there and back. Raises NotFound, Conflict."""
    draft = draft_rollback(request, scope)
    done = saved(scope, draft)
    if not request.drill or draft.held is None:
        return done
    back = ServingStore(scope.connection, scope.project).get(request.deployment)
    reason = f"drill over: revision {draft.held.revision} again"
    return saved(scope, drafted(back, draft.held.routes, "drill", reason, options=draft.held.options, begun=draft.begun))


def draft_rollback(request: r.Rollback, scope: Scope) -> Draft:
    """What an earlier revision served, with how it answered."""
    store = ServingStore(scope.connection, scope.project)
    held = store.get(request.deployment)
    target = rollback_target(store.revisions(held.name), request.to)
    routes = tuple(replaced(route, share=1.0) for route in target.routes if route.arm == "stable")
    reason = request.reason or f"back to revision {target.number}"
    return drafted(held, routes, "drill" if request.drill else "rollback", reason, options=target.options)


@handles(r.Reload)
def reload(request: r.Reload, scope: Scope) -> r.Revision:
    """The revision that serves the same by what its versions' engines are now. Raises NotFound, Conflict when it serves nothing."""
    held = _serving(scope, request.deployment)
    newest = ServingStore(scope.connection, scope.project).revisions(held.name)[0]
    if request.since is not None and newest.created_at > request.since:
        return newest
    return saved(scope, drafted(held, held.routes, "reload", request.reason))


@handles(r.Undeploy)
def undeploy(request: r.Undeploy, scope: Scope) -> r.Revision:
    """The revision that serves nothing. Raises NotFound."""
    return saved(scope, draft_undeploy(request, scope))


def draft_undeploy(request: r.Undeploy, scope: Scope) -> Draft:
    """No route."""
    return drafted(ServingStore(scope.connection, scope.project).get(request.deployment), (), "undeploy", request.reason)


def _serving(scope: Scope, name: str) -> r.Deployment:
    held = ServingStore(scope.connection, scope.project).get(name)
    if held.stable is None:
        raise Conflict(f"{held.name!r} serves nothing.", code="serving.undeployed", hint="Deploy a version first.")
    return held
