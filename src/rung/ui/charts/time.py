"""The Gantt chart: when each step ran, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.ui.charts import svg
from rung.ui.charts.svg import Figure, element

_ROW = 26.0
_LEFT, _WIDTH, _TOP = 150.0, 720.0, 26.0


@dataclass(frozen=True)
class Bar:
    """One row of a Gantt chart; seconds since the run began."""

    name: str
    start: float
    end: float
    state: str
    tone: str


def gantt(title: str, bars: Sequence[Bar]) -> Figure:
    """Bars over the seconds of a run, in the order given."""
    height = _TOP + _ROW * len(bars) + 30
    marks = svg.ticks(0, max((bar.end for bar in bars), default=1.0) or 1.0, 6)
    across = svg.scale((0, marks[-1]), (_LEFT, _WIDTH - 70))
    bottom = _TOP + _ROW * len(bars)
    parts = [element("line", x1=across(mark), x2=across(mark), y1=_TOP - 4, y2=bottom, class_="grid") for mark in marks]
    parts += [svg.text(across(mark), bottom + 18, _seconds(mark), anchor="middle") for mark in marks]
    for index, bar in enumerate(bars):
        y = _TOP + index * _ROW
        parts.append(svg.text(_LEFT - 8, y + 16, svg.fits(bar.name, _LEFT - 12), anchor="end", kind="name"))
        start, end = across(bar.start), across(max(bar.end, bar.start))
        words = f"{bar.name}: {bar.state}, {_seconds(bar.end - bar.start)}"
        box = element("rect", svg.tip(words), x=start, y=y + 4, width=max(end - start, 3.0), height=_ROW - 8, rx=3, fill="currentColor")
        parts.append(element("g", box, class_=bar.tone))
        parts.append(
            svg.text(max(end, start + 3) + 6, y + 16, bar.state if bar.state in {"cached", "skipped"} else _seconds(bar.end - bar.start))
        )
    said = "; ".join(f"{bar.name} {bar.state} in {_seconds(bar.end - bar.start)}" for bar in bars[:20])
    rows = tuple((bar.name, bar.state, _seconds(bar.start), _seconds(bar.end - bar.start)) for bar in bars)
    return Figure(
        title, svg.picture(_WIDTH, height, f"{title} {said}", *parts), ("step", "state", "started after", "took"), rows, wide=True
    )


def _seconds(value: float) -> str:
    if value >= 120:  # noqa: PLR2004 - from two minutes on, minutes read better
        return f"{value / 60:.1f} min"
    return f"{value:.3g} s" if value >= 1 or value == 0 else f"{value * 1000:.3g} ms"
