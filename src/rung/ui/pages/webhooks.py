"""One webhook: what it is told of, and what became of the messages to it."""

from __future__ import annotations

from urllib.parse import urlsplit

from rung.registry.webhooks import Delivery, GetWebhook, ListDeliveries, ListWebhooks
from rung.ui.blocks import Facts, Form, Page, Part, Table, Visit
from rung.ui.words import MISSING, link, pill, when

_TONES = {"active": "ok", "disabled": "muted", "failed": "bad", "delivered": "ok", "pending": "warn", "dead": "bad"}
_SHOWN = 50


def webhooks_table(visit: Visit) -> list[object]:
    """Webhooks of the project; nothing where there are none, or none may be seen."""
    found = visit.find(ListWebhooks())
    rows = [
        (link(held.name, "webhooks", held.id), _host(held.url), ", ".join(held.events), _state(held.status), "signed" if held.signed else "unsigned")
        for held in (found.items if found else ())
    ]  # fmt: skip
    return (
        [Table(("webhook", "at", "told of", "state", "messages"), rows, "Webhooks", note="`rung webhook --help` adds and tests them.")]
        if rows
        else []
    )


def webhook(visit: Visit) -> Page:
    """One webhook by its id."""
    held = visit.ask(GetWebhook(id=visit.path["webhook"]))
    deliveries = visit.ask(ListDeliveries(webhook=held.id, limit=_SHOWN))
    facts: list[tuple[str, object]] = [
        ("state", _state(held.status)), ("at", held.url), ("told of", ", ".join(held.events)), ("messages", "signed" if held.signed else "unsigned"),
        ("about", held.description or MISSING), ("made", when(held.created_at)), ("by", held.created_by),
    ]  # fmt: skip
    rows = [_row(item) for item in deliveries]
    columns = ("event", "state", "written", "tries", "answer", "next try", "error")
    act = Form("/act/webhook-off", "Switch off", {"webhook": held.id})
    if held.status != "active":
        act = Form("/act/webhook-on", "Switch on", {"webhook": held.id})
    dead = [item for item in deliveries if item.status == "dead"][:1]
    forms = [act, *(Form("/act/retry-delivery", "Send the newest that was given up again", {"delivery": item.id}) for item in dead)]
    head = f"Webhook {held.name} is {held.status}" + ("; a message to it was given up." if dead else ".")
    blocks = [
        Facts(facts),
        Part("fold.html", {"title": "Change this webhook", "forms": forms}),
        Table(columns, rows, "Messages" if rows else ""),
    ]
    return Page("Webhook", head, blocks, f"rung webhook deliveries {held.id}", {"webhook": held, "deliveries": deliveries})


def _row(item: Delivery) -> tuple[object, ...]:
    later = when(item.due_at) if item.status == "pending" else MISSING
    return (
        item.event, _state(item.status), when(item.created_at), item.attempts, item.response_status or MISSING, later, item.error[:200] or MISSING,
    )  # fmt: skip


def _state(word: str) -> object:
    return pill(word, _TONES[word])


def _host(url: str) -> str:
    return urlsplit(url).netloc
