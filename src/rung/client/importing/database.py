"""MLflow's own database, SQLite or PostgreSQL, read beside a server or without one. Schemas from MLflow 1.x to 3.x.

Every column that some version lacks is looked for in the row, and every table that some version lacks in the schema.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rung.client.importing.places import local_files
from rung.client.importing.source import (
    Point,
    SourceExperiment,
    SourceFile,
    SourceInput,
    SourceLogged,
    SourceMetric,
    SourceModel,
    SourceRun,
    SourceVersion,
)
from rung.core.errors import Invalid, NotFound, Unavailable

Row = dict[str, Any]
_AT_ONCE = 200
_PIECE = 10_000
_SMALL = 50_000  # points of a batch of runs that are read together
_LOGGED = {1: "LOGGED_MODEL_PENDING", 2: "LOGGED_MODEL_READY", 3: "LOGGED_MODEL_UPLOAD_FAILED"}
_TABLES = {"experiments", "runs", "metrics", "params", "tags"}


class Tables:
    """Rows of a database, read only."""

    def __init__(self, uri: str) -> None:
        self._sqlite: sqlite3.Connection | None = None
        if uri.startswith(("postgresql://", "postgres://", "postgresql+psycopg2://", "postgresql+psycopg://")):
            import psycopg  # noqa: PLC0415 - an extra
            from psycopg.rows import tuple_row  # noqa: PLC0415

            address = "postgresql://" + uri.partition("://")[2]
            try:
                self._postgresql = psycopg.connect(address, row_factory=tuple_row)
                self._postgresql.read_only = True
            except psycopg.Error as error:
                raise Unavailable(f"The database does not answer: {error}.", code="import.unreachable", hint="Check its address.") from None
            names = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        else:
            path = Path(uri)
            if not path.is_file():
                raise NotFound(f"There is no file {path}.", code="import.no_file", hint="Name MLflow's database, usually mlflow.db.")
            # Read only, and not immutable: a server may be writing to it, and its journal counts.
            self._sqlite = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
            self._sqlite.text_factory = lambda data: data.decode("utf-8", "replace")
            names = "SELECT name FROM sqlite_master WHERE type = 'table'"
        try:
            self.tables = {row["table_name" if self._sqlite is None else "name"] for row in self.rows(names)}
        except sqlite3.DatabaseError as error:
            raise Invalid(f"{uri} is no SQLite database: {error}.", code="import.no_database", hint="Name MLflow's database.") from None
        missing = ", ".join(sorted(_TABLES - self.tables))
        if missing:
            raise Invalid(f"{uri} is not a database of MLflow: it has no {missing}.", code="import.no_database", hint="Name MLflow's own.")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows of a query, a few thousand in memory at a time."""
        if self._sqlite is not None:
            with closing(self._sqlite.cursor()) as cursor:
                cursor.execute(sql, tuple(parameters))
                names = [item[0] for item in cursor.description]
                while some := cursor.fetchmany(_PIECE):
                    for row in some:
                        yield dict(zip(names, row, strict=True))
            return
        with self._postgresql.cursor(name="rung_import") as server_side:
            server_side.itersize = _PIECE
            server_side.execute(sql.replace("%", "%%").replace("?", "%s").encode(), tuple(parameters))
            names = [item.name for item in server_side.description or ()]
            for row in server_side:
                yield dict(zip(names, row, strict=True))

    def of(self, table: str, column: str, values: Sequence[Any], more: str = "") -> Iterator[Row]:
        """Rows of a table whose column has one of the values; none where the table is missing."""
        if table in self.tables and values:
            marks = ", ".join("?" * len(values))
            yield from self.rows(f"SELECT * FROM {table} WHERE {column} IN ({marks}) {more}", values)  # noqa: S608 - names of ours

    def close(self) -> None:
        """Let go of the connection."""
        (self._sqlite or self._postgresql).close()


