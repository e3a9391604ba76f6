"""The hot rows: metrics, params and tags of a run, checked by MLflow's rules and decoded into one batch.

MLflow cuts texts that are too long instead of refusing them; so do these rows, and they say so in the run's tag
``rung.cut``. Keys that are too long or look like a way out of a folder are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from rung.core.errors import Invalid
from rung.protocols.mlflow import wire
from rung.protocols.mlflow.shapes import model_id, renamed, run_id
from rung.tracking.records import ModelMetric

_PARAM, _TAG, _KEY = 6000, 8000, 250
_MOST = 1000
_MOST_PARAMS = 100
_CUT = "rung.cut"
_Some = Annotated[str, Meta(min_length=1)]


@dataclass(frozen=True)
class Batch:
    """What one call writes to a run; ``points`` are (key, step, µs, value)."""

    run: str
    points: list[tuple[str, int, int, float]]
    params: dict[str, str]
    tags: dict[str, str]
    name: str | None = None
    model_metrics: tuple[ModelMetric, ...] = ()


class MetricBody(wire.Body):
    """One point."""

    key: str
    value: float
    timestamp: wire.Millis
    step: wire.Step | None = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LogMetricBody(MetricBody):
    """One point of a run."""

    run_id: str | None = None
    run_uuid: str | None = None


class Pair(wire.Body):
    """A param or tag of a batch; an unset value is an empty one."""

    key: str
    value: str | None = ""


class LogParamBody(wire.Body):
    """One param of a run."""

    key: str
    value: str
    run_id: str | None = None
    run_uuid: str | None = None


class SetTagBody(LogParamBody):
    """One tag of a run."""


class LogBatchBody(wire.Body):
    """Metrics, params and tags of a run."""

    run_id: str | None = None
    run_uuid: str | None = None
    metrics: tuple[MetricBody, ...] | None = ()
    params: tuple[Pair, ...] | None = ()
    tags: tuple[Pair, ...] | None = ()


def log_metric(body: LogMetricBody) -> Batch:
    """A batch of one point."""
    return _batch(run_id(body), [body], (), ())


def log_param(body: LogParamBody) -> Batch:
    """A batch of one param."""
    return _batch(run_id(body), (), [Pair(key=body.key, value=body.value)], ())


def set_tag(body: SetTagBody) -> Batch:
    """A batch of one tag."""
    return _batch(run_id(body), (), (), [Pair(key=body.key, value=body.value)])


def log_batch(body: LogBatchBody) -> Batch:
    """A batch as it is. Raises Invalid past MLflow's limits."""
    metrics, params, tags = body.metrics or (), body.params or (), body.tags or ()
    for name, items, most in (("metrics", metrics, _MOST), ("params", params, _MOST_PARAMS), ("tags", tags, _MOST_PARAMS)):
        if len(items) > most:
            raise Invalid(
                f"A batch has at most {most} {name}, this one has {len(items)}.", code="mlflow.batch_too_long", hint="Send several."
            )
    if len(metrics) + len(params) + len(tags) > _MOST:
        raise Invalid(f"A batch has at most {_MOST} metrics, params and tags together.", code="mlflow.batch_too_long", hint="Send several.")
    return _batch(run_id(body), metrics, params, tags)


def check_key(key: str, what: str) -> str:
    """A key by MLflow's rules. Raises Invalid, naming it."""
    if not key or len(key) > _KEY or key.startswith("/") or "//" in key or ";" in key or "\x00" in key:
        bad = True
    else:
        bad = ("." in key or key.endswith("/")) and any(part in {".", "..", ""} for part in key.split("/"))
    if bad:
        raise Invalid(
            f"Invalid {what} name: {key[:80]!r}.", code="mlflow.bad_key",
            hint=f"Use 1 to {_KEY} characters, none of them ';', in parts joined by single slashes.",
        )  # fmt: skip
    return key


def _batch(run: str, metrics: Sequence[MetricBody], params: Sequence[Pair], tags: Sequence[Pair]) -> Batch:
    cut: list[str] = []
    points = []
    seen: set[str] = set()
    for item in metrics:
        if item.key not in seen:
            seen.add(check_key(item.key, "metric"))
        points.append((item.key, item.step or 0, item.timestamp * 1000, item.value))
    given = _texts(params, _PARAM, "param", cut)
    name, labels = renamed(_texts(tags, _TAG, "tag", cut))
    if cut:
        labels[_CUT] = ", ".join(cut)[:_TAG]
    measured = tuple(_on_model(item) for item in metrics if item.model_id)
    return Batch(run=run, points=points, params=given, tags=labels, name=name, model_metrics=measured)


def _on_model(item: MetricBody) -> ModelMetric:
    return ModelMetric(
        model=model_id(item.model_id or ""), key=item.key, value=item.value, step=item.step or 0, at=wire.instant(item.timestamp),
        dataset_name=item.dataset_name or "", dataset_digest=item.dataset_digest or "",
    )  # fmt: skip


def _texts(items: Sequence[Pair], most: int, what: str, cut: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in items:
        value = item.value or ""
        if "\x00" in value:
            raise Invalid(f"The value of {what} {item.key!r} holds a NUL byte.", code="mlflow.bad_value", hint="Leave it out.")
        if len(value) > most:
            cut.append(f"{what} {item.key} of {len(value)} characters")
            value = value[:most]
        if what == "param" and found.get(item.key, value) != value:
            raise Invalid(f"Param {item.key!r} stands twice in the batch, with two values.", code="mlflow.double_param", hint="Send one.")
        found[check_key(item.key, what)] = value
    return found
