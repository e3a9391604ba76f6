"""The queue: jobs claimed by lease, told apart by fence, and singleton leases for work that one process does for all.

A worker that loses its lease cannot finish: ``finish`` and ``heartbeat`` compare the fence that the claim raised.
Delivery is at least once; exactly once is only the effect, through fence, dedup key and transaction.

No worker's clock decides: a lease ends when an observer has seen no beat of its holder for the lease's length, by the
observer's own monotonic clock; instants in rows come from the clock of the database (of the machine, for a file).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from rung.core.clock import from_micros, to_micros
from rung.core.ids import new_id
from rung.core.records import Count, Id, Instant, Record
from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.slots import SLOT, SlotStore
from rung.storage.sql import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

__all__ = ["JOB", "LEASE", "SLOT", "Job", "JobState", "QueueStore", "SlotStore"]
JobState = Literal["queued", "leased", "done", "failed", "cancelled"]
_CLOCK = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"

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
    Column("lease_s", Float, nullable=False),
    Column("beats", BigInteger, nullable=False),
    Column("owner", String(250)),
    Column("fence", BigInteger, nullable=False),
    Column("concurrency_group", String(250), nullable=False),
    Column("concurrency_limit", Integer, nullable=False),
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
_JOB, _LEASE = Plain(JOB), Plain(LEASE)
_THIS_CLAIM = "id = ? AND fence = ? AND state = 'leased'"
# in one statement: between two of them a queued job may be taken, or a leased one given back, and would be seen by neither
_ASK_TO_CANCEL = (
    "UPDATE job SET cancel_requested = CASE state WHEN 'leased' THEN 1 ELSE cancel_requested END,"
    " ended_at = CASE state WHEN 'queued' THEN ? ELSE ended_at END, state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END"
    " WHERE subject = ? AND state IN ('leased', 'queued') RETURNING state"
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
    lease_s: float = 30.0
    beats: Count = 0
    concurrency_group: str = ""
    concurrency_limit: Count = 1
    cancel_requested: int = 0
    error: str | None = None


class QueueStore:
    """Jobs and leases on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def clock(self) -> datetime:
        """The instant by which jobs queue up and leases end: the same for every process on this database."""
        if self._connection.dialect.name == "postgresql":
            return from_micros(int(Raw(self._connection).rows(_CLOCK)[0][0]))
        return datetime.now(UTC)

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
        concurrency_group: str = "",
        concurrency_limit: int = 1,
    ) -> Job:
        """Queue a job. With a ``dedup_key`` that is taken, the job that holds it is answered and nothing is added.

        Of the jobs of a ``concurrency_group`` at most ``concurrency_limit`` are leased at once.
        """
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
            "run_at": self.clock(),
            "attempts": 0,
            "max_attempts": max_attempts,
            "lease_s": 0.0,
            "beats": 0,
            "fence": 0,
            "concurrency_group": concurrency_group,
            "concurrency_limit": concurrency_limit,
            "dedup_key": dedup_key,
            "cancel_requested": 0,
            "created_at": now,
        }
        _JOB.insert(self._connection, values)
        return self.get(str(values["id"]))

    def get(self, job: str) -> Job:
        """A job by id."""
        return _job(_JOB.rows(self._connection, "id = ?", (job,))[0])

    def by_dedup_key(self, project: str, key: str) -> Job | None:
        """The job that holds a dedup key."""
        row = _JOB.first(self._connection, "project = ? AND dedup_key = ?", (project, key))
        return None if row is None else _job(row)

    def of_subject(self, subject: str) -> Job | None:
        """The newest job about a subject."""
        row = _JOB.first(self._connection, "subject = ?", (subject,), tail="ORDER BY id DESC")
        return None if row is None else _job(row)

    def claim(self, queue: str, *, owner: str, lease: timedelta, job: str | None = None) -> Job | None:
        """Take the job that comes first (or the one named) and raise its fence; None when none waits or has room in its group."""
        now = self.clock()
        where, parameters = "queue = ? AND state = 'queued'", [queue]
        if job is not None:
            where, parameters = f"{where} AND id = ?", [*parameters, job]
        first = "ORDER BY priority DESC, run_at, id LIMIT 1"
        if self._connection.dialect.name == "postgresql":
            first += " FOR UPDATE SKIP LOCKED"
        while rows := _JOB.rows(self._connection, where, parameters, tail=first):
            found = _job(rows[0])
            claimed = {
                "state": "leased", "owner": owner, "lease_until": now + lease, "lease_s": lease.total_seconds(), "beats": 0,
                "fence": found.fence + 1, "attempts": found.attempts + 1,
            }  # fmt: skip
            group = found.concurrency_group
            if not group or self._slot(found, found.fence + 1):
                _JOB.update(self._connection, claimed, "id = ?", (found.id,))
                return self.get(found.id)
            where, parameters = f"{where} AND (project <> ? OR concurrency_group <> ?)", [*parameters, found.project, group]
        return None

    def _slot(self, job: Job, fence: int) -> bool:
        slots = SlotStore(self._connection, job.project)
        return slots.take(f"run {job.concurrency_group}", limit=job.concurrency_limit, job=job.id, fence=fence, holder=job.id)

    def heartbeat(self, job: Job, *, lease: timedelta) -> Literal["held", "cancel", "lost"]:
        """Renew a lease; ``lost`` means that another worker has the job and this one must stop at once."""
        sql = f"UPDATE job SET lease_until = ?, beats = beats + 1 WHERE {_THIS_CLAIM} RETURNING cancel_requested"  # noqa: S608 - names of ours
        held = Raw(self._connection).rows(sql, (to_micros(self.clock() + lease), job.id, job.fence))
        if not held:
            return "lost"
        return "cancel" if held[0][0] else "held"

    def holds(self, job: Job) -> bool:
        """Whether the lease of this claim still stands."""
        return bool(_JOB.rows(self._connection, _THIS_CLAIM, (job.id, job.fence), columns=("id",)))

    def is_leased(self, job: Job) -> bool:
        """Whether somebody holds a job and has given a sign of life within the length of the lease."""
        return job.state == "leased" and job.lease_until is not None and job.lease_until >= self.clock()

    def progressed(self, job: Job) -> None:
        """Note that the holder has got somewhere: earlier claims that died count no longer."""
        _JOB.update(self._connection, {"attempts": 1}, _THIS_CLAIM, (job.id, job.fence))

    def finish(self, job: Job, *, now: datetime, state: JobState = "done", error: str | None = None) -> bool:
        """End a job; False, changing nothing, when this claim's fence is no longer the newest."""
        values = {"state": state, "ended_at": now, "error": error, "lease_until": None}
        return _JOB.update(self._connection, values, _THIS_CLAIM, (job.id, job.fence)) == 1

    def requeue(
        self,
        job: str,
        *,
        attempts: int | None = None,
        payload: dict[str, Any] | None = None,
        run_at: datetime | None = None,
        seen: Job | None = None,
    ) -> bool:
        """Put an ended or abandoned job back into its queue, at its end unless its old ``run_at`` is given; perhaps with another payload.

        False, changing nothing, when it is not as it was ``seen`` any more: somebody else has put it back, or holds it.
        """
        values: dict[str, Any] = {
            "state": "queued",
            "run_at": run_at or self.clock(),
            "lease_until": None,
            "owner": None,
            "ended_at": None,
            "cancel_requested": 0,
        }
        if attempts is not None:
            values["attempts"] = attempts
        if payload is not None:
            values["payload"] = payload
        same: tuple[str, tuple[Any, ...]] = ("id = ?", (job,))
        if seen is not None:
            same = ("id = ? AND state = ? AND fence = ? AND beats = ?", (job, seen.state, seen.fence, seen.beats))
        return _JOB.update(self._connection, values, *same) == 1

    def leased(self, queue: str) -> list[Job]:
        """Jobs that somebody holds."""
        return [_job(row) for row in _JOB.rows(self._connection, "queue = ? AND state = 'leased'", (queue,))]

    def give_back(self, job: Job, *, now: datetime, died: bool = True) -> JobState | None:
        """Take a job from its holder: queued again, or failed after too many holders died; None if it is not that claim any more.

        A holder that gave a sign of life since ``job`` was read keeps it. With ``died=False`` the holder itself gives
        the job back, which does not count against it.
        """
        state: JobState = "failed" if died and job.attempts >= job.max_attempts else "queued"
        values: dict[str, Any] = {"state": state, "run_at": self.clock(), "lease_until": None, "owner": None}
        if state == "failed":
            values |= {"ended_at": now, "error": f"Its worker died {job.attempts} times."}
        if not died:
            values["attempts"] = max(0, job.attempts - 1)
        same: tuple[str, tuple[Any, ...]] = (_THIS_CLAIM, (job.id, job.fence))
        if died:
            same = (f"{_THIS_CLAIM} AND beats = ?", (job.id, job.fence, job.beats))
        return state if _JOB.update(self._connection, values, *same) else None

    def ask_to_cancel(self, subject: str, *, now: datetime) -> bool:
        """Cancel queued jobs about a subject, and tell the holders of leased ones at their next heartbeat; whether there are any.

        Until the end of this transaction nobody takes, gives back or ends these jobs.
        """
        return any(state == "leased" for (state,) in Raw(self._connection).rows(_ASK_TO_CANCEL, (to_micros(now), subject)))

    def has_queued(self, queue: str) -> bool:
        """Whether a job waits."""
        return _JOB.first(self._connection, "queue = ? AND state = 'queued'", (queue,), columns=("id",)) is not None

    def hold(self, name: str, *, owner: str, lease: timedelta) -> int | None:
        """Take or renew a singleton lease; its fence, or None while another owner has it."""
        now = self.clock()
        row = _LEASE.first(self._connection, "name = ?", (name,))
        if row is None:
            _LEASE.insert(self._connection, {"name": name, "owner": owner, "fence": 1, "until": now + lease})
            return 1
        fence = row["fence"] + (row["owner"] != owner)
        # an end that lies further off than any lease is long was written by a clock that has been set back since
        far = now + lease + timedelta(seconds=1)
        taken = _LEASE.update(
            self._connection,
            {"owner": owner, "fence": fence, "until": now + lease},
            "name = ? AND fence = ? AND (owner = ? OR until < ? OR until > ?)",
            (name, row["fence"], owner, to_micros(now), to_micros(far)),
        )
        return int(fence) if taken else None

    def holder(self, name: str) -> str | None:
        """Who has, or had last, a singleton lease."""
        row = _LEASE.first(self._connection, "name = ?", (name,), columns=("owner",))
        return None if row is None else row["owner"]

    def release(self, name: str, *, owner: str) -> None:
        """Let another process take a singleton lease at once."""
        ended = self.clock() - timedelta(seconds=1)
        _LEASE.update(self._connection, {"until": ended}, "name = ? AND owner = ?", (name, owner))


def _job(row: Any) -> Job:
    return Job(**{name: row[name] for name in Job.__struct_fields__})
