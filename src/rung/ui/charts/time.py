"""The Gantt chart: when each step waited and ran, every try of it, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rung.ui.charts import svg
from rung.ui.charts.svg import Figure, element

_ROW = 26.0
_LEFT, _WIDTH, _TOP, _RIGHT = 170.0, 860.0, 26.0, 96.0
_NARROW, _TALL = 3.0, 1100  # a higher picture scrolls in itself
_MINUTES, _HOURS = 120, 7200  # from where on these units read better


@dataclass(frozen=True)
class Span:
    """A stretch of time in seconds since the run began, and what it was: a try, or waiting."""

    start: float
    end: float
    state: str
    tone: str


@dataclass(frozen=True)
class Bar:
    """One row of a Gantt chart; seconds since the run began.

    ``since`` is when it could have begun; ``tries`` are earlier attempts, which are drawn in the same row.
    """

    name: str
    start: float
    end: float
    state: str
    tone: str
    since: float | None = None
    tries: tuple[Span, ...] = ()
    href: str = ""
    called: str = "tries"  # what the parts of its row are; those of a map are batches


def gantt(title: str, bars: Sequence[Bar], note: str = "") -> Figure:
    """Bars over the seconds of a run, in the order given; thin lines are waiting."""
    height = _TOP + _ROW * len(bars) + 30
    longest = max((bar.end for bar in bars), default=1.0) or 1.0
    unit = 3600.0 if longest >= _HOURS else 60.0 if longest >= _MINUTES else 1.0
    marks = [mark * unit for mark in svg.ticks(0, longest / unit, 7)]
    across = svg.scale((0, marks[-1]), (_LEFT, _WIDTH - _RIGHT))
    bottom = _TOP + _ROW * len(bars)
    parts = [element("line", x1=across(mark), x2=across(mark), y1=_TOP - 4, y2=bottom, class_="grid") for mark in marks]
    parts += [svg.text(across(mark), bottom + 18, seconds(mark), anchor="middle") for mark in marks]
    parts += [_row(bar, _TOP + index * _ROW, across) for index, bar in enumerate(bars)]
    said = "; ".join(f"{bar.name} {bar.state} in {seconds(bar.end - bar.start)}" for bar in bars[:20])
    rows = tuple(
        (bar.name, bar.state, seconds(_waited(bar)), seconds(bar.start), seconds(bar.end - bar.start), str(len(bar.tries) or 1))
        for bar in bars
    )
    columns = ("step", "state", "waited", "started after", "took", "tries")
    picture = svg.picture(_WIDTH, height, f"{title} {said}", *parts, kind="chart tall" if height > _TALL else "chart")
    return Figure(title, picture, columns, rows, note=note, wide=True)


def _row(bar: Bar, y: float, across: svg.Map) -> Markup:
    name = svg.text(_LEFT - 8, y + 16, svg.fits(bar.name, _LEFT - 12), anchor="end", kind="name")
    parts = [element("a", element("title", bar.name), name, href=bar.href) if bar.href else name]
    if _waited(bar) > 0 and bar.since is not None:
        line = element(
            "line", svg.tip(f"{bar.name} waited {seconds(_waited(bar))}"), x1=across(bar.since), x2=across(bar.start), y1=y + 13, y2=y + 13
        )
        parts.append(element("g", line, class_="waiting"))
    spans = bar.tries or (Span(bar.start, bar.end, bar.state, bar.tone),)
    for index, span in enumerate(spans):
        start, end = across(span.start), across(max(span.end, span.start))
        which = f"{'batch' if bar.called == 'batches' else 'try'} {index + 1} " if len(spans) > 1 else ""
        tip = svg.tip(f"{bar.name}: {which}{span.state}, {seconds(span.end - span.start)}")
        box = element("rect", tip, x=start, y=y + 4, width=max(end - start, _NARROW), height=_ROW - 8, rx=3, fill="currentColor")
        parts.append(element("g", box, class_=f"{span.tone} outlined" if index < len(spans) - 1 else span.tone))
    took = bar.state if bar.state in {"cached", "skipped"} else seconds(bar.end - bar.start)
    took += f" · {len(spans)} {bar.called}" if len(spans) > 1 else ""
    last = across(max(bar.end, bar.start))
    parts.append(svg.text(max(last, across(bar.start) + _NARROW) + 6, y + 16, took))
    return Markup("").join(parts)


def _waited(bar: Bar) -> float:
    return max(0.0, bar.start - bar.since) if bar.since is not None else 0.0


def seconds(value: float) -> str:
    """A stretch of time in the unit that suits."""
    if value >= _HOURS:
        return f"{value / 3600:.1f} h"
    if value >= _MINUTES:
        return f"{value / 60:.1f} min"
    return f"{value:.3g} s" if value >= 1 or value <= 0 else f"{value * 1000:.3g} ms"
