"""Calls that are no inference: health, metadata, statistics, feedback, and the model repository.

The repository's models are the project's deployments. Unloading one is ``serving.undeploy`` and loading it again a rollback to
what it served last: through the door, so that it needs the right to deploy, is on record and holds for every worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs

import msgspec

import rung
from rung.core.errors import AlreadyExists, Invalid, NotFound, RungError
from rung.core.records import Scalar
from rung.core.requests import Request
from rung.serving import records as r
from rung.serving.codecs.form import form_of
from rung.serving.codecs.open_inference import metadata
from rung.serving.codecs.replies import json_reply
from rung.serving.codecs.seldon import labelled, truth_of
from rung.serving.ending import DRAINING, REASON
from rung.serving.inference import Call, Codec, Reply
from rung.serving.live import LiveDeployment, LiveTable
from rung.serving.metrics import BOARD, Counts
from rung.serving.paths import Matched, Verb
from rung.serving.statuses import status_of

A = TypeVar("A")
EXTENSIONS = ("binary_tensor_data", "model_repository", "parameters", "statistics")
_MIME = (b"content-type", b"application/json")
_READY, _UNAVAILABLE = "READY", "UNAVAILABLE"


class Ask(Protocol):
    """The platform's door, in the name of the caller."""

    def call(self, request: Request[A]) -> A:
        """The answer to a request. Raises the six errors."""
        ...

    def label(self, deployment: str, labels: Sequence[tuple[str, Scalar]]) -> None:
        """Bring the truth about predictions, by id."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """What a control verb works with. Verbs that need no caller get no project and no door."""

    table: LiveTable
    project: str
    ask: Ask | None


class _Index(msgspec.Struct):
    ready: bool | None = None


class _Load(msgspec.Struct):
    parameters: dict[str, Any] | None = None
    model_name: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """One version in the repository."""

    name: str
    version: str
    state: str
    reason: str = ""


def answer(matched: Matched, call: Call, table: LiveTable, project: str, codec: Codec, ask: Ask | None = None) -> Reply:
    """The reply to a call that is no inference. Raises the six errors."""
    return _VERBS[matched.verb](matched, call, Desk(table, project, ask), codec)


def server_ready(table: LiveTable) -> bool:
    """Whether what is deployed was loaded, and no end has begun; a version that cannot be loaded makes its own deployment unready only."""
    return table.loaded and not DRAINING.is_set()


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions."""
    return {"name": "rung", "version": rung.__version__, "extensions": list(EXTENSIONS)}


def found(table: LiveTable, project: str, name: str, version: str = "") -> LiveDeployment:
    """A deployment, on one of its versions alone where one is named. Raises NotFound, Unavailable."""
    live = table.get(project, name) if name else table.only(project)
    return live.pinned(version) if version else live


def described(live: LiveDeployment, version: str = "") -> dict[str, Any]:
    """A deployment's metadata."""
    numbers = [version] if version else sorted({str(route.version.number) for route in live.routes}, key=int)
    return metadata(live.name, live.version, numbers)


def index(desk: Desk, *, ready: bool = False) -> list[Held]:
    """The versions of every deployment of the project; with ``ready`` those that answer."""
    listed: list[Held] = []
    for deployment in _ask(desk).call(r.ListDeployments()):
        live = desk.table.now(desk.project, deployment.name) if deployment.routes else None
        failed = desk.table.failed.get((desk.project, deployment.name))
        if live is not None:
            listed += [Held(live.name, number, _READY) for number in sorted({str(one.version.number) for one in live.routes}, key=int)]
        elif not ready:
            reason = failed.message if failed else "loading" if deployment.routes else "unloaded"
            numbers = sorted({str(route.number) for route in deployment.routes}, key=int) or [""]
            listed += [Held(deployment.name, number, _UNAVAILABLE, reason) for number in numbers]
    return listed


