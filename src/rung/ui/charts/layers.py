"""A layered layout of a graph: where each box goes and how its edges bend.

Layers by longest path, sources moved next to their first consumer, dummy nodes on long edges, alternating barycentre
sweeps, and passes that straighten chains. The same graph always gets the same places.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

_SWEEPS = 4
_BEND = 14.0  # how wide the place is that an edge gets in the layers it passes
_MOST_BENT = 20_000  # places for passing edges; in a graph with more of them long edges go straight
Point = tuple[float, float]
Needs = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Layout:
    """Top left corners of the boxes, the size of it all, and where long edges enter and leave the layers they pass."""

    places: Mapping[str, Point]
    width: float
    height: float
    bends: Mapping[tuple[str, str], tuple[Point, ...]]


def arranged(needs: Needs, sizes: Mapping[str, Point], gap: Point) -> Layout:
    """Places of boxes of these sizes; edges to unknown nodes are ignored, a cycle is broken somewhere."""
    edges = tuple((node, tuple(dict.fromkeys(need for need in before if need in needs and need != node))) for node, before in needs.items())
    return _arranged(edges, tuple(sizes[node] for node in needs), gap)


@lru_cache(maxsize=32)
def _arranged(edges: tuple[tuple[str, tuple[str, ...]], ...], sizes: tuple[Point, ...], gap: Point) -> Layout:
    held = dict(edges)
    size = {node: box for (node, _), box in zip(edges, sizes, strict=True)}
    rank = ranks(held)
    layers, links, bent = _with_dummies(held, rank)
    wide = defaultdict(lambda: _BEND, {node: box[0] for node, box in size.items()})
    _untangle(layers, links)
    middle = _straighten(layers, links, wide, gap[0])
    tops, top = [], 0.0
    for layer in layers:
        tops.append(top)
        top += max((size[node][1] for node in layer if node in size), default=0.0) + gap[1]
    left = min((middle[node] - wide[node] / 2 for node in middle), default=0.0)
    places = {node: (middle[node] - size[node][0] / 2 - left, tops[rank[node]]) for node in held}
    width = max((x + size[node][0] for node, (x, _) in places.items()), default=0.0)
    rightmost = max((middle[node] - left + _BEND for node in middle), default=0.0)
    heights = [max((size[node][1] for node in layer if node in size), default=0.0) for layer in layers]
    bends = {
        edge: tuple((middle[dummy] - left, y) for level, dummy in passing for y in (tops[level], tops[level] + heights[level]))
        for edge, passing in bent.items()
    }
    return Layout(places, max(width, rightmost), max(top - gap[1], 0.0), bends)


def ranks(edges: Needs) -> dict[str, int]:
    """The layer of each node: below everything it needs; sources stand just above their first consumer."""
    after: dict[str, list[str]] = defaultdict(list)
    missing = {node: len(before) for node, before in edges.items()}
    for node, before in edges.items():
        for need in before:
            after[need].append(node)
    rank: dict[str, int] = {}
    ready = deque(node for node, count in missing.items() if not count)
    waiting = iter(edges)
    while len(rank) < len(edges):
        if not ready:  # a cycle cannot be drawn in layers: break it anywhere
            ready.append(next(node for node in waiting if node not in rank))
        node = ready.popleft()
        if node in rank:
            continue
        rank[node] = max((rank[need] + 1 for need in edges[node] if need in rank), default=0)
        for follower in after[node]:
            missing[follower] -= 1
            if not missing[follower] and follower not in rank:
                ready.append(follower)
    for node, before in edges.items():
        if not before and after[node]:
            rank[node] = max(0, min(rank[follower] for follower in after[node]) - 1)
    return rank


def _with_dummies(
    edges: Needs, rank: Mapping[str, int]
) -> tuple[list[list[str]], list[tuple[str, str]], dict[tuple[str, str], list[tuple[int, str]]]]:
    layers: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in edges:
        layers[rank[node]].append(node)
    long = sum(max(0, rank[node] - rank[need] - 1) for node, before in edges.items() for need in before)
    links: list[tuple[str, str]] = []
    bent: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for node, before in edges.items():
        for need in before:
            last, passing = need, []
            for level in range(rank[need] + 1, rank[node]) if long <= _MOST_BENT else ():
                dummy = f"\0{need}\0{node}\0{level}"
                layers[level].append(dummy)
                links.append((last, dummy))
                passing.append((level, dummy))
                last = dummy
            links.append((last, node))
            if passing:
                bent[need, node] = passing
    return layers, links, bent


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


def _straighten(
    layers: Sequence[Sequence[str]], links: Sequence[tuple[str, str]], wide: Mapping[str, float], gap: float
) -> dict[str, float]:
    """The middle of each node: first side by side, then each as near to its neighbours as its layer allows."""
    above, below = _neighbours(links)
    middle: dict[str, float] = {}
    for layer in layers:
        total = sum(wide[node] + gap for node in layer)
        x = -total / 2
        for node in layer:
            middle[node] = x + (wide[node] + gap) / 2
            x += wide[node] + gap
    for sweep in range(_SWEEPS):
        near = above if sweep % 2 == 0 else below
        for layer in layers if sweep % 2 == 0 else list(reversed(layers)):
            _place(layer, [_mean([middle[n] for n in near[node]], middle[node]) for node in layer], wide, gap, middle)
    return middle


def _place(layer: Sequence[str], wished: Sequence[float], wide: Mapping[str, float], gap: float, middle: dict[str, float]) -> None:
    """Give each node its wish where neighbours keep their distance; those pushed apart share the push evenly."""
    offsets, offset = [], 0.0
    for index, node in enumerate(layer):
        offset += (wide[layer[index - 1]] + wide[node]) / 2 + gap if index else 0.0
        offsets.append(offset)
    blocks: list[tuple[float, int]] = []  # (mean of what is wished, nodes)
    for wish, shift in zip(wished, offsets, strict=True):
        mean, count = wish - shift, 1
        while blocks and mean < blocks[-1][0]:
            before, held = blocks.pop()
            mean, count = (before * held + mean * count) / (held + count), held + count
        blocks.append((mean, count))
    index = 0
    for mean, count in blocks:
        for _ in range(count):
            middle[layer[index]] = mean + offsets[index]
            index += 1


def _neighbours(links: Sequence[tuple[str, str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    above, below = defaultdict(list), defaultdict(list)
    for source, target in links:
        above[target].append(source)
        below[source].append(target)
    return above, below


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
