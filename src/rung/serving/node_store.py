"""Tables of inference nodes: how they are, how far their logs are shipped, and what they shipped that is no Parquet yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rung.core.ids import new_id
from rung.core.records import decoded
from rung.serving.node_records import NodeState
from rung.serving.packing import HEADER
from rung.serving.records import Deployment, Revision, RoutingState
from rung.serving.rollout_store import ROUTING_STATE
from rung.serving.store import DEPLOYMENT, REVISION, ServingStore
from rung.storage.sql import BigInteger, Column, Connection, Index, String, delete, insert, select, update
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

INFERENCE_NODE = table(
    "inference_node",
    id_column(),
    project_column(),
    Column("seen_at", InstantType, nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ix_inference_node_project", "project"),
)
SHIPPED_SEGMENT = table(
    "shipped_segment",
    id_column(),
    project_column(),
    Column("node", String(32), nullable=False),
    Column("reached", BigInteger, nullable=False),
    Column("changed_at", InstantType, nullable=False),
)
SHIPPED_PART = table(
    "shipped_part",
    id_column(),
    project_column(),
    Column("blob", String(80), nullable=False, info={"blobs": ("",)}),
    Index("ix_shipped_part_project", "project"),
)


@dataclass(frozen=True)
class ShippedPart:
    """Frames a node has shipped, as a blob that is a segment by itself."""

    id: str
    blob: str


class NodeStore:
    """Rows of inference nodes on one connection, of one project."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def report(self, state: NodeState, at: datetime) -> None:
        """Keep what a node tells of itself."""
        mine = (INFERENCE_NODE.c.id == state.id, INFERENCE_NODE.c.project == self._project)
        if not self._connection.execute(update(INFERENCE_NODE).where(*mine).values(seen_at=at, body=state)).rowcount:
            self._connection.execute(insert(INFERENCE_NODE).values(id=state.id, project=self._project, seen_at=at, body=state))

    def nodes(self) -> list[tuple[NodeState, datetime]]:
        """Every node with when it was last heard."""
        query = select(INFERENCE_NODE.c.body, INFERENCE_NODE.c.seen_at).where(INFERENCE_NODE.c.project == self._project)
        found = [(decoded(row.body, NodeState), row.seen_at) for row in self._connection.execute(query)]
        return sorted(found, key=lambda one: (one[0].name, one[0].id))

    def forget(self, before: datetime) -> None:
        """Forget nodes that were silent for long."""
        mine = (INFERENCE_NODE.c.project == self._project, INFERENCE_NODE.c.seen_at < before)
        self._connection.execute(delete(INFERENCE_NODE).where(*mine))

    def end_of(self, segment: str) -> int:
        """Up to where a segment was shipped; where its frames begin when nothing was."""
        query = select(SHIPPED_SEGMENT.c.reached).where(SHIPPED_SEGMENT.c.id == segment, SHIPPED_SEGMENT.c.project == self._project)
        found = self._connection.execute(query).scalar()
        return HEADER.size if found is None else int(found)

    def extend(self, segment: str, node: str, start: int, end: int, at: datetime) -> bool:
        """Say that a segment was shipped from ``start`` to ``end``; False unless it was shipped up to ``start`` before."""
        mine = (SHIPPED_SEGMENT.c.id == segment, SHIPPED_SEGMENT.c.project == self._project)
        moved = update(SHIPPED_SEGMENT).where(*mine, SHIPPED_SEGMENT.c.reached == start).values(reached=end, changed_at=at)
        if self._connection.execute(moved).rowcount:
            return True
        if start != HEADER.size or self._connection.execute(select(SHIPPED_SEGMENT.c.id).where(*mine)).first():
            return False
        values: dict[str, Any] = {"id": segment, "project": self._project, "node": node, "reached": end, "changed_at": at}
        self._connection.execute(insert(SHIPPED_SEGMENT).values(**values))
        return True

    def add_part(self, part: ShippedPart) -> None:
        """Enter frames that were shipped."""
        self._connection.execute(insert(SHIPPED_PART).values(id=part.id, project=self._project, blob=part.blob))

    def parts(self) -> list[ShippedPart]:
        """Frames that were shipped and are still read from their blobs, oldest first."""
        query = select(SHIPPED_PART.c.id, SHIPPED_PART.c.blob).where(SHIPPED_PART.c.project == self._project).order_by(SHIPPED_PART.c.id)
        return [ShippedPart(row.id, row.blob) for row in self._connection.execute(query)]

    def remove_parts(self, ids: Sequence[str]) -> None:
        """Forget frames that are in Parquet."""
        for start in range(0, len(ids), 500):
            self._connection.execute(delete(SHIPPED_PART).where(SHIPPED_PART.c.id.in_(ids[start : start + 500])))

    def forget_segments(self, before: datetime) -> None:
        """Forget how far segments were shipped that were last added to before an instant."""
        mine = (SHIPPED_SEGMENT.c.project == self._project, SHIPPED_SEGMENT.c.changed_at < before)
        self._connection.execute(delete(SHIPPED_SEGMENT).where(*mine))


class CopyStore:
    """A node's copy of what is deployed, on one connection: one revision a deployment, replaced as a whole.

    Rows get fresh ids, so that the data plane sees that something changed.
    """

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def put(self, held: Deployment) -> None:
        """Keep a deployment with its revision in force, in place of what was kept of it."""
        self.remove(held.name)
        serving = ServingStore(self._connection, self._project)
        serving.add_deployment(held.name, held.id, held.environment, held.created_at)
        serving.add_revision(
            Revision(
                id=new_id(), deployment=held.name, number=held.revision, routes=held.routes, change="deploy", created_at=held.changed_at,
                created_by="", actor_kind="service", options=held.options,
            )
        )  # fmt: skip

    def remove(self, deployment: str) -> None:
        """Forget a deployment."""
        for of, name in ((DEPLOYMENT, DEPLOYMENT.c.name), (REVISION, REVISION.c.deployment)):
            self._connection.execute(delete(of).where(of.c.project == self._project, name == deployment))

    def learn(self, deployment: str, state: RoutingState | None, at: datetime) -> None:
        """Keep what a policy has learned, in place of what was kept of it."""
        mine = (ROUTING_STATE.c.project == self._project, ROUTING_STATE.c.deployment == deployment)
        self._connection.execute(delete(ROUTING_STATE).where(*mine))
        if state is not None:
            values = {"id": new_id(), "project": self._project, "deployment": deployment, "changed_at": at}
            self._connection.execute(insert(ROUTING_STATE).values(body=state, **values))
