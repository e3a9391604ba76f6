"""Experiments and runs as MLflow writes them, and back. Our experiment ``default`` is MLflow's experiment 0, ``Default``."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import Invalid, NotFound
from rung.protocols.mlflow import wire
from rung.tracking.records import DEFAULT, Artifact, Experiment, Input, LatestPoint, ModelLink, Run, RunContext
from rung.tracking.rules import param_text

THEIR_DEFAULT = "Default"
_NAME, _PARENT, _USER = "mlflow.runName", "mlflow.parentRunId", "mlflow.user"
_COMMIT, _SOURCE = "mlflow.source.git.commit", "mlflow.source.name"
_ID_LENGTH = 32
_MARK = "="  # page tokens are opaque to the client; ours are the marks of our own pages, kept from being mistaken for a number


def our_name(name: str) -> str:
    """An experiment's name here."""
    return DEFAULT if name == THEIR_DEFAULT else name


def experiment_number(text: str) -> int:
    """The number of an experiment id. Raises NotFound: an id that is no number names nothing."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:  # noqa: PLR2004 - as far as our numbers reach
        raise NotFound(f"No Experiment with id={text[:60]} exists.", code="tracking.no_experiment", hint="Ask for it by name.")
    return int(text)


def run_id(body: Any) -> str:
    """The run a body names, by ``run_id`` or by its older name. Raises Invalid without one, NotFound for what cannot be one."""
    found = body.run_id or body.run_uuid
    if not found:
        raise Invalid("Missing value for required parameter 'run_id'.", code="mlflow.no_run_id", hint="Send the run's id.")
    return known_id(found, "run")


def known_id(text: str, what: str) -> str:
    """An id of ours. Raises NotFound for a text that cannot be one."""
    if len(text) != _ID_LENGTH or not set(text) <= set("0123456789abcdef"):
        raise NotFound(f"There is no {what} {text[:60]!r}.", code=f"tracking.no_{what}", hint="Ids have 32 hexadecimal digits.")
    return text


def model_id(text: str) -> str:
    """The id behind ``m-…``. Raises NotFound."""
    return known_id(text.removeprefix("m-"), "model")


def trace_id(text: str) -> str:
    """A trace's id. Raises NotFound."""
    return "tr-" + known_id(text.removeprefix("tr-") if text.startswith("tr-") else "", "trace")


def experiment_json(item: Experiment) -> dict[str, Any]:
    """An experiment."""
    return wire.without_empty(
        {
            "experiment_id": str(item.number), "name": THEIR_DEFAULT if item.number == 0 else item.name,
            "artifact_location": location(item.number, item.artifact_location),
            "lifecycle_stage": "active" if item.deleted_at is None else "deleted", "creation_time": wire.millis(item.created_at),
            "last_update_time": wire.millis(item.updated_at), "tags": wire.pairs(item.tags),
        }
    )  # fmt: skip


def location(number: int, chosen: str = "") -> str:
    """Where an experiment's artifacts are: behind our proxy unless the client chose a place of its own."""
    return chosen or f"mlflow-artifacts:/{number}"


def artifact_uri(run: Run, locations: dict[int, str]) -> str:
    """Where a run's artifacts are."""
    return f"{location(run.experiment_number, locations.get(run.experiment_number, ''))}/{run.id}/artifacts"


def info_json(run: Run, locations: dict[int, str]) -> dict[str, Any]:
    """A run's head."""
    found = {
        "run_id": run.id, "run_uuid": run.id, "run_name": run.name, "experiment_id": str(run.experiment_number),
        "user_id": run.tags.get(_USER, run.created_by), "status": wire.status(run.status), "start_time": wire.millis(run.started_at),
        "artifact_uri": artifact_uri(run, locations), "lifecycle_stage": "active" if run.deleted_at is None else "deleted",
    }  # fmt: skip
    if run.ended_at is not None:
        found["end_time"] = wire.millis(run.ended_at)
    return found


