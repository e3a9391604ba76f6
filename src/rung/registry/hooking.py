"""Handlers of webhooks, and the sending of what is due: outside any transaction, with back-off, until taken or given up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.core.records import Empty, Page
from rung.core.requests import handles
from rung.registry import webhooks as w
from rung.registry.notifying import message, notify
from rung.registry.posting import Reply, checked_address, post, signature
from rung.registry.store.webhooks import WebhookStore
from rung.storage.scope import Scope
from rung.tracking.records import ENDED
from rung.tracking.store import RunStore

_log = logging.getLogger("rung.registry")
PAUSES_S = (5, 30, 120, 600, 3600, 3 * 3600, 8 * 3600)
PATIENCE = 3
_AT_ONCE = 50
_SIDE_BY_SIDE = 8
_ROUND_S = 60
_SPARE_S = 60  # for looking up names and for saving, on a machine that stands still for a while
_KEPT = timedelta(days=30)
_GONE = 410


@handles(w.CreateWebhook)
def create_webhook(request: w.CreateWebhook, scope: Scope) -> Callable[[Scope], w.Webhook]:
    """The webhook, without its secret. Raises Invalid for an address that leads inside."""
    checked_address(request.url, allow_private=scope.settings.webhooks.allow_private)

    def save(inside: Scope) -> w.Webhook:
        made = w.Webhook(
            id=new_id(), name=request.name, url=request.url, events=tuple(dict.fromkeys(request.events)), status=request.status,
            signed=request.secret is not None, created_at=inside.now, created_by=inside.who, updated_at=inside.now,
            description=request.description,
        )  # fmt: skip
        _store(inside).add(made, request.secret or "")
        return made

    return save


@handles(w.ListWebhooks)
def list_webhooks(request: w.ListWebhooks, scope: Scope) -> Page[w.Webhook]:
    """Webhooks, oldest first."""
    found = _store(scope).page(request.after, request.limit + 1)
    items = tuple(found[: request.limit])
    return Page(items=items, next=items[-1].id if len(found) > request.limit else None)


@handles(w.GetWebhook)
def get_webhook(request: w.GetWebhook, scope: Scope) -> w.Webhook:
    """One webhook. Raises NotFound."""
    return _store(scope).get(request.id)


@handles(w.UpdateWebhook)
def update_webhook(request: w.UpdateWebhook, scope: Scope) -> Callable[[Scope], w.Webhook]:
    """The changed webhook. Raises NotFound, Invalid for an address that leads inside."""
    if request.url is not None:
        checked_address(request.url, allow_private=scope.settings.webhooks.allow_private)

    def save(inside: Scope) -> w.Webhook:
        store = _store(inside)
        store.get(request.id)
        names = ("name", "url", "events", "description", "status", "secret")
        given = {name: getattr(request, name) for name in names if getattr(request, name) is not None}
        store.change(request.id, **given, updated_at=inside.now)
        return store.get(request.id)

    return save


@handles(w.DeleteWebhook)
def delete_webhook(request: w.DeleteWebhook, scope: Scope) -> Empty:
    """Forgets it. Raises NotFound."""
    store = _store(scope)
    store.get(request.id)
    store.remove(request.id)
    return Empty()


@handles(w.TryWebhook)
def try_webhook(request: w.TryWebhook, scope: Scope) -> Callable[[Scope], w.Trial]:
    """How it answered. Raises NotFound."""
    held, secret = scope.read(lambda inside: (_store(inside).get(request.id), _store(inside).secret(request.id)))
    event = request.event or held.events[0]
    reply = _send(scope, held, secret, new_id(), message(event, w.EXAMPLES[event], scope.now.isoformat()))
    tried = w.Trial(success=reply.taken, response_status=reply.status, response_body=reply.body, error=reply.error)
    return lambda _: tried


@handles(w.ListDeliveries)
def list_deliveries(request: w.ListDeliveries, scope: Scope) -> tuple[w.Delivery, ...]:
    """Messages, newest first. Raises NotFound."""
    store = _store(scope)
    return store.deliveries(store.get(request.webhook).id, request.status, request.limit)


@handles(w.RetryDelivery)
def retry_delivery(request: w.RetryDelivery, scope: Scope) -> w.Delivery:
    """The message, due again. Raises NotFound, Conflict for one that was taken."""
    store = _store(scope)
    held = store.delivery(request.id)
    if held.status == "delivered":
        raise Conflict(f"Delivery {held.id} was taken.", code="registry.delivered", hint="Nothing needs doing.")
    webhook = store.get(held.webhook)
    if webhook.status != "active":
        raise Conflict(
            f"Webhook {webhook.name!r} is switched off.",
            code="registry.webhook_off",
            hint=f"`rung webhook update {webhook.id} --on` first.",
        )
    store.settle(held.id, status="pending", attempts=0, due_at=scope.now)
    return store.delivery(held.id)


@handles(w.TellRunFinished)
def tell_run_finished(request: w.TellRunFinished, scope: Scope) -> Empty:
    """Queues the news of an ended run, once a status. Raises NotFound."""
    run = RunStore(scope.connection, scope.project).get(request.run)
    if run.status in ENDED:
        told = {"run_id": run.id, "run_name": run.name, "experiment": run.experiment, "status": run.status, "metrics": _finite(run.metrics)}
        notify(scope, "run.finished", told, once=f"run.finished:{run.id}:{run.status}:{run.ended_at}"[:200])
    return Empty()


@handles(w.DeliverWebhooks)
def deliver_webhooks(request: w.DeliverWebhooks, scope: Scope) -> Callable[[Scope], int]:
    """How many messages were tried. Several workers share them; one that died leaves its to the others after a while.

    Each webhook gets its messages in their order, webhooks side by side. One that is not taken holds the later ones
    back until its third try; after that they go past it.
    """
    # no message is begun after the round, and the last one may take its time: nobody else claims what is still being sent
    claimed = timedelta(seconds=_ROUND_S + scope.settings.webhooks.timeout_s + _SPARE_S)
    taken = scope.write(lambda inside: _store(inside).claim(inside.now, inside.now + claimed, _AT_ONCE, PATIENCE))
    late = time.monotonic() + _ROUND_S
    known = scope.read(lambda inside: {item.id: (item, _store(inside).secret(item.id)) for item in _store(inside).all()})
    queues: dict[str, list[w.Delivery]] = {}
    for item in taken:
        queues.setdefault(item.webhook, []).append(item)

    def emptied(queue: list[w.Delivery]) -> dict[str, Reply]:
        webhook, secret = known[queue[0].webhook]
        replies: dict[str, Reply] = {}
        for item in queue:
            if time.monotonic() > late:
                break
            replies[item.id] = _send(scope, webhook, secret, item.id, item.body)
            if not replies[item.id].taken and item.attempts + 1 < PATIENCE:
                break
        return replies

    ready = [queue for name, queue in queues.items() if name in known and known[name][0].status == "active"]
    replies: dict[str, Reply] = {}
    with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE, thread_name_prefix="rung-webhook") as pool:
        for part in pool.map(emptied, ready):
            replies |= part
    active = {item.id for queue in ready for item in queue}

    def save(inside: Scope) -> int:
        store = _store(inside)
        for item in taken:
            if item.id in active and item.id not in replies:
                store.settle(item.id, due_at=item.due_at)
        for item in taken:
            if item.id in replies or item.id not in active:
                _settle(inside, item, replies.get(item.id))
        store.forget_before(inside.now - _KEPT)
        return len(replies)

    return save


def _settle(scope: Scope, item: w.Delivery, reply: Reply | None) -> None:
    store = _store(scope)
    if reply is None:
        store.settle(item.id, status="dead", error="The webhook is switched off or gone.")
        return
    tries = item.attempts + 1
    if reply.taken:
        store.settle(item.id, status="delivered", attempts=tries, response_status=reply.status, error="", delivered_at=scope.now)
        return
    error = reply.error or f"{reply.status}: {reply.body[:500]}"
    dead = tries > len(PAUSES_S) or reply.status == _GONE
    due = scope.now if dead else scope.now + timedelta(seconds=PAUSES_S[tries - 1])
    store.settle(
        item.id, status="dead" if dead else "pending", attempts=tries, response_status=reply.status, error=error, due_at=due
    )  # fmt: skip
    if not dead and tries < PATIENCE:
        store.hold_back(item.webhook, item.id, due)
    if reply.status == _GONE or (dead and not store.took_since(item.webhook, item.created_at)):
        _log.warning("webhook %s is switched off: %s", item.webhook, error[:200])
        store.change(item.webhook, status="failed", updated_at=scope.now)


def _send(scope: Scope, webhook: w.Webhook, secret: str, delivery: str, body: str) -> Reply:
    timestamp = str(int(time.time()))  # receivers refuse old ones by their own clock, so ours must be the real one
    headers = {
        "Content-Type": "application/json", "User-Agent": "rung", "X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": timestamp,
    }  # fmt: skip
    if secret:
        headers["X-MLflow-Signature"] = signature(secret, delivery, timestamp, body)
    settings = scope.settings.webhooks
    return post(webhook.url, body, headers, allow_private=settings.allow_private, timeout_s=settings.timeout_s)


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if abs(value) < float("inf")}


def _store(scope: Scope) -> WebhookStore:
    return WebhookStore(scope.connection, scope.project)
