"""Records and requests of webhooks: addresses that are told what happens in the registry."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Count, Empty, Id, Instant, Line, Page, Record, Text
from rung.core.requests import Effect, Request

WebhookEvent = Literal[
    "registered_model.created", "registered_model.deleted", "registered_model_tag.set", "registered_model_tag.deleted",
    "model_version.created", "model_version.deleted", "model_version.transitioned",
    "model_version_tag.set", "model_version_tag.deleted", "model_version_alias.created", "model_version_alias.deleted",
    "verdict.passed", "verdict.failed", "run.finished",
]  # fmt: skip
WebhookStatus = Literal["active", "disabled", "failed"]
WebhookName = Annotated[str, Meta(min_length=1, max_length=250, pattern=r"^[^\x00-\x1f]+$")]
Url = Annotated[str, Meta(min_length=8, max_length=500, pattern=r"^[^\x00-\x20]+$")]
Secret = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
Events = Annotated[tuple[WebhookEvent, ...], Meta(min_length=1, max_length=50)]


class Webhook(Record):
    """Where to tell what. The secret that signs what is sent is never answered; ``signed`` says that there is one.

    One that ``failed`` was switched off by Rung: a message was given up and none taken since it was written, or the
    receiver said that it is gone. Setting it ``active`` again starts anew.
    """

    id: Id
    name: WebhookName
    url: Url
    events: tuple[WebhookEvent, ...]
    status: WebhookStatus
    signed: bool
    created_at: Instant
    created_by: Line
    updated_at: Instant
    description: Text = ""


class Delivery(Record):
    """One message to one webhook. A dead one was given up; ``rung webhook retry`` sends it again."""

    id: Id
    webhook: Id
    event: Line
    status: Literal["pending", "delivered", "dead"]
    created_at: Instant
    due_at: Instant
    attempts: Count = 0
    response_status: Count | None = None
    error: Text = ""
    delivered_at: Instant | None = None
    body: Text = ""


class Trial(Record):
    """How a webhook answered a message sent to try it."""

    success: bool
    response_status: Count | None = None
    response_body: Text = ""
    error: Text = ""


class CreateWebhook(Request[Webhook]):
    """Tell an address of events in the project. Its host must be a public one, unless the setting allows private ones."""

    operation = "registry.create_webhook"
    permission = "webhook:manage"
    effect: ClassVar[Effect] = "work"
    secrets: ClassVar[tuple[str, ...]] = ("secret",)
    name: WebhookName
    url: Url
    events: Events
    description: Text = ""
    secret: Secret | None = None
    status: Literal["active", "disabled"] = "active"


class ListWebhooks(Request[Page[Webhook]]):
    """Webhooks of the project, oldest first."""

    operation = "registry.list_webhooks"
    permission = "webhook:read"
    effect: ClassVar[Effect] = "read"
    after: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class GetWebhook(Request[Webhook]):
    """One webhook."""

    operation = "registry.get_webhook"
    permission = "webhook:read"
    effect: ClassVar[Effect] = "read"
    id: Id


class UpdateWebhook(Request[Webhook]):
    """Change a webhook; what is None stays. An empty secret signs no more."""

    operation = "registry.update_webhook"
    permission = "webhook:manage"
    effect: ClassVar[Effect] = "work"
    secrets: ClassVar[tuple[str, ...]] = ("secret",)
    id: Id
    name: WebhookName | None = None
    url: Url | None = None
    events: Events | None = None
    description: Text | None = None
    secret: Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*$")] | None = None
    status: Literal["active", "disabled"] | None = None


class DeleteWebhook(Request[Empty]):
    """Forget a webhook, with its secret and its deliveries."""

    operation = "registry.delete_webhook"
    permission = "webhook:manage"
    id: Id


class TryWebhook(Request[Trial]):
    """Send a webhook an example of an event, now and once; without an event the first it listens to."""

    operation = "registry.try_webhook"
    permission = "webhook:manage"
    effect: ClassVar[Effect] = "work"
    id: Id
    event: WebhookEvent | None = None


class ListDeliveries(Request[tuple[Delivery, ...]]):
    """Messages to a webhook, newest first."""

    operation = "registry.list_deliveries"
    permission = "webhook:read"
    effect: ClassVar[Effect] = "read"
    webhook: Id
    status: Literal["pending", "delivered", "dead"] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class RetryDelivery(Request[Delivery]):
    """Send a message again that was given up."""

    operation = "registry.retry_delivery"
    permission = "webhook:manage"
    id: Id


class DeliverWebhooks(Request[int]):
    """Send what is due; the engine asks this by itself. Answers how many were tried."""

    operation = "registry.deliver_webhooks"
    permission = "webhook:run"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False


class TellRunFinished(Request[Empty]):
    """Tell webhooks that a run has ended; the engine asks this by itself, once a run and status."""

    operation = "registry.tell_run_finished"
    permission = "run:write"
    audited: ClassVar[bool] = False
    run: Id


EXAMPLES: dict[str, dict[str, Any]] = {
    "registered_model.created": {"name": "example_model", "tags": {"team": "blue"}, "description": "An example."},
    "registered_model.deleted": {"name": "example_model"},
    "registered_model_tag.set": {"name": "example_model", "key": "team", "value": "blue"},
    "registered_model_tag.deleted": {"name": "example_model", "key": "team"},
    "model_version.created": {
        "name": "example_model", "version": "1", "source": "models:/m-1", "run_id": None, "tags": {}, "description": None,
    },
    "model_version.deleted": {"name": "example_model", "version": "1"},
    "model_version.transitioned": {"name": "example_model", "version": "1", "from_stage": "None", "to_stage": "Production"},
    "model_version_tag.set": {"name": "example_model", "version": "1", "key": "gate", "value": "passed"},
    "model_version_tag.deleted": {"name": "example_model", "version": "1", "key": "gate"},
    "model_version_alias.created": {"name": "example_model", "alias": "champion", "version": "1"},
    "model_version_alias.deleted": {"name": "example_model", "alias": "champion"},
    "verdict.passed": {"name": "example_model", "version": "1", "verdict": "0" * 32},
    "verdict.failed": {"name": "example_model", "version": "1", "verdict": "0" * 32},
    "run.finished": {"run_id": "0" * 32, "experiment": "default", "status": "succeeded"},
}  # fmt: skip
