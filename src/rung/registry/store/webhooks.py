"""Rows of webhooks and of what is sent to them. The secret is read only by what signs a message."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rung.core.errors import NotFound
from rung.core.records import values_of
from rung.registry.webhooks import Delivery, Webhook
from rung.storage.sql import Column, Connection, Index, Integer, String, Text, UniqueConstraint, func, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

WEBHOOK = table(
    "webhook",
    id_column(),
    project_column(),
    Column("name", String(250), nullable=False),
    Column("url", Text, nullable=False),
    Column("events", JsonType, nullable=False),
    Column("status", String(16), nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("updated_at", InstantType, nullable=False),
    Column("description", Text, nullable=False),
    Index("ix_webhook_project", "project", "id"),
)
DELIVERY = table(
    "webhook_delivery",
    id_column(),
    project_column(),
    Column("webhook", String(32), nullable=False),
    Column("event", String(64), nullable=False),
    Column("once", String(200), nullable=False),
    Column("body", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("due_at", InstantType, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("response_status", Integer),
    Column("error", Text, nullable=False),
    Column("delivered_at", InstantType),
    UniqueConstraint("webhook", "once", name="uq_webhook_delivery_once"),
    Index("ix_webhook_delivery_due", "status", "due_at"),
)


class WebhookStore:
    """Webhooks of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add(self, webhook: Webhook, secret: str) -> None:
        """Enter a webhook with its secret; an empty one signs nothing."""
        values = {name: value for name, value in values_of(webhook).items() if name != "signed"}
        self._connection.execute(WEBHOOK.insert().values(project=self._project, secret=secret, **values))

    def change(self, webhook: str, **values: Any) -> None:
        """Change columns of a webhook."""
        self._connection.execute(WEBHOOK.update().where(self._mine(), WEBHOOK.c.id == webhook).values(**values))

    def remove(self, webhook: str) -> None:
        """Forget a webhook and its deliveries."""
        self._connection.execute(DELIVERY.delete().where(DELIVERY.c.project == self._project, DELIVERY.c.webhook == webhook))
        self._connection.execute(WEBHOOK.delete().where(self._mine(), WEBHOOK.c.id == webhook))

    def get(self, webhook: str) -> Webhook:
        """One webhook. Raises NotFound."""
        found = self.all(WEBHOOK.c.id == webhook)
        if not found:
            raise NotFound(f"There is no webhook {webhook!r}.", code="registry.no_webhook", hint="`rung webhook list` shows them.")
        return found[0]

    def page(self, after: str | None, limit: int) -> list[Webhook]:
        """Webhooks, oldest first."""
        return self.all(*(() if after is None else (WEBHOOK.c.id > after,)), limit=limit)

    def all(self, *where: Any, limit: int = 100_000) -> list[Webhook]:
        """Webhooks of the project that fulfil conditions, oldest first."""
        rows = self._connection.execute(select(WEBHOOK).where(self._mine(), *where).order_by(WEBHOOK.c.id).limit(limit)).mappings()
        names = [name for name in Webhook.__struct_fields__ if name not in {"events", "signed"}]
        return [Webhook(**{n: row[n] for n in names}, events=tuple(row["events"]), signed=bool(row["secret"])) for row in rows]

    def secret(self, webhook: str) -> str:
        """What signs a webhook's messages; empty for none."""
        return str(self._connection.execute(select(WEBHOOK.c.secret).where(self._mine(), WEBHOOK.c.id == webhook)).scalar() or "")

    def listening(self, event: str) -> list[str]:
        """Ids of the active webhooks that are told of an event."""
        return [webhook.id for webhook in self.all(WEBHOOK.c.status == "active") if event in webhook.events]

    def queue(self, delivery: Delivery, once: str) -> bool:
        """Enter a message unless the webhook got one of the same ``once``; whether it was entered."""
        told = select(DELIVERY.c.id).where(DELIVERY.c.webhook == delivery.webhook, DELIVERY.c.once == once)
        if self._connection.execute(told).first():
            return False
        self._connection.execute(DELIVERY.insert().values(project=self._project, once=once, **values_of(delivery)))
        return True

    def claim(self, now: datetime, until: datetime, limit: int, patience: int) -> list[Delivery]:
        """Messages that are due, oldest first, kept from others until an instant.

        What was tried less often than ``patience`` and is not due holds back the later messages to the same webhook.
        """
        pending = select(DELIVERY).where(DELIVERY.c.project == self._project, DELIVERY.c.status == "pending")
        waiting = select(DELIVERY.c.webhook, func.min(DELIVERY.c.id)).where(
            DELIVERY.c.project == self._project, DELIVERY.c.status == "pending", DELIVERY.c.due_at > now, DELIVERY.c.attempts < patience
        )
        due = pending.where(DELIVERY.c.due_at <= now).order_by(DELIVERY.c.id).limit(limit + 1000)
        ready = self._connection.execute(due).mappings().all()
        # asked second: what another worker claims in between is then held back, or its row has changed
        held_by = self._connection.execute(waiting.group_by(DELIVERY.c.webhook)).all()
        blocked: dict[str, str] = {webhook: first for webhook, first in held_by}  # noqa: C416 - rows are no pairs to a type checker
        taken: list[Delivery] = []
        for row in ready:
            if len(taken) == limit:
                break
            if row["webhook"] in blocked and blocked[row["webhook"]] < row["id"]:
                continue
            mine = DELIVERY.update().where(DELIVERY.c.id == row["id"], DELIVERY.c.due_at == row["due_at"]).values(due_at=until)
            if self._connection.execute(mine).rowcount:
                taken.append(_delivery(row))
            else:
                blocked[row["webhook"]] = row["id"]  # another worker was quicker; what comes after it waits for its end
        return taken

    def hold_back(self, webhook: str, after: str, until: datetime) -> None:
        """Let the messages that come after one wait as long as it does."""
        later = (DELIVERY.c.webhook == webhook, DELIVERY.c.status == "pending", DELIVERY.c.id > after, DELIVERY.c.due_at < until)
        self._connection.execute(DELIVERY.update().where(*later).values(due_at=until))

    def took_since(self, webhook: str, at: datetime) -> bool:
        """Whether a webhook took a message since an instant."""
        query = select(DELIVERY.c.id).where(DELIVERY.c.webhook == webhook, DELIVERY.c.status == "delivered", DELIVERY.c.delivered_at >= at)
        return self._connection.execute(query.limit(1)).first() is not None

    def settle(self, delivery: str, **values: Any) -> None:
        """Note how sending a message went."""
        self._connection.execute(DELIVERY.update().where(DELIVERY.c.project == self._project, DELIVERY.c.id == delivery).values(**values))

    def delivery(self, delivery: str) -> Delivery:
        """One message. Raises NotFound."""
        query = select(DELIVERY).where(DELIVERY.c.project == self._project, DELIVERY.c.id == delivery)
        row = self._connection.execute(query).mappings().first()
        if row is None:
            raise NotFound(f"There is no delivery {delivery!r}.", code="registry.no_delivery", hint="`rung webhook deliveries` lists them.")
        return _delivery(row)

    def deliveries(self, webhook: str, status: str | None, limit: int) -> tuple[Delivery, ...]:
        """Messages to a webhook, newest first."""
        query = select(DELIVERY).where(DELIVERY.c.project == self._project, DELIVERY.c.webhook == webhook)
        query = query if status is None else query.where(DELIVERY.c.status == status)
        return tuple(_delivery(row) for row in self._connection.execute(query.order_by(DELIVERY.c.id.desc()).limit(limit)).mappings())

    def forget_settled(self, at: datetime) -> int:
        """Forget messages that were taken or given up and last due before an instant; how many."""
        old = (DELIVERY.c.project == self._project, DELIVERY.c.status != "pending", DELIVERY.c.due_at < at)
        return self._connection.execute(DELIVERY.delete().where(*old)).rowcount

    def forget_before(self, at: datetime) -> None:
        """Forget messages that arrived before an instant."""
        old = (DELIVERY.c.project == self._project, DELIVERY.c.status == "delivered", DELIVERY.c.delivered_at < at)
        self._connection.execute(DELIVERY.delete().where(*old))

    def _mine(self) -> Any:
        return WEBHOOK.c.project == self._project


def projects_with_due(connection: Connection, now: datetime) -> list[str]:
    """Projects with a message that is due."""
    query = select(DELIVERY.c.project).distinct().where(DELIVERY.c.status == "pending", DELIVERY.c.due_at <= now)
    return list(connection.execute(query).scalars())


def _delivery(row: Any) -> Delivery:
    return Delivery(**{name: row[name] for name in Delivery.__struct_fields__})
