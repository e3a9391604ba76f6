"""A deployment's next revision: drafted from a wish, shown or saved.

Every verb that changes a deployment makes a ``Draft`` without writing anything, so that a plan and the change itself cannot differ.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rung.core.errors import Conflict, Denied, Invalid
from rung.core.ids import new_id
from rung.governance.lineage import link, node
from rung.governance.rules import may
from rung.governance.store import GovernanceStore
from rung.registry.approving import check_approved
from rung.registry.loading import CPU, check_device
from rung.registry.records import ModelVersion
from rung.registry.rules import check_servable
from rung.registry.store import RegistryStore
from rung.serving import records as r
from rung.serving.beginning import begun
from rung.serving.comparing_records import ShadowEnded
from rung.serving.graph.setting import check_graph, models_served
from rung.serving.live import note_change
from rung.serving.options import DeploymentOptions, RolloutPlan
from rung.serving.rollout_store import RolloutStore
from rung.serving.rules import check_engine, with_ranges
from rung.serving.store import ServingStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope


@dataclass(frozen=True)
class Draft:
    """What the next revision would be. ``environment`` is that of a deployment that is new; ``plan`` lets the canary grow."""

    deployment: str
    held: r.Deployment | None
    routes: tuple[r.Route, ...]
    change: r.Change
    options: DeploymentOptions
    environment: str = r.PRODUCTION
    reason: str = ""
    verdict: str | None = None
    override: str = ""
    plan: RolloutPlan | None = None
    rollout: str | None = None
    begun: float = field(default_factory=time.perf_counter)


def laid(draft: Draft) -> tuple[r.Route, ...]:
    """The draft's routes with the ranges of the hash they have, next to those in force."""
    return with_ranges(draft.routes, draft.held.routes if draft.held else ())


def saved(scope: Scope, draft: Draft) -> r.Revision:
    """The revision a draft becomes; a rollout under way that did not ask for it ends."""
    store = ServingStore(scope.connection, scope.project)
    _still_there(scope, draft)
    check_runtime(scope, draft)
    if draft.held is None:
        store.add_deployment(draft.deployment, new_id(), draft.environment, scope.now)
    # the one after that which the draft was made from: where another came in between, the number is taken, and the draft made anew
    number = (store.last_revision(draft.deployment) if draft.held is None else draft.held.revision) + 1
    routes = laid(draft)
    revision = r.Revision(
        id=new_id(), deployment=draft.deployment, number=number, routes=routes, change=draft.change, created_at=scope.now, created_by=scope.who,
        actor_kind=scope.principal_kind, reason=draft.reason, verdict=draft.verdict, override_reason=draft.override,
        duration_ms=(time.perf_counter() - draft.begun) * 1000, options=draft.options,
    )  # fmt: skip
    store.add_revision(revision)
    RolloutStore(scope.connection, scope.project).overtaken(revision, keep=draft.rollout)
    asked = models_served(draft.options) if routes else []
    check_graph(scope, draft.deployment, draft.options, routes)
    RegistryStore(scope.connection, scope.project).hold(f"deployment {draft.deployment}", [*((x.model, x.number) for x in routes), *asked])
    if draft.plan is not None:
        begun(scope, revision, draft.plan)
    served = node("deployment", f"{draft.deployment}:{number}")
    for route in routes:
        link(scope, node("model_version", f"{route.model}:{route.number}"), "served_by", served)
        emit(scope, _changed(revision, route.model, route.number))
    for model, number_asked in asked:
        link(scope, node("model_version", f"{model}:{number_asked}"), "served_by", served)
    _tell_shadow(scope, draft)
    link(scope, node("principal", scope.who), "deployed", served)
    note_change()
    return revision


def _still_there(scope: Scope, draft: Draft) -> None:
    """Keep the versions of a draft from being deleted until it is saved. Raises Conflict where one was since it was made."""
    registry = RegistryStore(scope.connection, scope.project)
    wanted = {(x.model, x.number) for x in draft.routes} - {(x.model, x.number) for x in (draft.held.routes if draft.held else ())}
    registry.take_turn(*{model for model, _ in wanted}, *{model for model, _ in models_served(draft.options)})
    for model, number in sorted(wanted):
        if registry.version(model, number).deleted_at is not None:
            raise _deleted(model, number)