class DatabaseSource:
    """MLflow's database. Raises NotFound, Invalid, Unavailable."""

    def __init__(self, uri: str, destination: Path | None = None) -> None:
        self.name = uri
        self.damage: Callable[[str], None] = lambda _: None
        self._tables = Tables(uri)
        self._destination = destination

    def experiments(self) -> Sequence[SourceExperiment]:
        """Experiments by id."""
        tags = _by(self._all("experiment_tags"), "experiment_id")
        found = []
        for row in self._all("experiments", "ORDER BY experiment_id"):
            if row.get("workspace", "default") != "default":
                self.damage(f"experiment {row['name']!r} is left out: it is of the workspace {row['workspace']!r}")
                continue
            found.append(
                SourceExperiment(
                    id=str(row["experiment_id"]), name=row["name"] or "", tags=_pairs(tags.get(row["experiment_id"], ())),
                    created_ms=row.get("creation_time"), updated_ms=row.get("last_update_time"), deleted=row.get("lifecycle_stage") == "deleted",
                )
            )  # fmt: skip
        return found

    def count(self, experiment: SourceExperiment, since_ms: int | None) -> int | None:
        """How many runs there are."""
        sql = "SELECT COUNT(*) AS n FROM runs WHERE experiment_id = ? AND COALESCE(start_time, 0) >= ?"
        return int(next(self._tables.rows(sql, (int(experiment.id), since_ms or 0)))["n"])

    def runs(self, experiment: SourceExperiment, since_ms: int | None) -> Iterator[SourceRun]:
        """Runs of an experiment, oldest first."""
        sql = "SELECT * FROM runs WHERE experiment_id = ? AND COALESCE(start_time, 0) >= ? ORDER BY start_time, run_uuid"
        heads = list(self._tables.rows(sql, (int(experiment.id), since_ms or 0)))
        for start in range(0, len(heads), _AT_ONCE):
            yield from self._filled(heads[start : start + _AT_ONCE])

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceLogged]:
        """Logged models of an experiment."""
        rows = list(self._tables.of("logged_models", "experiment_id", [int(experiment.id)], "ORDER BY creation_timestamp_ms, model_id"))
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            ids = [row["model_id"] for row in some]
            params, tags, metrics = (
                _by(self._tables.of(f"logged_model_{kind}", "model_id", ids), "model_id") for kind in ("params", "tags", "metrics")
            )
            for row in some:
                model = row["model_id"]
                yield SourceLogged(
                    id=model, name=row["name"] or "", status=_LOGGED.get(row["status"], str(row["status"])), type=row["model_type"] or "",
                    run=row["source_run_id"] or "", user="", created_ms=row["creation_timestamp_ms"], updated_ms=row["last_updated_timestamp_ms"],
                    deleted=row["lifecycle_stage"] == "deleted", artifact_uri=row["artifact_location"] or "",
                    params={item["param_key"]: item["param_value"] or "" for item in params.get(model, ())},
                    tags={item["tag_key"]: item["tag_value"] or "" for item in tags.get(model, ())},
                    metrics=tuple(_model_metric(item) for item in metrics.get(model, ())),
                )  # fmt: skip

    def models(self) -> Iterator[SourceModel]:
        """Registered models."""
        versions, aliases, tags = (
            _by(self._all(name), "name") for name in ("model_versions", "registered_model_aliases", "registered_model_tags")
        )
        of_versions: dict[tuple[str, int], list[Row]] = {}
        for row in self._all("model_version_tags"):
            of_versions.setdefault((row["name"], row["version"]), []).append(row)
        for row in self._all("registered_models", "ORDER BY name"):
            name = row["name"]
            if row.get("workspace", "default") != "default":
                self.damage(f"model {name!r} is left out: it is of the workspace {row['workspace']!r}")
                continue
            yield SourceModel(
                name=name, description=row.get("description") or "", created_ms=row.get("creation_time"), updated_ms=row.get("last_updated_time"),
                tags=_pairs(tags.get(name, ())), aliases={item["alias"]: int(item["version"]) for item in aliases.get(name, ())},
                versions=tuple(
                    _version(item, of_versions.get((name, item["version"]), ()))
                    for item in sorted(versions.get(name, ()), key=lambda item: int(item["version"]))
                    if item.get("current_stage") != "Deleted_Internal"
                ),
            )  # fmt: skip

    def files(self, owner: str, artifact_uri: str) -> Iterator[SourceFile]:
        """Artifacts on this machine."""
        yield from local_files(owner, artifact_uri, self._destination)

    def close(self) -> None:
        """Let go of the database."""
        self._tables.close()

    def _all(self, table: str, more: str = "") -> Iterator[Row]:
        if table in self._tables.tables:
            yield from self._tables.rows(f"SELECT * FROM {table} {more}")  # noqa: S608 - names of ours

    def _filled(self, heads: list[Row]) -> Iterator[SourceRun]:
        ids = [row["run_uuid"] for row in heads]
        params, tags = (_by(self._tables.of(name, "run_uuid", ids), "run_uuid") for name in ("params", "tags"))
        inputs, models, points = self._inputs(ids), self._models(ids), self._points(ids)
        for row in heads:
            run, held = row["run_uuid"], _pairs(tags.get(row["run_uuid"], ()))
            if row.get("source_version"):
                held.setdefault("mlflow.source.git.commit", row["source_version"])
            if row.get("source_name"):
                held.setdefault("mlflow.source.name", row["source_name"])
            yield SourceRun(
                id=run, name=row.get("name") or "", status=str(row["status"]), user=row.get("user_id") or "", started_ms=row["start_time"],
                ended_ms=row["end_time"], deleted=row["lifecycle_stage"] == "deleted", deleted_ms=row.get("deleted_time"),
                artifact_uri=row["artifact_uri"] or "", params=_pairs(params.get(run, ())), tags=held, inputs=tuple(inputs.get(run, ())),
                models=tuple(models.get(run, ())), points=points(run),
            )  # fmt: skip

    def _points(self, ids: Sequence[str]) -> Callable[[str], Callable[[], Iterable[Sequence[Point]]]]:
        """How each of some runs reads its points: out of memory where all of them are few, else one run at a time."""
        marks = ", ".join("?" * len(ids))
        total = int(next(self._tables.rows(f"SELECT COUNT(*) AS n FROM metrics WHERE run_uuid IN ({marks})", ids))["n"])  # noqa: S608 - marks
        if total > _SMALL:
            return lambda run: lambda: self._points_of(run)
        together: dict[str, list[Point]] = {}
        for row in self._tables.of("metrics", "run_uuid", ids):
            together.setdefault(row["run_uuid"], []).append(_point(row))
        return lambda run: lambda: [together.pop(run, [])]

    def _points_of(self, run: str) -> Iterator[Sequence[Point]]:
        piece: list[Point] = []
        for row in self._tables.of("metrics", "run_uuid", [run]):
            piece.append(_point(row))
            if len(piece) == _PIECE:
                yield piece
                piece = []
        yield piece

    def _inputs(self, ids: Sequence[str]) -> dict[str, list[SourceInput]]:
        if not {"inputs", "datasets"} <= self._tables.tables:
            return {}
        marks = ", ".join("?" * len(ids))
        sql = (
            "SELECT i.destination_id AS run, i.input_uuid AS input, d.* FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id"  # noqa: S608 - marks
            f" WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id IN ({marks}) ORDER BY i.input_uuid"
        )
        rows = list(self._tables.rows(sql, ids))
        tags: dict[str, list[Row]] = {}
        for start in range(0, len(rows), _AT_ONCE):
            some = [row["input"] for row in rows[start : start + _AT_ONCE]]
            for item in self._tables.of("input_tags", "input_uuid", some):
                tags.setdefault(item["input_uuid"], []).append(item)
        found: dict[str, list[SourceInput]] = {}
        for row in rows:
            found.setdefault(row["run"], []).append(
                SourceInput(
                    name=row["name"], digest=row["digest"], source_type=row["dataset_source_type"] or "", source=row["dataset_source"] or "",
                    schema=row["dataset_schema"] or "", profile=row["dataset_profile"] or "",
                    tags={item["name"]: item["value"] or "" for item in tags.get(row["input"], ())},
                )
            )  # fmt: skip
        return found

    def _models(self, ids: Sequence[str]) -> dict[str, list[tuple[str, str, int]]]:
        found: dict[str, list[tuple[str, str, int]]] = {}
        for row in self._tables.of("inputs", "source_id", ids, "AND destination_type IN ('MODEL_INPUT', 'MODEL_OUTPUT')"):
            direction = "out" if row["destination_type"] == "MODEL_OUTPUT" else "in"
            found.setdefault(row["source_id"], []).append((direction, row["destination_id"], int(row.get("step") or 0)))
        return found


