"""Handlers of tracking: runs, metrics and artifacts. Those of experiments and logged models stand in modules beside."""

from __future__ import annotations

import msgspec

from rung.core.clock import from_micros, to_micros
from rung.core.errors import Conflict, NotFound
from rung.core.ids import new_id
from rung.core.records import Empty, Page
from rung.core.references import DatasetUse
from rung.core.requests import handles
from rung.governance.lineage import link, link_all, node
from rung.storage.outbox import emit
from rung.storage.scope import Scope
from rung.tracking import artifacts as a
from rung.tracking import experiments as _experiments
from rung.tracking import purging as _purging
from rung.tracking import records as r
from rung.tracking.experiments import resolved
from rung.tracking.rules import checked_path, new_params, ordered_by, points_of, wanted
from rung.tracking.store import ArtifactStore, LoggedStore, PointStore, RunSearch, RunStore, TraceStore
from rung.tracking.store.points import Point

__all__ = ["_experiments", "_purging"]  # imported so that their handlers and hooks are known
LATER = ("importing", "modelling", "viewing")
_PACKED_AT_ONCE = 2


@handles(r.StartRun)
def start_run(request: r.StartRun, scope: Scope) -> r.Run:
    """The open run. Raises Conflict when the id it was given belongs to a run of another experiment, or that one is deleted."""
    store, experiments = _runs(scope), _experiments.store_of(scope)
    experiment = resolved(scope, request.experiment, request.experiment_number)
    held = store.find(request.id) if request.id else None
    if held is not None:
        if held.experiment_number != experiment.number:
            raise Conflict(f"Run {held.id} is of experiment {held.experiment!r}.", code="tracking.other_run", hint="Choose another id.")
        return held
    if experiment.deleted_at is not None:
        raise Conflict(f"Experiment {experiment.name!r} is deleted.", code="tracking.deleted", hint="Restore it first.")
    number = experiments.next_run(experiment.number)
    run = r.Run(
        id=request.id or new_id(), experiment=experiment.name, experiment_number=experiment.number, number=number,
        name=request.name or f"{experiment.name}-{number}"[:1000], status="running", started_at=request.started_at or scope.now,
        created_by=scope.who, params=request.params, tags=request.tags, context=request.context, datasets=request.datasets,
        pipeline_run=request.pipeline_run, step=request.step, parent=request.parent,
    )  # fmt: skip
    store.add(run)
    _link_context(scope, run)
    return run


@handles(r.LogBatch)
def log_batch(request: r.LogBatch, scope: Scope) -> Empty:
    """Log it all or nothing. Raises NotFound; Conflict for a deleted run or a param with another value."""
    now = to_micros(scope.now)
    points = [(p.key, p.step, now if p.at is None else to_micros(p.at), p.value) for p in request.metrics]
    points += points_of(request.columns)
    if not write_batch(scope, request.run, points, request.params, request.tags, batch=request.batch):
        return Empty()
    store = _runs(scope)
    if request.datasets:
        _link_datasets(scope, request.run, store.add_datasets(request.run, request.datasets))
    if request.inputs:
        store.add_inputs(request.run, request.inputs)
    if request.models:
        store.add_models(request.run, request.models)
    if request.model_metrics:
        models = LoggedStore(scope.connection, scope.project)
        for metric in request.model_metrics:
            models.get(metric.model)
        models.add_metrics(
            [(msgspec.structs.replace(m, run=request.run), now if m.at is None else to_micros(m.at)) for m in request.model_metrics]  # type: ignore[type-var]  # a Struct, see core.records
        )
    return Empty()


def write_batch(
    scope: Scope, run: str, points: list[Point], params: dict[str, r.ParamValue], tags: dict[str, str], *, batch: str | None = None
) -> bool:
    """Write points, params and tags of a run; False when the batch was written before. Raises NotFound, Conflict.

    Foreign protocols call this with points they have decoded straight from the wire.
    """
    store = _runs(scope)
    experiment_number, deleted_at = store.row(run)
    if deleted_at is not None:
        raise Conflict(f"Run {run} is deleted.", code="tracking.deleted", hint="Restore it first: `rung runs restore`.")
    if batch and not store.first_time(run, batch):
        return False
    if params:
        store.add_params(run, experiment_number, new_params(store.params_among(run, list(params)), params))
    PointStore(scope.connection).add(run, scope.project, experiment_number, points)
    store.set_tags(run, experiment_number, tags)
    return True


