"""Charts of many runs: parallel coordinates and a scatter, one mark a run, coloured by a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup

from rung.ui.charts import svg
from rung.ui.charts.svg import Figure, Frame, element

_SHADES = 7
_MOST_TEXTS = 14
_AXIS, _WIDEST = 130.0, 330.0  # between two axes
_PAGE, _RIMS = 1120.0, 160.0


@dataclass(frozen=True)
class Axis:
    """One column of runs: numbers, or texts; None where a run has nothing."""

    name: str
    values: Sequence[float | str | None]


@dataclass(frozen=True)
class Mark:
    """A run: its words and where it leads."""

    name: str
    href: str


def parallel_chart(title: str, axes: Sequence[Axis], marks: Sequence[Mark], note: str = "") -> Figure:
    """A line a run across upright axes; shade and order by the last axis. A run without a value has a gap there."""
    gap = min(_WIDEST, max(_AXIS, (_PAGE - _RIMS) / max(1, len(axes) - 1)))
    width = _RIMS + gap * (len(axes) - 1)
    frame = Frame(width=width, height=340, left=70, right=90, top=36, bottom=24)
    if len(axes) < 2 or not marks:  # noqa: PLR2004 - one axis is no chart
        return Figure(title, svg.picture(frame.width, 120, title, svg.text(20, 60, "nothing differs between these runs")), ("run",), ())
    place = svg.scale((0, len(axes) - 1), frame.x)
    upright = [_upright(axis, frame) for axis in axes]
    shades = _shades(axes[-1].values)
    order = sorted(range(len(marks)), key=lambda row: shades[row])
    lines = [_line(row, upright, place, shades[row], marks[row]) for row in order]
    poles = []
    for column, axis in enumerate(axes):
        x = place(column)
        poles.append(element("line", x1=x, x2=x, y1=frame.y[0], y2=frame.y[1], class_="axis"))
        poles.append(svg.text(x, 16, svg.fits(axis.name, gap - 8), anchor="middle", kind="name"))
        poles += [svg.text(x + 6, y + 4, svg.fits(words, gap - 16), kind="tick") for y, words in upright[column][1]]
    rows = tuple((mark.name, *(_told(axis.values[row]) for axis in axes)) for row, mark in enumerate(marks))
    drawn = svg.picture(
        width, frame.height, f"{title} {len(marks)} runs over {len(axes)} axes.", element("g", *lines, class_="parallel"), *poles
    )
    return Figure(title, drawn, ("run", *(axis.name for axis in axes)), rows, note=note, wide=True)


def scatter_chart(title: str, across: Axis, up: Axis, shade: Axis, marks: Sequence[Mark], note: str = "") -> Figure:
    """A dot a run; its shade says the third value."""
    frame = Frame(width=640, height=340, left=64, bottom=44)
    across_at, across_marks = _span(across, frame.x)
    up_at, up_marks = _span(up, frame.y)
    shades = _shades(shade.values)
    dots, shown = [], []
    for row, mark in enumerate(marks):
        x, y = across_at(across.values[row]), up_at(up.values[row])
        if x is None or y is None:
            continue
        shown.append(row)
        said = f"{mark.name}: {across.name} {_told(across.values[row])}, {up.name} {_told(up.values[row])}, {shade.name} {_told(shade.values[row])}"
        dots.append(element("a", element("circle", svg.tip(said), cx=x, cy=y, r=5, class_=f"q{shades[row]}"), href=mark.href))
    grid = [
        element("line", x1=frame.x[0], x2=frame.x[1], y1=y, y2=y, class_="grid")
        + svg.text(frame.x[0] - 7, y + 4, svg.fits(words, 56), anchor="end")
        for y, words in up_marks
    ]
    below = [svg.text(x, frame.y[0] + 16, svg.fits(words, 90), anchor="middle") for x, words in across_marks]
    names = [
        svg.text(2, 12, svg.fits(up.name, 300), kind="label"),
        svg.text(frame.x[1], frame.height - 4, svg.fits(across.name, 300), anchor="end", kind="label"),
    ]
    drawn = svg.picture(frame.width, frame.height, f"{title} {len(shown)} runs.", *grid, *below, *names, element("g", *dots, class_="dots"))
    rows = tuple((marks[row].name, *(_told(axis.values[row]) for axis in (across, up, shade))) for row in shown)
    return Figure(title, drawn, ("run", across.name, up.name, shade.name), rows, note=note)


def numbers_of(values: Sequence[float | str | None]) -> list[float] | None:
    """The values as numbers where every one that is there is a number; None where one is a text."""
    there = [value for value in values if value is not None]
    return None if any(isinstance(value, str) for value in there) else [float(value) for value in there if isfinite(float(value))]


def _upright(axis: Axis, frame: Frame) -> tuple[list[float | None], list[tuple[float, str]]]:
    at, marks = _span(axis, frame.y)
    return [at(value) for value in axis.values], marks


def _span(axis: Axis, target: tuple[float, float]) -> tuple[_Place, list[tuple[float, str]]]:
    """Where a value stands, and the marks of the axis."""
    numbers = numbers_of(axis.values)
    if numbers is not None and numbers:
        ticks = svg.ticks(min(numbers), max(numbers))
        number_at = svg.scale((ticks[0], ticks[-1]), target)
        return _Place(number_at, {}), [(number_at(tick), svg.short(tick)) for tick in ticks]
    texts = sorted({_told(value) for value in axis.values if value is not None})
    text_at = svg.scale((0, max(1, len(texts) - 1)), target)
    places = {text: text_at(n) for n, text in enumerate(texts)}
    step = -(-len(texts) // _MOST_TEXTS) if texts else 1
    return _Place(None, places), [(places[text], text) for text in texts[::step]]


@dataclass(frozen=True)
class _Place:
    number_at: svg.Map | None
    texts: dict[str, float]

    def __call__(self, value: float | str | None) -> float | None:
        if value is None:
            return None
        if self.number_at is None:
            return self.texts.get(_told(value))
        return self.number_at(float(value)) if isfinite(float(value)) else None


def _line(row: int, upright: Sequence[tuple[list[float | None], object]], place: svg.Map, shade: int, mark: Mark) -> Markup:
    pieces: list[list[str]] = [[]]
    for column, (ys, _) in enumerate(upright):
        y = ys[row]
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{place(column):.0f},{y:.1f}")
    drawn = [element("polyline", points=" ".join(piece), fill="none") for piece in pieces if len(piece) > 1]
    return element("a", svg.tip(mark.name), *drawn, href=mark.href, class_=f"q{shade}")


def _shades(values: Sequence[float | str | None]) -> list[int]:
    """Shade 0 to 6 of each value by its place between the least and the greatest; texts by their order."""
    numbers = numbers_of(values)
    if numbers is None:
        texts = sorted({str(value) for value in values if value is not None})
        ranks = {text: n for n, text in enumerate(texts)}
        return [1 if value is None else 1 + round(ranks[str(value)] / max(1, len(texts) - 1) * (_SHADES - 2)) for value in values]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 0.0)
    span = (high - low) or 1.0
    known = [float(value) if isinstance(value, (int, float)) and isfinite(value) else None for value in values]
    return [1 if value is None else 1 + round((value - low) / span * (_SHADES - 2)) for value in known]


def _told(value: float | str | None) -> str:
    return "–" if value is None else value if isinstance(value, str) else f"{value:.6g}"
