"""The picture of a pipeline: a layered layout computed here, drawn as SVG with links and states in words.

Layers by longest path, sources moved next to their first consumer, dummy nodes on long edges, alternating barycentre
sweeps, and a last pass that straightens chains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rung.ui.charts import svg
from rung.ui.charts.svg import Figure, element

NODE_WIDTH, NODE_HEIGHT, PITCH_X, PITCH_Y = 150.0, 46.0, 172.0, 88.0
_SWEEPS = 4
_MARGIN = 16.0
_AROUND = 60.0


@dataclass(frozen=True)
class DagNode:
    """A step: what it is called, whom it waits for, how it stands (a word and a tone), where a click leads."""

    key: str
    title: str
    needs: tuple[str, ...] = ()
    state: str = ""
    tone: str = "muted"
    href: str = ""


def dag(title: str, nodes: Sequence[DagNode]) -> Figure:
    """The steps as boxes from top to bottom, with arrows from what is needed to what needs it."""
    places = layout({node.key: node.needs for node in nodes})
    width = max((x for x, _ in places.values()), default=0.0) + NODE_WIDTH + 2 * _MARGIN + _AROUND / 2
    height = max((y for _, y in places.values()), default=0.0) + NODE_HEIGHT + 2 * _MARGIN
    parts = [_arrow_head()]
    for node in nodes:
        x, y = places[node.key]
        for need in node.needs:
            if need in places:
                parts.append(_edge(places[need], (x, y)))
    parts += [_box(node, *places[node.key]) for node in nodes]
    said = ", ".join(f"{node.title} {node.state}".strip() for node in nodes[:30])
    rows = tuple((node.title, node.state, ", ".join(node.needs)) for node in nodes)
    return Figure(title, svg.picture(max(width, 320), height, f"{title} {said}", *parts), ("step", "state", "needs"), rows, wide=True)


def layout(needs: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    """Top left corner of every node. The same graph always gives the same places; edges to unknown nodes are ignored."""
    edges = {node: [need for need in before if need in needs] for node, before in needs.items()}
    rank = _ranks(edges)
    layers, links = _with_dummies(edges, rank)
    _untangle(layers, links)
    x = _straighten(layers, links)
    left = min(x.values(), default=0.0)
    return {node: (_MARGIN + x[node] - left, _MARGIN + rank[node] * PITCH_Y) for node in edges}


def _ranks(edges: Mapping[str, Sequence[str]]) -> dict[str, int]:
    rank: dict[str, int] = {}
    waiting = dict(edges)
    while waiting:
        ready = [node for node, before in waiting.items() if all(need in rank for need in before)]
        for node in ready or [next(iter(waiting))]:  # a cycle cannot be drawn in layers: break it anywhere
            rank[node] = max((rank[need] + 1 for need in edges[node] if need in rank), default=0)
            del waiting[node]
    after = defaultdict(list)
    for node, before in edges.items():
        for need in before:
            after[need].append(node)
    for node, before in edges.items():
        if not before and after[node]:
            rank[node] = max(0, min(rank[next_] for next_ in after[node]) - 1)
    return rank


def _with_dummies(edges: Mapping[str, Sequence[str]], rank: Mapping[str, int]) -> tuple[list[list[str]], list[tuple[str, str]]]:
    layers: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in edges:
        layers[rank[node]].append(node)
    links = []
    for node, before in edges.items():
        for need in before:
            last = need
            for level in range(rank[need] + 1, rank[node]):
                dummy = f"\0{need}\0{node}\0{level}"
                layers[level].append(dummy)
                links.append((last, dummy))
                last = dummy
            links.append((last, node))
    return layers, links


def _untangle(layers: list[list[str]], links: Sequence[tuple[str, str]]) -> None:
    above, below = _neighbours(links)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        order = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
        for level in order:
            other = {node: index for index, node in enumerate(layers[level - 1 if down else level + 1])}
            near = above if down else below
            held = {node: index for index, node in enumerate(layers[level])}
            wish = {node: _mean([other[n] for n in near[node] if n in other], held[node]) for node in layers[level]}
            layers[level].sort(key=wish.__getitem__)


def _straighten(layers: Sequence[Sequence[str]], links: Sequence[tuple[str, str]]) -> dict[str, float]:
    above, below = _neighbours(links)
    widest = max((len(layer) for layer in layers), default=1)
    x = {node: (index + (widest - len(layer)) / 2) * PITCH_X for layer in layers for index, node in enumerate(layer)}
    for sweep in range(_SWEEPS):
        near = above if sweep % 2 == 0 else below
        for layer in layers if sweep % 2 == 0 else list(reversed(layers)):
            _place(layer, [_mean([x[n] for n in near[node]], x[node]) for node in layer], x)
    return x


def _place(layer: Sequence[str], wished: Sequence[float], x: dict[str, float]) -> None:
    """Give each node its wish where neighbours keep their distance; those pushed apart share the push evenly."""
    blocks: list[tuple[float, int]] = []  # (wished start, nodes)
    for wish in wished:
        start, size = wish, 1
        while blocks and start < blocks[-1][0] + blocks[-1][1] * PITCH_X:
            before, count = blocks.pop()
            start = (before * count + (start - count * PITCH_X) * size) / (count + size)
            size += count
        blocks.append((start, size))
    nodes = iter(layer)
    for start, size in blocks:
        for index in range(size):
            x[next(nodes)] = start + index * PITCH_X


def _neighbours(links: Sequence[tuple[str, str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    above, below = defaultdict(list), defaultdict(list)
    for source, target in links:
        above[target].append(source)
        below[source].append(target)
    return above, below


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _edge(source: tuple[float, float], target: tuple[float, float]) -> Markup:
    if source[1] >= target[1]:
        return _back(source, target)
    x1, y1 = source[0] + NODE_WIDTH / 2, source[1] + NODE_HEIGHT
    x2, y2 = target[0] + NODE_WIDTH / 2, target[1] - 3
    bend = max(18.0, (y2 - y1) / 2)
    return element(
        "path",
        d=f"M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}",
        class_="edge",
        marker_end="url(#arrow)",
    )


def _back(source: tuple[float, float], target: tuple[float, float]) -> Markup:
    """An edge against the direction, as in a loop: dashed, around the right side."""
    x1, y1 = source[0] + NODE_WIDTH, source[1] + NODE_HEIGHT / 2
    x2, y2 = target[0] + NODE_WIDTH + 3, target[1] + NODE_HEIGHT / 2
    out = max(x1, x2) + _AROUND
    path = f"M{x1:.1f} {y1:.1f} C{out:.1f} {y1:.1f} {out:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return element("path", d=path, class_="edge back", marker_end="url(#arrow)")


def _box(node: DagNode, x: float, y: float) -> Markup:
    box = element(
        "rect", svg.tip(f"{node.title}: {node.state or 'not run'}"), x=x, y=y, width=NODE_WIDTH, height=NODE_HEIGHT, rx=6, class_="node"
    )
    bar = element("rect", x=x, y=y + 8, width=4, height=NODE_HEIGHT - 16, rx=2, fill="currentColor")
    name = svg.text(x + 14, y + 20, svg.fits(node.title, NODE_WIDTH - 22), kind="name strong")
    state = element("text", node.state or "not run", x=x + 14, y=y + 36, class_="state")
    group = element("g", box, bar, name, state, class_=f"node-group {node.tone}")
    return element("a", group, href=node.href) if node.href else group


def _arrow_head() -> Markup:
    head = element("path", d="M0 0 L7 3.5 L0 7 Z", class_="arrow")
    return element("defs", element("marker", head, id="arrow", markerWidth=8, markerHeight=8, refX=6, refY=3.5, orient="auto"))
