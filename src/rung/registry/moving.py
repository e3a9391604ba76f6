"""What several handlers of the registry do alike: name who asks, move an alias, enter a version with its lineage."""

from __future__ import annotations

from rung.core.errors import NotFound
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.governance.lineage import link, node
from rung.registry import records as r
from rung.registry.notifying import notify
from rung.registry.store import ApprovalStore, RegistryStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope


def store_of(scope: Scope) -> RegistryStore:
    """The registry's rows in the scope's project."""
    return RegistryStore(scope.connection, scope.project)


def turn_at(scope: Scope, *models: str) -> RegistryStore:
    """The registry's rows, for who changes these models: what is read of them stays so until the transaction ends."""
    store = store_of(scope)
    store.take_turn(*models)
    return store


def live_version(scope: Scope, model: str, number: int) -> r.ModelVersion:
    """A version that is not retired, of a model that is not. Raises NotFound."""
    store = store_of(scope)
    version = store.version(store.model(model).name, number)
    if version.deleted_at is not None:
        raise NotFound(
            f"{model}:{number} is deleted.", code="registry.deleted", hint=f"`rung model restore {model} {number}` brings it back."
        )
    return version


def enter_model(scope: Scope, model: r.Model) -> r.Model:
    """Save a new model and tell of it. Of a retired one of that name only the version numbers live on."""
    store = store_of(scope)
    if store.find_model(model.name, deleted=True):
        store.forget_rules(model.name)
        ApprovalStore(scope.connection, scope.project).forget_rule(model.name)
        store.change_model(
            model.name, id=model.id, task=model.task, description=model.description, tags=model.tags, created_at=model.created_at,
            created_by=model.created_by, updated_at=model.updated_at, gated=model.gated, deleted_at=None,
        )  # fmt: skip
    else:
        store.add_model(model)
    notify(scope, "registered_model.created", {"name": model.name, "tags": model.tags, "description": model.description or None})
    return model


def enter_version(scope: Scope, draft: r.ModelVersion, *, gated: bool = True) -> r.ModelVersion:
    """Save a draft as the next version of its model, which is made if there is none, with the lineage of what it came from."""
    store, by = turn_at(scope, draft.model), scope.who
    model = store.find_model(draft.model)
    if model is None:
        model = enter_model(
            scope,
            r.Model(
                id=new_id(), name=draft.model, task=draft.task, description="", tags={}, created_at=scope.now, created_by=by,
                updated_at=scope.now, gated=gated,
            ),
        )  # fmt: skip
    version: r.ModelVersion = replaced(
        draft, number=store.next_number(draft.model), created_by=by, created_at=scope.now, updated_at=scope.now
    )
    store.add_version(version)
    store.change_model(draft.model, updated_at=scope.now, task=model.task or draft.task)
    link_origin(scope, version)
    emit(
        scope,
        r.ModelVersionRegistered(
            model=version.model, number=version.number, run_id=version.run_id, pipeline_run_id=version.pipeline_run_id
        ),
    )
    told = {
        "name": version.model, "version": str(version.number), "source": version.source, "run_id": version.run_id, "tags": version.tags,
        "description": version.description or None,
    }  # fmt: skip
    notify(scope, "model_version.created", told)
    return version


def move_alias(scope: Scope, move: r.AliasMove) -> r.AliasMove:
    """Save a move, link who approved a champion, and tell of it. Raises Conflict for the loser of a race."""
    store = store_of(scope)
    store.move_alias(move)
    store.change_model(move.model, updated_at=scope.now)
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
    told = {"name": move.model, "alias": move.alias, **({"version": str(move.number)} if move.number else {})}
    notify(scope, f"model_version_alias.{'created' if move.number else 'deleted'}", told)
    return move


def moved(scope: Scope, model: str, alias: str, number: int | None, reason: str = "") -> r.AliasMove | None:
    """Point an alias at a version, or nowhere; None when it does already."""
    held = store_of(scope).aliases(model).get(alias)
    if held == number:
        return None
    return move_alias(
        scope,
        r.AliasMove(
            id=new_id(), model=model, alias=alias, number=number, previous=held, at=scope.now, by=scope.who, reason=reason
        ),
    )  # fmt: skip


def link_origin(scope: Scope, version: r.ModelVersion) -> None:
    """Link a version to what it came from."""
    target = node("model_version", f"{version.model}:{version.number}")
    sources = [
        (node("run", version.run_id or ""), "produced"), (node("logged_model", version.logged_model or ""), "registered_as"),
        (node("pipeline_run", version.pipeline_run_id or ""), "produced"), (node("lock", version.lock), "environment_of"),
        (node("git_commit", version.git_commit), "code_of"),
    ]  # fmt: skip
    sources += [(node("dataset_version", f"{use.dataset}:{use.number}"), f"{use.role}_data_of") for use in version.datasets]
    for source, relation in sources:
        if source.id:
            link(scope, source, relation, target)
