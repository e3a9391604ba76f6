"""Tables of pipelines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from rung.core.errors import NotFound
from rung.core.records import prepared, values_of
from rung.pipelines.records import Artifact, ItemStatus, PipelineInfo, PipelineRun, PipelineRunStatus, StepAttempt, StepItem, StepRun
from rung.pipelines.rows import plain, record, values
from rung.storage.later import later
from rung.storage.plain import Plain
from rung.storage.sql import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    insert,
    select,
)
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

T = TypeVar("T")
DEFINITION = table(
    "pipeline_definition",
    Column("project", String(32), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("info", JsonType, nullable=False),
    Column("seen_at", InstantType, nullable=False),
)
RUN = table(
    "pipeline_run",
    id_column(),
    project_column(),
    Column("number", Integer, nullable=False),
    Column("pipeline", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("params", JsonType, nullable=False),
    Column("cause", JsonType, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("use_cache", Boolean, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("started_at", InstantType),
    Column("ended_at", InstantType),
    Column("run_id", String(32)),
    Column("code", String(80), nullable=False, info={"blobs": ("",)}),
    Column("lock", String(80), nullable=False, info={"blobs": ("",)}),
    Column("python", String(64), nullable=False),
    Column("git_commit", String(64), nullable=False),
    Column("git_dirty", Boolean, nullable=False),
    Column("hardware", JsonType, nullable=False),
    Column("steps", JsonType, nullable=False),
    Column("outputs", JsonType, nullable=False),
    Column("error", Text, nullable=False),
    Column("failed_step", String(250), nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("resumed", Integer, nullable=False),
    Column("reproduces", String(32)),
    Column("package", String(80), nullable=False, info={"blobs": ("",)}),
    Column("environment", String(128), nullable=False),
    Column("executor", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("concurrency_group", String(250), nullable=False),
    Column("concurrency_limit", Integer, nullable=False),
    Column("audited", Boolean, nullable=False),
    Column("switches", JsonType, nullable=False),
    Column("inputs", JsonType, nullable=False),
    Column("packages", String(80), nullable=False, info={"blobs": ("",)}),
    Column("rerun_of", String(32)),
    Column("rerun_from", JsonType, nullable=False),
    Column("notes", JsonType, nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("gpu_s", Float, nullable=False),
    Column("peak_bytes", BigInteger, nullable=False),
    UniqueConstraint("project", "pipeline", "number", name="uq_pipeline_run_number"),
    Index("ix_pipeline_run_status", "project", "status"),
)
STEP = table(
    "step_run",
    id_column(),
    project_column(),
    Column("pipeline_run", String(32), nullable=False),
    Column("key", String(250), nullable=False),
    Column("step", String(250), nullable=False),
    Column("position", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cache_key", String(80), nullable=False),
    Column("fingerprint", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("cached_from", String(32)),
    Column("outputs", JsonType, nullable=False, info={"blobs": ("*.digest",)}),
    Column("started_at", InstantType),
    Column("ended_at", InstantType),
    Column("wall_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("error", Text, nullable=False),
    Column("executor", String(64), nullable=False),
    Column("gpu_s", Float, nullable=False),
    Column("peak_bytes", BigInteger, nullable=False),
    Column("undeclared", JsonType, nullable=False),
    Column("items", Integer, nullable=False),
    Column("items_done", Integer, nullable=False),
    Column("items_cached", Integer, nullable=False),
    Column("items_failed", Integer, nullable=False),
    Column("changes", JsonType, nullable=False),
    Column("compared_with", String(32)),
    UniqueConstraint("pipeline_run", "key", name="uq_step_run_key"),
    Index("ix_step_run_step", "project", "step"),
)
ATTEMPT = table(
    "step_attempt",
    id_column(),
    project_column(),
    Column("step_run", String(32), nullable=False),
    Column("number", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("executor", String(64), nullable=False),
    Column("worker", String(250), nullable=False),
    Column("started_at", InstantType, nullable=False),
    Column("ended_at", InstantType),
    Column("wall_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("peak_bytes", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("log", String(80), nullable=False, info={"blobs": ("",)}),
    UniqueConstraint("step_run", "number", name="uq_step_attempt_number"),
)
ITEM = table(
    "step_item",
    Column("step_run", String(32), primary_key=True),
    Column("position", Integer, primary_key=True),
    project_column(),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cache_key", String(80), nullable=False),
    Column("outputs", JsonType, nullable=False, info={"blobs": ("*.digest",)}),
    Column("wall_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("peak_bytes", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("log", String(80), nullable=False, info={"blobs": ("",)}),
    Column("worker", String(250), nullable=False),
    Column("ended_at", InstantType),
)
CACHE = table(
    "step_cache",
    Column("project", String(32), primary_key=True),
    Column("cache_key", String(80), primary_key=True),
    Column("step_run", String(32), nullable=False),
    Column("outputs", JsonType, nullable=False),
    Column("parts", JsonType, nullable=False),
    Column("step", String(250), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Index("ix_step_cache_step", "project", "step", "created_at"),
)


def _replacing(held: Table, keys: set[str]) -> Any:
    """An update of every column but the keys; built once, for building one costs more than running it."""
    where = and_(*(held.c[name] == bindparam(f"new_{name}") for name in sorted(keys)))
    return (
        held.update()
        .where(where)
        .values({name: bindparam(f"new_{name}") for name in [column.name for column in held.c] if name not in keys | {"project"}})
    )


_DEFINITION, _RUN, _STEP, _ATTEMPT, _CACHED_ROW = (Plain(held) for held in (DEFINITION, RUN, STEP, ATTEMPT, CACHE))
_REPLACE_STEP = later(lambda: _replacing(STEP, {"id"}))
_REPLACE_CACHED = later(lambda: _replacing(CACHE, {"project", "cache_key"}))
_ADD_CACHED, _ADD_ATTEMPT = later(lambda: insert(CACHE)), later(lambda: insert(ATTEMPT))
_CACHED = later(
    lambda: select(CACHE).where(CACHE.c.project == bindparam("in_project"), CACHE.c.cache_key.in_(bindparam("keys", expanding=True)))
)


class CacheEntry(msgspec.Struct, frozen=True):
    """What the cache holds under a key: the outputs, who made them, and the parts of the key."""

    cache_key: str
    step_run: str
    outputs: tuple[Artifact, ...]
    parts: dict[str, Any]
    created_at: datetime | None = None


class PipelineStore:
    """Rows of pipelines of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def define(self, info: PipelineInfo) -> None:
        """Enter or replace what is known of a pipeline."""
        key, values = (self._project, info.name), {"info": info, "seen_at": info.seen_at}
        if _DEFINITION.update(self._connection, values, "project = ? AND name = ?", key) == 0:
            _DEFINITION.insert(self._connection, {"project": self._project, "name": info.name, **values})

    def definitions(self) -> tuple[PipelineInfo, ...]:
        """Known pipelines by name."""
        rows = _DEFINITION.rows(self._connection, "project = ?", (self._project,), tail="ORDER BY name", columns=("info",))
        return tuple(msgspec.convert(row["info"], prepared(PipelineInfo)) for row in rows)

    def definition(self, name: str) -> PipelineInfo:
        """A known pipeline. Raises NotFound, listing the known ones."""
        found = _DEFINITION.first(self._connection, "project = ? AND name = ?", (self._project, name), columns=("info",))
        if found is None:
            known = (
                ", ".join(info.name for info in self.definitions())
                or "none yet; `rung pipeline list` in the project's folder makes them known, for a server `rung worker` there"
            )
            raise NotFound(f"There is no pipeline {name!r}.", code="pipelines.no_pipeline", hint=f"Known: {known}.")
        return msgspec.convert(found["info"], prepared(PipelineInfo))

    def next_number(self, pipeline: str) -> int:
        """The number of a pipeline's next run."""
        newest = _RUN.first(
            self._connection, "project = ? AND pipeline = ?", (self._project, pipeline), tail="ORDER BY number DESC", columns=("number",)
        )
        return 1 if newest is None else int(newest["number"]) + 1

    def add_run(self, run: PipelineRun) -> None:
        """Enter a pipeline run."""
        _RUN.insert(self._connection, {"project": self._project, **values_of(run)})

    def update_run(self, run: str, **values: Any) -> None:
        """Change fields of a pipeline run."""
        _RUN.update(self._connection, values, "project = ? AND id = ?", (self._project, run))

    def run(self, key: str) -> PipelineRun:
        """A pipeline run by id, or as ``pipeline:number``. Raises NotFound."""
        pipeline, _, number = key.rpartition(":")
        by_number = pipeline and number.isdigit() and len(number) < 10  # noqa: PLR2004 - numbers are 31 bits
        if by_number:
            row = _RUN.first(self._connection, "project = ? AND pipeline = ? AND number = ?", (self._project, pipeline, int(number)))
        else:
            row = _RUN.first(self._connection, "project = ? AND id = ?", (self._project, key))
        if row is None:
            raise NotFound(f"There is no pipeline run {key!r}.", code="pipelines.no_run", hint="`rung pipeline runs` lists them.")
        return record(row, PipelineRun)

    def runs(self, *, pipeline: str | None, status: PipelineRunStatus | None, after: str | None, limit: int) -> list[PipelineRun]:
        """Pipeline runs, newest first."""
        query = select(RUN).where(RUN.c.project == self._project).order_by(RUN.c.id.desc()).limit(limit)
        for column, value in ((RUN.c.pipeline, pipeline), (RUN.c.status, status)):
            query = query if value is None else query.where(column == value)
        query = query if after is None else query.where(RUN.c.id < after)
        return [record(row, PipelineRun) for row in self._connection.execute(query).mappings()]

    def steps(self, run: str) -> tuple[StepRun, ...]:
        """Step runs of a pipeline run, in the order of its plan."""
        rows = _STEP.rows(self._connection, "project = ? AND pipeline_run = ?", (self._project, run), tail="ORDER BY position")
        return tuple(record(row, StepRun) for row in rows)

    def put_steps(self, steps: Iterable[StepRun]) -> None:
        """Replace step runs by those of the same id."""
        rows = [{f"new_{name}": value for name, value in values(step).items()} for step in steps]
        if rows:
            self._connection.execute(_REPLACE_STEP, rows)

    def add_steps(self, steps: list[StepRun]) -> None:
        """Enter step runs."""
        if steps:
            self._connection.execute(STEP.insert(), [{"project": self._project, **values(step)} for step in steps])

    def update_step(self, step: str, **values: Any) -> None:
        """Change fields of a step run."""
        self._connection.execute(STEP.update().where(STEP.c.id == step).values(**plain(values)))

    def remove_steps(self, steps: list[str]) -> None:
        """Forget step runs that a changed plan no longer has."""
        if steps:
            self._connection.execute(STEP.delete().where(STEP.c.project == self._project, STEP.c.id.in_(steps)))

    def step(self, run: str, key: str) -> StepRun:
        """One step of a pipeline run. Raises NotFound."""
        query = select(STEP).where(STEP.c.project == self._project, STEP.c.pipeline_run == run, STEP.c.key == key)
        row = self._connection.execute(query).mappings().first()
        if row is None:
            known = ", ".join(step.key for step in self.steps(run)) or "none"
            raise NotFound(f"Pipeline run {run} has no step {key!r}.", code="pipelines.no_step", hint=f"It has: {known}.")
        return record(row, StepRun)

    def add_items(self, items: list[StepItem]) -> None:
        """Enter ended items of maps."""
        if items:
            self._connection.execute(ITEM.insert(), [{"project": self._project, **values(item)} for item in items])

    def items(self, step_run: str, *, status: ItemStatus | None = None, after: int = -1, limit: int | None = None) -> tuple[StepItem, ...]:
        """Ended items of a map, by position."""
        query = select(ITEM).where(ITEM.c.project == self._project, ITEM.c.step_run == step_run, ITEM.c.position > after)
        query = query if status is None else query.where(ITEM.c.status == status)
        rows = self._connection.execute(query.order_by(ITEM.c.position).limit(limit)).mappings()
        return tuple(record(row, StepItem) for row in rows)

    def add_attempt(self, attempt: StepAttempt) -> None:
        """Enter an attempt."""
        self._connection.execute(_ADD_ATTEMPT, {"project": self._project, **values(attempt)})

    def update_attempt(self, attempt: str, **values: Any) -> None:
        """Change fields of an attempt."""
        self._connection.execute(ATTEMPT.update().where(ATTEMPT.c.id == bindparam("that")), {"that": attempt, **values})

    def attempts(self, run: str) -> tuple[StepAttempt, ...]:
        """Attempts at the steps of a pipeline run, in order."""
        of_run = "step_run IN (SELECT id FROM step_run WHERE project = ? AND pipeline_run = ?)"
        rows = _ATTEMPT.rows(self._connection, of_run, (self._project, run), tail="ORDER BY id")
        return tuple(record(row, StepAttempt) for row in rows)

    def cached(self, keys: list[str]) -> dict[str, CacheEntry]:
        """What the cache holds under these keys."""
        rows = self._connection.execute(_CACHED, {"in_project": self._project, "keys": keys}).mappings()
        return {row["cache_key"]: cache_entry(row) for row in rows}

    def recently_cached(self, pipeline: str, runs: int = 2) -> dict[str, CacheEntry]:
        """What the cache holds of the newest ended runs of a pipeline: most of what its next run will ask for."""
        key = (self._project, pipeline)
        newest = _RUN.rows(
            self._connection,
            "project = ? AND pipeline = ? AND status = 'succeeded'",
            key,
            tail=f"ORDER BY id DESC LIMIT {runs}",
            columns=("id",),
        )
        if not newest:
            return {}
        marks = ", ".join("?" * len(newest))
        keys = f"project = ? AND cache_key IN (SELECT cache_key FROM step_run WHERE pipeline_run IN ({marks}))"  # noqa: S608 - question marks
        rows = _CACHED_ROW.rows(self._connection, keys, (self._project, *(row["id"] for row in newest)))
        return {row["cache_key"]: cache_entry(row) for row in rows}

    def keep(self, entry: CacheEntry, *, step: str, now: datetime) -> None:
        """Put outputs under their key, in place of older ones."""
        values = {
            "project": self._project,
            "cache_key": entry.cache_key,
            "step_run": entry.step_run,
            "outputs": msgspec.to_builtins(entry.outputs),
            "parts": entry.parts,
            "step": step,
            "created_at": now,
        }
        if self._connection.execute(_REPLACE_CACHED, {f"new_{name}": value for name, value in values.items()}).rowcount == 0:
            self._connection.execute(_ADD_CACHED, values)


def cache_entry(row: Any) -> CacheEntry:
    """A row of the cache as a record."""
    return CacheEntry(
        cache_key=row["cache_key"],
        step_run=row["step_run"],
        outputs=msgspec.convert(row["outputs"], prepared(tuple[Artifact, ...])),
        parts=row["parts"],
        created_at=row["created_at"],
    )
