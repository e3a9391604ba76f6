"""Handlers of the registry."""

from __future__ import annotations

from rung.core.errors import AlreadyExists, Denied, NotFound
from rung.core.ids import new_id
from rung.core.records import Empty, Page
from rung.core.requests import handles
from rung.evaluation.store import EvaluationStore
from rung.governance.rules import may
from rung.governance.store import GovernanceStore
from rung.registry import engine_verbs, finding, hooking, importing, judging, purging, registering, retiring, staging  # noqa: F401 - they register their handlers
from rung.registry import records as r
from rung.registry.approving import check_approved
from rung.registry.moving import enter_model, live_version, move_alias, turn_at
from rung.registry.notifying import notify
from rung.registry.rules import PROTECTED, card, check_free, check_promotion, default_rules, merged
from rung.registry.store import RegistryStore
from rung.storage.scope import Scope


@handles(r.CreateModel)
def create_model(request: r.CreateModel, scope: Scope) -> r.Model:
    """A new model. Raises AlreadyExists."""
    store = turn_at(scope, request.name)
    if store.find_model(request.name):
        raise AlreadyExists(f"Model {request.name!r} exists.", code="registry.model_exists", hint="Choose another name.")
    model = r.Model(
        id=new_id(), name=request.name, task=request.task, description=request.description, tags=request.tags,
        created_at=scope.now, created_by=scope.who, updated_at=scope.now, gated=request.gated,
    )  # fmt: skip
    return enter_model(scope, model)


@handles(r.UpdateModel)
def update_model(request: r.UpdateModel, scope: Scope) -> r.Model:
    """The changed model. Raises NotFound."""
    store = turn_at(scope, request.model)
    held = store.model(request.model)
    description = held.description if request.description is None else request.description
    store.change_model(held.name, description=description, tags=merged(held.tags, request.tags), updated_at=scope.now)
    for key, value in request.tags.items():
        event, more = ("registered_model_tag.deleted", {}) if value is None else ("registered_model_tag.set", {"value": value})
        notify(scope, event, {"name": held.name, "key": key} | more)
    return store.model(request.model)


@handles(r.ListModels)
def list_models(request: r.ListModels, scope: Scope) -> tuple[r.Model, ...]:
    """Models by name."""
    return _store(scope).models(deleted=request.deleted)


@handles(r.GetModel)
def get_model(request: r.GetModel, scope: Scope) -> r.Model:
    """One model. Raises NotFound."""
    return _store(scope).model(request.model)


@handles(r.GetVersion)
def get_version(request: r.GetVersion, scope: Scope) -> r.ModelVersion:
    """A version by number or alias, else the newest. Raises NotFound."""
    store = _store(scope)
    version = store.version(request.model, store.alias(request.model, request.alias) if request.alias else request.number)
    if request.live and version.deleted_at is not None:
        raise NotFound(
            f"Model {request.model!r} has no version {version.number}.", code="registry.no_version",
            hint=f"`rung model restore {request.model} {version.number}` brings it back.",
        )  # fmt: skip
    return version


@handles(r.ListVersions)
def list_versions(request: r.ListVersions, scope: Scope) -> Page[r.ModelVersion]:
    """Versions, newest first. Raises NotFound for an unknown model."""
    store = _store(scope)
    return store.versions(store.model(request.model).name, before=request.before, limit=request.limit, deleted=request.deleted)


@handles(r.Promote)
def promote(request: r.Promote, scope: Scope) -> r.AliasMove:
    """The move. Raises Conflict without a passing verdict, Denied for an override by one who may not."""
    store = turn_at(scope, request.model)
    version, held = store.version(request.model, request.number), store.aliases(request.model).get(request.alias)
    verdict = next(iter(store.verdicts(request.model, request.number, limit=1)), None)
    if request.override_reason and not may(GovernanceStore(scope.connection).role_of(scope.project, scope.principal), "model:override"):
        raise Denied(
            f"{scope.who!r} may not promote past the gates: it needs model:override.",
            code="registry.no_override",
            hint="Ask a maintainer, or let the gates decide.",
        )
    check_promotion(request, verdict, held, version)
    check_approved(scope, version)
    return move_alias(
        scope, r.AliasMove(
            id=new_id(), model=request.model, alias=request.alias, number=request.number, previous=held, at=scope.now, by=scope.who,
            reason=request.reason, verdict=verdict.id if verdict else None, override_reason=request.override_reason or "",
        ),
    )  # fmt: skip


