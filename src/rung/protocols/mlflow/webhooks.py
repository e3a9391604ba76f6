"""Rows of webhooks. Those that listen only to what MLflow has no word for are not shown to its client."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from rung.core.errors import Invalid
from rung.protocols.mlflow import shapes, wire
from rung.protocols.mlflow.routes import Answer, Call, Row, row
from rung.registry import webhooks as w

Status = Literal["ACTIVE", "DISABLED"]
_THEIRS = frozenset(
    {
        "registered_model.created", "model_version.created", "model_version_tag.set", "model_version_tag.deleted",
        "model_version_alias.created", "model_version_alias.deleted",
    }
)  # fmt: skip
_STATUSES: dict[str, Literal["active", "disabled"]] = {"ACTIVE": "active", "DISABLED": "disabled"}


class EventBody(wire.Body):
    entity: str
    action: str


class CreateBody(wire.Body):
    name: str
    url: str
    events: tuple[EventBody, ...]
    description: str | None = None
    secret: str | None = None
    status: Status | None = None


class ListBody(wire.Body):
    max_results: int | None = None
    page_token: str | None = None


class IdBody(wire.Body):
    webhook_id: str


class UpdateBody(IdBody):
    name: str | None = None
    url: str | None = None
    events: tuple[EventBody, ...] | None = None
    description: str | None = None
    secret: str | None = None
    status: Status | None = None


class TestBody(IdBody):
    event: EventBody | None = None


@row("POST", "/webhooks", CreateBody, w.CreateWebhook)
def create_webhook(body: CreateBody, call: Call) -> Answer:
    made = call(
        w.CreateWebhook(
            name=body.name, url=body.url, events=_events(body.events), description=body.description or "", secret=body.secret or None,
            status=_STATUSES[body.status or "ACTIVE"],
        )
    )  # fmt: skip
    return {"webhook": _json(made)}


@row("GET", "/webhooks", ListBody, w.ListWebhooks)
def list_webhooks(body: ListBody, call: Call) -> Answer:
    page = call(w.ListWebhooks(after=shapes.mark_of(body.page_token), limit=max(1, min(body.max_results or 100, 1000))))
    shown = [_json(item) for item in page.items if _THEIRS.intersection(item.events)]
    return wire.without_empty({"webhooks": shown, "next_page_token": shapes.page_token(page.next)})


@row("GET", "/webhooks/{webhook_id}", IdBody, w.GetWebhook)
def get_webhook(body: IdBody, call: Call) -> Answer:
    return {"webhook": _json(call(w.GetWebhook(id=_id(body))))}


@row("PATCH", "/webhooks/{webhook_id}", UpdateBody, w.UpdateWebhook)
def update_webhook(body: UpdateBody, call: Call) -> Answer:
    changed = call(
        w.UpdateWebhook(
            id=_id(body), name=body.name or None, url=body.url or None, events=_events(body.events) if body.events else None,
            description=body.description, secret=body.secret or None, status=_STATUSES[body.status] if body.status else None,
        )
    )  # fmt: skip
    return {"webhook": _json(changed)}


@row("DELETE", "/webhooks/{webhook_id}", IdBody, w.DeleteWebhook)
def delete_webhook(body: IdBody, call: Call) -> Answer:
    call(w.DeleteWebhook(id=_id(body)))
    return {}


@row("POST", "/webhooks/{webhook_id}/test", TestBody, w.TryWebhook)
def test_webhook(body: TestBody, call: Call) -> Answer:
    tried = call(w.TryWebhook(id=_id(body), event=_events((body.event,))[0] if body.event else None))
    told = {
        "success": tried.success, "response_status": tried.response_status, "response_body": tried.response_body or None,
        "error_message": tried.error or None,
    }  # fmt: skip
    return {"result": wire.without_empty(told)}


ROWS: tuple[Row, ...] = (create_webhook, list_webhooks, get_webhook, update_webhook, delete_webhook, test_webhook)


def _id(body: Any) -> str:
    return shapes.known_id(body.webhook_id, "webhook")


def _events(given: tuple[EventBody, ...]) -> tuple[w.WebhookEvent, ...]:
    named = [f"{item.entity}.{item.action}".lower() for item in given]
    strange = [name for name in named if name not in _THEIRS]
    if strange:
        raise Invalid(
            f"Webhooks are not told of {strange[0][:60]!r}.", code="mlflow.bad_event", hint=f"Choose among {', '.join(sorted(_THEIRS))}."
        )
    return msgspec.convert(tuple(named), tuple[w.WebhookEvent, ...])


def _json(webhook: w.Webhook) -> dict[str, Any]:
    pairs = [name.split(".") for name in webhook.events if name in _THEIRS]
    return wire.without_empty(
        {
            "webhook_id": webhook.id, "name": webhook.name, "description": webhook.description or None, "url": webhook.url,
            "events": [{"entity": entity.upper(), "action": action.upper()} for entity, action in pairs],
            "status": "ACTIVE" if webhook.status == "active" else "DISABLED", "creation_timestamp": wire.millis(webhook.created_at),
            "last_updated_timestamp": wire.millis(webhook.updated_at),
        }
    )  # fmt: skip
