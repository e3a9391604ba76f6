"""Webhooks from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rung.client.transports import Transport
from rung.core.errors import Conflict, NotFound
from rung.core.ids import is_id
from rung.core.records import Page
from rung.registry import webhooks as w


class WebhooksVerbs:
    """Verbs of webhooks. A webhook is called by its id, or by its name."""

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
        return self._transport.call(w.GetWebhook(id=self._id(webhook)))

    def update(self, webhook: str, **changes: Any) -> w.Webhook:
        """Change name, url, events, secret, description or status."""
        return self._transport.call(w.UpdateWebhook(id=self._id(webhook), **changes))

    def delete(self, webhook: str) -> None:
        """Forget a webhook and its deliveries."""
        self._transport.call(w.DeleteWebhook(id=self._id(webhook)))

    def test(self, webhook: str, event: w.WebhookEvent | None = None) -> w.Trial:
        """Send it an example, now and once."""
        return self._transport.call(w.TryWebhook(id=self._id(webhook), event=event))

    def deliveries(
        self, webhook: str, *, status: Literal["pending", "delivered", "dead"] | None = None, limit: int = 100
    ) -> tuple[w.Delivery, ...]:
        """Messages to a webhook, newest first."""
        return self._transport.call(w.ListDeliveries(webhook=self._id(webhook), status=status, limit=limit))

    def _id(self, webhook: str) -> str:
        """The id of a webhook that is called by its id or its name. Raises NotFound, Conflict where several have the name."""
        if is_id(webhook):
            return webhook
        names: dict[str, list[str]] = {}
        after: str | None = None
        while True:
            page = self.list(after=after)
            for held in page.items:
                names.setdefault(held.name, []).append(held.id)
            after = page.next
            if after is None:
                break
        found = names.get(webhook, [])
        if not found:
            known = ", ".join(sorted(names)) or "none"
            raise NotFound(f"There is no webhook {webhook!r}.", code="registry.no_webhook", hint=f"Known: {known}.")
        if len(found) > 1:
            raise Conflict(f"{len(found)} webhooks are called {webhook!r}.", code="registry.webhook_name", hint=f"Use an id: {found[0]}.")
        return found[0]

    def retry(self, delivery: str) -> w.Delivery:
        """Send a message again that was given up."""
        return self._transport.call(w.RetryDelivery(id=delivery))