@handles(r.UpdateRun)
def update_run(request: r.UpdateRun, scope: Scope) -> r.Run:
    """The run with its new name or opened again. Raises NotFound; Conflict for a deleted run."""
    store = _runs(scope)
    run = _alive(store.get(request.run))
    changes: dict[str, object] = {}
    if request.name is not None:
        changes["name"] = request.name
    if request.status is not None:
        changes |= {"status": request.status, "ended_at": None}
    if changes:
        store.change(run.id, **changes)
    return store.get(run.id)


@handles(r.FinishRun)
def finish_run(request: r.FinishRun, scope: Scope) -> r.Run:
    """The closed run. Raises NotFound."""
    store = _runs(scope)
    run = store.get(request.run)
    ended_at = request.ended_at or scope.now
    store.change(run.id, status=request.status, ended_at=ended_at, error=request.error)
    emit(
        scope,
        r.RunFinished(
            run=run.id, experiment=run.experiment, status=request.status, started_at=run.started_at, ended_at=ended_at,
            pipeline_run=run.pipeline_run,
        ),
    )  # fmt: skip
    return store.get(run.id)


@handles(r.DeleteTag)
def delete_tag(request: r.DeleteTag, scope: Scope) -> Empty:
    """Take a tag off. Raises NotFound for a run or a tag that is not there."""
    store = _runs(scope)
    _alive(store.get(request.run))
    if not store.delete_tag(request.run, request.key):
        raise NotFound(f"Run {request.run} has no tag {request.key!r}.", code="tracking.no_tag", hint="Nothing needs doing.")
    return Empty()


@handles(a.LogArtifact)
def log_artifact(request: a.LogArtifact, scope: Scope) -> r.Artifact:
    """The named output. Raises NotFound when owner or blob is not there, Invalid for a path that climbs."""
    if not scope.blobs.exists(request.digest):
        raise NotFound(f"There is no blob {request.digest}.", code="tracking.no_blob", hint="Upload the bytes first.")
    return name_blob(scope, request.owner, request.path, request.digest, request.size_bytes, request.media_type)


def name_blob(scope: Scope, owner: str, path: str, digest: str, size_bytes: int, media_type: str) -> r.Artifact:
    """The artifact that a blob, which is there, becomes. Raises NotFound for its owner, Invalid for a path that climbs.

    Foreign protocols call this with what they have just stored themselves.
    """
    checked_path(path)
    _owned(scope, owner)
    artifact = r.Artifact(owner=owner, path=path, digest=digest, size_bytes=size_bytes, media_type=media_type, created_at=scope.now)
    _artifacts(scope).set(artifact)
    return artifact


@handles(a.ListArtifacts)
def list_artifacts(request: a.ListArtifacts, scope: Scope) -> tuple[r.Artifact, ...]:
    """Outputs of an owner; a run may be named ``experiment:number``. Raises NotFound."""
    owner = _runs(scope).get(request.owner).id if ":" in request.owner else request.owner
    _owned(scope, owner)
    return _artifacts(scope).list(owner, checked_path(request.under.strip("/")) if request.under.strip("/") else "")


@handles(a.GetArtifact)
def get_artifact(request: a.GetArtifact, scope: Scope) -> r.Artifact:
    """One output. Raises NotFound."""
    return _artifacts(scope).get(request.owner, checked_path(request.path))


@handles(a.DeleteArtifact)
def delete_artifact(request: a.DeleteArtifact, scope: Scope) -> tuple[r.Artifact, ...]:
    """What was forgotten, empty when nothing was there."""
    return _artifacts(scope).delete(request.owner, checked_path(request.path))


@handles(r.GetRun)
def get_run(request: r.GetRun, scope: Scope) -> r.Run:
    """One run. Raises NotFound."""
    return _runs(scope).get(request.run, points=request.points)


@handles(r.SearchRuns)
def search_runs(request: r.SearchRuns, scope: Scope) -> Page[r.Run]:
    """A page of runs. Raises Invalid for a filter or an order that makes no sense."""
    expression, orders = wanted(request.filter, request.dialect), ordered_by(request.order_by, request.dialect)
    numbers = _experiments.numbers_of(scope, request.experiments)
    if request.experiments and not numbers:
        return Page(items=())
    return RunSearch(scope.connection, scope.project).page(
        numbers, expression, orders, view=request.view, after=request.after, limit=request.limit, points=request.points
    )


@handles(r.ListInputs)
def list_inputs(request: r.ListInputs, scope: Scope) -> tuple[r.InputUse, ...]:
    """Data that was read, each once."""
    return tuple(_runs(scope).inputs_among(request.experiments))