def _by(rows: Iterable[Row], name: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(row)
    return found


def _pairs(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {row["key"]: row["value"] or "" for row in rows}


def _point(row: Row) -> Point:
    is_nan = row.get("is_nan") or row["value"] is None
    return row["key"], float("nan") if is_nan else float(row["value"]), int(row.get("step") or 0), int(row["timestamp"])


def _model_metric(row: Row) -> SourceMetric:
    value = row["metric_value"]
    return SourceMetric(
        key=row["metric_name"], value=float("nan") if value is None else float(value), step=int(row["metric_step"]),
        at_ms=int(row["metric_timestamp_ms"]), run=row["run_id"] or "", dataset_name=row["dataset_name"] or "",
        dataset_digest=row["dataset_digest"] or "",
    )  # fmt: skip


def _version(row: Row, tags: Iterable[Row]) -> SourceVersion:
    source = row["source"] or ""
    return SourceVersion(
        number=int(row["version"]), source=source, place=row.get("storage_location") or "", run=row["run_id"] or "",
        logged_model=source.removeprefix("models:/") if source.startswith("models:/m-") else "", run_link=row.get("run_link") or "",
        stage=row["current_stage"] or "None", status=row.get("status") or "READY", user=row.get("user_id") or "",
        description=row.get("description") or "", created_ms=row["creation_time"], updated_ms=row["last_updated_time"], tags=_pairs(tags),
    )  # fmt: skip
