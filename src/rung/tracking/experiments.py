"""Handlers of experiments. The experiment ``default`` has the number 0 and is there as soon as somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from rung.core.errors import AlreadyExists, Conflict, Invalid, NotFound
from rung.core.filters import All, Compare, Either, Expression, Not, OrderBy, holds, parse, parse_order
from rung.core.ids import new_id
from rung.core.records import Page
from rung.core.requests import handles
from rung.governance.store import GovernanceStore
from rung.storage.scope import Scope
from rung.tracking import records as r
from rung.tracking.paging import sorted_page
from rung.tracking.store import ExperimentStore

_NAMES = {"name", "number", "created_at", "updated_at", "note"}
_MLFLOW = {"name": "name", "experiment_id": "number", "creation_time": "created_at", "last_update_time": "updated_at"}


@handles(r.CreateExperiment)
def create_experiment(request: r.CreateExperiment, scope: Scope) -> r.Experiment:
    """A new experiment. Raises AlreadyExists."""
    store = store_of(scope)
    store.take_turn()
    held = store.find(name=request.name)
    if held or request.name == r.DEFAULT:
        state = " (deleted)" if held and held.deleted_at else ""
        raise AlreadyExists(
            f"Experiment {request.name!r} exists{state}.", code="tracking.experiment_exists", hint="Choose another name, or restore it."
        )
    experiment = _new(scope, request.name, store.next_number(), note=request.note, tags=request.tags, location=request.artifact_location)
    store.add(experiment)
    return experiment


@handles(r.GetExperiment)
def get_experiment(request: r.GetExperiment, scope: Scope) -> r.Experiment:
    """An experiment. Raises NotFound; Invalid when neither number nor name is given."""
    if request.number is None and request.name is None:
        raise Invalid("Neither number nor name of an experiment is given.", code="tracking.no_experiment_named", hint="Give one.")
    store = store_of(scope)
    found = store.find(name=request.name, number=request.number)
    if found is None and (request.number == 0 or request.name == r.DEFAULT):
        return _new(scope, r.DEFAULT, 0)
    if found is None:
        named = repr(request.name) if request.number is None else request.number
        raise NotFound(f"There is no experiment {named}.", code="tracking.no_experiment", hint="`rung experiments list` shows them.")
    return found


@handles(r.ListExperiments)
def list_experiments(request: r.ListExperiments, scope: Scope) -> tuple[r.Experiment, ...]:
    """Experiments, newest first."""
    return tuple(item for item in store_of(scope).all() if item.deleted_at is None)


@handles(r.SearchExperiments)
def search_experiments(request: r.SearchExperiments, scope: Scope) -> Page[r.Experiment]:
    """A page of experiments. Raises Invalid for a filter or an order that makes no sense."""
    names = _MLFLOW if request.dialect == "mlflow" else {name: name for name in _NAMES}
    expression = parse(request.filter, only_and=request.dialect == "mlflow")
    _check(expression, names)
    orders = [parse_order(text) for text in request.order_by] or [OrderBy(entity="attribute", key=_first(names), descending=True)]
    for order in orders:
        _check(Compare(entity=order.entity, key=order.key, operator="present"), names)
    found = [item for item in _all(scope) if request.view == "all" or (item.deleted_at is None) == (request.view == "active")]
    kept = [item for item in found if holds(expression, lambda entity, key, item=item: _value(item, entity, key, names))]  # type: ignore[misc]
    return sorted_page(
        kept, orders, lambda item, order: _value(item, order.entity, order.key, names), lambda item: item.id, request.after, request.limit
    )


@handles(r.UpdateExperiment)
def update_experiment(request: r.UpdateExperiment, scope: Scope) -> r.Experiment:
    """The changed experiment. Raises NotFound; Conflict for a deleted one; AlreadyExists for a name that is taken."""
    store = store_of(scope)
    store.take_turn()
    held = resolved(scope, r.DEFAULT, request.number)
    if held.deleted_at is not None:
        raise Conflict(f"Experiment {held.name!r} is deleted.", code="tracking.deleted", hint="Restore it first.")
    name = held.name if request.name is None else request.name
    if name != held.name and (held.number == 0 or name == r.DEFAULT or store.find(name=name)):
        raise AlreadyExists(
            f"Experiment {held.name!r} cannot become {name!r}: the name is taken or kept.", code="tracking.experiment_exists",
            hint="Choose another name.",
        )  # fmt: skip
    tags = {key: value for key, value in {**held.tags, **request.tags}.items() if value is not None}
    store.change(held.number, name=name, note=held.note if request.note is None else request.note, tags=tags, updated_at=scope.now)
    return store.get(held.number)


@handles(r.DeleteExperiment)
def delete_experiment(request: r.DeleteExperiment, scope: Scope) -> r.Experiment:
    """The experiment, put aside. Raises NotFound; Conflict for the default one."""
    store = store_of(scope)
    held = resolved(scope, r.DEFAULT, request.number)
    if held.number == 0:
        raise Conflict("The default experiment cannot be deleted.", code="tracking.default_experiment", hint="Delete its runs.")
    store.change(held.number, deleted_at=held.deleted_at or scope.now, updated_at=scope.now)
    return store.get(held.number)


@handles(r.RestoreExperiment)
def restore_experiment(request: r.RestoreExperiment, scope: Scope) -> r.Experiment:
    """The experiment, back again. Raises NotFound."""
    store = store_of(scope)
    held = resolved(scope, r.DEFAULT, request.number)
    store.change(held.number, deleted_at=None, updated_at=scope.now)
    return store.get(held.number)


def resolved(scope: Scope, name: str, number: int | None) -> r.Experiment:
    """The experiment by number, or by name, which is made if it is new. Raises NotFound for an unknown number."""
    store = store_of(scope)
    if number is not None and number != 0:
        return store.get(number)
    wanted = r.DEFAULT if number == 0 else name
    found = store.find(name=wanted)
    if found is None:
        store.take_turn()
        found = store.find(name=wanted)  # somebody else may have made it while this one waited
    if found is None:
        found = _new(scope, wanted, 0 if wanted == r.DEFAULT else store.next_number())
        store.add(found)
    return found


def numbers_of(scope: Scope, experiments: Sequence[str | int]) -> list[int]:
    """Numbers of the experiments named by number or name; unknown ones are left out."""
    store = store_of(scope)
    found = [store.find(name=item) if isinstance(item, str) else store.find(number=item) for item in experiments]
    return [item.number for item in found if item is not None]


def store_of(scope: Scope) -> ExperimentStore:
    """The store of the scope's project."""
    return ExperimentStore(scope.connection, scope.project)


