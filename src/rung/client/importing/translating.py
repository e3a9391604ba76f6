"""MLflow's runs, models and tags as our records. What does not fit is cut or left out, and ``note`` is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar

from rung.client.importing.source import Point, SourceExperiment, SourceInput, SourceLogged, SourceRun
from rung.core.clock import from_micros
from rung.tracking.imports import ImportedRun, ImportExperiment
from rung.tracking.logged import LoggedModel
from rung.tracking.records import DEFAULT, Input, MetricColumns, ModelLink, ModelMetric, RunContext, RunStatus

T = TypeVar("T")
Note = Callable[[str], None]
_RUN, _LOGGED = re.compile(r"[0-9a-f]{32}"), re.compile(r"m-[0-9a-f]{32}")
_STATUSES: dict[str, RunStatus] = {
    "RUNNING": "running", "SCHEDULED": "scheduled", "FINISHED": "succeeded", "FAILED": "failed", "KILLED": "cancelled",
}  # fmt: skip
_MODEL_STATUSES: dict[str, Literal["pending", "ready", "failed"]] = {
    "LOGGED_MODEL_PENDING": "pending", "LOGGED_MODEL_READY": "ready", "LOGGED_MODEL_UPLOAD_FAILED": "failed",
}  # fmt: skip
_NOTE, _NAME, _USER, _PARENT, _CONTEXT = "mlflow.note.content", "mlflow.runName", "mlflow.user", "mlflow.parentRunId", "mlflow.data.context"
_COMMIT, _SOURCE = "mlflow.source.git.commit", "mlflow.source.name"
_LONGEST_KEY, _LONGEST_PARAM, _LONGEST_TAG, _LONGEST_LINE, _LONGEST_USER = 250, 8000, 100_000, 1000, 128
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999
_LONGEST_NUMBER = 9  # digits
_STEPS = 2**63
PIECE = 10_000  # points of one run in one request


def experiment_of(found: SourceExperiment, note: Note) -> ImportExperiment:
    """The request that enters an experiment; ``Default`` with the id 0 is ours."""
    default = found.id == "0" and found.name == "Default"
    tags = _texts(found.tags, _LONGEST_TAG, note, f"experiment {found.name!r}")
    name = re.sub(r"[\x00-\x1f]", " ", found.name)[:500] or f"experiment {found.id}"
    created = instant(found.created_ms)
    return ImportExperiment(
        name=DEFAULT if default else name, number=int(found.id) if found.id.isascii() and found.id.isdecimal() and len(found.id) <= _LONGEST_NUMBER else None,
        note=tags.get(_NOTE, ""), tags=tags, created_at=created, updated_at=instant(found.updated_ms) if found.updated_ms else created,
        deleted=found.deleted,
    )  # fmt: skip


def run_of(run: SourceRun, note: Note) -> ImportedRun | None:
    """A run without its points; None for one whose id is none of MLflow's."""
    if not _RUN.fullmatch(run.id):
        note(f"run {run.id!r} is left out: its id is not one")
        return None
    whose = f"run {run.id}"
    tags = _texts(run.tags, _LONGEST_TAG, note, whose)
    parent = tags.get(_PARENT, "")
    kept = {key: value for key, value in tags.items() if key != _NAME and not (key == _PARENT and _RUN.fullmatch(parent))}
    return ImportedRun(
        id=run.id, name=line(run.name or tags.get(_NAME, "")), status=_STATUSES.get(run.status, "failed"), started_at=instant(run.started_ms),
        ended_at=instant(run.ended_ms) if run.ended_ms else None, created_by=line(tags.get(_USER) or run.user)[:_LONGEST_USER],
        deleted_at=instant(run.deleted_ms or run.ended_ms or run.started_ms) if run.deleted else None,
        parent=parent if _RUN.fullmatch(parent) else None,
        context=RunContext(git_commit=line(tags.get(_COMMIT, ""))[:64], source=line(tags.get(_SOURCE, ""))),
        params=_texts(run.params, _LONGEST_PARAM, note, whose), tags=kept,
        inputs=_distinct(_input(item) for item in run.inputs),
        models=_distinct(_link(*item) for item in run.models if _LOGGED.fullmatch(item[1])),
    )  # fmt: skip


