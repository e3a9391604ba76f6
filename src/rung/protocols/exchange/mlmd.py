"""ML Metadata: pipeline runs as a store that its library reads, written as SQLite without it.

A step's attempt is an execution; what it took and made are artifacts, told apart by their bytes, so that a cached step
(state CACHED) has made the same artifact as the one that computed it. Runs, pipelines and environments are contexts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from rung.core.errors import AlreadyExists
from rung.data.records import DatasetVersion
from rung.engine.history import History
from rung.pipelines.records import Artifact, PipelineRun, StepRun
from rung.protocols.exchange.mlmd_schema import BASE_TYPES, DDL, SCHEMA_VERSION

Values = Mapping[str, str | int | float]
EXECUTION_TYPE, ARTIFACT_TYPE, CONTEXT_TYPE = 0, 1, 2
INPUT, OUTPUT = 3, 4
LIVE = 2
# Execution.State of ML Metadata
STATES = {
    "waiting": 1, "running": 2, "succeeded": 3, "failed": 4, "timed_out": 4, "lost": 4, "cached": 5, "cancelled": 6, "skipped": 6,
}  # fmt: skip
_KINDS = {"polars": "Dataset", "pandas": "Dataset", "arrow": "Dataset", "numpy": "Dataset", "estimator": "Model"}
_INT, _DOUBLE, _STRING = 1, 2, 3


def write_store(path: Path, histories: Iterable[History]) -> int:
    """Write runs into a new store; how many executions it holds. Raises AlreadyExists."""
    if path.exists():
        raise AlreadyExists(f"{path} is there already.", code="exchange.file_exists", hint="Name a new file, with every run to be in it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(DDL)
        connection.execute("INSERT INTO MLMDEnv VALUES (?)", (SCHEMA_VERSION,))
        connection.executemany("INSERT INTO Type (name, type_kind) VALUES (?, ?)", BASE_TYPES)
        store = _Store(connection)
        for history in histories:
            _write(store, history)
        return store.executions


def _write(store: _Store, history: History) -> None:
    run = history.run
    contexts = [
        store.context("rung.PipelineRun", f"{run.pipeline}:{run.number}", run.id, _facts(run), run.created_at),
        store.context("rung.Pipeline", run.pipeline, f"pipeline:{run.pipeline}", {}, run.created_at),
        store.context("rung.Experiment", run.pipeline, f"experiment:{run.pipeline}", {}, run.created_at),
        store.context("rung.Environment", run.environment or "dev", f"environment:{run.environment or 'dev'}", {}, run.created_at),
    ]
    whole = store.execution(
        "rung.PipelineRun", run.id, STATES[run.status if run.status != "queued" else "waiting"], _facts(run), run.created_at
    )
    for context in contexts:
        store.associate(context, whole)
    for kind, versions in ((INPUT, history.inputs), (OUTPUT, history.outputs)):
        for place, version in enumerate(versions):
            artifact = store.artifact(
                "rung.Dataset", f"rung://dataset_version/{version.dataset}:{version.number}", _of_version(version), version.created_at
            )
            store.event(artifact, whole, kind, version.dataset, place, version.created_at, contexts)
    for place, name in enumerate(history.models):
        model, _, number = name.rpartition(":")
        artifact = store.artifact(
            "rung.Model", f"rung://model_version/{name}", {"name": model, "number": int(number)}, run.ended_at or run.created_at
        )
        store.event(artifact, whole, OUTPUT, model, place, run.ended_at or run.created_at, contexts)
    for step in history.steps:
        _write_step(store, history, step, contexts)


def _write_step(store: _Store, history: History, step: StepRun, contexts: list[int]) -> None:
    attempts = [attempt for attempt in history.attempts if attempt.step_run == step.id]
    at = step.started_at or step.ended_at or history.run.created_at
    facts: dict[str, Any] = {
        "step": step.key,
        "reason": step.reason,
        "cache_key": step.cache_key,
        "code": step.fingerprint,
        "error": step.error,
    }
    tries: list[tuple[str, int, dict[str, Any], datetime]] = [
        (a.id, STATES[a.status], {"attempt": a.number, "cpu_s": a.cpu_s, "wall_s": a.wall_s, "worker": a.worker}, a.started_at)
        for a in attempts
    ]
    tries = tries or [(step.id, STATES[step.status], {}, at)]
    for identity, state, more, began in tries:
        execution = store.execution("rung.Step", identity, state, {**facts, **more}, began)
        for context in contexts:
            store.associate(context, execution)
        for place, (_, name, held) in enumerate(history.sources(step.key)):
            store.event(store.artifact(*_of_artifact(held), at), execution, INPUT, name, place, began, contexts)
    for place, held in enumerate(step.outputs):
        store.event(store.artifact(*_of_artifact(held), at), execution, OUTPUT, held.name, place, step.ended_at or at, contexts)


def _facts(run: PipelineRun) -> dict[str, Any]:
    return {
        "pipeline": run.pipeline, "number": run.number, "status": run.status, "params": msgspec.json.encode(run.params).decode(),
        "seed": run.seed, "code": run.code, "lock": run.lock, "python": run.python, "git_commit": run.git_commit, "error": run.error,
    }  # fmt: skip


def _of_version(version: DatasetVersion) -> dict[str, Any]:
    schema = msgspec.json.encode([[column.name, column.dtype] for column in version.schema]).decode()
    return {
        "digest": version.digest, "name": version.dataset, "number": version.number, "rows": version.rows or 0,
        "size_bytes": version.size_bytes, "schema": schema,
    }  # fmt: skip


def _of_artifact(held: Artifact) -> tuple[str, str, dict[str, Any]]:
    kind = f"rung.{_KINDS.get(held.kind, 'Artifact')}"
    return kind, f"rung://blob/{held.digest}", {"digest": held.digest, "kind": held.kind, "size_bytes": held.size_bytes}


class _Store:
    """Rows of a store, each thing once; ids are those the database gives."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._types: dict[tuple[str, int], int] = {}
        self._held: dict[tuple[str, str], int] = {}
        self.executions = 0

    def artifact(self, kind: str, uri: str, values: Values, at: datetime) -> int:
        """An artifact; one of the same type and address is the same."""
        return self._node("Artifact", kind, ARTIFACT_TYPE, f"{kind} {uri}", values, at, {"uri": uri, "state": LIVE})

    def execution(self, kind: str, identity: str, state: int, values: Values, at: datetime) -> int:
        """An execution."""
        self.executions += ("Execution", identity) not in self._held
        return self._node("Execution", kind, EXECUTION_TYPE, identity, values, at, {"last_known_state": state, "name": identity})

    def context(self, kind: str, name: str, identity: str, values: Values, at: datetime) -> int:
        """A context."""
        return self._node("Context", kind, CONTEXT_TYPE, identity, values, at, {"name": name})

    def event(self, artifact: int, execution: int, kind: int, key: str, place: int, at: datetime, contexts: list[int]) -> None:
        """An execution took or made an artifact, under a name and at a place."""
        row = (artifact, execution, kind, _millis(at))
        sql = "INSERT OR IGNORE INTO Event (artifact_id, execution_id, type, milliseconds_since_epoch) VALUES (?, ?, ?, ?)"
        made = self._connection.execute(sql, row)
        if made.rowcount:
            steps = [(made.lastrowid, 0, None, key), (made.lastrowid, 1, place, None)]
            self._connection.executemany("INSERT INTO EventPath VALUES (?, ?, ?, ?)", steps)
        for context in contexts:
            self._connection.execute("INSERT OR IGNORE INTO Attribution (context_id, artifact_id) VALUES (?, ?)", (context, artifact))

    def associate(self, context: int, execution: int) -> None:
        """An execution belongs to a context."""
        self._connection.execute("INSERT OR IGNORE INTO Association (context_id, execution_id) VALUES (?, ?)", (context, execution))

    def _node(self, table: str, kind: str, type_kind: int, identity: str, values: Values, at: datetime, fields: dict[str, Any]) -> int:
        held = self._held.get((table, identity))
        if held is not None:
            return held
        values = {name: value for name, value in values.items() if value != ""}
        columns = {
            "type_id": self._type(kind, type_kind, values), "external_id": identity, "create_time_since_epoch": _millis(at),
            "last_update_time_since_epoch": _millis(at), **fields,
        }  # fmt: skip
        marks = ", ".join("?" * len(columns))
        made = self._connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608 - names of ours
        found = self._held[table, identity] = int(made.lastrowid or 0)
        for name, value in values.items():
            column = {_INT: "int_value", _DOUBLE: "double_value", _STRING: "string_value"}[_data_type(value)]
            key = f"{table.lower()}_id"
            sql = f"INSERT INTO {table}Property ({key}, name, is_custom_property, {column}) VALUES (?, ?, 0, ?)"  # noqa: S608 - names of ours
            self._connection.execute(sql, (found, name, value))
        return found

    def _type(self, name: str, kind: int, values: Values) -> int:
        """A type by name, which learns a property when it first meets it."""
        if (name, kind) not in self._types:
            made = self._connection.execute("INSERT INTO Type (name, type_kind) VALUES (?, ?)", (name, kind))
            self._types[name, kind] = int(made.lastrowid or 0)
            base = next((place for place, (known, _) in enumerate(BASE_TYPES, 1) if known == name.replace("rung.", "mlmd.")), None)
            if base is not None:
                self._connection.execute("INSERT INTO ParentType VALUES (?, ?)", (made.lastrowid, base))
        found = self._types[name, kind]
        rows = [(found, key, _data_type(value)) for key, value in values.items()]
        self._connection.executemany("INSERT OR IGNORE INTO TypeProperty VALUES (?, ?, ?)", rows)
        return found


def _data_type(value: object) -> int:
    return _INT if isinstance(value, int) else _DOUBLE if isinstance(value, float) else _STRING


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)
