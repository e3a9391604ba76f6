"""Bars, histograms and the waterfall: lengths over a common base line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

from markupsafe import Markup

from rung.ui.charts import svg
from rung.ui.charts.svg import Figure, Frame, element

_LEAST = 1.0


def bar_chart(
    title: str,
    items: Sequence[tuple[str, float]],
    *,
    label: str = "",
    show: Callable[[float], str] = svg.short,
    limits: Sequence[tuple[float, str]] = (),
) -> Figure:
    """Horizontal bars, one a row, with the number at their end; negative ones go left of the base line."""
    shown = [(name, value) for name, value in items if isfinite(value)]
    gutter, row = 150.0, 26.0
    frame = Frame(height=len(shown) * row + 48, left=gutter, right=64, top=22, bottom=26)
    ends = [0.0, *(value for _, value in shown), *(limit for limit, _ in limits)]
    low, high = min(ends), max(ends)
    across = svg.scale((low, high if high > low else low + 1), frame.x)
    parts = [element("line", x1=across(0), x2=across(0), y1=frame.top, y2=frame.y[0], class_="axis")]
    for index, (name, value) in enumerate(shown):
        y = frame.top + index * row
        start, end = sorted((across(0), across(value)))
        parts.append(svg.text(gutter - 8, y + 17, svg.fits(name, gutter - 12), anchor="end", kind="name"))
        bar = element(
            "rect",
            svg.tip(f"{name}: {show(value)}"),
            x=start,
            y=y + 4,
            width=max(end - start, _LEAST),
            height=row - 8,
            rx=2,
            fill="currentColor",
        )
        parts.append(element("g", bar, class_="s1" if value < 0 else "s0"))
        parts.append(svg.text(max(end, across(0)) + 6, y + 17, show(value)))
    for limit, words in limits:
        parts.append(element("line", x1=across(limit), x2=across(limit), y1=frame.top, y2=frame.y[0], class_="limit"))
        parts.append(svg.text(across(limit), frame.y[0] + 16, words, anchor="middle", kind="limit-text"))
    if label:
        parts.append(svg.text(gutter, 12, label, kind="label"))
    said = ", ".join(f"{name} {show(value)}" for name, value in shown[:8])
    return Figure(
        title,
        svg.picture(frame.width, frame.height, f"{title} {said}", *parts),
        ("name", label or "value"),
        tuple((n, show(v)) for n, v in shown),
    )


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], *, x_label: str = "") -> Figure:
    """Counts between neighbouring edges."""
    frame = Frame(width=460, height=190)
    if not counts or len(edges) != len(counts) + 1:
        empty = svg.text(frame.width / 2, frame.height / 2, "no finite values", anchor="middle")
        return Figure(title, svg.picture(frame.width, frame.height, title, empty), ("from", "to", "rows"), ())
    marks = svg.ticks(0, max(*counts, 1), 4)
    across, up = svg.scale((edges[0], edges[-1]), frame.x), svg.scale((marks[0], marks[-1]), frame.y)
    if edges[0] == edges[-1]:
        across = svg.scale((0, len(counts)), frame.x)
        edges = [*range(len(counts)), len(counts)]
    bars = [
        element(
            "rect",
            svg.tip(f"{svg.short(start)} to {svg.short(end)}: {count:,} rows"),
            x=across(start) + 0.5,
            y=up(count),
            width=max(across(end) - across(start) - 1, _LEAST),
            height=max(frame.y[0] - up(count), 0.0),
            fill="currentColor",
        )
        for start, end, count in zip(edges, edges[1:], counts, strict=False)
    ]
    places = [
        (edges[0], svg.short(edges[0])),
        ((edges[0] + edges[-1]) / 2, svg.short((edges[0] + edges[-1]) / 2)),
        (edges[-1], svg.short(edges[-1])),
    ]
    parts = [svg.value_axis(frame, marks, "rows"), element("g", *bars, class_="s0"), svg.shift_axis(frame, places, across, x_label)]
    rows = tuple((svg.short(a), svg.short(b), f"{count:,}") for a, b, count in zip(edges, edges[1:], counts, strict=False))
    return Figure(title, svg.picture(frame.width, frame.height, title, *parts), ("from", "to", "rows"), rows)


def tiny_histogram(counts: Sequence[int], label: str, width: float = 96, height: float = 26) -> Markup:
    """A histogram without axes, for a cell of a table."""
    if not counts or not max(counts):
        return Markup("")
    step = width / len(counts)
    bars = [
        element(
            "rect",
            x=index * step,
            y=height - height * count / max(counts),
            width=max(step - 1, 0.5),
            height=height * count / max(counts),
            fill="currentColor",
        )
        for index, count in enumerate(counts)
    ]
    return element("svg", *bars, viewBox=f"0 0 {width:g} {height:g}", class_="spark s0", role="img", aria_label=label)


def waterfall(
    title: str, steps: Sequence[tuple[str, float]], total: str, *, show: Callable[[float], str] = svg.short, label: str = ""
) -> Figure:
    """Amounts that add up, each starting where the last ended, and their sum as the last bar."""
    frame = Frame(width=720, height=270, left=64, top=22, bottom=46)
    ends = [0.0]
    for _, amount in steps:
        ends.append(ends[-1] + amount)
    marks = svg.ticks(min(ends), max(ends))
    up = svg.scale((marks[0], marks[-1]), frame.y)
    bars = [(name, ends[index], ends[index + 1], amount) for index, (name, amount) in enumerate(steps)] + [(total, 0.0, ends[-1], ends[-1])]
    slot = (frame.x[1] - frame.x[0]) / len(bars)
    parts = [svg.value_axis(frame, marks, label, show)]
    for index, (name, start, end, amount) in enumerate(bars):
        x, top, bottom = frame.x[0] + index * slot, min(up(start), up(end)), max(up(start), up(end))
        tone = "accent" if index == len(bars) - 1 else "ok" if amount >= 0 else "bad"
        bar = element(
            "rect",
            svg.tip(f"{name}: {show(amount)}"),
            x=x + slot * 0.18,
            y=top,
            width=slot * 0.64,
            height=max(bottom - top, _LEAST),
            rx=2,
            fill="currentColor",
        )
        parts.append(element("g", bar, class_=tone))
        parts.append(
            svg.text(x + slot / 2, top - 5, ("+" if amount > 0 and tone == "ok" else "") + show(amount), anchor="middle", kind="name")
        )
        parts.append(svg.text(x + slot / 2, frame.y[0] + 18, svg.fits(name, slot - 4), anchor="middle"))
        if index < len(bars) - 1:
            parts.append(element("line", x1=x + slot * 0.82, x2=x + slot * 1.18, y1=up(end), y2=up(end), class_="joint"))
    said = ", ".join(f"{name} {show(amount)}" for name, _, _, amount in bars)
    rows = tuple((name, show(amount)) for name, _, _, amount in bars)
    return Figure(title, svg.picture(frame.width, frame.height, f"{title} {said}", *parts), ("part", label or "amount"), rows, wide=True)
