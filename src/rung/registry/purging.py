"""What the registry forgets for good: files of retired versions, retired models, old messages to webhooks. Numbers stay given."""

from __future__ import annotations

from datetime import datetime

from rung.core.records import replaced
from rung.registry.moving import store_of
from rung.registry.store import ApprovalStore
from rung.registry.store.webhooks import WebhookStore
from rung.storage.purging import purges
from rung.storage.scope import Scope

_AT_ONCE = 500
_GONE = "It was deleted, and its files were removed for good."


@purges("model versions")
def purge_versions(scope: Scope, before: datetime) -> int:
    """Versions retired before an instant that nothing serves: their files are named no more, what is left keeps the number."""
    store = store_of(scope)
    models = {version.model for version in store.retired_before(before, _AT_ONCE)}
    store.take_turn(*models)
    retired = [version for version in store.retired_before(before, _AT_ONCE) if version.model in models]  # somebody may have restored one
    gone = [version for version in retired if not store.holders(version.model, version.number)]
    for version in gone:
        store.complete_version(replaced(version, files=(), input_example="", unservable=_GONE, purged=True, engine=None))
        store.change_version(version.model, version.number, digest="")
    return len(gone)


@purges("webhook deliveries")
def purge_deliveries(scope: Scope, before: datetime) -> int:
    """Messages to webhooks that were taken or given up before an instant."""
    return WebhookStore(scope.connection, scope.project).forget_settled(before)


@purges("models")
def purge_models(scope: Scope, before: datetime) -> int:
    """Models retired before an instant, with their rules. Verdicts, approvals and moves of aliases stay as evidence."""
    store = store_of(scope)
    known = store.models_retired_before(before, _AT_ONCE)
    store.take_turn(*known)
    gone = [name for name in store.models_retired_before(before, _AT_ONCE) if name in known]  # see above
    for name in gone:
        store.remove_model(name)
        ApprovalStore(scope.connection, scope.project).forget_rule(name)
    return len(gone)