@handles(r.MetricHistory)
def metric_history(request: r.MetricHistory, scope: Scope) -> r.MetricSeries:
    """A metric's points. Raises NotFound, naming the run's metrics."""
    from rung.tracking.history import read_points  # noqa: PLC0415 - loads NumPy, which a server at rest does without

    run = _runs(scope).get(request.run)
    store = PointStore(scope.connection)
    series = store.series(run.id, request.key)
    if series is None:
        known = ", ".join(sorted(run.metrics)[:20]) or "none"
        raise NotFound(f"Run {request.run} has no metric {request.key!r}.", code="tracking.no_metric", hint=f"It has: {known}.")
    kept, total = read_points(store, series, request.limit, request.first, request.last)
    columns = zip(kept.steps.tolist(), kept.ats.tolist(), kept.values.tolist(), strict=True)
    points = tuple(r.MetricPoint(key=request.key, step=step, at=from_micros(at), value=value) for step, at, value in columns)
    return r.MetricSeries(run=run.id, key=request.key, points=points, total=total, thinned=len(kept) < total)


@handles(r.MetricPage)
def metric_page(request: r.MetricPage, scope: Scope) -> Page[r.MetricPoint]:
    """A page of a metric's points by instant, step and value. Raises NotFound for a run, Invalid for a bad mark."""
    from rung.tracking.history import page_of  # noqa: PLC0415 - see metric_history

    run = _runs(scope).get(request.run)
    store = PointStore(scope.connection)
    series = store.series(run.id, request.key)
    if series is None:
        return Page(items=())
    found, mark = page_of(store, series, request.limit, request.after)
    columns = zip(found.steps.tolist(), found.ats.tolist(), found.values.tolist(), strict=True)
    return Page(
        items=tuple(r.MetricPoint(key=request.key, step=step, at=from_micros(at), value=value) for step, at, value in columns), next=mark
    )


@handles(r.PackMetrics)
def pack_metrics(request: r.PackMetrics, scope: Scope) -> int:
    """How many points were moved; 0 when no series is long enough."""
    store = PointStore(scope.connection)
    return sum(store.pack(series) for series in store.full_tails(_PACKED_AT_ONCE))


@handles(r.DeleteRun)
def delete_run(request: r.DeleteRun, scope: Scope) -> r.Run:
    """The run, put aside. Raises NotFound."""
    store = _runs(scope)
    run = store.get(request.run)
    store.change(run.id, deleted_at=run.deleted_at or scope.now)
    return store.get(run.id)


@handles(r.RestoreRun)
def restore_run(request: r.RestoreRun, scope: Scope) -> r.Run:
    """The run, back again. Raises NotFound."""
    store = _runs(scope)
    run = store.get(request.run)
    store.change(run.id, deleted_at=None)
    return store.get(run.id)


def _runs(scope: Scope) -> RunStore:
    return RunStore(scope.connection, scope.project)


def _artifacts(scope: Scope) -> ArtifactStore:
    return ArtifactStore(scope.connection, scope.project)


def _alive(run: r.Run) -> r.Run:
    if run.deleted_at is not None:
        raise Conflict(f"Run {run.id} is deleted.", code="tracking.deleted", hint="Restore it first: `rung runs restore`.")
    return run


def _owned(scope: Scope, owner: str) -> None:
    """Raise NotFound for an owner that is not in this project."""
    if owner.startswith("m-"):
        LoggedStore(scope.connection, scope.project).get(owner[2:])
    elif owner.startswith("tr-"):
        if TraceStore(scope.connection, scope.project).find(owner) is None:
            raise NotFound(f"There is no trace {owner}.", code="tracking.no_trace", hint="Keep the trace before its files.")
    elif owner != "files":
        _runs(scope).row(owner)


def _link_context(scope: Scope, run: r.Run) -> None:
    causes = (
        ("lock", run.context.lock, "environment_of"),
        ("git_commit", run.context.git_commit, "code_of"),
        ("pipeline_run", run.pipeline_run, "logged_to"),
    )
    link_all(scope, [(node(kind, key), relation, node("run", run.id)) for kind, key, relation in causes if key])
    _link_datasets(scope, run.id, run.datasets)


def _link_datasets(scope: Scope, run: str, uses: tuple[DatasetUse, ...]) -> None:
    for use in uses:
        link(scope, node("dataset_version", f"{use.dataset}:{use.number}"), "input_of", node("run", run))
