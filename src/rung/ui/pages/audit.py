"""Audit, lineage and settings: who did what, what came from what, and where one stands."""

from __future__ import annotations

import platform
from collections.abc import Callable
from urllib.parse import urlencode

from markupsafe import Markup

import rung
from rung.governance.records import ListAudit, ListPrincipals, ListProjects, Node, Trace, TraceLineage, VerifyAudit, WhoAmI
from rung.ui import words
from rung.ui.blocks import Charts, Facts, Page, Table, Visit, Words
from rung.ui.charts.dag import DagNode, dag
from rung.ui.charts.svg import Figure
from rung.ui.words import MISSING, address, link, number, pill, when

_MOST_NODES = 120
_PARTS: dict[str, Callable[[str], str]] = {
    "dataset_version": lambda id_: address("datasets", *id_.split(":")),
    "feature_view": lambda id_: address("features", id_),
    "run": lambda id_: address("runs", id_),
    "pipeline_run": lambda id_: address("pipeline-runs", id_),
    "model_version": lambda id_: address("models", *id_.split(":")),
    "deployment": lambda id_: address("deployments", id_.split(":")[0]),
    "prediction": lambda id_: address("predictions", id_),
    "incident": lambda id_: address("incidents", id_),
    "decision": lambda id_: address("decisions", id_),
}


def audit(visit: Visit) -> Page:
    """The newest audit events."""
    page = visit.ask(
        ListAudit(
            limit=100,
            before=visit.number("before"),
            request_operation=visit.query.get("operation") or None,
            principal=visit.query.get("principal") or None,
        )
    )
    rows = [
        (e.seq, when(e.at), e.principal, e.operation, e.target, pill(e.outcome), e.code or MISSING, words.digest(e.digest))
        for e in page.items
    ]
    refused = sum(e.outcome == "denied" for e in page.items)
    kept = {name: visit.query[name] for name in ("operation", "principal") if visit.query.get(name)}
    more = [Words(Markup('<a href="/audit?{}">Older events</a>').format(urlencode({**kept, "before": page.next})))] if page.next else []
    blocks = [
        Words(link("Verify the chain of the whole log", "audit", "verify")),
        Table(("no.", "when", "who", "asked", "of", "outcome", "code", "digest"), rows),
        *more,
    ]
    return Page(
        "Audit", f"{words.many(len(rows), 'event')} shown, newest first; {refused} refused.", blocks, "rung audit list", {"events": page}
    )


def verify(visit: Visit) -> Page:
    """The chain, recomputed now."""
    held = visit.ask(VerifyAudit())
    facts: list[tuple[str, object]] = [
        ("events", number(held.events)),
        ("chain", pill("intact" if held.intact else "broken", "ok" if held.intact else "bad")),
        ("head", words.digest(held.head)),
    ]
    if held.broken_at is not None:
        facts += [("broken at event", held.broken_at), ("why", held.reason)]
    head = f"All {held.events:,} audit events hold." if held.intact else f"The audit log is broken at event {held.broken_at}."
    return Page("Audit", head, [Facts(facts)], "rung audit verify", {"report": held})


def lineage(visit: Visit) -> Page:
    """What a thing came from and what came from it."""
    kind, name = visit.path["kind"], visit.path["id"]
    up = visit.ask(TraceLineage(kind=kind, id=name, direction="up"))
    down = visit.ask(TraceLineage(kind=kind, id=name, direction="down"))
    edges = dict.fromkeys([*up.edges, *down.edges])
    rows = [(lineage_node(e.source), e.relation.replace("_", " "), lineage_node(e.target), when(e.at)) for e in edges]
    blocks = [
        Charts([lineage_graph(f"What {kind.replace('_', ' ')} {_short(name)} came from", up)] if up.edges else []),
        Charts([lineage_graph("What came from it", down)] if down.edges else []),
        Table(("from", "", "to", "when"), rows, "Edges"),
    ]
    head = f"{kind.replace('_', ' ').capitalize()} {_short(name)} came from {words.many(max(len(up.nodes) - 1, 0), 'thing')}; {words.many(max(len(down.nodes) - 1, 0), 'thing')} came from it."
    return Page("Lineage", head, blocks, f"rung lineage {kind}={name}", {"up": up, "down": down})


def settings(visit: Visit) -> Page:
    """Who one is, which projects there are, and what this Rung is."""
    me = visit.ask(WhoAmI())
    projects = visit.find(ListProjects()) or ()
    members = visit.find(ListPrincipals()) or ()
    from importlib.metadata import version  # noqa: PLC0415 - read once a visit

    facts: list[tuple[str, object]] = [
        ("you", me.principal.name),
        ("role", me.role or MISSING),
        ("project", me.project.name),
        ("Rung", version(rung.__name__)),
        ("Python", platform.python_version()),
    ]
    blocks = [
        Facts(facts),
        Table(("project", "since"), [(p.name, when(p.created_at)) for p in projects], "Projects"),
        Table(("member", "role"), [(g.principal, g.role) for g in members], "Members" if members else ""),
        Words(
            Markup(
                'Every act is a request: <a href="/api/openapi.json">the API in OpenAPI</a>. Scripts on these pages: htmx 2.0.8 (0BSD), <a href="/static/VENDORED.txt">vendored</a>.'
            ),
            "About",
        ),
    ]
    return Page(
        "Settings",
        f"You are {me.principal.name}, {me.role or 'without a role'} of {me.project.name}.",
        blocks,
        "rung settings",
        {"identity": me, "projects": projects, "members": members},
    )


def lineage_graph(title: str, trace: Trace) -> Figure:
    """What stands behind a thing, drawn."""
    nodes = trace.nodes[:_MOST_NODES]
    needs: dict[Node, list[str]] = {node: [] for node in nodes}
    for edge in trace.edges:
        if edge.target in needs and edge.source in needs:
            needs[edge.target].append(_key(edge.source))
    drawn = [
        DagNode(
            _key(n),
            _short(n.id),
            tuple(dict.fromkeys(needs[n])),
            n.kind.replace("_", " "),
            "accent" if n == trace.start else "muted",
            _href(n),
        )
        for n in nodes
    ]
    return dag(title, drawn)


def _key(node: Node) -> str:
    return f"{node.kind} {node.id}"


def lineage_node(node: Node) -> Markup:
    """A thing in words, leading to its page."""
    href = _href(node)
    words_ = f"{node.kind.replace('_', ' ')} {_short(node.id)}"
    return Markup('<a href="{}">{}</a>').format(href, words_) if href else Markup("{}").format(words_)


def _href(node: Node) -> str:
    return _PARTS[node.kind](node.id) if node.kind in _PARTS else ""


def _short(name: str) -> str:
    return name.removeprefix("blake3:")[:12] if len(name) >= 32 and ":" not in name.removeprefix("blake3:") else name  # noqa: PLR2004 - ids and digests are 32 and longer
