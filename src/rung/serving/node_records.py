"""Records and requests of inference nodes: what they follow, whom they admit, what they ship, and how they are."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.records import Count, Digest, Empty, Id, Instant, Line, Name, Number, Record
from rung.core.requests import Effect, Request
from rung.governance.records import Project, Role
from rung.registry.records import ModelVersion
from rung.serving.records import Deployment, RoutingState

PROTOCOL = 1
LONGEST_WAIT_S = 30.0
MOST_SHIPPED = 16 << 20
Key32 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$(?!\n)")]


class FollowedDeployment(Record):
    """A deployment with every version it routes to, or its graph asks."""

    deployment: Deployment
    versions: tuple[ModelVersion, ...]
    learned: RoutingState | None = None


class Followed(Record):
    """What a node shall serve; without ``changed`` nothing is told that the cursor does not stand for already.

    ``mask_key`` is the project's key for masked columns, in hex, where a deployment masks some. ``now`` is the platform's clock.
    """

    cursor: Line
    changed: bool
    rung: Line
    project: Project
    now: Instant
    deployments: tuple[FollowedDeployment, ...] = ()
    mask_key: Key32 = ""


class FollowDeployments(Request[Followed]):
    """What is deployed, for an inference node. Over HTTP it answers once that differs from the cursor, or after ``wait_s``.

    ``deployments`` and ``environment`` choose some of them; both empty: all of the project.
    """

    operation = "serving.follow"
    permission = "deployment:serve"
    effect: ClassVar[Effect] = "read"
    cursor: Line = ""
    wait_s: Annotated[float, Meta(ge=0, le=LONGEST_WAIT_S)] = 0.0
    deployments: tuple[Name, ...] = ()
    environment: Name | None = None
    protocol: Count = PROTOCOL


class Admission(Record):
    """Who holds a token, and as what in the node's project."""

    principal: Id
    name: Line
    kind: Line
    role: Role


class Asked(Record):
    """The answer about a caller: who it is, or why it is refused. ``project`` is the one the node's own token opens."""

    project: Id
    admission: Admission | None = None
    refusal: Line = ""
    code: Line = ""
    hint: Line = ""


class AdmitCaller(Request[Asked]):
    """Who holds the token with this digest, asked by a node that was called with it; ``project`` as the caller named it."""

    operation = "serving.admit_caller"
    permission = "caller:serve"
    effect: ClassVar[Effect] = "read"
    token: Digest
    project: Line = ""


class Shipment(Record):
    """Up to where the platform has a segment of a node's log: bytes from its beginning."""

    segment: Id
    end: Count


class ShipPredictions(Request[Shipment]):
    """Give the platform the bytes ``start`` to ``end`` of a segment of the node's prediction log, as a segment of their own.

    Only what begins where the platform's copy ends is taken; the answer says where that is now, so it may be sent again at will.
    """

    operation = "serving.ship_predictions"
    permission = "prediction:serve"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    node: Id
    segment: Id
    start: Count
    end: Count
    frames: Annotated[bytes, Meta(max_length=MOST_SHIPPED)] = b""


class ServedRevision(Record):
    """A revision that a node answers with, and since when by the node's clock."""

    deployment: Name
    revision: Number
    since: Instant


class NodeState(Record):
    """How an inference node is.

    ``waiting_bytes`` of its prediction log the platform does not have yet, the oldest for ``lag_s`` seconds. ``failed`` are
    deployments it cannot answer for, with the reason; ``trouble`` is what keeps it from shipping. ``skew_s``: its clock less the platform's.
    """

    id: Id
    name: Line
    rung: Line
    address: Line = ""
    workers: Count = 0
    started_at: Instant
    serves: tuple[ServedRevision, ...] = ()
    failed: dict[str, str] = {}
    waiting_bytes: Count = 0
    lag_s: Annotated[float, Meta(ge=0)] = 0.0
    shipped_rows: Count = 0
    skew_s: float = 0.0
    trouble: Line = ""


class InferenceNode(Record):
    """An inference node as it last told of itself; ``seen_at`` by the platform's clock."""

    state: NodeState
    seen_at: Instant
    silent: bool


class ReportNode(Request[Empty]):
    """Tell how a node is."""

    operation = "serving.report_node"
    permission = "node:serve"
    audited: ClassVar[bool] = False
    state: NodeState


class ListNodes(Request[tuple[InferenceNode, ...]]):
    """Inference nodes of the project, or those that serve one deployment, by name."""

    operation = "serving.list_nodes"
    permission = "node:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name | None = None
