"""The outbox: events wait here, written in the transaction that caused them, until every subscriber has them."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.events import Event, event_types
from rung.core.ids import new_id
from rung.core.records import Id, Instant, Record, prepared
from rung.storage.plain import Plain
from rung.storage.scope import Scope
from rung.storage.sql import Column, Connection, Index, Integer, String, Text, func, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

OUTBOX = table(
    "outbox",
    id_column(),
    project_column(),
    Column("kind", String(128), nullable=False),
    Column("payload", JsonType, nullable=False),
    Column("principal", String(32), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("due_at", InstantType, nullable=False),
    Column("delivered_at", InstantType),
    Column("attempts", Integer, nullable=False, default=0),
    Column("error", Text),
    Index("ix_outbox_waiting", "delivered_at", "due_at"),
)
_OUTBOX = Plain(OUTBOX)


class OutboxEntry(Record):
    """One event and how far its delivery has come."""

    id: Id
    project: str
    kind: str
    payload: dict[str, Any]
    principal: str
    created_at: Instant
    delivered_at: Instant | None = None
    attempts: int = 0
    error: str | None = None


def emit(scope: Scope, event: Event) -> None:
    """Append an event in the scope's transaction."""
    values = {
        "id": new_id(),
        "project": scope.project,
        "kind": event.kind,
        "payload": event,
        "principal": scope.principal,
        "created_at": scope.now,
        "due_at": scope.now,
        "attempts": 0,
    }
    _OUTBOX.insert(scope.connection, values)


def waiting(connection: Connection, now: Any, limit: int = 100) -> list[OutboxEntry]:
    """Undelivered events that are due, oldest first."""
    query = select(OUTBOX).where(OUTBOX.c.delivered_at.is_(None), OUTBOX.c.due_at <= now).order_by(OUTBOX.c.id).limit(limit)
    return [_entry(row) for row in connection.execute(query).mappings()]


def recent(connection: Connection, project: str, limit: int = 100) -> list[OutboxEntry]:
    """The newest events of a project, newest first."""
    query = select(OUTBOX).where(OUTBOX.c.project == project).order_by(OUTBOX.c.id.desc()).limit(limit)
    return [_entry(row) for row in connection.execute(query).mappings()]


def count_undelivered(connection: Connection, project: str) -> int:
    """How many events of a project wait for delivery."""
    query = select(func.count()).select_from(OUTBOX).where(OUTBOX.c.project == project, OUTBOX.c.delivered_at.is_(None))
    return int(connection.execute(query).scalar() or 0)


def mark(connection: Connection, entry: OutboxEntry, *, now: Any, due_at: Any = None, error: str | None = None) -> None:
    """Note a delivery, or a failed one with the instant of the next try."""
    values: dict[str, Any] = {"attempts": entry.attempts + 1, "error": error}
    values |= {"delivered_at": now} if error is None else {"due_at": due_at}
    connection.execute(OUTBOX.update().where(OUTBOX.c.id == entry.id).values(**values))


def as_event(entry: OutboxEntry) -> Event | None:
    """The event of an entry; None when its kind is no longer known."""
    kind = event_types().get(entry.kind)
    return None if kind is None else msgspec.convert(entry.payload, prepared(kind))


def _entry(row: Any) -> OutboxEntry:
    return OutboxEntry(**{name: row[name] for name in OutboxEntry.__struct_fields__})
