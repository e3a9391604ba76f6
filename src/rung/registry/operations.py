"""Handlers of the registry."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rung.core.errors import AlreadyExists, Conflict, Denied, NotFound
from rung.core.ids import new_id
from rung.core.records import Empty, Page
from rung.core.requests import handles
from rung.evaluation.store import EvaluationStore
from rung.governance.lineage import link, node
from rung.governance.rules import may
from rung.governance.store import GovernanceStore
from rung.registry import judging  # noqa: F401 - registers the handlers of evaluations and gates
from rung.registry import records as r
from rung.registry.loading import load
from rung.registry.rules import card, check_free, check_promotion, check_version, default_rules, merged, version_digest
from rung.registry.store import RegistryStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope


@handles(r.CreateModel)
def create_model(request: r.CreateModel, scope: Scope) -> r.Model:
    """A new model. Raises AlreadyExists."""
    store = _store(scope)
    if store.find_model(request.name):
        raise AlreadyExists(f"Model {request.name!r} exists.", code="registry.model_exists", hint="Choose another name.")
    model = r.Model(
        id=new_id(), name=request.name, task=request.task, description=request.description, tags=request.tags,
        created_at=scope.now, created_by=who(scope),
    )  # fmt: skip
    store.add_model(model)
    return model


@handles(r.UpdateModel)
def update_model(request: r.UpdateModel, scope: Scope) -> r.Model:
    """The changed model. Raises NotFound."""
    store = _store(scope)
    held = store.model(request.model)
    description = held.description if request.description is None else request.description
    store.change_model(held.name, description=description, tags=merged(held.tags, request.tags))
    return store.model(request.model)


@handles(r.ListModels)
def list_models(request: r.ListModels, scope: Scope) -> tuple[r.Model, ...]:
    """Models by name."""
    return _store(scope).models()


@handles(r.GetModel)
def get_model(request: r.GetModel, scope: Scope) -> r.Model:
    """One model. Raises NotFound."""
    return _store(scope).model(request.model)


@handles(r.RegisterVersion)
def register_version(request: r.RegisterVersion, scope: Scope) -> Callable[[Scope], r.ModelVersion]:
    """The new version. Raises NotFound for files that are not stored, Invalid for a model that does not load."""
    check_version(request, scope.read(lambda inside: _store(inside).find_model(request.model)))
    lost = [file.path for file in request.files if not scope.blobs.exists(file.digest)]
    if lost:
        raise NotFound(f"The bytes of {', '.join(lost)} are not stored.", code="registry.no_blob", hint="Upload them first.")
    fields = ("model", "format", "files", "signature", "task", "label", "classes", "threshold", "datasets", "libraries")
    origin = ("run_id", "pipeline_run_id", "lock", "git_commit", "git_dirty", "tags", "description")
    draft = r.ModelVersion(
        id=new_id(), number=1, digest=version_digest(request), size_bytes=sum(file.size_bytes for file in request.files),
        created_at=scope.now, created_by="", **{name: getattr(request, name) for name in (*fields, *origin)},
    )  # fmt: skip
    load(scope.blobs, draft)
    return lambda inside: _save_version(inside, draft)


@handles(r.GetVersion)
def get_version(request: r.GetVersion, scope: Scope) -> r.ModelVersion:
    """A version by number or alias, else the newest. Raises NotFound."""
    store = _store(scope)
    return store.version(request.model, store.alias(request.model, request.alias) if request.alias else request.number)


@handles(r.ListVersions)
def list_versions(request: r.ListVersions, scope: Scope) -> Page[r.ModelVersion]:
    """Versions, newest first. Raises NotFound for an unknown model."""
    store = _store(scope)
    return store.versions(store.model(request.model).name, before=request.before, limit=request.limit)


@handles(r.UpdateVersion)
def update_version(request: r.UpdateVersion, scope: Scope) -> r.ModelVersion:
    """The changed version. Raises NotFound."""
    store = _store(scope)
    held = store.version(request.model, request.number)
    description = held.description if request.description is None else request.description
    store.change_version(request.model, request.number, description=description, tags=merged(held.tags, request.tags))
    return store.version(request.model, request.number)


@handles(r.DeleteVersion)
def delete_version(request: r.DeleteVersion, scope: Scope) -> r.ModelVersion:
    """The retired version. Raises NotFound; Conflict while an alias points at it."""
    store = _store(scope)
    held = store.version(request.model, request.number)
    if held.aliases:
        raise Conflict(
            f"{request.model}:{request.number} is {', '.join(held.aliases)}.", code="registry.in_use", hint="Move the alias first."
        )
    store.change_version(request.model, request.number, deleted_at=held.deleted_at or scope.now)
    return store.version(request.model, request.number)


@handles(r.Promote)
def promote(request: r.Promote, scope: Scope) -> r.AliasMove:
    """The move. Raises Conflict without a passing verdict, Denied for an override by one who may not."""
    store = _store(scope)
    version, held = store.version(request.model, request.number), store.aliases(request.model).get(request.alias)
    verdict = next(iter(store.verdicts(request.model, request.number, limit=1)), None)
    if request.override_reason and not may(GovernanceStore(scope.connection).role_of(scope.project, scope.principal), "model:override"):
        raise Denied(
            f"{who(scope)!r} may not promote past the gates: it needs model:override.",
            code="registry.no_override",
            hint="Ask a maintainer, or let the gates decide.",
        )
    check_promotion(request, verdict, held, version)
    return _move(
        scope, r.AliasMove(
            id=new_id(), model=request.model, alias=request.alias, number=request.number, previous=held, at=scope.now, by=who(scope),
            reason=request.reason, verdict=verdict.id if verdict else None, override_reason=request.override_reason or "",
        ),
    )  # fmt: skip


@handles(r.SetAlias)
def set_alias(request: r.SetAlias, scope: Scope) -> r.AliasMove:
    """The move. Raises Conflict for a protected alias, or when it does not point where the caller expected."""
    check_free(request.alias)
    store = _store(scope)
    version, held = store.version(request.model, request.number), store.aliases(request.model).get(request.alias)
    if version.deleted_at is not None:
        raise Conflict(f"{request.model}:{request.number} is deleted.", code="registry.deleted", hint="Choose another version.")
    previous = held if request.expected is None else request.expected or None
    return _move(
        scope, r.AliasMove(
            id=new_id(), model=request.model, alias=request.alias, number=request.number, previous=previous, at=scope.now,
            by=who(scope), reason=request.reason,
        ),
    )  # fmt: skip


@handles(r.RemoveAlias)
def remove_alias(request: r.RemoveAlias, scope: Scope) -> Empty:
    """Take an alias away. Raises NotFound; Conflict for a protected one."""
    check_free(request.alias)
    held = _store(scope).alias(request.model, request.alias)
    _move(
        scope, r.AliasMove(
            id=new_id(), model=request.model, alias=request.alias, number=None, previous=held, at=scope.now, by=who(scope),
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
        set_by=who(scope),
    )  # fmt: skip
    store.set_rules(rules)
    return rules


@handles(r.GetGateRules)
def get_gate_rules(request: r.GetGateRules, scope: Scope) -> r.GateRules:
    """The rules in force. Raises NotFound for an unknown model."""
    store = _store(scope)
    return store.find_rules(request.model) or default_rules(store.model(request.model).name)


def who(scope: Scope) -> str:
    """Name of the principal who asks."""
    principal = GovernanceStore(scope.connection).find_principal(scope.principal)
    return principal.name if principal else scope.principal


def _store(scope: Scope) -> RegistryStore:
    return RegistryStore(scope.connection, scope.project)


def _save_version(scope: Scope, draft: r.ModelVersion) -> r.ModelVersion:
    store = _store(scope)
    if store.find_model(draft.model) is None:
        store.add_model(
            r.Model(
                id=new_id(), name=draft.model, task=draft.task, description="", tags={}, created_at=scope.now, created_by=who(scope)
            )
        )  # fmt: skip
    number = store.next_number(draft.model)
    version = msgspec.structs.replace(draft, number=number, created_by=who(scope))  # type: ignore[type-var]  # a Struct, see core.records
    store.add_version(version)
    target = node("model_version", f"{version.model}:{number}")
    if version.run_id:
        link(scope, node("run", version.run_id), "produced", target)
    if version.pipeline_run_id:
        link(scope, node("pipeline_run", version.pipeline_run_id), "produced", target)
    for use in version.datasets:
        link(scope, node("dataset_version", f"{use.dataset}:{use.number}"), f"{use.role}_data_of", target)
    if version.lock:
        link(scope, node("lock", version.lock), "environment_of", target)
    if version.git_commit:
        link(scope, node("git_commit", version.git_commit), "code_of", target)
    emit(
        scope,
        r.ModelVersionRegistered(model=version.model, number=number, run_id=version.run_id, pipeline_run_id=version.pipeline_run_id),
    )
    return version


def _move(scope: Scope, move: r.AliasMove) -> r.AliasMove:
    _store(scope).move_alias(move)
    if move.number is not None and move.alias == r.CHAMPION:
        target = node("model_version", f"{move.model}:{move.number}")
        link(scope, node("principal", move.by), "approved", target)
        if move.verdict:
            link(scope, node("verdict", move.verdict), "overridden_for" if move.override_reason else "let_pass", target)
    emit(
        scope,
        r.AliasMoved(
            model=move.model, alias=move.alias, number=move.number, previous=move.previous, verdict=move.verdict,
            override=bool(move.override_reason),
        ),
    )  # fmt: skip
    return move
