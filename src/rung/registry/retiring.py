"""Handlers that rename, retire and restore models and versions. What is served stays."""

from __future__ import annotations

from rung.core.errors import AlreadyExists, Conflict, NotFound
from rung.core.requests import handles
from rung.evaluation.store import EvaluationStore
from rung.governance.store import GovernanceStore
from rung.registry import logged as lg
from rung.registry import records as r
from rung.registry.moving import moved, turn_at
from rung.registry.notifying import notify
from rung.registry.store import ApprovalStore, RegistryStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope


@handles(lg.RenameModel)
def rename_model(request: lg.RenameModel, scope: Scope) -> r.Model:
    """The model under its new name. Raises NotFound, AlreadyExists, Conflict while it is deployed."""
    store = turn_at(scope, request.model, request.name)
    held = store.model(request.model)
    if request.name == held.name:
        return held
    if store.find_model(request.name) or store.find_model(request.name, deleted=True) or store.next_number(request.name) > 1:
        raise AlreadyExists(
            f"Model {request.name!r} exists, or did and its numbers stay given.", code="registry.model_exists", hint="Choose another name."
        )
    _refuse_held(store, held.name)
    store.rename(held.name, request.name)
    ApprovalStore(scope.connection, scope.project).rename(held.name, request.name)
    EvaluationStore(scope.connection, scope.project).rename_model(held.name, request.name)
    GovernanceStore(scope.connection).rename_nodes(scope.project, "model_version", f"{held.name}:", f"{request.name}:")
    store.change_model(request.name, updated_at=scope.now)
    emit(scope, lg.ModelRenamed(model=request.name, previous=held.name))
    return store.model(request.name)


@handles(lg.DeleteVersion)
def delete_version(request: lg.DeleteVersion, scope: Scope) -> r.ModelVersion:
    """The retired version. Raises NotFound; Conflict while it is deployed, or while an alias points at it."""
    store = turn_at(scope, request.model)
    held = store.version(store.model(request.model).name, request.number)
    if held.deleted_at is not None:
        return held
    _refuse_held(store, held.model, held.number)
    if held.aliases and not request.remove_aliases:
        raise Conflict(f"{held.model}:{held.number} is {', '.join(held.aliases)}.", code="registry.in_use", hint="Move the alias first.")
    for alias in held.aliases:
        moved(scope, held.model, alias, None, "Its version was deleted.")
    store.change_version(held.model, held.number, deleted_at=scope.now, updated_at=scope.now)
    store.change_model(held.model, updated_at=scope.now)
    notify(scope, "model_version.deleted", {"name": held.model, "version": str(held.number)})
    return store.version(held.model, held.number)


@handles(lg.RestoreVersion)
def restore_version(request: lg.RestoreVersion, scope: Scope) -> r.ModelVersion:
    """The version, back. Raises NotFound for one that is gone for good, or whose model is retired."""
    store = turn_at(scope, request.model)
    held = store.version(store.model(request.model).name, request.number)
    if held.purged:
        raise NotFound(f"The files of {held.model}:{held.number} are gone.", code="registry.purged", hint="Register it anew.")
    if held.deleted_at is not None:
        store.change_version(held.model, held.number, deleted_at=None, updated_at=scope.now)
    return store.version(held.model, held.number)


@handles(lg.DeleteModel)
def delete_model(request: lg.DeleteModel, scope: Scope) -> r.Model:
    """The retired model. Raises NotFound, Conflict while a version of it is deployed."""
    store = turn_at(scope, request.model)
    held = store.model(request.model)
    _refuse_held(store, held.name)
    for alias in held.aliases:
        moved(scope, held.name, alias, None, "Its model was deleted.")
    for number in store.numbers(held.name):
        store.change_version(held.name, number, deleted_at=scope.now, updated_at=scope.now)
        notify(scope, "model_version.deleted", {"name": held.name, "version": str(number)})
    store.change_model(held.name, deleted_at=scope.now, updated_at=scope.now)
    notify(scope, "registered_model.deleted", {"name": held.name})
    return _retired(store, held.name)


@handles(lg.RestoreModel)
def restore_model(request: lg.RestoreModel, scope: Scope) -> r.Model:
    """The model with the versions that were retired with it. Raises NotFound."""
    store = turn_at(scope, request.model)
    if store.find_model(request.model) is None:
        held = _retired(store, request.model)
        for number in store.retired_with(held.name, held.deleted_at or scope.now):
            if store.version(held.name, number).purged:
                continue
            store.change_version(held.name, number, deleted_at=None, updated_at=scope.now)
        store.change_model(held.name, deleted_at=None, updated_at=scope.now)
    return store.model(request.model)


def _retired(store: RegistryStore, name: str) -> r.Model:
    found = store.find_model(name, deleted=True)
    if found is None:
        raise NotFound(f"There is no deleted model {name!r}.", code="registry.no_model", hint="`rung gc` removes them for good.")
    return found


def _refuse_held(store: RegistryStore, model: str, number: int | None = None) -> None:
    holders = store.holders(model, number)
    if holders:
        what = model if number is None else f"{model}:{number}"
        raise Conflict(
            f"{what} is served by {', '.join(holders)}.",
            code="registry.deployed",
            hint="Deploy another version there first, or stop it: `rung endpoint stop NAME`.",
        )
