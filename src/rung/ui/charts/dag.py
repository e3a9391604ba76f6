"""The picture of a graph of steps: boxes with states in words, links and arrows, sub-pipelines as frames around theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from rung.ui.charts import svg
from rung.ui.charts.layers import Point, arranged
from rung.ui.charts.svg import Figure, element

NODE_WIDTH, NODE_HEIGHT = 172.0, 46.0
_LINE, _BAR = 15.0, 9.0  # what a line of detail and a bar of progress add to a box
_GAP = (22.0, 42.0)
_MARGIN, _PAD, _HEAD = 16.0, 14.0, 24.0
_AROUND = 60.0
_ICONS = {"ok": "✓", "warn": "●", "bad": "✕", "muted": "○", "accent": "◆"}
_SAID = 30
_TALL = 1100  # a higher picture scrolls in itself


@dataclass(frozen=True)
class Progress:
    """How far a map is: how many of its items are done, came from the cache, failed, of how many."""

    total: int
    done: int = 0
    cached: int = 0
    failed: int = 0


@dataclass(frozen=True)
class DagNode:
    """A step: what it is called, whom it waits for, how it stands (a word and a tone), where a click leads.

    ``detail`` is a line more; ``whole`` is what a pointer that rests on it is told. ``many`` draws a stack: a map, or a
    group that is folded. ``within`` is the way of groups it lies in, as ``outer/inner``. ``faint`` is for what was skipped.
    """

    key: str
    title: str
    needs: tuple[str, ...] = ()
    state: str = ""
    tone: str = "muted"
    href: str = ""
    detail: str = ""
    whole: str = ""
    progress: Progress | None = None
    many: bool = False
    within: str = ""
    faint: bool = False

    @property
    def size(self) -> Point:
        """Width and height of its box."""
        return NODE_WIDTH, NODE_HEIGHT + (_LINE if self.detail else 0) + (_BAR if self.progress else 0)


@dataclass(frozen=True)
class _Drawn:
    """Parts of a picture in their own coordinates."""

    width: float
    height: float
    boxes: list[tuple[DagNode, Point]] = field(default_factory=list)
    frames: list[tuple[str, Point, Point]] = field(default_factory=list)
    edges: list[tuple[tuple[Point, ...], bool]] = field(default_factory=list)


def dag(title: str, nodes: Sequence[DagNode], *, links: Mapping[str, str] | None = None) -> Figure:
    """The steps as boxes from top to bottom, with arrows from what is needed to what needs it.

    Args:
        links: where the heading of a group leads, by its way.
    """
    drawn = _level("", list(nodes))
    width, height = drawn.width + 2 * _MARGIN + _AROUND / 2, drawn.height + 2 * _MARGIN
    parts = [_arrow_head()]
    parts += [_frame(way, at, size, (links or {}).get(way, "")) for way, at, size in drawn.frames]
    parts += [_edge(points, faint=faint) for points, faint in drawn.edges]
    parts += [_box(node, *_moved(at)) for node, at in drawn.boxes]
    said = ", ".join(f"{node.title} {node.state}".strip() for node in nodes[:_SAID])
    said += f" and {len(nodes) - _SAID} more" if len(nodes) > _SAID else ""
    titles = {node.key: node.title for node in nodes}
    rows = tuple(
        (node.title, " ".join(filter(None, (node.state, node.detail))), ", ".join(titles.get(n, n) for n in node.needs)) for node in nodes
    )
    picture = svg.picture(max(width, 320), height, f"{title} {said}", *parts, kind="chart dag tall" if height > _TALL else "chart dag")
    return Figure(title, picture, ("step", "state", "needs"), rows, wide=True)


def layout(needs: Mapping[str, Sequence[str]]) -> dict[str, Point]:
    """Top left corner of every node, all of one size."""
    found = arranged(needs, dict.fromkeys(needs, (NODE_WIDTH, NODE_HEIGHT)), _GAP)
    return {node: (_MARGIN + x, _MARGIN + y) for node, (x, y) in found.places.items()}


def _level(way: str, nodes: list[DagNode]) -> _Drawn:
    """What lies in a group: its own boxes, and each group in it as one box with its parts inside."""
    inner: dict[str, list[DagNode]] = defaultdict(list)
    place: dict[str, str] = {}
    for node in nodes:
        group = _child(way, node.within)
        place[node.key] = f"\1{group}" if group else node.key
        if group:
            inner[group].append(node)
    needs: dict[str, dict[str, None]] = {name: {} for name in place.values()}
    faint: dict[tuple[str, str], bool] = {}
    for node in nodes:
        here = place[node.key]
        for need in node.needs:
            there = place.get(need)
            if there is not None and there != here:
                needs[here][there] = None
                faint[there, here] = faint.get((there, here), True) and node.faint
    drawn = {group: _level(group, members) for group, members in inner.items()}
    sizes = {node.key: node.size for node in nodes}
    sizes |= {f"\1{group}": (part.width + 2 * _PAD, part.height + _HEAD + _PAD) for group, part in drawn.items()}
    found = arranged({name: tuple(before) for name, before in needs.items()}, sizes, _GAP)
    result = _Drawn(found.width, found.height)
    result.boxes.extend((node, found.places[node.key]) for node in nodes if place[node.key] == node.key)
    for group, part in drawn.items():
        _put(result, group, part, found.places[f"\1{group}"], sizes[f"\1{group}"])
    for (source, target), dim in faint.items():
        result.edges.append((_route(source, target, found.places, sizes, found.bends.get((source, target), ())), dim))
    return result


def _put(result: _Drawn, group: str, part: _Drawn, at: Point, size: Point) -> None:
    result.frames.append((group, at, size))
    x, y = at[0] + _PAD, at[1] + _HEAD
    result.boxes.extend((node, (x + a, y + b)) for node, (a, b) in part.boxes)
    result.frames.extend((way, (x + a, y + b), inside) for way, (a, b), inside in part.frames)
    result.edges.extend((tuple((x + a, y + b) for a, b in points), dim) for points, dim in part.edges)


def _child(way: str, within: str) -> str:
    """The group just below ``way`` in which something lies; empty when it lies in ``way`` itself."""
    rest = within[len(way) :].strip("/") if within != way else ""
    return f"{way}/{rest.split('/')[0]}".strip("/") if rest else ""


def _route(source: str, target: str, places: Mapping[str, Point], sizes: Mapping[str, Point], bends: Sequence[Point]) -> tuple[Point, ...]:
    (x1, y1), (x2, y2) = places[source], places[target]
    if y1 >= y2:  # against the direction, as in a loop: around the right side
        return (x1 + sizes[source][0], y1 + sizes[source][1] / 2), (x2 + sizes[target][0] + 3, y2 + sizes[target][1] / 2), (0.0, 0.0)
    start = (x1 + sizes[source][0] / 2, y1 + sizes[source][1])
    return start, *bends, (x2 + sizes[target][0] / 2, y2 - 3)


def _moved(at: Point) -> Point:
    return at[0] + _MARGIN, at[1] + _MARGIN


def _edge(points: tuple[Point, ...], *, faint: bool) -> Markup:
    if points[-1] == (0.0, 0.0):
        (x1, y1), (x2, y2) = map(_moved, points[:2])
        out = max(x1, x2) + _AROUND
        path = f"M{x1:.1f} {y1:.1f} C{out:.1f} {y1:.1f} {out:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        return element("path", d=path, class_="edge back", marker_end="url(#arrow)")
    x, y = _moved(points[0])
    path = f"M{x:.1f} {y:.1f}"
    for point in points[1:]:
        to_x, to_y = _moved(point)
        bend = max(12.0, (to_y - y) / 2)
        straight = abs(to_x - x) < 0.5  # noqa: PLR2004 - half a pixel
        path += f" L{to_x:.1f} {to_y:.1f}" if straight else f" C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    return element("path", d=path, class_="edge back" if faint else "edge", marker_end="url(#arrow)")


def _frame(way: str, at: Point, size: Point, href: str) -> Markup:
    x, y = _moved(at)
    box = element("rect", x=x, y=y, width=size[0], height=size[1], rx=8, class_="frame-box")
    name = svg.text(x + 10, y + 16, svg.fits(way.rpartition("/")[2], size[0] - 20), kind="frame-name")
    return box + (element("a", element("title", f"Fold {way}"), name, href=href, id=f"group-{way}") if href else name)


def _box(node: DagNode, x: float, y: float) -> Markup:
    width, height = node.size
    state = node.state or "not run"
    told = node.whole or f"{node.title}: {state}" + (f", {node.detail}" if node.detail else "")
    kind = "node dashed" if node.faint else "node"
    stack = element("rect", x=x + 5, y=y + 5, width=width, height=height, rx=6, class_=kind) if node.many else Markup("")
    box = element("rect", svg.tip(told), x=x, y=y, width=width, height=height, rx=6, class_=kind)
    bar = element("rect", x=x, y=y + 8, width=4, height=height - 16, rx=2, fill="currentColor")
    parts = [stack, box, bar, svg.text(x + 14, y + 20, svg.fits(node.title, width - 20), kind="name" if node.faint else "name strong")]
    icon = f"{_ICONS.get(node.tone, '○')} " if node.state else ""
    parts.append(element("text", svg.fits(icon + state, width - 26), x=x + 14, y=y + 36, class_="state"))
    below = y + 36
    if node.detail:
        below += _LINE
        parts.append(svg.text(x + 14, below, svg.fits(node.detail, width - 14), kind="detail"))
    if node.progress:
        parts.append(_progress(node.progress, x + 14, below + 6, width - 26))
    group = element("g", *parts, class_=f"node-group {node.tone}")
    return element("a", group, href=node.href, id=f"step-{node.key}") if node.href else group


def _progress(held: Progress, x: float, y: float, width: float) -> Markup:
    """A bar of done, cached and failed items; cached ones lighter, failed ones at the end."""
    total = max(held.total, 1)
    parts = [element("rect", x=x, y=y, width=width, height=5, rx=2, class_="track")]
    at = x
    fresh = max(held.done - held.cached - held.failed, 0)
    for count, tone in ((fresh, "ok"), (held.cached, "accent"), (held.failed, "bad")):
        wide = width * min(count / total, 1.0)
        if count:
            parts.append(element("rect", x=at, y=y, width=max(wide, 1.5), height=5, fill="currentColor", class_=tone))
        at += wide
    return Markup("").join(parts)


def _arrow_head() -> Markup:
    head = element("path", d="M0 0 L7 3.5 L0 7 Z", class_="arrow")
    return element("defs", element("marker", head, id="arrow", markerWidth=8, markerHeight=8, refX=6, refY=3.5, orient="auto"))