def run_json(run: Run, locations: dict[int, str]) -> dict[str, Any]:
    """A run with its data; it must have been asked for with its points."""
    tags = {**run.tags, _NAME: run.name}
    if run.parent:
        tags[_PARENT] = run.parent
    data = {
        "metrics": [metric_json(key, point) for key, point in run.latest.items()],
        "params": [{"key": key, "value": param_text(value)} for key, value in run.params.items()],
        "tags": wire.pairs(tags),
    }
    ins = [{"model_id": f"m-{link.model}"} for link in run.models if link.direction == "in"]
    outs = [{"model_id": f"m-{link.model}", "step": link.step} for link in run.models if link.direction == "out"]
    return {
        "info": info_json(run, locations),
        "data": wire.without_empty(data),
        "inputs": wire.without_empty({"dataset_inputs": [input_json(item) for item in run.inputs], "model_inputs": ins}),
        "outputs": wire.without_empty({"model_outputs": outs}),
    }


def metric_json(key: str, point: LatestPoint) -> dict[str, Any]:
    """The latest point of a metric."""
    return {"key": key, "value": wire.number(point.value), "timestamp": wire.millis(point.at), "step": point.step}


def input_json(item: Input) -> dict[str, Any]:
    """Data that a run read."""
    dataset = {
        "name": item.name, "digest": item.digest, "source_type": item.source_type, "source": item.source,
        "schema": item.schema or None, "profile": item.profile or None,
    }  # fmt: skip
    return {"dataset": wire.without_empty(dataset), "tags": wire.pairs(item.tags)}


def start_facts(name: str | None, tags: dict[str, str]) -> tuple[str, str | None, RunContext, dict[str, str]]:
    """Name, parent, context and remaining tags of a run about to be opened, from what MLflow keeps in tags."""
    parent = tags.get(_PARENT, "")
    kept = {key: value for key, value in tags.items() if key != _NAME and not (key == _PARENT and _is_id(parent))}
    context = RunContext(git_commit=tags.get(_COMMIT, "")[:64], source=tags.get(_SOURCE, "")[:1000])
    return (name or tags.get(_NAME, ""))[:1000], parent if _is_id(parent) else None, context, kept


def renamed(tags: dict[str, str]) -> tuple[str | None, dict[str, str]]:
    """The name that tags give a run, if they do, and the other tags."""
    return tags.get(_NAME), {key: value for key, value in tags.items() if key != _NAME}


def link_out(model: str, step: int) -> ModelLink:
    """A logged model that a run made."""
    return ModelLink(model=model_id(model), direction="out", step=step)


def file_rows(artifacts: tuple[Artifact, ...], under: str) -> list[dict[str, Any]]:
    """Files and folders right below a folder, as MLflow lists them: folders have no size."""
    start = under.strip("/") + "/" if under.strip("/") else ""
    found: dict[str, dict[str, Any]] = {}
    for item in artifacts:
        name, slash, _ = item.path.removeprefix(start).partition("/")
        path = start + name
        if slash:
            found.setdefault(path + "/", {"path": path, "is_dir": True})
        elif item.path.startswith(start):
            found[path] = {"path": path, "is_dir": False, "file_size": item.size_bytes}
    return [found[key] for key in sorted(found)]


def page_token(mark: str | None) -> str | None:
    """The mark of a page as MLflow's token."""
    return None if mark is None else _MARK + mark


def mark_of(token: str | None) -> str | None:
    """The mark behind a token. Raises Invalid."""
    if not token:
        return None
    if not token.startswith(_MARK):
        raise Invalid(f"Invalid page token {token[:60]!r}.", code="tracking.bad_page", hint="Send the token of the page before.")
    return token[1:]


def history_of(tag: str | None, model_json: str) -> str:
    """The tag in which old clients list a run's models, with one more."""
    try:
        held = msgspec.json.decode(tag or "[]")
        added = msgspec.json.decode(model_json)
    except msgspec.DecodeError:
        raise Invalid("'model_json' is no JSON.", code="mlflow.bad_json", hint="Send the model's MLmodel as JSON.") from None
    return msgspec.json.encode([*(held if isinstance(held, list) else []), added]).decode()


def _is_id(text: str) -> bool:
    return len(text) == _ID_LENGTH and set(text) <= set("0123456789abcdef")
