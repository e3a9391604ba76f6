"""What tracking forgets for good: deleted runs with their points, deleted experiments, deleted logged models."""

from __future__ import annotations

from datetime import datetime

from rung.storage.purging import purges
from rung.storage.scope import Scope
from rung.tracking.store import ArtifactStore, ExperimentStore, LoggedStore, PointStore, RunStore

_AT_ONCE = 500  # rows of one transaction; what is left goes with the next collection


@purges("runs")
def purge_runs(scope: Scope, before: datetime) -> int:
    """Runs deleted before an instant, or of an experiment that was."""
    runs, points, artifacts = RunStore(scope.connection, scope.project), PointStore(scope.connection), _artifacts(scope)
    gone = runs.deleted_before(before, _AT_ONCE)
    for run in gone:
        points.remove(run)
        artifacts.delete(run)
        runs.remove(run)
    return len(gone)


@purges("logged models")
def purge_logged_models(scope: Scope, before: datetime) -> int:
    """Logged models deleted before an instant."""
    store, artifacts = LoggedStore(scope.connection, scope.project), _artifacts(scope)
    gone = store.deleted_before(before)[:_AT_ONCE]
    for model in gone:
        artifacts.delete(f"m-{model}")
        store.remove(model)
    return len(gone)


@purges("experiments")
def purge_experiments(scope: Scope, before: datetime) -> int:
    """Experiments deleted before an instant whose runs are gone."""
    store, runs = ExperimentStore(scope.connection, scope.project), RunStore(scope.connection, scope.project)
    gone = [e.number for e in store.all() if e.deleted_at is not None and e.deleted_at < before and not runs.any_of(e.number)]
    for number in gone:
        store.remove(number)
    return len(gone)


def _artifacts(scope: Scope) -> ArtifactStore:
    return ArtifactStore(scope.connection, scope.project)
