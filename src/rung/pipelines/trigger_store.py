"""Tables of triggers, of the calls upon them, and of the secrets that sign what comes over HTTP.

A secret is read only by what verifies a signature; no record that is answered later holds it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rung.core.errors import NotFound
from rung.core.records import Record
from rung.pipelines.rows import plain, record, values
from rung.pipelines.store import RUN
from rung.pipelines.triggering import Trigger, TriggerFire
from rung.storage.later import later
from rung.storage.raw import Raw
from rung.storage.sql import Boolean, Column, Connection, Index, Integer, String, Text, UniqueConstraint, and_, func, literal, or_, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

TRIGGER = table(
    "pipeline_trigger",
    id_column(),
    project_column(),
    Column("name", String(128), nullable=False),
    Column("pipeline", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject", Text, nullable=False),
    Column("options", JsonType, nullable=False),
    Column("params", JsonType, nullable=False),
    Column("take", JsonType, nullable=False),
    Column("guards", JsonType, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("package", String(80), nullable=False),
    Column("environment", String(128), nullable=False),
    Column("executor", String(64), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("source", String(16), nullable=False),
    Column("warnings", JsonType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("updated_at", InstantType),
    Column("next_fire", InstantType),
    Column("due_at", InstantType),
    Column("last_fired_at", InstantType),
    UniqueConstraint("project", "name", name="uq_pipeline_trigger_name"),
    Index("ix_pipeline_trigger_due", "due_at"),
)
HOOK = table(
    "trigger_hook",
    Column("trigger", String(32), primary_key=True),
    project_column(),
    Column("hook", String(64), nullable=False),
    Column("secret", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("previous_until", InstantType),
    UniqueConstraint("hook", name="uq_trigger_hook_hook"),
)
FIRE = table(
    "trigger_fire",
    id_column(),
    project_column(),
    Column("trigger", String(32), nullable=False),
    Column("trigger_name", String(128), nullable=False),
    Column("kind", String(128), nullable=False),
    Column("pipeline", String(128), nullable=False),
    Column("cause", String(250), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("checks", JsonType, nullable=False),
    Column("facts", JsonType, nullable=False),
    Column("params", JsonType, nullable=False),
    Column("would", String(16), nullable=False),
    Column("as_of", InstantType, nullable=False),
    Column("at", InstantType, nullable=False),
    Column("settled_at", InstantType),
    Column("due_at", InstantType),
    Column("give_up_at", InstantType),
    Column("called_by", String(128), nullable=False),
    Column("approved_by", String(128), nullable=False),
    Column("pipeline_run", String(32)),
    UniqueConstraint("trigger", "cause", name="uq_trigger_fire_cause"),
    Index("ix_trigger_fire_project", "project", "id"),
    Index("ix_trigger_fire_started", "trigger", "outcome", "as_of"),
    Index("ix_trigger_fire_waiting", "outcome", "due_at"),
    Index("ix_trigger_fire_run", "pipeline_run"),
)
_STARTED = later(lambda: or_(FIRE.c.outcome == "fired", and_(FIRE.c.outcome == "dry", FIRE.c.would == "fired")))
_SINCE = 1000


class Hook(Record):
    """Where a trigger is called over HTTP, and what signs the calls."""

    trigger: str
    project: str
    hook: str
    secret: str
    previous: str = ""
    previous_until: datetime | None = None

    def secrets(self, now: datetime) -> tuple[str, ...]:
        """Those that are good now."""
        old = self.previous and self.previous_until is not None and now < self.previous_until
        return (self.secret, self.previous) if old else (self.secret,)


class TriggerStore:
    """Rows of triggers of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add_trigger(self, trigger: Trigger, due_at: datetime | None) -> None:
        """Enter a trigger."""
        row = {name: value for name, value in values(trigger).items() if name not in {"hook", "secret"}}
        self._connection.execute(TRIGGER.insert().values(project=self._project, due_at=due_at, **row))

    def find_trigger(self, name: str) -> Trigger | None:
        """A trigger by name."""
        return next(iter(self._triggers(TRIGGER.c.name == name)), None)

    def trigger(self, name: str) -> Trigger:
        """A trigger by name. Raises NotFound."""
        found = self.find_trigger(name)
        if found is None:
            raise NotFound(f"There is no trigger {name!r}.", code="pipelines.no_trigger", hint="`rung trigger list` shows them.")
        return found

    def trigger_by_id(self, trigger: str) -> Trigger | None:
        """A trigger by id; None when it has gone."""
        return next(iter(self._triggers(TRIGGER.c.id == trigger)), None)

    def triggers(self, kind: str | None = None, pipeline: str | None = None, source: str | None = None) -> tuple[Trigger, ...]:
        """Triggers by name."""
        wanted = ((TRIGGER.c.kind, kind), (TRIGGER.c.pipeline, pipeline), (TRIGGER.c.source, source))
        return self._triggers(*(column == value for column, value in wanted if value is not None))

    def has_declared(self) -> bool:
        """Whether any trigger was declared by the project rather than added by somebody."""
        declared = "SELECT 1 FROM pipeline_trigger WHERE project = ? AND source IN ('rung.toml', 'code') LIMIT 1"
        return bool(Raw(self._connection).rows(declared, (self._project,)))

    def lock(self, pipeline: str) -> None:
        """Let other transactions that call triggers of the pipeline wait: what they count must not change meanwhile."""
        mine = select(TRIGGER.c.id).where(TRIGGER.c.project == self._project, TRIGGER.c.pipeline == pipeline)
        self._connection.execute(mine.order_by(TRIGGER.c.id).with_for_update()).all()

    def update_trigger(self, trigger: str, **changes: Any) -> None:
        """Change fields of a trigger."""
        self._connection.execute(TRIGGER.update().where(TRIGGER.c.id == trigger).values(**plain(changes)))

    def remove_trigger(self, trigger: str) -> None:
        """Remove a trigger and its hook; the calls upon it stay."""
        self._connection.execute(HOOK.delete().where(HOOK.c.trigger == trigger))
        self._connection.execute(TRIGGER.delete().where(TRIGGER.c.id == trigger))

    def save_hook(self, hook: Hook) -> None:
        """Enter a hook, or change its secrets."""
        self._connection.execute(HOOK.delete().where(HOOK.c.trigger == hook.trigger))
        self._connection.execute(HOOK.insert().values(**values(hook)))

    def find_hook(self, trigger: str) -> Hook | None:
        """The hook of a trigger."""
        row = self._connection.execute(select(HOOK).where(HOOK.c.trigger == trigger)).mappings().first()
        return None if row is None else Hook(**row)

    def find_fire(self, trigger: str, cause: str) -> TriggerFire | None:
        """What a trigger answered to a cause."""
        return next(iter(self._fires(FIRE.c.trigger == trigger, FIRE.c.cause == cause)), None)

    def fire(self, fire: str) -> TriggerFire:
        """A call by its id, or by the run it started. Raises NotFound."""
        found = next(iter(self._fires(or_(FIRE.c.id == fire, FIRE.c.pipeline_run == fire))), None)
        if found is None:
            raise NotFound(
                f"There is no call upon a trigger {fire!r}.", code="pipelines.no_fire", hint="`rung trigger history` shows them."
            )  # fmt: skip
        return found

    def save_fire(self, fire: TriggerFire) -> None:
        """Record a call, or the newer answer to one."""
        row = values(fire)
        changed = self._connection.execute(FIRE.update().where(FIRE.c.id == fire.id).values(**row))
        if not changed.rowcount:
            self._connection.execute(FIRE.insert().values(project=self._project, **row))

    def fires(self, trigger: str | None, limit: int, outcome: str | None = None, after: str | None = None) -> tuple[TriggerFire, ...]:
        """Calls, newest first, upon all triggers or one by name."""
        wanted = [FIRE.c.trigger_name == trigger] if trigger else []
        wanted += [FIRE.c.outcome == outcome] if outcome else []
        wanted += [FIRE.c.id < after] if after else []
        return self._fires(*wanted, limit=limit)

    def waiting(self, *, pipeline: str | None = None, due: datetime | None = None) -> tuple[TriggerFire, ...]:
        """Calls that wait, oldest first: those that are due, or all of a pipeline."""
        wanted = [FIRE.c.outcome == "waiting"]
        wanted += [FIRE.c.pipeline == pipeline] if pipeline else []
        wanted += [FIRE.c.due_at <= due] if due else []
        return tuple(reversed(self._fires(*wanted, limit=_SINCE)))

    def last_started(self, trigger: str) -> TriggerFire | None:
        """The newest call, by its ``as_of``, that started a run or would have."""
        query = select(FIRE).where(FIRE.c.trigger == trigger, _STARTED).order_by(FIRE.c.as_of.desc(), FIRE.c.id.desc()).limit(1)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else record(row, TriggerFire)

    def nearest_started(self, trigger: str, as_of: datetime) -> datetime | None:
        """The ``as_of`` of the call that started a run, or would have, nearest to an instant."""
        mine = select(FIRE.c.as_of).where(FIRE.c.trigger == trigger, _STARTED)
        before = self._connection.execute(mine.where(FIRE.c.as_of <= as_of).order_by(FIRE.c.as_of.desc()).limit(1)).scalar()
        behind = self._connection.execute(mine.where(FIRE.c.as_of > as_of).order_by(FIRE.c.as_of).limit(1)).scalar()
        return min((at for at in (before, behind) if at is not None), key=lambda at: abs(at - as_of), default=None)

    def count_started(self, trigger: str, start: datetime, end: datetime) -> int:
        """Calls with an ``as_of`` in [start, end) that started a run or would have."""
        query = select(func.count()).select_from(FIRE).where(FIRE.c.trigger == trigger, _STARTED)
        return int(self._connection.execute(query.where(FIRE.c.as_of >= start, FIRE.c.as_of < end)).scalar() or 0)

    def since(self, trigger: str, started: TriggerFire | None) -> tuple[TriggerFire, ...]:
        """Calls after one, oldest first; at most the newest thousand."""
        after = [FIRE.c.id > started.id] if started else []
        return tuple(reversed(self._fires(FIRE.c.trigger == trigger, *after, limit=_SINCE)))

    def newest_facts(self, trigger: str) -> dict[str, Any] | None:
        """Facts of the newest call that brought any; None when there was none."""
        newest = self._fires(FIRE.c.trigger == trigger, FIRE.c.facts != literal({}, JsonType))
        return newest[0].facts if newest else None

    def as_of_runs(self) -> dict[str, datetime]:
        """The instant of the cause of every run that a trigger started, of the newest thousand calls."""
        query = select(FIRE.c.pipeline_run, FIRE.c.as_of).where(FIRE.c.project == self._project, FIRE.c.pipeline_run.is_not(None))
        return {row.pipeline_run: row.as_of for row in self._connection.execute(query.order_by(FIRE.c.id.desc()).limit(_SINCE))}

    def active_runs(self, pipeline: str) -> tuple[str, ...]:
        """Runs of a pipeline that wait or are under way, oldest first, as ``pipeline:number``; reproductions do not count."""
        query = select(RUN.c.number).where(RUN.c.project == self._project, RUN.c.pipeline == pipeline, RUN.c.reproduces.is_(None))
        numbers = self._connection.execute(query.where(RUN.c.status.in_(("queued", "running"))).order_by(RUN.c.number)).scalars()
        return tuple(f"{pipeline}:{number}" for number in numbers)

    def _triggers(self, *where: Any) -> tuple[Trigger, ...]:
        query = select(TRIGGER, HOOK.c.hook).outerjoin(HOOK, HOOK.c.trigger == TRIGGER.c.id)
        rows = self._connection.execute(query.where(TRIGGER.c.project == self._project, *where).order_by(TRIGGER.c.name)).mappings()
        return tuple(record({**row, "hook": f"/hooks/{row['hook']}" if row["hook"] else "", "secret": ""}, Trigger) for row in rows)

    def _fires(self, *where: Any, limit: int = 1) -> tuple[TriggerFire, ...]:
        query = select(FIRE).where(FIRE.c.project == self._project, *where).order_by(FIRE.c.id.desc()).limit(limit)
        return tuple(record(row, TriggerFire) for row in self._connection.execute(query).mappings())


