"""CloudEvents 1.0: how a prediction is said as one, or as KServe's pair of request and response."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from rung.serving.sinks.family import Event

PREDICTION = "rung.prediction"
KSERVE_REQUEST, KSERVE_RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
_JSON = "application/json"
_OWN = {
    "prediction_id", "event_time", "answered_at", "model", "version", "revision", "arm", "score", "latency_us", "caller", "request_id",
    "trace_id", "flags", "scores",
}  # fmt: skip
_DATATYPES: dict[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


def events_of(row: dict[str, Any], deployment: str, project: str, types: str) -> Iterator[Event]:
    """Events of one row of the log with details. The id is the prediction's, so a receiver knows what it had already."""
    inputs = {name.removeprefix("input."): value for name, value in row.items() if name not in _OWN and value is not None}
    told = row["prediction_id"] if row["arm"] != "shadow" else f"{row['prediction_id']}/shadow"
    attributes = {
        "specversion": "1.0",
        "id": told,
        "source": f"/projects/{project}/deployments/{deployment}",
        "time": _said(row["answered_at"]),
        "datacontenttype": _JSON,
    }
    if row["trace_id"]:
        attributes["traceid"] = row["trace_id"]
    if types == "kserve":
        kserve = {"inferenceservicename": deployment, "namespace": project, "component": "predictor", "endpoint": row["arm"]}
        tensors = [
            {"name": name, "shape": [1], "datatype": _DATATYPES.get(type(value), "BYTES"), "data": [value]}
            for name, value in inputs.items()
        ]
        scores = row["scores"] or [row["score"]]
        yield Event({**attributes, **kserve, "type": KSERVE_REQUEST}, {"id": told, "inputs": tensors})
        output = {"name": "score", "shape": [1] if len(scores) == 1 else [1, len(scores)], "datatype": "FP64", "data": list(scores)}
        data = {"model_name": deployment, "model_version": str(row["version"]), "id": told, "outputs": [output]}
        yield Event({**attributes, **kserve, "type": KSERVE_RESPONSE}, data)
        return
    data = {
        "prediction_id": row["prediction_id"], "deployment": deployment, "event_time": _said(row["event_time"]),
        "answered_at": _said(row["answered_at"]), "model": row["model"], "version": row["version"], "revision": row["revision"],
        "arm": row["arm"], "score": row["score"], "inputs": inputs, "latency_us": row["latency_us"],
    }  # fmt: skip
    data |= {name: row[name] for name in ("scores", "flags", "caller", "request_id", "trace_id") if row[name]}
    yield Event({**attributes, "type": PREDICTION, "subject": f"{row['model']}:{row['version']}"}, data)


def structured(event: Event) -> dict[str, Any]:
    """The event as one JSON object."""
    return {**event.attributes, "data": event.data}


def encoded(said: Any) -> bytes:
    """JSON; numbers that JSON has no word for become null."""
    return msgspec.json.encode(said)


def _said(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
