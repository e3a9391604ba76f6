"""Webhooks from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rung.client.transports import Transport
from rung.core.records import Page
from rung.registry import webhooks as w


class WebhooksVerbs:
    """Verbs of webhooks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, name: str, url: str, events: Sequence[w.WebhookEvent], *, secret: str | None = None, description: str = "",
        status: Literal["active", "disabled"] = "active",
    ) -> w.Webhook:  # fmt: skip
        """Tell an address of events; with a secret every message is signed."""
        return self._transport.call(
            w.CreateWebhook(name=name, url=url, events=tuple(events), secret=secret, description=description, status=status)
        )

    def list(self, *, after: str | None = None, limit: int = 100) -> Page[w.Webhook]:
        """Webhooks, oldest first."""
        return self._transport.call(w.ListWebhooks(after=after, limit=limit))

    def get(self, webhook: str) -> w.Webhook:
        """One webhook."""
        return self._transport.call(w.GetWebhook(id=webhook))

    def update(self, webhook: str, **changes: Any) -> w.Webhook:
        """Change name, url, events, secret, description or status."""
        return self._transport.call(w.UpdateWebhook(id=webhook, **changes))

    def delete(self, webhook: str) -> None:
        """Forget a webhook and its deliveries."""
        self._transport.call(w.DeleteWebhook(id=webhook))

    def test(self, webhook: str, event: w.WebhookEvent | None = None) -> w.Trial:
        """Send it an example, now and once."""
        return self._transport.call(w.TryWebhook(id=webhook, event=event))

    def deliveries(
        self, webhook: str, *, status: Literal["pending", "delivered", "dead"] | None = None, limit: int = 100
    ) -> tuple[w.Delivery, ...]:
        """Messages to a webhook, newest first."""
        return self._transport.call(w.ListDeliveries(webhook=webhook, status=status, limit=limit))

    def retry(self, delivery: str) -> w.Delivery:
        """Send a message again that was given up."""
        return self._transport.call(w.RetryDelivery(id=delivery))
