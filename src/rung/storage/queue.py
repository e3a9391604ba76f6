"""The queue: jobs claimed by lease, told apart by fence, and singleton leases for work that one process does for all.

A worker that loses its lease cannot finish: ``finish`` and ``heartbeat`` compare the fence that the claim raised.
Delivery is at least once; exactly once is only the effect, through fence, dedup key and transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, String, Text, UniqueConstraint, and_, or_, select

from rung.core.ids import new_id
from rung.core.records import Count, Id, Instant, Record
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

JobState = Literal["queued", "leased", "done", "failed", "cancelled"]

JOB = table(
    "job",
    id_column(),
    project_column(),
    Column("queue", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("subject", String(250), nullable=False),
    Column("payload", JsonType, nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("run_at", InstantType, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("lease_until", InstantType),
    Column("owner", String(250)),
    Column("fence", BigInteger, nullable=False),
    Column("dedup_key", String(250)),
    Column("cancel_requested", Integer, nullable=False),
    Column("error", Text),
    Column("created_at", InstantType, nullable=False),
    Column("ended_at", InstantType),
    UniqueConstraint("project", "dedup_key", name="uq_job_dedup"),
    Index("ix_job_claim", "queue", "state", "priority", "run_at"),
    Index("ix_job_subject", "subject"),
)
LEASE = table(
    "lease",
    Column("name", String(128), primary_key=True),
    Column("owner", String(250), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("until", InstantType, nullable=False),
)


class Job(Record):
    """One piece of work and who holds it."""

    id: Id
    project: str
    queue: str
    kind: str
    subject: str
    payload: dict[str, Any]
    state: JobState
    attempts: Count
    max_attempts: Count
    run_at: Instant
    fence: Count
    owner: str | None = None
    lease_until: Instant | None = None
    cancel_requested: int = 0
    error: str | None = None


class QueueStore:
    """Jobs and leases on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        project: str,
        *,
        queue: str,
        kind: str,
        subject: str,
        now: datetime,
        payload: dict[str, Any] | None = None,
        priority: int = 0,
        max_attempts: int = 5,
        dedup_key: str | None = None,
    ) -> Job:
        """Queue a job. With a ``dedup_key`` that is taken, the job that holds it is answered and nothing is added."""
        if dedup_key is not None and (held := self.by_dedup_key(project, dedup_key)):
            return held
        values = {
            "id": new_id(),
            "project": project,
            "queue": queue,
            "kind": kind,
            "subject": subject,
            "payload": payload or {},
            "state": "queued",
            "priority": priority,
            "run_at": now,
            "attempts": 0,
            "max_attempts": max_attempts,
            "fence": 0,
            "dedup_key": dedup_key,
            "cancel_requested": 0,
            "created_at": now,
        }
        self._connection.execute(JOB.insert().values(**values))
        return self.get(str(values["id"]))

    def get(self, job: str) -> Job:
        """A job by id."""
        return _job(self._connection.execute(select(JOB).where(JOB.c.id == job)).mappings().one())

    def by_dedup_key(self, project: str, key: str) -> Job | None:
        """The job that holds a dedup key."""
        row = self._connection.execute(select(JOB).where(JOB.c.project == project, JOB.c.dedup_key == key)).mappings().first()
        return None if row is None else _job(row)

    def of_subject(self, subject: str) -> Job | None:
        """The newest job about a subject."""
        row = self._connection.execute(select(JOB).where(JOB.c.subject == subject).order_by(JOB.c.id.desc()).limit(1)).mappings().first()
        return None if row is None else _job(row)

    def claim(self, queue: str, *, owner: str, now: datetime, lease: timedelta, job: str | None = None) -> Job | None:
        """Take the job that is due first (or the one named) and raise its fence; None when nothing is due."""
        due = select(JOB.c.id).where(JOB.c.queue == queue, JOB.c.state == "queued", JOB.c.run_at <= now)
        if job is not None:
            due = due.where(JOB.c.id == job)
        due = due.order_by(JOB.c.priority.desc(), JOB.c.run_at, JOB.c.id).limit(1).with_for_update(skip_locked=True)
        found = self._connection.execute(due).scalar()
        if found is None:
            return None
        values = {"state": "leased", "owner": owner, "lease_until": now + lease, "fence": JOB.c.fence + 1, "attempts": JOB.c.attempts + 1}
        self._connection.execute(JOB.update().where(JOB.c.id == found).values(**values))
        return self.get(found)

    def heartbeat(self, job: Job, *, now: datetime, lease: timedelta) -> Literal["held", "cancel", "lost"]:
        """Renew a lease; ``lost`` means that another worker has the job and this one must stop at once."""
        renewed = self._connection.execute(JOB.update().where(_held(job)).values(lease_until=now + lease))
        if renewed.rowcount == 0:
            return "lost"
        asked = self._connection.execute(select(JOB.c.cancel_requested).where(JOB.c.id == job.id)).scalar()
        return "cancel" if asked else "held"

    def holds(self, job: Job) -> bool:
        """Whether the lease of this claim still stands."""
        return self._connection.execute(select(JOB.c.id).where(_held(job))).first() is not None

    def finish(self, job: Job, *, now: datetime, state: JobState = "done", error: str | None = None) -> bool:
        """End a job; False, changing nothing, when this claim's fence is no longer the newest."""
        values = {"state": state, "ended_at": now, "error": error, "lease_until": None}
        return self._connection.execute(JOB.update().where(_held(job)).values(**values)).rowcount == 1

    def requeue(self, job: str, *, now: datetime, attempts: int | None = None) -> None:
        """Put an ended or abandoned job back into its queue."""
        values: dict[str, Any] = {
            "state": "queued",
            "run_at": now,
            "lease_until": None,
            "owner": None,
            "ended_at": None,
            "cancel_requested": 0,
        }
        if attempts is not None:
            values["attempts"] = attempts
        self._connection.execute(JOB.update().where(JOB.c.id == job).values(**values))

    def leased(self, queue: str) -> list[Job]:
        """Jobs that somebody holds."""
        return [_job(row) for row in self._connection.execute(select(JOB).where(JOB.c.queue == queue, JOB.c.state == "leased")).mappings()]

    def give_back(self, job: Job, *, now: datetime) -> JobState | None:
        """Take a dead owner's job away: queued again, or failed after too many attempts; None if the claim is not that one any more."""
        state: JobState = "failed" if job.attempts >= job.max_attempts else "queued"
        values: dict[str, Any] = {"state": state, "run_at": now, "lease_until": None, "owner": None}
        if state == "failed":
            values |= {"ended_at": now, "error": f"Its worker died {job.attempts} times."}
        return state if self._connection.execute(JOB.update().where(_held(job)).values(**values)).rowcount else None

    def ask_to_cancel(self, subject: str, *, now: datetime) -> None:
        """Cancel queued jobs about a subject, and tell the holders of leased ones at their next heartbeat."""
        about = JOB.c.subject == subject
        self._connection.execute(JOB.update().where(about, JOB.c.state == "leased").values(cancel_requested=1))
        self._connection.execute(JOB.update().where(about, JOB.c.state == "queued").values(state="cancelled", ended_at=now))

    def count_queued(self, queue: str, now: datetime) -> int:
        """Number of jobs that wait and are due."""
        rows = self._connection.execute(select(JOB.c.id).where(JOB.c.queue == queue, JOB.c.state == "queued", JOB.c.run_at <= now))
        return len(rows.all())

    def hold(self, name: str, *, owner: str, now: datetime, lease: timedelta) -> int | None:
        """Take or renew a singleton lease; its fence, or None while another owner has it."""
        row = self._connection.execute(select(LEASE).where(LEASE.c.name == name)).mappings().first()
        if row is None:
            self._connection.execute(LEASE.insert().values(name=name, owner=owner, fence=1, until=now + lease))
            return 1
        fence = row["fence"] + (row["owner"] != owner)
        free = or_(LEASE.c.owner == owner, LEASE.c.until < now)
        taken = self._connection.execute(
            LEASE.update()
            .where(LEASE.c.name == name, LEASE.c.fence == row["fence"], free)
            .values(owner=owner, fence=fence, until=now + lease)
        )
        return int(fence) if taken.rowcount else None

    def release(self, name: str, *, owner: str, now: datetime) -> None:
        """Let another process take a singleton lease at once."""
        self._connection.execute(
            LEASE.update().where(LEASE.c.name == name, LEASE.c.owner == owner).values(until=now - timedelta(seconds=1))
        )


def _held(job: Job) -> Any:
    return and_(JOB.c.id == job.id, JOB.c.fence == job.fence, JOB.c.state == "leased")


def _job(row: Any) -> Job:
    return Job(**{name: row[name] for name in Job.__struct_fields__})
