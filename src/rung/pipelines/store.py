"""Tables of pipelines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
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
    func,
    select,
)

from rung.core.errors import NotFound
from rung.pipelines.records import (
    Artifact,
    PipelineInfo,
    PipelineRun,
    PipelineRunStatus,
    Reproduction,
    StepAttempt,
    StepRun,
    Trigger,
    TriggerFire,
    TriggerKind,
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
    Column("wall_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),
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
    Column("error", Text, nullable=False),
    Column("log", String(80), nullable=False, info={"blobs": ("",)}),
    UniqueConstraint("step_run", "number", name="uq_step_attempt_number"),
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
TRIGGER = table(
    "pipeline_trigger",
    id_column(),
    project_column(),
    Column("name", String(128), nullable=False),
    Column("pipeline", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("params", JsonType, nullable=False),
    Column("cooldown_s", Float, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("subject", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("zone", String(128), nullable=False),
    Column("catch_up", String(8), nullable=False),
    Column("next_fire", InstantType),
    Column("last_fired_at", InstantType),
    UniqueConstraint("project", "name", name="uq_pipeline_trigger_name"),
)
FIRE = table(
    "trigger_fire",
    id_column(),
    project_column(),
    Column("trigger", String(32), nullable=False),
    Column("cause", String(250), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", InstantType, nullable=False),
    Column("pipeline_run", String(32)),
    UniqueConstraint("trigger", "cause", name="uq_trigger_fire_cause"),
    Index("ix_trigger_fire_project", "project", "id"),
)
REPRODUCTION = table(
    "reproduction",
    id_column(),
    project_column(),
    Column("pipeline_run", String(32), nullable=False),
    Column("repeated_as", String(32), nullable=False),
    Column("likeness", String(16), nullable=False),
    Column("first_diverging_step", Text, nullable=False),
    Column("tolerance", Float, nullable=False),
    Column("comparisons", JsonType, nullable=False),
    Column("notes", JsonType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Index("ix_reproduction_run", "project", "pipeline_run"),
)


def _replacing(held: Table, keys: set[str]) -> Any:
    """An update of every column but the keys; built once, for building one costs more than running it."""
    where = and_(*(held.c[name] == bindparam(f"new_{name}") for name in sorted(keys)))
    return (
        held.update()
        .where(where)
        .values({name: bindparam(f"new_{name}") for name in [column.name for column in held.c] if name not in keys | {"project"}})
    )


_REPLACE_STEP = _replacing(STEP, {"id"})
_REPLACE_CACHED = _replacing(CACHE, {"project", "cache_key"})
_ADD_CACHED, _ADD_ATTEMPT = CACHE.insert(), ATTEMPT.insert()
_CACHED = select(CACHE).where(CACHE.c.project == bindparam("in_project"), CACHE.c.cache_key.in_(bindparam("keys", expanding=True)))


class CacheEntry(msgspec.Struct, frozen=True):
    """What the cache holds under a key: the outputs, who made them, and the parts of the key."""

    cache_key: str
    step_run: str
    outputs: tuple[Artifact, ...]
    parts: dict[str, Any]


class PipelineStore:
    """Rows of pipelines of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def define(self, info: PipelineInfo) -> None:
        """Enter or replace what is known of a pipeline."""
        where = (DEFINITION.c.project == self._project, DEFINITION.c.name == info.name)
        values = {"info": msgspec.to_builtins(info), "seen_at": info.seen_at}
        if self._connection.execute(DEFINITION.update().where(*where).values(**values)).rowcount == 0:
            self._connection.execute(DEFINITION.insert().values(project=self._project, name=info.name, **values))

    def definitions(self) -> tuple[PipelineInfo, ...]:
        """Known pipelines by name."""
        rows = self._connection.execute(select(DEFINITION.c.info).where(DEFINITION.c.project == self._project).order_by(DEFINITION.c.name))
        return tuple(msgspec.convert(row.info, PipelineInfo) for row in rows)

    def definition(self, name: str) -> PipelineInfo:
        """A known pipeline. Raises NotFound, listing the known ones."""
        query = select(DEFINITION.c.info).where(DEFINITION.c.project == self._project, DEFINITION.c.name == name)
        found = self._connection.execute(query).first()
        if found is None:
            known = (
                ", ".join(info.name for info in self.definitions())
                or "none yet; `rung pipeline list` in the project's folder registers them"
            )
            raise NotFound(f"There is no pipeline {name!r}.", code="pipelines.no_pipeline", hint=f"Known: {known}.")
        return msgspec.convert(found.info, PipelineInfo)

    def next_number(self, pipeline: str) -> int:
        """The number of a pipeline's next run."""
        query = select(func.max(RUN.c.number)).where(RUN.c.project == self._project, RUN.c.pipeline == pipeline)
        return int(self._connection.execute(query).scalar() or 0) + 1

    def add_run(self, run: PipelineRun) -> None:
        """Enter a pipeline run."""
        self._connection.execute(RUN.insert().values(project=self._project, **_values(run)))

    def update_run(self, run: str, **values: Any) -> None:
        """Change fields of a pipeline run."""
        self._connection.execute(RUN.update().where(RUN.c.project == self._project, RUN.c.id == run).values(**_plain(values)))

    def run(self, key: str) -> PipelineRun:
        """A pipeline run by id, or as ``pipeline:number``. Raises NotFound."""
        pipeline, _, number = key.rpartition(":")
        by_number = pipeline and number.isdigit() and len(number) < 10  # noqa: PLR2004 - numbers are 31 bits
        found = (RUN.c.pipeline == pipeline) & (RUN.c.number == int(number)) if by_number else RUN.c.id == key
        row = self._connection.execute(select(RUN).where(RUN.c.project == self._project, found)).mappings().first()
        if row is None:
            raise NotFound(f"There is no pipeline run {key!r}.", code="pipelines.no_run", hint="`rung pipeline runs` lists them.")
        return _record(row, PipelineRun)

    def runs(self, *, pipeline: str | None, status: PipelineRunStatus | None, after: str | None, limit: int) -> list[PipelineRun]:
        """Pipeline runs, newest first."""
        query = select(RUN).where(RUN.c.project == self._project).order_by(RUN.c.id.desc()).limit(limit)
        for column, value in ((RUN.c.pipeline, pipeline), (RUN.c.status, status)):
            query = query if value is None else query.where(column == value)
        query = query if after is None else query.where(RUN.c.id < after)
        return [_record(row, PipelineRun) for row in self._connection.execute(query).mappings()]

    def steps(self, run: str) -> tuple[StepRun, ...]:
        """Step runs of a pipeline run, in the order of its plan."""
        rows = self._connection.execute(
            select(STEP).where(STEP.c.project == self._project, STEP.c.pipeline_run == run).order_by(STEP.c.position)
        )
        return tuple(_record(row, StepRun) for row in rows.mappings())

    def put_steps(self, steps: Iterable[StepRun]) -> None:
        """Replace step runs by those of the same id."""
        rows = [{f"new_{name}": value for name, value in _values(step).items()} for step in steps]
        if rows:
            self._connection.execute(_REPLACE_STEP, rows)

    def add_steps(self, steps: list[StepRun]) -> None:
        """Enter step runs."""
        if steps:
            self._connection.execute(STEP.insert(), [{"project": self._project, **_values(step)} for step in steps])

    def update_step(self, step: str, **values: Any) -> None:
        """Change fields of a step run."""
        self._connection.execute(STEP.update().where(STEP.c.id == step).values(**_plain(values)))

    def remove_steps(self, steps: list[str]) -> None:
        """Forget step runs that a changed plan no longer has."""
        self._connection.execute(STEP.delete().where(STEP.c.project == self._project, STEP.c.id.in_(steps)))

    def step(self, run: str, key: str) -> StepRun:
        """One step of a pipeline run. Raises NotFound."""
        query = select(STEP).where(STEP.c.project == self._project, STEP.c.pipeline_run == run, STEP.c.key == key)
        row = self._connection.execute(query).mappings().first()
        if row is None:
            known = ", ".join(step.key for step in self.steps(run)) or "none"
            raise NotFound(f"Pipeline run {run} has no step {key!r}.", code="pipelines.no_step", hint=f"It has: {known}.")
        return _record(row, StepRun)

    def add_attempt(self, attempt: StepAttempt) -> None:
        """Enter an attempt."""
        self._connection.execute(_ADD_ATTEMPT, {"project": self._project, **_values(attempt)})

    def update_attempt(self, attempt: str, **values: Any) -> None:
        """Change fields of an attempt."""
        self._connection.execute(ATTEMPT.update().where(ATTEMPT.c.id == bindparam("that")), {"that": attempt, **values})

    def attempts(self, run: str) -> tuple[StepAttempt, ...]:
        """Attempts at the steps of a pipeline run, in order."""
        query = (
            select(ATTEMPT).join(STEP, STEP.c.id == ATTEMPT.c.step_run).where(STEP.c.project == self._project, STEP.c.pipeline_run == run)
        )
        return tuple(_record(row, StepAttempt) for row in self._connection.execute(query.order_by(ATTEMPT.c.id)).mappings())

    def cached(self, keys: list[str]) -> dict[str, CacheEntry]:
        """What the cache holds under these keys."""
        rows = self._connection.execute(_CACHED, {"in_project": self._project, "keys": keys}).mappings()
        return {row["cache_key"]: _cache_entry(row) for row in rows}

    def recently_cached(self, pipeline: str, runs: int = 2) -> dict[str, CacheEntry]:
        """What the cache holds of the newest ended runs of a pipeline: most of what its next run will ask for."""
        newest = select(RUN.c.id).where(RUN.c.project == self._project, RUN.c.pipeline == pipeline, RUN.c.status == "succeeded")
        chosen = newest.order_by(RUN.c.id.desc()).limit(runs).subquery()
        query = select(CACHE).join(STEP, STEP.c.cache_key == CACHE.c.cache_key).join(chosen, STEP.c.pipeline_run == chosen.c.id)
        rows = self._connection.execute(query.where(CACHE.c.project == self._project)).mappings()
        return {row["cache_key"]: _cache_entry(row) for row in rows}

    def nearest_cached(self, step: str) -> CacheEntry | None:
        """The newest entry of a step, to tell what has changed since."""
        query = select(CACHE).where(CACHE.c.project == self._project, CACHE.c.step == step).order_by(CACHE.c.created_at.desc()).limit(1)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _cache_entry(row)

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

    def add_trigger(self, trigger: Trigger) -> None:
        """Enter a trigger."""
        self._connection.execute(TRIGGER.insert().values(project=self._project, **_values(trigger)))

    def find_trigger(self, name: str) -> Trigger | None:
        """A trigger by name."""
        row = self._connection.execute(select(TRIGGER).where(TRIGGER.c.project == self._project, TRIGGER.c.name == name)).mappings().first()
        return None if row is None else _record(row, Trigger)

    def trigger(self, name: str) -> Trigger:
        """A trigger by name. Raises NotFound."""
        found = self.find_trigger(name)
        if found is None:
            raise NotFound(f"There is no trigger {name!r}.", code="pipelines.no_trigger", hint="`rung trigger list` shows them.")
        return found

    def triggers(self, kind: TriggerKind | None = None) -> tuple[Trigger, ...]:
        """Triggers by name."""
        query = select(TRIGGER).where(TRIGGER.c.project == self._project).order_by(TRIGGER.c.name)
        query = query if kind is None else query.where(TRIGGER.c.kind == kind)
        return tuple(_record(row, Trigger) for row in self._connection.execute(query).mappings())

    def update_trigger(self, trigger: str, **values: Any) -> None:
        """Change fields of a trigger."""
        self._connection.execute(TRIGGER.update().where(TRIGGER.c.id == trigger).values(**values))

    def remove_trigger(self, trigger: str) -> None:
        """Remove a trigger."""
        self._connection.execute(TRIGGER.delete().where(TRIGGER.c.id == trigger))

    def find_fire(self, trigger: str, cause: str) -> TriggerFire | None:
        """What a trigger answered to a cause."""
        row = self._connection.execute(select(FIRE).where(FIRE.c.trigger == trigger, FIRE.c.cause == cause)).mappings().first()
        return None if row is None else _record(row, TriggerFire)

    def add_fire(self, fire: TriggerFire) -> None:
        """Record that a trigger was called upon."""
        self._connection.execute(FIRE.insert().values(project=self._project, **_values(fire)))

    def fires(self, trigger: str | None, limit: int) -> tuple[TriggerFire, ...]:
        """When triggers were called upon, newest first."""
        query = select(FIRE).where(FIRE.c.project == self._project).order_by(FIRE.c.id.desc()).limit(limit)
        query = query if trigger is None else query.where(FIRE.c.trigger == trigger)
        return tuple(_record(row, TriggerFire) for row in self._connection.execute(query).mappings())

    def add_reproduction(self, reproduction: Reproduction) -> None:
        """Enter a reproduction."""
        self._connection.execute(REPRODUCTION.insert().values(project=self._project, **_values(reproduction)))

    def reproductions(self, run: str | None, limit: int) -> tuple[Reproduction, ...]:
        """Reproductions, newest first."""
        query = select(REPRODUCTION).where(REPRODUCTION.c.project == self._project).order_by(REPRODUCTION.c.id.desc()).limit(limit)
        query = query if run is None else query.where(REPRODUCTION.c.pipeline_run == run)
        return tuple(_record(row, Reproduction) for row in self._connection.execute(query).mappings())


def due_schedules(connection: Connection, now: datetime) -> list[tuple[str, str]]:
    """Project and name of every schedule that should have fired by now."""
    query = select(TRIGGER.c.project, TRIGGER.c.name).where(
        TRIGGER.c.kind == "schedule", TRIGGER.c.paused.is_(False), TRIGGER.c.next_fire <= now
    )
    return [(row.project, row.name) for row in connection.execute(query)]


_PLAIN_TYPES = (str, int, float, bool, datetime, type(None))


def _values(record: Any) -> dict[str, Any]:
    return _plain({name: getattr(record, name) for name in record.__struct_fields__})


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, _PLAIN_TYPES) else msgspec.to_builtins(value) for name, value in values.items()}


def _record(row: Any, kind: type[T]) -> T:
    plain = {name: row[name] for name in kind.__struct_fields__}  # type: ignore[attr-defined]  # a Struct, see core.records
    return msgspec.convert(plain, kind)


def _cache_entry(row: Any) -> CacheEntry:
    return CacheEntry(
        cache_key=row["cache_key"],
        step_run=row["step_run"],
        outputs=msgspec.convert(row["outputs"], tuple[Artifact, ...]),
        parts=row["parts"],
    )