def _deleted(model: str, number: int) -> Conflict:
    return Conflict(f"{model}:{number} is deleted.", code="registry.deleted", hint=f"`rung model restore {model} {number}` first.")


def _tell_shadow(scope: Scope, draft: Draft) -> None:
    """Tell of a shadow that is none any more, so that its comparison is kept."""
    before = next((x for x in draft.held.routes if x.arm == "shadow"), None) if draft.held is not None else None
    if (
        before is None
        or draft.held is None
        or any((x.arm, x.model, x.number) == ("shadow", before.model, before.number) for x in draft.routes)
    ):
        return
    emit(scope, ShadowEnded(deployment=draft.deployment, revision=draft.held.revision, model=before.model, number=before.number))


def check_runtime(scope: Scope, draft: Draft) -> None:
    """Raise Conflict or Invalid when a version is new, or is to run otherwise, and cannot run as the options say.

    What went well before is not asked again on the way back to it.
    """
    runtime, held = draft.options.runtime, draft.held
    if draft.change in {"rollback", "drill", "abort"} or not (runtime.engine or runtime.device):
        return
    known = {(x.model, x.number) for x in held.routes} if held is not None and held.options.runtime == runtime else set()
    registry = RegistryStore(scope.connection, scope.project)
    for model, number in {(x.model, x.number) for x in draft.routes} - known:
        version = registry.version(model, number)
        check_engine(version, runtime.engine)
        if runtime.device not in {"", CPU}:
            from rung.registry.format import FORMATS  # noqa: PLC0415 - Polars only for those who name a device

            check_device(version, FORMATS.get(version.format), runtime.device)


def version_of(scope: Scope, model: str, number: int | None, alias: str | None = None) -> ModelVersion:
    """The version asked for, if it can be served. Raises NotFound, Invalid, Conflict."""
    store = RegistryStore(scope.connection, scope.project)
    if number is not None and alias is not None:
        raise Invalid("A version is named by number or by alias, not both.", code="serving.which_version", hint="Drop one of them.")
    version = store.version(model, store.alias(model, alias) if alias is not None else number)
    if version.deleted_at is not None:
        raise _deleted(model, version.number)
    check_servable(version)
    return version


def cleared(scope: Scope, version: ModelVersion, environment: str, override: str) -> str | None:
    """The verdict that lets a version into an environment. Raises Conflict, or Denied for an override."""
    if environment == r.PRODUCTION:
        check_approved(scope, version)
    verdict = next(iter(RegistryStore(scope.connection, scope.project).verdicts(version.model, version.number, limit=1)), None)
    if verdict is not None and verdict.passed:
        return verdict.id
    if override:
        check_override(scope)
        return None
    if environment != r.PRODUCTION:
        return verdict.id if verdict else None
    said = " ".join(verdict.reasons) if verdict else "No gate was checked."
    raise Conflict(
        f"{version.model}:{version.number} has no passing verdict. {said}",
        code="serving.no_verdict",
        hint=f"Run `rung model gate {version.model}:{version.number}`, deploy to another environment, or override with a reason.",
    )


def check_override(scope: Scope) -> None:
    """Raise Denied unless the caller may override."""
    role = GovernanceStore(scope.connection).role_of(scope.project, scope.principal)
    if not may(role, "deployment:override"):
        raise Denied("An override needs deployment:override.", code="governance.denied", hint="Ask a maintainer of the project.")


def drafted(held: r.Deployment, routes: tuple[r.Route, ...], change: r.Change, reason: str, **more: object) -> Draft:
    """A draft of a deployment that exists; options that are not given stay those in force."""
    draft = Draft(
        deployment=held.name, held=held, routes=routes, change=change, options=held.options, environment=held.environment, reason=reason
    )
    return draft if not more else _with(draft, more)


def _with(draft: Draft, changes: dict[str, object]) -> Draft:
    return Draft(**{**{name: getattr(draft, name) for name in draft.__dataclass_fields__}, **changes})


def _changed(revision: r.Revision, model: str, number: int) -> r.DeploymentChanged:
    return r.DeploymentChanged(deployment=revision.deployment, revision=revision.number, change=revision.change, model=model, number=number)
