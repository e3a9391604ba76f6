"""A graph as a picture: its nodes and edges for a chart, and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rung.serving.graph.family import GRAPH_NODES
from rung.serving.graph.flow import REQUEST
from rung.serving.graph.making import inputs_of, settings_of
from rung.serving.options.graph import GraphNode, GraphOptions

_SHORT = 60


@dataclass(frozen=True)
class Part:
    """One box: its key and title, what it reads from, its kind, and one line about it."""

    key: str
    title: str
    kind: str
    needs: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    detail: str = ""


def parts(options: GraphOptions | None) -> tuple[Part, ...]:
    """The request, then the nodes in order; nothing for a deployment without a graph."""
    if options is None or not options.nodes:
        return ()
    inputs = inputs_of(options)
    sent = ", ".join(item.name for item in options.inputs) or "what the version takes"
    found = [Part(key=REQUEST, title=REQUEST, kind="request", detail=_cut(sent))]
    for node in options.nodes:
        branches = GRAPH_NODES.get(node.kind).refers(settings_of(node))
        needs = tuple(dict.fromkeys((*inputs[node.name], *branches)))
        found.append(Part(key=node.name, title=node.name, kind=node.kind, needs=needs, branches=branches, detail=_cut(_detail(node))))
    return tuple(found)


def text(options: GraphOptions | None) -> str:
    """The graph as lines: each node below what it reads from, with arrows naming its sources."""
    held = parts(options)
    if not held:
        return "No graph: the deployment's version answers alone.\n"
    wide = max(len(part.title) for part in held)
    kind = max(len(part.kind) for part in held)
    lines = []
    for place, part in enumerate(held):
        end = "●" if place == len(held) - 1 else "○"
        sources = " + ".join(name for name in part.needs if name not in part.branches)
        ways = f"  ⇢ {' | '.join(part.branches)}" if part.branches else ""
        came = f"  ← {sources}" if sources else ""
        lines.append(f"{end} {part.title:<{wide}}  {part.kind:<{kind}}{came}{ways}{f'   {part.detail}' if part.detail else ''}".rstrip())
    return "\n│\n".join(lines) + "\n"


def _detail(node: GraphNode) -> str:
    settings: dict[str, Any] = node.settings
    match node.kind:
        case "model":
            return settings.get("model") or "the deployment's own version"
        case "transform":
            shown = dict(settings.get("columns", {})) | ({"score": settings["score"]} if settings.get("score") else {})
            return ", ".join(f"{name} = {expression}" for name, expression in shown.items())
        case "lookup":
            return f"{settings['view']} by {', '.join(settings.get('keys', {}).values()) or 'its keys'}"
        case "ensemble":
            return f"{settings.get('how', 'mean')}{' ' + settings['model'] if settings.get('model') else ''}"
        case "switch":
            return (
                ", ".join(f"{case['then']} if {case['when']}" for case in settings.get("cases", ())) + f", else {settings.get('otherwise')}"
            )
        case "fallback":
            late = f" after {settings['deadline_ms']:g} ms" if settings.get("deadline_ms") else ""
            return (settings.get("rule") or "") + late
        case "decide":
            return _decided(settings)
        case "limit":
            most = ", ".join(f"{name} ≤ {n}" for name, n in settings.get("actions", {}).items())
            return f"{most} in {settings.get('window_s', 0):g} s{' a ' + settings['entity'] if settings.get('entity') else ''}, else {settings.get('cautious')}"
        case "quality" | "outlier":
            return settings.get("profile") or (
                f"{settings['dataset']}:{settings.get('number') or 'latest'}" if settings.get("dataset") else ""
            )
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _decided(settings: dict[str, Any]) -> str:
    if settings.get("threshold") is not None:
        below, over = (*settings.get("actions", ()), "", "")[:2]
        return f"{over} from {settings['threshold']:g}, else {below}"
    if settings.get("money"):
        return f"most expected money of {', '.join(settings['money'])}"
    return ", ".join(f"{rule['then']} if {rule['when']}" for rule in settings.get("rules", ())) + f", else {settings.get('otherwise')}"


def _cut(line: str) -> str:
    return line if len(line) <= _SHORT else f"{line[: _SHORT - 1]}…"
