"""Handlers of imports. What is there already stays as it is, so that an import can be broken off and repeated.

No event is emitted and no webhook called: what happened elsewhere happened before.
"""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import Conflict, RungError
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.requests import handles
from rung.registry import imports as i
from rung.registry import logged as lg
from rung.registry import records as r
from rung.registry.moving import link_origin, live_version, moved, store_of, turn_at
from rung.registry.registering import drafted, source_of, unread
from rung.storage.scope import Scope
from rung.tracking.store import RunStore


@handles(i.ImportModel)
def import_model(request: i.ImportModel, scope: Scope) -> r.Model:
    """The model of that name, made if it is new."""
    store = turn_at(scope, request.model)
    found = store.find_model(request.model)
    if found is not None:
        return found
    if store.find_model(request.model, deleted=True):
        raise Conflict(
            f"Model {request.model!r} was deleted here.", code="registry.deleted", hint=f"`rung model restore {request.model}` first."
        )
    model = r.Model(
        id=new_id(), name=request.model, task=None, description=request.description, tags=request.tags, created_at=request.created_at,
        created_by=request.created_by, updated_at=request.updated_at, gated=False,
    )  # fmt: skip
    store.add_model(model)
    return model


@handles(i.ImportVersion)
def import_version(request: i.ImportVersion, scope: Scope) -> Callable[[Scope], r.ModelVersion]:
    """The version; one that says why it cannot be served when its files are not here. Raises NotFound, Conflict."""
    known = scope.read(lambda inside: RunStore(inside.connection, inside.project).find(request.run_id or "") is not None)
    asked = lg.RegisterLogged(
        model=request.model, source=request.source, run_id=request.run_id if known else None, logged_model=request.logged_model,
        run_link=request.run_link, tags=request.tags, description=request.description,
    )  # fmt: skip
    scope.read(lambda inside: store_of(inside).model(request.model))
    try:
        draft = drafted(asked, source_of(asked), scope)
    except RungError as error:
        draft = unread(asked, scope, {}, f"{error.message} {error.hint or ''}".strip()[:1000])
    version = replaced(
        draft, number=request.number, run_id=request.run_id, stage=request.stage, status=request.status, created_at=request.created_at,
        updated_at=request.updated_at, created_by=request.created_by,
    )  # fmt: skip
    return lambda inside: _enter(inside, version)


@handles(i.ImportAlias)
def import_alias(request: i.ImportAlias, scope: Scope) -> bool:
    """Whether the alias had to move. Raises NotFound."""
    turn_at(scope, request.model)
    version = live_version(scope, request.model, request.number)
    return moved(scope, version.model, request.alias, version.number, "Imported.") is not None


def _enter(scope: Scope, version: r.ModelVersion) -> r.ModelVersion:
    store = turn_at(scope, version.model)
    held = store.find_version(version.model, version.number)
    if held is not None:
        if held.source != version.source:
            raise Conflict(
                f"{version.model}:{version.number} is here already and came from {held.source or 'here'}.", code="registry.version_exists",
                hint="Rename the model here, then import again.",
            )  # fmt: skip
        return held
    model = store.model(version.model)
    store.add_version(version)
    store.change_model(version.model, task=model.task or version.task)
    link_origin(scope, version)
    return store.version(version.model, version.number)