def _new(scope: Scope, name: str, number: int, *, note: str = "", tags: dict[str, str] | None = None, location: str = "") -> r.Experiment:
    project = GovernanceStore(scope.connection).find_project(scope.project) if number == 0 else None
    born = project.created_at if project else scope.now  # the default experiment is as old as its project, entered or not
    return r.Experiment(
        id=scope.project if project else new_id(), number=number, name=name, note=note, created_at=born, updated_at=born,
        created_by=scope.who, tags=tags or {}, artifact_location=location,
    )  # fmt: skip


def _all(scope: Scope) -> list[r.Experiment]:
    found = list(store_of(scope).all())
    return found if any(item.number == 0 for item in found) else [*found, _new(scope, r.DEFAULT, 0)]


def _first(names: dict[str, str]) -> str:
    """The dialect's own name of the instant of creation."""
    return next(theirs for theirs, ours in names.items() if ours == "created_at")


def _check(expression: Expression, names: dict[str, str]) -> None:
    if isinstance(expression, Compare):
        if expression.entity == "attribute" and expression.key not in names:
            raise Invalid(
                f"Experiments have no attribute {expression.key!r}.", code="tracking.bad_filter", hint=f"They have {', '.join(sorted(names))}."
            )  # fmt: skip
        if expression.entity not in {"attribute", "tag"}:
            raise Invalid(f"Experiments have no {expression.entity}s.", code="tracking.bad_filter", hint="Filter by name, time or tags.")
    elif isinstance(expression, Not):
        _check(expression.part, names)
    else:
        for part in expression.parts if isinstance(expression, (All, Either)) else ():
            _check(part, names)


def _value(item: r.Experiment, entity: str, key: str, names: dict[str, str]) -> str | int | float | None:
    if entity == "tag":
        return item.tags.get(key)
    ours = names[key]
    if ours in {"created_at", "updated_at"}:
        at = item.created_at if ours == "created_at" else item.updated_at
        return at.isoformat() if key == ours else int(at.timestamp() * 1000)
    if names is _MLFLOW and item.number == 0 and ours == "name":
        return "Default"
    value = getattr(item, ours)
    return str(value) if key == "experiment_id" else value
