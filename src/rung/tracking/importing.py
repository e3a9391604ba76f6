"""Handlers of imports. What is there already stays as it is, so that an import can be broken off and repeated."""

from __future__ import annotations

from rung.core.clock import to_micros
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.storage.scope import Scope
from rung.tracking import imports as i
from rung.tracking import records as r
from rung.tracking.experiments import resolved, store_of
from rung.tracking.rules import checked_path, new_params, points_of
from rung.tracking.store import ArtifactStore, LoggedStore, PointStore, RunStore
from rung.tracking.store.tallies import tallies

_GREATEST_NUMBER = 1_000_000_000  # numbers drawn by lot, as file stores do, would leave none to count on from


@handles(i.ImportExperiment)
def import_experiment(request: i.ImportExperiment, scope: Scope) -> r.Experiment:
    """The experiment of that name, made if it is new."""
    store = store_of(scope)
    store.take_turn()
    if request.name == r.DEFAULT:
        held = resolved(scope, r.DEFAULT, 0)
        store.change(0, tags={**request.tags, **held.tags}, note=held.note or request.note)
        return store.get(0)
    found = store.find(name=request.name)
    if found is not None:
        return found
    wanted = request.number
    free = wanted is not None and 0 < wanted <= _GREATEST_NUMBER and store.find(number=wanted) is None
    experiment = r.Experiment(
        id=new_id(), number=wanted if free and wanted else store.next_number(), name=request.name, note=request.note,
        created_at=request.created_at, created_by="", updated_at=request.updated_at, tags=request.tags,
        deleted_at=request.updated_at if request.deleted else None,
    )  # fmt: skip
    store.add(experiment)
    return experiment


@handles(i.ImportRuns)
def import_runs(request: i.ImportRuns, scope: Scope) -> int:
    """How many runs were new. Raises NotFound for the experiment; Invalid for a run that is there twice; Conflict for one of another experiment, or params that differ."""
    experiment = resolved(scope, r.DEFAULT, request.experiment_number)
    store, points = RunStore(scope.connection, scope.project), PointStore(scope.connection)
    held = {run.id: run for run in store.read([run.id for run in request.runs])}
    if len({run.id for run in request.runs}) < len(request.runs):
        raise Invalid("A run is there twice.", code="tracking.twice", hint="Send the pieces of one run in requests of their own.")
    new = [run for run in request.runs if run.id not in held]
    _enter(scope, store, new, experiment)
    points.enter(scope.project, experiment.number, {run.id: points_of(run.points) for run in new})
    for run in request.runs:
        if run.id in held:
            _complete(store, held[run.id], run, experiment)
            points.add(run.id, scope.project, experiment.number, points_of(run.points))
    return len(new)


@handles(i.ImportLoggedModels)
def import_logged_models(request: i.ImportLoggedModels, scope: Scope) -> int:
    """How many logged models were new. Raises NotFound for an experiment that is not there."""
    store = LoggedStore(scope.connection, scope.project)
    new = 0
    for model in request.models:
        resolved(scope, r.DEFAULT, model.experiment_number)
        if store.find(model.id) is None:
            store.add(model)
            new += 1
            if model.run:
                link(scope, node("run", model.run), "produced", node("logged_model", model.id))
        store.add_metrics([(metric, to_micros(metric.at or model.created_at)) for metric in model.metrics])
    return new


@handles(i.ImportArtifacts)
def import_artifacts(request: i.ImportArtifacts, scope: Scope) -> int:
    """How many outputs were named. Raises NotFound for an owner or a blob that is not there, Invalid for a path that climbs."""
    owner = request.owner
    if owner.startswith("m-"):
        if LoggedStore(scope.connection, scope.project).find(owner[2:]) is None:
            raise NotFound(f"There is no logged model {owner}.", code="tracking.no_logged_model", hint="Import it first.")
    else:
        RunStore(scope.connection, scope.project).row(owner)
    store = ArtifactStore(scope.connection, scope.project)
    for item in request.artifacts:
        checked_path(item.path)
        if not scope.blobs.exists(item.digest):
            raise NotFound(f"There is no blob {item.digest}.", code="tracking.no_blob", hint="Upload the bytes first.")
        store.set(
            r.Artifact(
                owner=owner, path=item.path, digest=item.digest, size_bytes=item.size_bytes, media_type=item.media_type, created_at=scope.now
            )
        )  # fmt: skip
    return len(request.artifacts)


@handles(i.TallyRuns)
def tally_runs(request: i.TallyRuns, scope: Scope) -> tuple[i.RunTally, ...]:
    """What is there, counted."""
    return tallies(scope.connection, scope.project, request.runs)


def _enter(scope: Scope, store: RunStore, runs: list[i.ImportedRun], experiment: r.Experiment) -> None:
    if not runs:
        return
    first = store_of(scope).next_run(experiment.number, len(runs))
    store.enter(
        experiment.number,
        [
            r.Run(
                id=run.id, experiment=experiment.name, experiment_number=experiment.number, number=number,
                name=run.name or f"{experiment.name}-{number}"[:1000], status=run.status, started_at=run.started_at, ended_at=run.ended_at,
                created_by=run.created_by, params=dict(run.params), tags=run.tags, context=run.context, inputs=run.inputs, models=run.models,
                parent=run.parent, deleted_at=run.deleted_at,
            )
            for number, run in enumerate(runs, first)
        ],
    )  # fmt: skip
    for run in runs:
        if run.context.git_commit:
            link(scope, node("git_commit", run.context.git_commit), "code_of", node("run", run.id))


def _complete(store: RunStore, held: r.Run, run: i.ImportedRun, experiment: r.Experiment) -> None:
    if held.experiment_number != experiment.number:
        raise Conflict(f"Run {held.id} is of experiment {held.experiment!r}.", code="tracking.other_run", hint="It was imported before.")
    store.add_params(held.id, experiment.number, new_params(held.params, dict(run.params)))
    store.set_tags(held.id, experiment.number, {key: value for key, value in run.tags.items() if held.tags.get(key) != value})
    store.add_inputs(held.id, run.inputs)
    store.add_models(held.id, run.models)
    if held.status == "running":
        store.change(held.id, status=run.status, ended_at=run.ended_at, deleted_at=run.deleted_at)
