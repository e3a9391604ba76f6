"""Line chart: series over numbers or time, with uncertainty bands, limits, annotations and a shaded, not yet mature end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup

from rung.ui.charts import svg
from rung.ui.charts.svg import SERIES, Figure, Frame, element

MAX_POINTS = 960
_FEW = 40
_WORD_ROWS, _WORD_ROW = 4, 13  # rows of words at annotations, and their height


@dataclass(frozen=True)
class Series:
    """Points (x, y) of one line; ``low`` and ``high`` bound y where known. Points that are not finite break the line."""

    name: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()
    dashed: bool = False


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    y_label: str = "",
    x_label: str = "",
    time: bool = False,
    limits: Sequence[tuple[float, str]] = (),
    annotations: Sequence[tuple[float, str]] = (),
    immature_from: float | None = None,
    span: tuple[float, float] | None = None,
) -> Figure:
    """Lines over a common axis.

    Args:
        title: a sentence that says what is seen.
        series: the lines; beyond six, dashes tell them apart.
        y_label: what is measured.
        x_label: what the axis counts.
        time: whether x is seconds since 1970.
        limits: horizontal lines with their words.
        annotations: vertical marks with their words, such as a deployment.
        immature_from: x from where values are still expected to change; that part is hatched.
        span: lowest and highest value of the axis; else what the lines need.
    """
    frame = Frame()
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points if isfinite(y)]
    ys += [edge for line in series for _, low, high in line.band for edge in (low, high)] + [limit for limit, _ in limits]
    if not xs or not ys:
        return Figure(title, _nothing(frame, title), ("series", "x", "y"), ())
    marks = svg.ticks(*(span or (min(ys), max(ys))))
    low, high = min(xs), max(xs)
    across, up = svg.scale((low, high), frame.x), svg.scale((marks[0], marks[-1]), frame.y)
    places = svg.time_ticks(low, high) if time and high > low else [(x, svg.day(x) if time else svg.short(x)) for x in _inner(xs)]
    parts = [svg.value_axis(frame, marks, y_label), svg.shift_axis(frame, places, across, x_label)]
    if immature_from is not None and immature_from < high:
        parts.append(_hatched(frame, across(max(immature_from, low))))
    for limit, words in limits:
        parts.append(element("line", x1=frame.x[0], x2=frame.x[1], y1=up(limit), y2=up(limit), class_="limit"))
        parts.append(svg.text(frame.x[1], up(limit) - 4, words, anchor="end", kind="limit-text"))
    parts += _annotated(frame, sorted((across(x), words) for x, words in annotations if low <= x <= high))
    parts += [_line(index, line, across, up, time=time) for index, line in enumerate(series)]
    rows = tuple((line.name, svg.day(x) if time else svg.short(x), f"{y:.6g}") for line in series for x, y in thinned(line.points, 200))
    legend = tuple((f"s{index % SERIES}" + (" dashed" if _dashed(index, line) else ""), line.name) for index, line in enumerate(series))
    picture = svg.picture(frame.width, frame.height, f"{title} {_said(series)}", *parts)
    return Figure(title, picture, ("series", x_label or ("time" if time else "x"), y_label or "y"), rows, legend if len(series) > 1 else ())


def sparkline(values: Sequence[float], label: str, width: float = 110, height: float = 26) -> Markup:
    """A line without axes, for a cell of a table; its last value has a dot."""
    shown = [value for value in values if isfinite(value)]
    if len(shown) < 2:  # noqa: PLR2004 - one point is no line
        return Markup("")
    across, up = svg.scale((0, len(shown) - 1), (3, width - 4)), svg.scale((min(shown), max(shown)), (height - 4, 4))
    path = " ".join(f"{across(index):.1f},{up(value):.1f}" for index, value in enumerate(shown))
    dot = element("circle", cx=across(len(shown) - 1), cy=up(shown[-1]), r=2.5, fill="currentColor")
    line = element("polyline", points=path, class_="line", stroke="currentColor", fill="none")
    return element("svg", line, dot, viewBox=f"0 0 {width:g} {height:g}", class_="spark s0", role="img", aria_label=label)


def thinned(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most about ``limit`` points; of each bucket the lowest and the highest stay, in their order."""
    if len(points) <= limit:
        return list(points)
    size = -(-len(points) // max(1, limit // 2))
    kept = []
    for start in range(0, len(points), size):
        bucket = range(start, min(start + size, len(points)))
        ends = {min(bucket, key=lambda index: points[index][1]), max(bucket, key=lambda index: points[index][1])}
        kept += [points[index] for index in sorted(ends)]
    return kept


def _line(index: int, line: Series, across: svg.Map, up: svg.Map, *, time: bool) -> Markup:
    points = thinned(line.points)
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if isfinite(y):
            stretches[-1].append((x, y))
        elif stretches[-1]:
            stretches.append([])
    dash = "6 4" if _dashed(index, line) else None
    parts = []
    if line.band:
        edge = [(x, high) for x, _, high in line.band] + [(x, low) for x, low, _ in reversed(line.band)]
        parts.append(element("polygon", points=_path(edge, across, up), class_="band", fill="currentColor"))
    parts += [
        element("polyline", points=_path(part, across, up), class_="line", stroke="currentColor", fill="none", stroke_dasharray=dash)
        for part in stretches
        if len(part) > 1
    ]
    if len(points) <= _FEW:
        parts += [
            element(
                "circle",
                svg.tip(f"{line.name}: {y:.4g} at {svg.day(x) if time else svg.short(x)}"),
                cx=across(x),
                cy=up(y),
                r=3,
                fill="currentColor",
            )
            for x, y in points
            if isfinite(y)
        ]
    return element("g", *parts, class_=f"s{index % SERIES}")


def _annotated(frame: Frame, marks: Sequence[tuple[float, str]]) -> list[Markup]:
    """Vertical lines with their words in the first row where none stand already; beyond the last row only resting on the line tells them."""
    parts, ends = [], [frame.x[0]] * _WORD_ROWS
    middle = (frame.x[0] + frame.x[1]) / 2
    for x, words in marks:
        told = svg.fits(words, 130)
        left = x - 4 - svg.width(told) if x > middle else x + 4
        row = next((row for row, end in enumerate(ends) if left >= end), None)
        parts.append(element("line", svg.tip(words), x1=x, x2=x, y1=frame.y[0], y2=frame.top, class_="annotation"))
        if row is not None:
            ends[row] = left + svg.width(told) + 4
            anchor, place = ("end", x - 4) if x > middle else ("start", x + 4)
            parts.append(svg.text(place, frame.top + 9 + row * _WORD_ROW, told, anchor=anchor, kind="annotation-text"))
    return parts


def _hatched(frame: Frame, start: float) -> Markup:
    stripes = element("path", d="M0 6 L6 0", class_="hatch-line")
    pattern = element("defs", element("pattern", stripes, id="hatch", width=6, height=6, patternUnits="userSpaceOnUse"))
    area = element(
        "rect",
        svg.tip("labels still arriving: not final"),
        x=start,
        y=frame.top,
        width=frame.x[1] - start,
        height=frame.y[0] - frame.top,
        fill="url(#hatch)",
    )
    return pattern + area


def _path(points: Sequence[tuple[float, float]], across: svg.Map, up: svg.Map) -> str:
    return " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)


def _inner(xs: Sequence[float]) -> list[float]:
    """Ticks between the ends; among whole numbers, such as versions or steps, none that is not."""
    low, high = min(xs), max(xs)
    whole = all(float(x).is_integer() for x in xs)
    return [value for value in svg.ticks(low, high) if low <= value <= high and (not whole or value.is_integer())] or [low]


def _dashed(index: int, line: Series) -> bool:
    return line.dashed or index >= SERIES


def _said(series: Sequence[Series]) -> str:
    ends = [f"{line.name} ends at {line.points[-1][1]:.4g}" for line in series if line.points]
    return "; ".join(ends) + "." if ends else ""


def _nothing(frame: Frame, title: str) -> Markup:
    return svg.picture(
        frame.width, frame.height, f"{title} No data yet.", svg.text(frame.width / 2, frame.height / 2, "no data yet", anchor="middle")
    )
