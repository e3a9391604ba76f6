"""Handlers of looking at many runs."""

from __future__ import annotations

from rung.core.clock import from_micros
from rung.core.errors import NotFound
from rung.core.records import Empty
from rung.core.requests import handles
from rung.storage.scope import Scope
from rung.tracking import views as v
from rung.tracking.records import MetricPoint, MetricSeries
from rung.tracking.store import ExperimentStore, PointStore
from rung.tracking.store.views import ViewStore

_NEWEST_EXPERIMENTS = 30  # whose names are offered where no experiment is named


@handles(v.SaveView)
def save_view(request: v.SaveView, scope: Scope) -> v.SavedView:
    """The view as it is kept."""
    view = v.SavedView(
        name=request.name, owner=scope.who, filter=request.filter, order_by=request.order_by, columns=request.columns,
        experiment=request.experiment, updated_at=scope.now,
    )  # fmt: skip
    _views(scope).save(scope.principal, view)
    return view


@handles(v.ListViews)
def list_views(request: v.ListViews, scope: Scope) -> tuple[v.SavedView, ...]:
    """Views of whoever asks."""
    return _views(scope).all(scope.principal, scope.who)


@handles(v.DeleteView)
def delete_view(request: v.DeleteView, scope: Scope) -> Empty:
    """Forget a view. Raises NotFound."""
    if not _views(scope).delete(scope.principal, request.name):
        raise NotFound(f"You have no view {request.name!r}.", code="tracking.no_view", hint="`rung views list` shows them.")
    return Empty()


@handles(v.ListKeys)
def list_keys(request: v.ListKeys, scope: Scope) -> tuple[str, ...]:
    """Names of columns."""
    newest = [item.number for item in ExperimentStore(scope.connection, scope.project).all() if item.deleted_at is None]
    wanted = request.experiments or newest[:_NEWEST_EXPERIMENTS]
    return tuple(_views(scope).keys(request.kind, wanted, request.contains, request.limit))


@handles(v.SizeExperiments)
def size_experiments(request: v.SizeExperiments, scope: Scope) -> tuple[v.ExperimentSize, ...]:
    """Sizes of experiments."""
    return tuple(_views(scope).size(number) for number in request.experiments)


@handles(v.MetricOfRuns)
def metric_of_runs(request: v.MetricOfRuns, scope: Scope) -> tuple[MetricSeries, ...]:
    """One metric of many runs, in the order asked for."""
    from rung.tracking.history import read_points  # noqa: PLC0415 - loads NumPy, which a server at rest does without

    series, points, found = _views(scope).series(request.runs, request.key), PointStore(scope.connection), []
    for run in request.runs:
        if run in series:
            kept, total = read_points(points, series[run], request.limit)
            columns = zip(kept.steps.tolist(), kept.ats.tolist(), kept.values.tolist(), strict=True)
            line = tuple(MetricPoint(key=request.key, step=step, at=from_micros(at), value=value) for step, at, value in columns)
            found.append(MetricSeries(run=run, key=request.key, points=line, total=total, thinned=len(line) < total))
    return tuple(found)


def _views(scope: Scope) -> ViewStore:
    return ViewStore(scope.connection, scope.project)