def load(desk: Desk, name: str) -> bool:
    """Serve what a deployment served last; False when it serves already. Raises NotFound, Denied, Unavailable."""
    ask = _ask(desk)
    held = next((one for one in ask.call(r.ListDeployments()) if one.name == name), None)
    if held is None:
        raise NotFound(f"There is no deployment {name!r} to load.", code="serving.no_deployment", hint="Make it with `rung deploy`.")
    if not held.routes:
        last = next((one for one in ask.call(r.ListRevisions(deployment=name)) if any(route.arm == "stable" for route in one.routes)), None)
        if last is None:
            raise NotFound(f"Deployment {name!r} never served a version.", code="serving.undeployed", hint="Deploy one with `rung deploy`.")
        ask.call(r.Rollback(deployment=name, to=last.number, reason="loaded through the model repository"))
        desk.table.settle()
    desk.table.get(desk.project, name)  # raises what kept it from loading
    return not held.routes


def unload(desk: Desk, name: str) -> None:
    """Let a deployment serve nothing. Raises NotFound, Denied."""
    held = next((one for one in _ask(desk).call(r.ListDeployments()) if one.name == name), None)
    if held is None or not held.routes:
        raise NotFound(f"Deployment {name!r} is not loaded.", code="serving.no_deployment", hint="See the repository's index.")
    _ask(desk).call(r.Undeploy(deployment=name, reason="unloaded through the model repository"))
    desk.table.settle()


def statistics(desk: Desk, name: str = "", version: str = "") -> list[dict[str, Any]]:
    """What was counted since the server started, over all its workers, in the words of Triton's extension; times in ns."""
    if name:
        found(desk.table, desk.project, name, version)
    names = {name} if name else set(desk.table.names(desk.project))
    counts = [one for one in BOARD.counts() if one.project == desk.project and one.deployment in names]
    return [_counted(one) for one in counts if not version or one.version == version]


def _counted(one: Counts) -> dict[str, Any]:
    def duration(count: float, seconds: float) -> dict[str, int]:
        return {"count": round(count), "ns": round(seconds * 1e9)}  # whole nanoseconds were added up, so the nearest is the sum

    none = {"count": 0, "ns": 0}
    return {
        "name": one.deployment,
        "version": one.version,
        "last_inference": int(one.last_s * 1e3),
        "inference_count": int(one.rows),
        "execution_count": round(one.executions),
        "inference_stats": {
            "success": duration(one.succeeded, one.seconds - one.failed_s),
            "fail": duration(one.failed, one.failed_s),
            "queue": duration(one.runs, one.queue_us / 1e6),
            "compute_input": duration(one.runs, one.input_s),
            "compute_infer": duration(one.runs, one.compute_us / 1e6),
            "compute_output": duration(one.runs, one.output_s),
            "cache_hit": none,
            "cache_miss": none,
        },
        "batch_stats": [
            {
                "batch_size": batch.size,
                "compute_input": duration(batch.executions, batch.input_s),
                "compute_infer": duration(batch.executions, batch.compute_us / 1e6),
                "compute_output": duration(batch.executions, batch.output_s),
            }
            for batch in one.batches
        ],
    }


def _ask(desk: Desk) -> Ask:
    if desk.ask is None:
        raise NotFound("This server has no repository.", code="serving.no_repository", hint="Ask a server of the platform.")
    return desk.ask


