"""Inference nodes from Python."""

from __future__ import annotations

from rung.client.transports import Transport
from rung.serving.node_records import InferenceNode, ListNodes


class NodeVerbs:
    """Verbs of inference nodes."""

    _transport: Transport

    def nodes(self, deployment: str | None = None) -> tuple[InferenceNode, ...]:
        """Inference nodes of the project, or those that serve a deployment, as they last told of themselves."""
        return self._transport.call(ListNodes(deployment=deployment))