def due_schedules(connection: Connection, now: datetime) -> list[tuple[str, str]]:
    """Project and name of every schedule that should have fired by now."""
    query = select(TRIGGER.c.project, TRIGGER.c.name).where(
        TRIGGER.c.kind == "schedule", TRIGGER.c.paused.is_(False), TRIGGER.c.due_at <= now
    )
    return [(row.project, row.name) for row in connection.execute(query.order_by(TRIGGER.c.due_at))]


def due_waiting(connection: Connection, now: datetime) -> list[str]:
    """Projects with a call that waits and is due to be looked at again."""
    query = select(FIRE.c.project).distinct().where(FIRE.c.outcome == "waiting", FIRE.c.due_at <= now)
    return list(connection.execute(query).scalars())


def far_schedules(connection: Connection, now: datetime) -> list[tuple[str, Trigger]]:
    """Schedules that are not due yet, with their project, for a look whether a clock that was ahead has moved them too far."""
    query = select(TRIGGER).where(TRIGGER.c.kind == "schedule", TRIGGER.c.paused.is_(False), TRIGGER.c.next_fire > now + timedelta(hours=1))
    rows = connection.execute(query).mappings()
    return [(row["project"], record({**row, "hook": "", "secret": ""}, Trigger)) for row in rows]


def watched_folders(connection: Connection) -> list[tuple[str, Trigger]]:
    """Triggers that look at a repository on this machine, with their project."""
    query = select(TRIGGER).where(TRIGGER.c.kind == "push", TRIGGER.c.paused.is_(False))
    found = [(row["project"], record({**row, "hook": "", "secret": ""}, Trigger)) for row in connection.execute(query).mappings()]
    return [(project, trigger) for project, trigger in found if trigger.options.get("folder")]


def hook_named(connection: Connection, hook: str) -> Hook | None:
    """A hook by its address, whatever its project."""
    row = connection.execute(select(HOOK).where(HOOK.c.hook == hook)).mappings().first()
    return None if row is None else Hook(**row)
