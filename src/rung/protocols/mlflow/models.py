"""Rows of logged models: what a run wrote down as a model, under ids that begin with ``m-``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from rung.core.errors import Invalid
from rung.core.filters import ENTITIES
from rung.protocols.mlflow import shapes, wire
from rung.protocols.mlflow.places import checked
from rung.protocols.mlflow.routes import Answer, Call, Row, row
from rung.tracking import logged as m
from rung.tracking.artifacts import ListArtifacts
from rung.tracking.records import GetExperiment

_Status = Literal["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]
_STATUSES: dict[str, m.ModelStatus] = {
    "LOGGED_MODEL_PENDING": "pending", "LOGGED_MODEL_READY": "ready", "LOGGED_MODEL_UPLOAD_FAILED": "failed",
}  # fmt: skip
_THEIRS = {ours: theirs for theirs, ours in _STATUSES.items()}


class CreateBody(wire.Body):
    """A logged model about to be written."""

    experiment_id: str
    name: str | None = None
    model_type: str | None = None
    source_run_id: str | None = None
    params: tuple[wire.Tag, ...] | None = ()
    tags: tuple[wire.Tag, ...] | None = ()


class ModelBody(wire.Body):
    """One logged model, by the path."""

    model_id: str


class FinalizeBody(ModelBody):
    """How writing it ended."""

    status: _Status


class TagsBody(ModelBody):
    """Tags to set."""

    tags: tuple[wire.Tag, ...] | None = ()


class TagKeyBody(ModelBody):
    """A tag to take off."""

    tag_key: str


class ParamsBody(ModelBody):
    """Params to add."""

    params: tuple[wire.Tag, ...] | None = ()


class DirectoriesBody(ModelBody):
    """A folder of its files."""

    artifact_directory_path: str | None = None
    page_token: str | None = None


class OrderBody(wire.Body):
    """One part of an order."""

    field_name: Annotated[str, Meta(min_length=1)]
    ascending: bool | None = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


class DatasetBody(wire.Body):
    """A dataset that metrics shall be of."""

    dataset_name: str
    dataset_digest: str | None = None


class SearchBody(wire.Body):
    """What to look for."""

    experiment_ids: tuple[str, ...] | None = ()
    filter: str | None = None
    datasets: tuple[DatasetBody, ...] | None = ()
    max_results: int | None = None
    order_by: tuple[OrderBody, ...] | None = ()
    page_token: str | None = None


@row("POST", "/logged-models", CreateBody, m.CreateLoggedModel, GetExperiment)
def create(body: CreateBody, call: Call) -> Answer:
    run = shapes.known_id(body.source_run_id, "run") if body.source_run_id else None
    made = call(
        m.CreateLoggedModel(
            experiment_number=shapes.experiment_number(body.experiment_id), name=body.name or "", type=body.model_type or "", run=run,
            params=wire.mapped(body.params or ()), tags=wire.mapped(body.tags or ()),
        )
    )  # fmt: skip
    return _told(made, call)


@row("GET", "/logged-models/{model_id}", ModelBody, m.GetLoggedModel, GetExperiment)
def get(body: ModelBody, call: Call) -> Answer:
    return _told(call(m.GetLoggedModel(model=shapes.model_id(body.model_id))), call)


@row("PATCH", "/logged-models/{model_id}", FinalizeBody, m.UpdateLoggedModel, GetExperiment)
def finalize(body: FinalizeBody, call: Call) -> Answer:
    return _told(call(m.UpdateLoggedModel(model=shapes.model_id(body.model_id), status=_STATUSES[body.status])), call)


@row("DELETE", "/logged-models/{model_id}", ModelBody, m.DeleteLoggedModel)
def delete(body: ModelBody, call: Call) -> Answer:
    call(m.DeleteLoggedModel(model=shapes.model_id(body.model_id)))
    return {}


@row("PATCH", "/logged-models/{model_id}/tags", TagsBody, m.UpdateLoggedModel, GetExperiment)
def set_tags(body: TagsBody, call: Call) -> Answer:
    tags: dict[str, str | None] = dict(wire.mapped(body.tags or ()))
    return _told(call(m.UpdateLoggedModel(model=shapes.model_id(body.model_id), tags=tags)), call)


@row("DELETE", "/logged-models/{model_id}/tags/{tag_key:rest}", TagKeyBody, m.GetLoggedModel, m.UpdateLoggedModel)
def delete_tag(body: TagKeyBody, call: Call) -> Answer:
    model = shapes.model_id(body.model_id)
    call(m.UpdateLoggedModel(model=model, tags={body.tag_key: None}))
    return {}


@row("POST", "/logged-models/{model_id}/params", ParamsBody, m.UpdateLoggedModel)
def add_params(body: ParamsBody, call: Call) -> Answer:
    call(m.UpdateLoggedModel(model=shapes.model_id(body.model_id), params=wire.mapped(body.params or ())))
    return {}


@row("GET", "/logged-models/{model_id}/artifacts/directories", DirectoriesBody, m.GetLoggedModel, ListArtifacts, GetExperiment)
def directories(body: DirectoriesBody, call: Call) -> Answer:
    model = call(m.GetLoggedModel(model=shapes.model_id(body.model_id)))
    under = checked(body.artifact_directory_path or "")
    files = shapes.file_rows(call(ListArtifacts(owner=f"m-{model.id}", under=under)), under)
    return wire.without_empty({"root_uri": _uri(model, call), "files": files})


@row("POST", "/logged-models/search", SearchBody, m.SearchLoggedModels, GetExperiment)
def search(body: SearchBody, call: Call) -> Answer:
    page = call(
        m.SearchLoggedModels(
            experiments=tuple(shapes.experiment_number(text) for text in body.experiment_ids or ()), filter=body.filter or "",
            datasets=tuple(_dataset(item.dataset_name, item.dataset_digest) for item in body.datasets or ()),
            order_by=tuple(_order(item) for item in body.order_by or ()), after=shapes.mark_of(body.page_token),
            limit=min(max(body.max_results or 100, 1), 1000), dialect="mlflow",
        )
    )  # fmt: skip
    return wire.without_empty(
        {"models": [_told(item, call)["model"] for item in page.items], "next_page_token": shapes.page_token(page.next)}
    )


ROWS: tuple[Row, ...] = (create, get, finalize, delete, set_tags, delete_tag, add_params, directories, search)


def _told(model: m.LoggedModel, call: Call) -> Answer:
    info = {
        "model_id": f"m-{model.id}", "experiment_id": str(model.experiment_number), "name": model.name,
        "creation_timestamp_ms": wire.millis(model.created_at), "last_updated_timestamp_ms": wire.millis(model.updated_at),
        "artifact_uri": _uri(model, call), "status": _THEIRS[model.status], "creator_id": None, "model_type": model.type or None,
        "source_run_id": model.run, "tags": wire.pairs(model.tags),
    }  # fmt: skip
    metrics = [
        wire.without_empty({
            "key": item.key, "value": wire.number(item.value), "timestamp": wire.millis(item.at) if item.at else 0, "step": item.step,
            "model_id": f"m-{item.model}", "run_id": item.run, "dataset_name": item.dataset_name or None,
            "dataset_digest": item.dataset_digest or None,
        })
        for item in model.metrics
    ]  # fmt: skip
    data = wire.without_empty({"params": wire.pairs(model.params), "metrics": metrics})
    return {"model": {"info": wire.without_empty(info), "data": data}}


def _uri(model: m.LoggedModel, call: Call) -> str:
    chosen = call(GetExperiment(number=model.experiment_number)).artifact_location
    return f"{shapes.location(model.experiment_number, chosen)}/models/m-{model.id}/artifacts"


def _dataset(name: str, digest: str | None) -> m.MeasuredOn:
    if not name:
        raise Invalid("A dataset without a name was asked for.", code="mlflow.no_dataset", hint="Send its dataset_name.")
    return m.MeasuredOn(name=name, digest=digest or "")


def _order(item: OrderBody) -> str | m.OrderedOn:
    head, dot, key = item.field_name.partition(".")
    name = f"{head}.`{key.strip('`')}`" if dot and head in ENTITIES else item.field_name
    by = f"{name} {'ASC' if item.ascending is None or item.ascending else 'DESC'}"
    return m.OrderedOn(by=by, dataset=_dataset(item.dataset_name, item.dataset_digest)) if item.dataset_name else by