def _live(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    return json_reply({"live": True})


def _server_ready(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    if server_ready(desk.table):
        return json_reply({"ready": True})
    return json_reply({"ready": False, "reason": REASON if DRAINING.is_set() else "the models are being loaded"}, 503)


def _ping(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    return Reply(200 if server_ready(desk.table) else 503, b"\n", [_MIME])


def _version(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    return Reply(200, rung.__version__.encode(), [(b"content-type", b"text/plain")])


def _server_metadata(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    return json_reply(server_metadata())


def _models(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    names = desk.table.names(desk.project)
    if matched.codec == "sagemaker":
        return json_reply({"models": [_sagemaker(desk.table.get(desk.project, name)) for name in names]})
    return json_reply({"models": names})


def _metadata(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    return json_reply(described(found(desk.table, desk.project, matched.deployment, matched.version), matched.version))


def _ready(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    try:
        found(desk.table, desk.project, matched.deployment, matched.version)
    except RungError as error:
        return json_reply({"name": matched.deployment, "ready": False, "error": str(error)}, status_of(error))
    return json_reply({"name": matched.deployment, "ready": True})


def _status(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    live = found(desk.table, desk.project, matched.deployment, matched.version)
    if matched.codec == "sagemaker":
        return json_reply([_sagemaker(live)])
    fine = {"error_code": "OK", "error_message": ""}
    numbers = sorted({route.version.number for route in live.routes})
    states = [{"version": str(number), "state": "AVAILABLE", "status": fine} for number in numbers]
    return json_reply({"name": live.name, "ready": True, "model_version_status": states})


def _stats(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    return json_reply({"model_stats": statistics(desk, matched.deployment, matched.version)})


def _index(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    asked = _decoded(call.body, _INDEX)
    listed = index(desk, ready=asked.ready is True)
    return json_reply([{"name": one.name, "version": one.version, "state": one.state, "reason": one.reason} for one in listed])


def _load(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    asked = _decoded(call.body, _LOAD)
    check_load(asked.parameters or {})
    name = matched.deployment or asked.model_name or ""
    changed = load(desk, name)
    if matched.codec == "sagemaker" and not changed:
        raise AlreadyExists(f"Model {name!r} is loaded already.", code="serving.loaded", hint="Ask it.")
    return json_reply({} if matched.codec != "sagemaker" else _sagemaker(desk.table.get(desk.project, name)))


def _unload(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    _decoded(call.body, _LOAD)
    unload(desk, matched.deployment)
    return json_reply({})


def check_load(parameters: dict[str, Any]) -> None:
    """Raise Invalid for a model that the call itself brings: models come from the registry."""
    brought = next((name for name in parameters if name == "config" or name.startswith("file:")), None)
    if brought is not None:
        raise Invalid(
            f"Parameter {brought[:100]!r} would bring a model with the call.", code="serving.no_upload",
            hint="Register a version, and deploy it.",
        )  # fmt: skip


def _feedback(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    truth = truth_of(call.body)
    name = matched.deployment or next(iter(parse_qs(call.query.decode("latin-1")).get("deployment", ())), "")
    live = found(desk.table, desk.project, name)
    labels = labelled(truth, form_of(live.version).classes.tolist())
    if not all(isinstance(label, (str, int, float, bool)) for label in labels):
        raise Invalid(
            "A label is a text, a number or a boolean.", code="serving.bad_truth", hint='Send {"truth": {"data": {"ndarray": [[1]]}}}.'
        )
    _ask(desk).label(live.name, list(zip(truth.ids, labels, strict=True)))
    meta = {"puid": truth.ids[0], "tags": {"labels": len(labels)}}
    return json_reply({"meta": meta, "status": {"code": 200, "status": "SUCCESS"}})


def _no_method(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    reply = codec.error(405, f"{call.method} is not for this path; it takes {matched.allow}.", "serving.no_method")
    reply.headers = [*reply.headers, (b"allow", matched.allow.encode())]
    return reply


def _no_path(matched: Matched, call: Call, desk: Desk, codec: Codec) -> Reply:
    raise NotFound(f"There is no path {call.path[:200]}.", code="serving.no_path", hint="Look at docs/protocols.md.")


def _sagemaker(live: LiveDeployment) -> dict[str, str]:
    return {"modelName": live.name, "modelUrl": f"models:/{live.version.model}/{live.version.number}"}


# made here, because msgspec's first look at a record is not for threads
_INDEX, _LOAD = msgspec.json.Decoder(_Index).decode, msgspec.json.Decoder(_Load).decode
S = TypeVar("S", bound=msgspec.Struct)


def _decoded(body: bytes, decode: Callable[[bytes], S]) -> S:
    try:
        return decode(body.strip() or b"{}")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Invalid(
            f"The body cannot be read: {str(error)[:200]}.", code="serving.bad_body", hint="Send a JSON object, or nothing."
        ) from None


_VERBS: dict[Verb, Callable[[Matched, Call, Desk, Codec], Reply]] = {
    "live": _live, "server_ready": _server_ready, "ping": _ping, "version": _version, "server_metadata": _server_metadata,
    "models": _models, "metadata": _metadata, "ready": _ready, "status": _status, "stats": _stats, "index": _index, "load": _load,
    "unload": _unload, "feedback": _feedback, "no_method": _no_method, "no_path": _no_path,
}  # fmt: skip