def logged_of(model: SourceLogged, experiment_number: int, note: Note) -> LoggedModel | None:
    """A logged model; None for one whose id is none of MLflow's."""
    if not _LOGGED.fullmatch(model.id):
        note(f"logged model {model.id!r} is left out: its id is not one")
        return None
    whose = f"logged model {model.id}"
    tags = _texts(model.tags, _LONGEST_TAG, note, whose)
    created = instant(model.created_ms)
    updated = instant(model.updated_ms) if model.updated_ms else created
    metrics = tuple(
        ModelMetric(
            model=model.id[2:], key=metric.key, value=metric.value, step=metric.step, at=instant(metric.at_ms),
            run=metric.run if _RUN.fullmatch(metric.run) else None, dataset_name=line(metric.dataset_name), dataset_digest=line(metric.dataset_digest),
        )
        for metric in model.metrics
        if _key(metric.key, note, whose)
    )  # fmt: skip
    return LoggedModel(
        id=model.id[2:], experiment_number=experiment_number, name=line(model.name), status=_MODEL_STATUSES.get(model.status, "failed"),
        type=line(model.type), run=model.run if _RUN.fullmatch(model.run) else None, created_at=created, updated_at=updated,
        created_by=line(tags.get(_USER) or model.user)[:_LONGEST_USER], deleted_at=updated if model.deleted else None,
        params=_texts(model.params, _LONGEST_PARAM, note, whose), tags=tags, metrics=metrics,
    )  # fmt: skip


def columns_of(points: Sequence[Point]) -> MetricColumns:
    """Points as columns; those with keys we cannot keep must be gone already."""
    keys = {key: place for place, key in enumerate(dict.fromkeys(point[0] for point in points))}
    return MetricColumns(
        keys=tuple(keys), key=tuple(keys[point[0]] for point in points), step=tuple(point[2] for point in points),
        at=tuple(point[3] * 1000 for point in points), value=tuple(point[1] for point in points),
    )  # fmt: skip


def fitting(points: Iterable[Point], note: Note, whose: str) -> list[Point]:
    """The points that can be kept; instants beyond the year 9999, such as nanoseconds, are brought back to its end."""
    found = []
    for key, value, step, at in points:
        if _key(key, note, whose) and -_STEPS <= step < _STEPS:
            if abs(at) > _LAST_MS:
                note(f"{whose}: metric {key!r} has the instant {at} ms, which is none; it is set to the year 9999")
            found.append((key, value, step, max(_FIRST_MS, min(at, _LAST_MS))))
    return found


def instant(ms: int | None) -> datetime:
    """The instant of milliseconds since 1970; 1970 itself where nobody said."""
    if ms is None or not _FIRST_MS <= ms <= _LAST_MS:
        return datetime(1970, 1, 1, tzinfo=UTC)
    return from_micros(ms * 1000)


def line(text: str | None) -> str:
    """A text as one of our lines."""
    return (text or "").replace("\x00", "\ufffd")[:_LONGEST_LINE]


def texts(values: Mapping[str, str], note: Note, whose: str) -> dict[str, str]:
    """Tags as ours."""
    return _texts(values, _LONGEST_TAG, note, whose)


def _texts(values: Mapping[str, str], longest: int, note: Note, whose: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if not _key(key, note, whose):
            continue
        text = value or ""
        if len(text) > longest:
            note(f"{whose}: {key!r} has {len(text)} characters; {longest} are kept")
        found[key] = text[:longest].replace("\x00", "\ufffd")
    return found


def _key(key: str, note: Note, whose: str) -> bool:
    good = 0 < len(key) <= _LONGEST_KEY and "\x00" not in key
    if not good:
        note(f"{whose}: the key {key[:60]!r} is left out: it is empty, longer than {_LONGEST_KEY} or holds NUL")
    return good


def _input(item: SourceInput) -> Input:
    return Input(
        name=line(item.name)[:500] or "dataset", digest=line(item.digest)[:36] or "-", source_type=line(item.source_type),
        source=item.source.replace("\x00", "\ufffd")[:_LONGEST_TAG], schema=item.schema.replace("\x00", "\ufffd")[:1_048_576],
        profile=item.profile.replace("\x00", "\ufffd")[:16_777_216], tags={key: value or "" for key, value in item.tags.items()},
    )  # fmt: skip


def _link(direction: str, model: str, step: int) -> ModelLink:
    return ModelLink(model=model[2:], direction="in" if direction == "in" else "out", step=step)


def _distinct(items: Iterable[T]) -> tuple[T, ...]:
    found: list[T] = []
    for item in items:
        if item not in found:
            found.append(item)
    return tuple(found)
