"""Handlers of inference nodes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec

import rung
from rung.core.digests import digest_of
from rung.core.errors import Conflict, Denied, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.records import Empty, replaced
from rung.core.requests import handles
from rung.governance.operations import authenticate_digest
from rung.governance.records import Project
from rung.governance.store import GovernanceStore
from rung.serving import node_records as n
from rung.serving.keeping import project_key
from rung.serving.node_rights import versions_of
from rung.serving.node_store import NodeStore, ShippedPart
from rung.serving.options import LogOptions
from rung.serving.records import Deployment, RoutingState
from rung.serving.store import ServingStore, required
from rung.serving.unpacking import Contents, contents
from rung.storage.scope import Scope

SILENT_AFTER = timedelta(seconds=60)
_FORGOTTEN_AFTER = timedelta(days=7)


@handles(n.FollowDeployments)
def follow_deployments(request: n.FollowDeployments, scope: Scope) -> n.Followed:
    """What is deployed now, unless the cursor stands for it. Raises Conflict for a node that follows otherwise, NotFound for unknown names."""
    if request.protocol != n.PROTOCOL:
        raise Conflict(
            f"The node follows by protocol {request.protocol}, this platform ({rung.__version__}) by {n.PROTOCOL}.",
            code="serving.node_protocol", hint=f"Run the node with Rung {rung.__version__}.",
        )  # fmt: skip
    serving = ServingStore(scope.connection, scope.project)
    held = {one.name: one for one in serving.all()}
    unknown = [name for name in request.deployments if name not in held]
    if unknown:
        raise NotFound(
            f"There is no deployment {unknown[0]!r} for the node.",
            code="serving.no_deployment",
            hint=f"Known: {', '.join(held) or 'none'}.",
        )
    learned = serving.routing_states()
    chosen = [
        _followed(scope, one, learned.get(one.name))
        for one in held.values()
        if one.routes and (not request.deployments or one.name in request.deployments) and request.environment in {None, one.environment}
    ]
    masks = any(one.deployment.options.logging.masked for one in chosen)
    mask_key = project_key(scope.home, scope.project).hex() if masks else ""
    # servers of one platform may differ in version for a while, and in their masks' key: neither may send nodes to and fro
    cursor = digest_of(msgspec.msgpack.encode(chosen))
    changed = cursor != request.cursor
    return n.Followed(
        cursor=cursor, changed=changed, rung=rung.__version__, project=_project(scope), now=scope.now,
        deployments=tuple(chosen) if changed else (), mask_key=mask_key if changed else "",
    )  # fmt: skip


@handles(n.AdmitCaller)
def admit_caller(request: n.AdmitCaller, scope: Scope) -> n.Asked:
    """Who calls, or why not: an error would be about the node itself."""
    store = GovernanceStore(scope.connection)
    try:
        token, principal = authenticate_digest(store, request.token, scope.now)
    except Denied as error:
        return n.Asked(project=scope.project, refusal=error.message, code=error.code, hint=error.hint or "")
    found = store.find_project(request.project or token.project)
    role = store.role_of(scope.project, principal.id)
    if found is None or found.id != scope.project or role is None:
        return n.Asked(
            project=scope.project, refusal=f"There is no project {request.project!r} here, or none that {principal.name!r} is a member of.",
            code="governance.no_project", hint=f"This node serves {_project(scope).name!r}.",
        )  # fmt: skip
    return n.Asked(
        project=scope.project, admission=n.Admission(principal=principal.id, name=principal.name, kind=principal.kind, role=role)
    )


@handles(n.ShipPredictions)
def ship_predictions(request: n.ShipPredictions, scope: Scope) -> Callable[[Scope], n.Shipment]:
    """Up to where the segment is here now. Raises Invalid for what is no part of a prediction log."""
    reached = scope.read(lambda s: NodeStore(s.connection, s.project).end_of(request.segment))
    if reached != request.start or not request.frames:
        return lambda _: n.Shipment(segment=request.segment, end=reached)
    if request.end <= request.start:
        raise Invalid(
            f"Frames from byte {request.start} to {request.end} are none.", code="serving.bad_frames", hint="Send them as they were read."
        )
    part = ShippedPart(id=new_id(), blob=scope.blobs.put(request.frames))
    examined(Path(scope.blobs.url(part.blob)))

    def save(inside: Scope) -> n.Shipment:
        store = NodeStore(inside.connection, inside.project)
        if store.extend(request.segment, request.node, request.start, request.end, inside.now):
            store.add_part(part)
        return n.Shipment(segment=request.segment, end=store.end_of(request.segment))

    return save


@handles(n.ReportNode)
def report_node(request: n.ReportNode, scope: Scope) -> Empty:
    """Kept in place of what the node told before; nodes silent for a week are forgotten."""
    store = NodeStore(scope.connection, scope.project)
    store.report(request.state, scope.now)
    store.forget(scope.now - _FORGOTTEN_AFTER)
    return Empty()


@handles(n.ListNodes)
def list_nodes(request: n.ListNodes, scope: Scope) -> tuple[n.InferenceNode, ...]:
    """Nodes by name. Raises NotFound for a deployment that is not there."""
    required(scope, request.deployment)
    return tuple(
        n.InferenceNode(state=state, seen_at=seen_at, silent=scope.now - seen_at > SILENT_AFTER)
        for state, seen_at in NodeStore(scope.connection, scope.project).nodes()
        if request.deployment in {None, *(one.deployment for one in state.serves), *state.failed}
    )


def examined(path: Path) -> Contents:
    """What a part holds. Raises Invalid unless it is whole and sound, and of answers."""
    held = contents(path)
    if held is None or not held.whole or not held.pieces:
        raise Invalid(
            "These are no frames of a prediction log, or they are damaged.", code="serving.bad_frames", hint="Send them as they were read."
        )
    return held


def _followed(scope: Scope, held: Deployment, learned: RoutingState | None) -> n.FollowedDeployment:
    plain = replaced(held.options.logging, sink=LogOptions().sink, sink_settings={})  # the platform tells the sinks
    versions = tuple(
        replaced(one, aliases=(), tags={}, description="", run_id=None, pipeline_run_id=None, logged_model=None, updated_at=None)
        for one in versions_of(scope, held)
    )
    return n.FollowedDeployment(
        deployment=replaced(held, options=replaced(held.options, logging=plain)), versions=versions, learned=learned
    )


def _project(scope: Scope) -> Project:
    found = GovernanceStore(scope.connection).find_project(scope.project)
    if found is None:
        raise NotFound("The project is gone.", code="governance.gone")
    return found
