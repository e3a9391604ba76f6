"""Rows of registered models, their versions, aliases, tags and stages."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from rung.core.errors import Invalid, NotFound
from rung.protocols.mlflow import shapes, wire
from rung.protocols.mlflow.routes import Answer, Call, Row, row
from rung.registry import logged as lg
from rung.registry import records as r

_Name = Annotated[str, Meta(min_length=1)]
_Texts = tuple[str, ...] | None
_STAGES: dict[str, r.Stage] = {"none": "none", "staging": "staging", "production": "production", "archived": "archived"}
_STATUSES = {"ready": "READY", "pending": "PENDING_REGISTRATION", "failed": "FAILED_REGISTRATION"}
_MOST_DIGITS = 9


class NameBody(wire.Body):
    name: _Name


class CreateModelBody(NameBody):
    tags: tuple[wire.Tag, ...] | None = ()
    description: str | None = None


class RenameBody(NameBody):
    new_name: str | None = None


class DescribeModelBody(NameBody):
    description: str | None = None


class SearchBody(wire.Body):
    filter: str | None = None
    max_results: int | None = None
    order_by: _Texts = ()
    page_token: str | None = None


class LatestBody(NameBody):
    stages: _Texts = ()


class ModelTagBody(NameBody):
    key: _Name
    value: str = ""


class ModelKeyBody(NameBody):
    key: _Name


class AliasBody(NameBody):
    alias: str


class SetAliasBody(AliasBody):
    version: _Name


class VersionBody(NameBody):
    version: _Name


class CreateVersionBody(NameBody):
    source: _Name
    run_id: str | None = None
    tags: tuple[wire.Tag, ...] | None = ()
    run_link: str | None = None
    description: str | None = None
    model_id: str | None = None


class DescribeVersionBody(VersionBody):
    description: str | None = None


class StageBody(VersionBody):
    stage: _Name
    archive_existing_versions: bool = False


class VersionTagBody(VersionBody):
    key: _Name
    value: str = ""


class VersionKeyBody(VersionBody):
    key: _Name


@row("POST", "/registered-models/create", CreateModelBody, r.CreateModel)
def create_model(body: CreateModelBody, call: Call) -> Answer:
    made = call(r.CreateModel(name=body.name, tags=wire.mapped(body.tags or ()), description=body.description or "", gated=False))
    return {"registered_model": _model_json(made, ())}


@row("GET", "/registered-models/get", NameBody, r.GetModel, lg.LatestVersions)
def get_model(body: NameBody, call: Call) -> Answer:
    return {"registered_model": _told(call(r.GetModel(model=body.name)), call)}


@row("POST", "/registered-models/rename", RenameBody, lg.RenameModel, lg.LatestVersions)
def rename_model(body: RenameBody, call: Call) -> Answer:
    return {"registered_model": _told(call(lg.RenameModel(model=body.name, name=body.new_name or "")), call)}


@row("PATCH", "/registered-models/update", DescribeModelBody, r.UpdateModel, lg.LatestVersions)
def update_model(body: DescribeModelBody, call: Call) -> Answer:
    return {"registered_model": _told(call(r.UpdateModel(model=body.name, description=body.description or "")), call)}


@row("DELETE", "/registered-models/delete", NameBody, lg.DeleteModel)
def delete_model(body: NameBody, call: Call) -> Answer:
    call(lg.DeleteModel(model=body.name))
    return {}


@row("GET POST", "/registered-models/search", SearchBody, lg.SearchModels, lg.LatestVersions)
def search_models(body: SearchBody, call: Call) -> Answer:
    page = call(
        lg.SearchModels(
            filter=body.filter or "", order_by=tuple(body.order_by or ()), after=shapes.mark_of(body.page_token),
            limit=_limit(body.max_results, 100, 1000), dialect="mlflow",
        )
    )  # fmt: skip
    found = {"registered_models": [_told(item, call) for item in page.items], "next_page_token": shapes.page_token(page.next)}
    return wire.without_empty(found)


@row("POST GET", "/registered-models/get-latest-versions", LatestBody, lg.LatestVersions)
def latest_versions(body: LatestBody, call: Call) -> Answer:
    found = call(lg.LatestVersions(model=body.name, stages=tuple(_stage(text) for text in body.stages or ())))
    return wire.without_empty({"model_versions": [_version_json(item) for item in found]})


@row("POST", "/registered-models/set-tag", ModelTagBody, r.UpdateModel)
def set_model_tag(body: ModelTagBody, call: Call) -> Answer:
    call(r.UpdateModel(model=body.name, tags={body.key: body.value}))
    return {}


@row("DELETE", "/registered-models/delete-tag", ModelKeyBody, r.UpdateModel)
def delete_model_tag(body: ModelKeyBody, call: Call) -> Answer:
    call(r.UpdateModel(model=body.name, tags={body.key: None}))
    return {}


@row("POST", "/registered-models/alias", SetAliasBody, r.SetAlias)
def set_alias(body: SetAliasBody, call: Call) -> Answer:
    call(r.SetAlias(model=body.name, alias=body.alias, number=_number(body)))
    return {}


@row("GET", "/registered-models/alias", AliasBody, r.GetVersion)
def get_by_alias(body: AliasBody, call: Call) -> Answer:
    return {"model_version": _version_json(call(r.GetVersion(model=body.name, alias=body.alias, live=True)))}


@row("DELETE", "/registered-models/alias", AliasBody, r.GetModel, r.RemoveAlias)
def delete_alias(body: AliasBody, call: Call) -> Answer:
    if body.alias in call(r.GetModel(model=body.name)).aliases:
        call(r.RemoveAlias(model=body.name, alias=body.alias))
    return {}


@row("POST", "/model-versions/create", CreateVersionBody, lg.RegisterLogged)
def create_version(body: CreateVersionBody, call: Call) -> Answer:
    made = call(
        lg.RegisterLogged(
            model=body.name, source=body.source, run_id=shapes.known_id(body.run_id, "run") if body.run_id else None,
            logged_model=shapes.model_id(body.model_id) if body.model_id else None, run_link=body.run_link or "",
            tags=wire.mapped(body.tags or ()), description=body.description or "",
        )
    )  # fmt: skip
    return {"model_version": _version_json(made)}


@row("GET", "/model-versions/get", VersionBody, r.GetVersion)
def get_version(body: VersionBody, call: Call) -> Answer:
    return {"model_version": _version_json(call(r.GetVersion(model=body.name, number=_number(body), live=True)))}


@row("PATCH", "/model-versions/update", DescribeVersionBody, lg.UpdateVersion)
def update_version(body: DescribeVersionBody, call: Call) -> Answer:
    found = call(lg.UpdateVersion(model=body.name, number=_number(body), description=body.description or ""))
    return {"model_version": _version_json(found)}


@row("DELETE", "/model-versions/delete", VersionBody, lg.DeleteVersion, r.GetVersion)
def delete_version(body: VersionBody, call: Call) -> Answer:
    call(r.GetVersion(model=body.name, number=_number(body), live=True))
    call(lg.DeleteVersion(model=body.name, number=_number(body), remove_aliases=True))
    return {}


@row("GET POST", "/model-versions/search", SearchBody, lg.SearchVersions)
def search_versions(body: SearchBody, call: Call) -> Answer:
    page = call(
        lg.SearchVersions(
            filter=body.filter or "", order_by=tuple(body.order_by or ()), after=shapes.mark_of(body.page_token),
            limit=_limit(body.max_results, 10_000, 200_000), dialect="mlflow",
        )
    )  # fmt: skip
    found = {"model_versions": [_version_json(item) for item in page.items], "next_page_token": shapes.page_token(page.next)}
    return wire.without_empty(found)


@row("GET", "/model-versions/get-download-uri", VersionBody, lg.GetDownload)
def get_download_uri(body: VersionBody, call: Call) -> Answer:
    found = call(lg.GetDownload(model=body.name, number=_number(body)))
    if not found.source:
        raise Invalid(
            f"{body.name}:{body.version} was registered with Rung's own client and has no folder of MLflow's.",
            code="mlflow.no_folder",
            hint="Load it with rung.connect().registry.predictor, or deploy it.",
        )
    if found.experiment_number is None:
        return {"artifact_uri": found.source}
    below = f"/{found.prefix}" if found.prefix else ""
    return {"artifact_uri": f"{shapes.location(found.experiment_number)}/models/{found.owner}/artifacts{below}"}


@row("POST", "/model-versions/transition-stage", StageBody, lg.SetStage)
def transition_stage(body: StageBody, call: Call) -> Answer:
    asked = lg.SetStage(
        model=body.name, number=_number(body), stage=_stage(body.stage), archive_others=body.archive_existing_versions
    )  # fmt: skip
    return {"model_version": _version_json(call(asked))}


@row("POST", "/model-versions/set-tag", VersionTagBody, lg.UpdateVersion)
def set_version_tag(body: VersionTagBody, call: Call) -> Answer:
    call(lg.UpdateVersion(model=body.name, number=_number(body), tags={body.key: body.value}))
    return {}


@row("DELETE", "/model-versions/delete-tag", VersionKeyBody, lg.UpdateVersion)
def delete_version_tag(body: VersionKeyBody, call: Call) -> Answer:
    call(lg.UpdateVersion(model=body.name, number=_number(body), tags={body.key: None}))
    return {}


ROWS: tuple[Row, ...] = (
    create_model, get_model, rename_model, update_model, delete_model, search_models, latest_versions, set_model_tag, delete_model_tag,
    set_alias, get_by_alias, delete_alias, create_version, get_version, update_version, delete_version, search_versions, get_download_uri,
    transition_stage, set_version_tag, delete_version_tag,
)  # fmt: skip


def _told(model: r.Model, call: Call) -> dict[str, Any]:
    return _model_json(model, call(lg.LatestVersions(model=model.name)) if model.versions else ())


def _model_json(model: r.Model, latest: tuple[r.ModelVersion, ...]) -> dict[str, Any]:
    return wire.without_empty(
        {
            "name": model.name, "creation_timestamp": wire.millis(model.created_at),
            "last_updated_timestamp": wire.millis(model.updated_at or model.created_at), "user_id": model.created_by,
            "description": model.description or None, "latest_versions": [_version_json(item) for item in latest],
            "tags": wire.pairs(model.tags),
            "aliases": [{"alias": alias, "version": str(number)} for alias, number in model.aliases.items()],
        }
    )  # fmt: skip


def _version_json(version: r.ModelVersion) -> dict[str, Any]:
    return wire.without_empty(
        {
            "name": version.model, "version": str(version.number), "creation_timestamp": wire.millis(version.created_at),
            "last_updated_timestamp": wire.millis(version.updated_at or version.created_at), "user_id": version.created_by,
            "current_stage": version.stage.capitalize(), "description": version.description or None, "source": version.source,
            "run_id": version.run_id, "status": _STATUSES[version.status], "tags": wire.pairs(version.tags),
            "run_link": version.run_link or None, "aliases": list(version.aliases),
        }
    )  # fmt: skip


def _number(body: Any) -> int:
    text = body.version
    if not text.isascii() or not text.isdecimal():
        raise Invalid(f"Parameter 'version' must be an integer, got {text[:60]!r}.", code="mlflow.bad_version", hint="Send its number.")
    if not 0 < len(text.lstrip("0")) <= _MOST_DIGITS:
        raise NotFound(f"Model Version (name={body.name}, version={text[:60]}) not found.", code="registry.no_version", hint="")
    return int(text)


def _stage(text: str) -> r.Stage:
    found = _STAGES.get(text.lower())
    if found is None:
        raise Invalid(
            f"Invalid Model Version stage: {text[:60]}.",
            code="mlflow.bad_stage",
            hint="It must be one of None, Staging, Production, Archived.",
        )
    return found


def _limit(given: int | None, default: int, most: int) -> int:
    if given is None:
        return default
    if not 1 <= given <= most:
        raise Invalid(
            f"Invalid value {given} for parameter 'max_results' supplied: it must be from 1 to {most}.",
            code="mlflow.bad_max_results",
            hint="Ask for several pages.",
        )
    return given
