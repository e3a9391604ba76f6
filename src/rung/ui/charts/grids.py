"""Grids: the heat map of drift and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

from markupsafe import Markup

from rung.ui.charts import svg
from rung.ui.charts.svg import Figure, element

LEVELS = 7
_MOST_COLUMNS = 60


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    limits: Sequence[float] | None = None,
    marked: Sequence[tuple[int, int]] = (),
    show: Callable[[float], str] = svg.short,
    label: str = "",
) -> Figure:
    """Cells of ``rows`` x ``columns`` shaded by value in seven steps; None stays empty.

    ``limits`` are the six inner bounds of the steps, else they are equal shares of the greatest value. ``marked`` cells
    (row, column) carry a dot, so that the picture does not hang on colour alone.
    """
    columns = columns[-_MOST_COLUMNS:]
    values = [list(line)[-_MOST_COLUMNS:] for line in values]
    left, top, high = 150.0, 12.0, 22.0
    wide = max(14.0, min(64.0, 560.0 / max(len(columns), 1)))
    width, height = left + wide * len(columns) + 12, top + high * len(rows) + 40
    present = [value for line in values for value in line if value is not None and isfinite(value)]
    greatest = max(present, default=1.0) or 1.0
    bounds = list(limits) if limits is not None else [greatest * step / LEVELS for step in range(1, LEVELS)]
    dots = set(marked)
    parts = [
        svg.text(left - 8, top + high * index + 15, svg.fits(name, left - 12), anchor="end", kind="name") for index, name in enumerate(rows)
    ]
    for r, line in enumerate(values):
        for c, value in enumerate(line):
            parts.append(
                _cell(left + c * wide, top + r * high, wide, high, value, bounds, f"{rows[r]}, {columns[c]}", show, dot=(r, c) in dots)
            )
    every = max(1, round(76 / wide))
    parts += [
        svg.text(left + index * wide + wide / 2, top + high * len(rows) + 16, name, anchor="middle")
        for index, name in enumerate(columns)
        if index % every == 0
    ]
    if label:
        parts.append(svg.text(left, height - 4, label, kind="label"))
    table = tuple((rows[r], *("" if v is None else show(v) for v in line)) for r, line in enumerate(values))
    said = f"{title} {len(rows)} rows by {len(columns)} columns, greatest {show(greatest) if present else 'none'}, {len(dots)} marked."
    return Figure(title, svg.picture(max(width, 480), height, said, *parts), ("", *columns), table, wide=True)


def confusion_matrix(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    """Truth down, prediction across; cells shaded by their share of the truth's row."""
    left, top, size = 120.0, 44.0, 84.0
    width, height = left + size * len(labels) + 12, top + size * 0.6 * len(labels) + 12
    parts = [svg.text(left, 14, "predicted", kind="label"), svg.text(left - 8, top - 8, "true", anchor="end", kind="label")]
    bounds = [step / LEVELS for step in range(1, LEVELS)]
    for r, line in enumerate(counts):
        y = top + r * size * 0.6
        parts.append(svg.text(left - 8, y + size * 0.33, svg.fits(labels[r], left - 16), anchor="end", kind="name"))
        parts.append(svg.text(left + r * size + size / 2, 34, svg.fits(labels[r], size), anchor="middle", kind="name"))
        total = sum(line) or 1
        for c, count in enumerate(line):
            level = _level(count / total, bounds)
            box = element(
                "rect",
                svg.tip(f"true {labels[r]}, predicted {labels[c]}: {count:,}"),
                x=left + c * size,
                y=y,
                width=size - 2,
                height=size * 0.6 - 2,
                rx=3,
            )
            words = svg.text(left + c * size + size / 2 - 1, y + size * 0.34, f"{count:,}", anchor="middle", kind=f"on on{level}")
            parts.append(element("g", box, class_=f"q q{level}") + words)
    rows = tuple((labels[r], *(f"{count:,}" for count in line)) for r, line in enumerate(counts))
    return Figure(title, svg.picture(max(width, 320), height, title, *parts), ("true \\ predicted", *labels), rows)


def _cell(
    x: float,
    y: float,
    wide: float,
    high: float,
    value: float | None,
    bounds: Sequence[float],
    name: str,
    show: Callable[[float], str],
    *,
    dot: bool,
) -> Markup:
    if value is None or not isfinite(value):
        return element(
            "rect", svg.tip(f"{name}: not measured"), x=x + 0.5, y=y + 0.5, width=wide - 1, height=high - 1, rx=2, class_="empty"
        )
    level = _level(value, bounds)
    box = element(
        "rect",
        svg.tip(f"{name}: {show(value)}" + (", drifted" if dot else "")),
        x=x + 0.5,
        y=y + 0.5,
        width=wide - 1,
        height=high - 1,
        rx=2,
    )
    mark = element("circle", cx=x + wide / 2, cy=y + high / 2, r=3, class_=f"on on{level}") if dot else Markup("")
    return element("g", box, class_=f"q q{level}") + mark


def _level(value: float, bounds: Sequence[float]) -> int:
    return sum(value >= bound for bound in bounds)