@handles(r.SetAlias)
def set_alias(request: r.SetAlias, scope: Scope) -> r.AliasMove:
    """The move. Raises Conflict for a protected alias, or when it does not point where the caller expected."""
    store = turn_at(scope, request.model)
    check_free(request.alias, store.model(request.model))
    version = live_version(scope, request.model, request.number)
    if request.alias in PROTECTED:
        check_approved(scope, version)
    held = store.aliases(request.model).get(request.alias)
    previous = held if request.expected is None else request.expected or None
    if request.expected is None and held == request.number:
        return next(iter(store.moves(request.model, request.alias, 1)))
    return move_alias(
        scope, r.AliasMove(
            id=new_id(), model=request.model, alias=request.alias, number=request.number, previous=previous, at=scope.now,
            by=scope.who, reason=request.reason,
        ),
    )  # fmt: skip


@handles(r.RemoveAlias)
def remove_alias(request: r.RemoveAlias, scope: Scope) -> Empty:
    """Take an alias away. Raises NotFound; Conflict for a protected one."""
    store = turn_at(scope, request.model)
    check_free(request.alias, store.model(request.model))
    held = store.alias(request.model, request.alias)
    move_alias(
        scope, r.AliasMove(
            id=new_id(), model=request.model, alias=request.alias, number=None, previous=held, at=scope.now, by=scope.who,
            reason=request.reason,
        ),
    )  # fmt: skip
    return Empty()


@handles(r.ListAliasMoves)
def list_alias_moves(request: r.ListAliasMoves, scope: Scope) -> tuple[r.AliasMove, ...]:
    """Moves, newest first. Raises NotFound for an unknown model."""
    store = _store(scope)
    return store.moves(store.model(request.model).name, request.alias, request.limit)


@handles(r.GetCard)
def get_card(request: r.GetCard, scope: Scope) -> r.ModelCard:
    """A version's card. Raises NotFound."""
    store = _store(scope)
    version = store.version(request.model, request.number)
    evaluations = [
        (f"{item.dataset}:{item.dataset_number}", item.scores, item.rows)
        for item in EvaluationStore(scope.connection, scope.project).list(version.model, number=version.number)
    ]
    moves = tuple(move for move in store.moves(version.model, None, 100) if version.number in {move.number, move.previous})
    return card(version, evaluations, store.verdicts(version.model, version.number), moves)


@handles(r.SetGateRules)
def set_gate_rules(request: r.SetGateRules, scope: Scope) -> r.GateRules:
    """The rules now in force. Raises NotFound for an unknown model or gate, Invalid for wrong params."""
    from rung.registry.gate import check_rules  # noqa: PLC0415 - gates load NumPy and Polars

    check_rules(request.rules)
    store = _store(scope)
    rules = r.GateRules(
        model=store.model(request.model).name, rules=request.rules, slices=request.slices, dataset=request.dataset, set_at=scope.now,
        set_by=scope.who,
    )  # fmt: skip
    store.set_rules(rules)
    store.change_model(rules.model, gated=True, updated_at=scope.now)
    return rules


@handles(r.GetGateRules)
def get_gate_rules(request: r.GetGateRules, scope: Scope) -> r.GateRules:
    """The rules in force. Raises NotFound for an unknown model."""
    store = _store(scope)
    return store.find_rules(request.model) or default_rules(store.model(request.model).name)


def _store(scope: Scope) -> RegistryStore:
    return RegistryStore(scope.connection, scope.project)
