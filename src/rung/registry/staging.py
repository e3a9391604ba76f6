"""Handlers of stages: old words for where a version is, kept in step with the aliases of the same names."""

from __future__ import annotations

from rung.core.errors import Conflict
from rung.core.requests import handles
from rung.registry import logged as lg
from rung.registry import records as r
from rung.registry.approving import check_approved
from rung.registry.moving import live_version, moved, store_of, turn_at
from rung.registry.notifying import notify
from rung.storage.outbox import emit
from rung.storage.scope import Scope


@handles(lg.SetStage)
def set_stage(request: lg.SetStage, scope: Scope) -> r.ModelVersion:
    """The version in its stage. Raises NotFound, Conflict for production without a passing verdict where the model is gated."""
    store = turn_at(scope, request.model)
    model = store.model(request.model)
    version = live_version(scope, model.name, request.number)
    if request.archive_others and request.stage not in r.STAGED:
        raise Conflict(
            f"Versions in {request.stage!r} are not archived by moving another there.",
            code="registry.bad_stage",
            hint="Leave archiving to staging and production.",
        )
    if request.stage == "production" and version.stage != "production":
        _let_pass(scope, model, version)
    touched = {version.stage, request.stage}
    others = [number for number in store.staged(model.name, request.stage) if number != version.number] if request.archive_others else []
    for number in others:
        store.change_version(model.name, number, stage="archived", staged_at=scope.now, updated_at=scope.now)
    store.change_version(model.name, version.number, stage=request.stage, staged_at=scope.now, updated_at=scope.now)
    for stage in sorted(touched & set(r.STAGED)):
        moved(
            scope,
            model.name,
            stage,
            next(iter(store.staged(model.name, stage)), None),
            f"Version {version.number} moved to {request.stage}.",
        )
    told = {"name": model.name, "version": str(version.number), "from_stage": version.stage, "to_stage": request.stage}
    notify(scope, "model_version.transitioned", told)
    emit(scope, lg.VersionStaged(model=model.name, number=version.number, stage=request.stage, previous=version.stage))
    return store.version(model.name, version.number)


@handles(lg.LatestVersions)
def latest_versions(request: lg.LatestVersions, scope: Scope) -> tuple[r.ModelVersion, ...]:
    """The newest version of each stage, oldest first. Raises NotFound."""
    store = store_of(scope)
    newest: dict[str, r.ModelVersion] = {}
    for version in store.among(models=[store.model(request.model).name]):
        if version.stage not in newest or newest[version.stage].number < version.number:
            newest[version.stage] = version
    wanted: tuple[str, ...] = request.stages or tuple(newest)
    return tuple(sorted((newest[stage] for stage in dict.fromkeys(wanted) if stage in newest), key=lambda version: version.number))


def _let_pass(scope: Scope, model: r.Model, version: r.ModelVersion) -> None:
    verdict = next(iter(store_of(scope).verdicts(model.name, version.number, limit=1)), None)
    if model.gated and (verdict is None or not verdict.passed):
        raise Conflict(
            f"{model.name}:{version.number} has no passing verdict, which production asks for.",
            code="registry.protected_alias",
            hint=f"`rung model gate {model.name} {version.number}` asks the gates.",
        )
    check_approved(scope, version)
