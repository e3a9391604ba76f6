"""Telling webhooks: messages are written in the transaction of what they tell, and sent by the engine afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rung.core.ids import new_id
from rung.registry.store.webhooks import WebhookStore
from rung.registry.webhooks import Delivery
from rung.storage.scope import Scope


def notify(scope: Scope, event: str, data: Mapping[str, Any], *, once: str | None = None) -> int:
    """Queue a message about an event for every webhook that listens; how many there are.

    Args:
        event: ``entity.action``.
        data: what is told.
        once: the same word again is told once only; default: always.
    """
    store = WebhookStore(scope.connection, scope.project)
    told = 0
    for webhook in store.listening(event):
        delivery = new_id()
        queued = store.queue(
            Delivery(
                id=delivery, webhook=webhook, event=event, status="pending", created_at=scope.now, due_at=scope.now,
                body=message(event, data, scope.now.isoformat()),
            ),
            once or delivery,
        )  # fmt: skip
        told += queued
    return told


def message(event: str, data: Mapping[str, Any], at: str) -> str:
    """The body of a message, in the form MLflow's receivers read."""
    entity, _, action = event.partition(".")
    return msgspec.json.encode({"entity": entity, "action": action, "timestamp": at, "data": dict(data)}).decode()
