"""Tables of the registry, one module a subject."""

from rung.registry.store.approvals import ApprovalStore
from rung.registry.store.models import RegistryStore, moved_meanwhile
from rung.registry.store.webhooks import WebhookStore, projects_with_due

__all__ = ["ApprovalStore", "RegistryStore", "WebhookStore", "moved_meanwhile", "projects_with_due"]
