"""Handlers of tracking."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import AlreadyExists, Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.records import Empty, Page
from rung.core.references import DatasetUse
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.governance.store import GovernanceStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope
from rung.tracking import records as r
from rung.tracking.rules import check_condition, check_order, latest, new_params, thinned
from rung.tracking.store import TrackingStore, new_experiment


@handles(r.CreateExperiment)
def create_experiment(request: r.CreateExperiment, scope: Scope) -> r.Experiment:
    """A new experiment. Raises AlreadyExists."""
    store = _store(scope)
    if store.find_experiment(request.name):
        raise AlreadyExists(f"Experiment {request.name!r} exists.", code="tracking.experiment_exists", hint="Choose another name.")
    experiment = new_experiment(request.name, request.note, scope.now, _who(scope))
    store.add_experiment(experiment)
    return experiment


@handles(r.ListExperiments)
def list_experiments(request: r.ListExperiments, scope: Scope) -> tuple[r.Experiment, ...]:
    """Experiments, newest first."""
    return _store(scope).experiments()


@handles(r.StartRun)
def start_run(request: r.StartRun, scope: Scope) -> r.Run:
    """The open run. Raises Conflict when the id it was given belongs to a run of another experiment."""
    store = _store(scope)
    held = store.find_run(request.id) if request.id else None
    if held is not None:
        if held.experiment != request.experiment:
            raise Conflict(f"Run {held.id} is of experiment {held.experiment!r}.", code="tracking.other_run", hint="Choose another id.")
        return held
    if store.find_experiment(request.experiment) is None:
        store.add_experiment(new_experiment(request.experiment, "", scope.now, _who(scope)))
    number = store.next_number(request.experiment)
    run = r.Run(
        id=request.id or new_id(), experiment=request.experiment, number=number, name=request.name or f"{request.experiment}-{number}",
        status="running", started_at=request.started_at or scope.now, created_by=_who(scope), params=request.params, tags=request.tags,
        context=request.context, datasets=request.datasets, pipeline_run=request.pipeline_run, step=request.step, parent=request.parent,
    )  # fmt: skip
    store.add_run(run)
    store.add_params(run.id, run.experiment, run.params)
    store.set_tags(run.id, run.tags)
    _link_context(scope, run)
    return run


@handles(r.LogBatch)
def log_batch(request: r.LogBatch, scope: Scope) -> Empty:
    """Log it all or nothing. Raises NotFound; Conflict for a deleted run or a param with another value."""
    store = _store(scope)
    row = store.run_row(request.run)
    if row.deleted_at is not None:
        raise Conflict(f"Run {request.run} is deleted.", code="tracking.deleted", hint="Restore it first: `rung runs restore`.")
    if request.batch and not store.first_time(request.run, request.batch):
        return Empty()
    if request.params:
        store.add_params(request.run, row.experiment, new_params(store.params(request.run), request.params))
    if request.metrics:
        store.add_points(request.run, row.experiment, request.metrics, latest(request.metrics, scope.now).values(), scope.now)
    store.set_tags(request.run, request.tags)
    if request.datasets:
        held = store.run(request.run).datasets
        fresh = tuple(use for use in request.datasets if use not in held)
        store.change_run(request.run, datasets=held + fresh)
        _link_datasets(scope, request.run, fresh)
    return Empty()


@handles(r.FinishRun)
def finish_run(request: r.FinishRun, scope: Scope) -> r.Run:
    """The closed run. Raises NotFound."""
    store = _store(scope)
    run = store.run(request.run)
    ended_at = request.ended_at or scope.now
    store.change_run(run.id, status=request.status, ended_at=ended_at, error=request.error)
    emit(
        scope,
        r.RunFinished(
            run=run.id, experiment=run.experiment, status=request.status, started_at=run.started_at, ended_at=ended_at,
            pipeline_run=run.pipeline_run,
        ),
    )  # fmt: skip
    return store.run(run.id)


@handles(r.LogArtifact)
def log_artifact(request: r.LogArtifact, scope: Scope) -> Callable[[Scope], r.Artifact]:
    """The named output. Raises NotFound when run or blob is not there, Invalid for a path that climbs."""
    if any(part in {"", ".", ".."} for part in request.path.split("/")):
        raise Invalid(f"{request.path!r} is not a path inside a run.", code="tracking.bad_path", hint="Use names joined by single slashes.")
    if not scope.blobs.exists(request.digest):
        raise NotFound(f"There is no blob {request.digest}.", code="tracking.no_blob", hint="Upload the bytes first.")

    def save(inside: Scope) -> r.Artifact:
        store = _store(inside)
        artifact = r.Artifact(
            run=store.run_row(request.run).id, path=request.path, digest=request.digest, size_bytes=request.size_bytes,
            media_type=request.media_type, created_at=inside.now,
        )  # fmt: skip
        store.set_artifact(artifact)
        return artifact

    return save


@handles(r.ListArtifacts)
def list_artifacts(request: r.ListArtifacts, scope: Scope) -> tuple[r.Artifact, ...]:
    """Outputs of a run. Raises NotFound."""
    store = _store(scope)
    return store.artifacts(store.run(request.run).id)


@handles(r.GetRun)
def get_run(request: r.GetRun, scope: Scope) -> r.Run:
    """One run. Raises NotFound."""
    return _store(scope).run(request.run)


@handles(r.SearchRuns)
def search_runs(request: r.SearchRuns, scope: Scope) -> Page[r.Run]:
    """A page of runs. Raises Invalid for a condition or an order that makes no sense."""
    for condition in request.conditions:
        check_condition(condition)
    check_order(request.order)
    return _store(scope).search(
        experiment=request.experiment, conditions=request.conditions, order=request.order, after=request.after,
        limit=request.limit, deleted=request.deleted,
    )  # fmt: skip


@handles(r.MetricHistory)
def metric_history(request: r.MetricHistory, scope: Scope) -> r.MetricSeries:
    """A metric's points. Raises NotFound, naming the run's metrics."""
    store = _store(scope)
    run = store.run(request.run)
    points = store.history(run.id, request.key)
    if points is None:
        known = ", ".join(sorted(run.metrics)) or "none"
        raise NotFound(f"Run {request.run} has no metric {request.key!r}.", code="tracking.no_metric", hint=f"It has: {known}.")
    kept = thinned(points, request.limit)
    return r.MetricSeries(run=run.id, key=request.key, points=tuple(kept), total=len(points), thinned=len(kept) < len(points))


@handles(r.DeleteRun)
def delete_run(request: r.DeleteRun, scope: Scope) -> r.Run:
    """The run, put aside. Raises NotFound."""
    store = _store(scope)
    run = store.run(request.run)
    store.change_run(run.id, deleted_at=run.deleted_at or scope.now)
    return store.run(run.id)


@handles(r.RestoreRun)
def restore_run(request: r.RestoreRun, scope: Scope) -> r.Run:
    """The run, back again. Raises NotFound."""
    store = _store(scope)
    run = store.run(request.run)
    store.change_run(run.id, deleted_at=None)
    return store.run(run.id)


def _store(scope: Scope) -> TrackingStore:
    return TrackingStore(scope.connection, scope.project)


def _who(scope: Scope) -> str:
    principal = GovernanceStore(scope.connection).find_principal(scope.principal)
    return principal.name if principal else scope.principal


def _link_context(scope: Scope, run: r.Run) -> None:
    target = node("run", run.id)
    if run.context.lock:
        link(scope, node("lock", run.context.lock), "environment_of", target)
    if run.context.git_commit:
        link(scope, node("git_commit", run.context.git_commit), "code_of", target)
    if run.pipeline_run:
        link(scope, node("pipeline_run", run.pipeline_run), "logged_to", target)
    _link_datasets(scope, run.id, run.datasets)


def _link_datasets(scope: Scope, run: str, uses: tuple[DatasetUse, ...]) -> None:
    for use in uses:
        link(scope, node("dataset_version", f"{use.dataset}:{use.number}"), "input_of", node("run", run))
