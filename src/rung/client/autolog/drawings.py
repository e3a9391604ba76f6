"""Small figures as SVG, written by hand so that no plotting library is needed or loaded."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INK, _PALE, _BLUE = "#1f2933", "#9aa5b1", "#2563eb"
_DARK = 0.55
_LONGEST = 28


def heatmap(counts: NDArray[Any], names: Sequence[str], title: str) -> str:
    """A confusion matrix: truth downwards, answers across, each row shaded by its shares."""
    cell, left, top = max(22, min(64, 480 // max(len(names), 1))), 150, 70
    size = cell * len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = [_text(left + size / 2, 48, "predicted", anchor="middle", colour=_PALE)]
    parts.append(_text(14, top + size / 2, "true", colour=_PALE))
    for row, name in enumerate(names):
        parts.append(_text(left - 8, top + row * cell + cell / 2 + 4, name, anchor="end"))
        parts.append(_text(left + row * cell + cell / 2, top - 8, name, anchor="middle"))
        for column in range(len(names)):
            share = float(shares[row, column])
            x, y = left + column * cell, top + row * cell
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{_BLUE}" fill-opacity="{0.05 + 0.95 * share:.3f}"/>'
            )
            colour = "#ffffff" if share > _DARK else _INK
            parts.append(_text(x + cell / 2, y + cell / 2 + 4, _number(float(counts[row, column])), anchor="middle", colour=colour))
    return _svg(left + size + 20, top + size + 20, title, parts)


def curve(across: NDArray[Any], up: NDArray[Any], title: str, labels: tuple[str, str]) -> str:
    """A curve in the unit square, with its diagonal."""
    left, top, size = 60, 50, 320
    places = np.linspace(0, len(across) - 1, min(len(across), 300)).astype(int)
    points = " ".join(f"{left + size * across[place]:.1f},{top + size * (1 - up[place]):.1f}" for place in places)
    parts = [
        f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="{_PALE}"/>',
        f'<line x1="{left}" y1="{top + size}" x2="{left + size}" y2="{top}" stroke="{_PALE}" stroke-dasharray="4 4"/>',
        f'<polyline points="{points}" fill="none" stroke="{_BLUE}" stroke-width="2"/>',
        _text(left + size / 2, top + size + 36, labels[0], anchor="middle"),
        f'<g transform="translate(18 {top + size / 2}) rotate(-90)">{_text(0, 0, labels[1], anchor="middle")}</g>',
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(_text(left + size * tick, top + size + 18, f"{tick:g}", anchor="middle", colour=_PALE))
        parts.append(_text(left - 8, top + size * (1 - tick) + 4, f"{tick:g}", anchor="end", colour=_PALE))
    return _svg(left + size + 30, top + size + 50, title, parts)


def bars(names: Sequence[str], values: Sequence[float], title: str) -> str:
    """Horizontal bars, in the order given."""
    left, top, long, step = 220, 50, 320, 20
    largest = max((abs(value) for value in values), default=0.0) or 1.0
    parts = []
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + place * step
        parts.append(_text(left - 8, y + 13, name, anchor="end"))
        parts.append(f'<rect x="{left}" y="{y + 2}" width="{max(long * abs(value) / largest, 1):.1f}" height="{step - 5}" fill="{_BLUE}"/>')
        parts.append(_text(left + long * abs(value) / largest + 6, y + 13, _number(value), colour=_PALE))
    return _svg(left + long + 90, top + len(names) * step + 20, title, parts)


def _svg(wide: float, high: float, title: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}" height="{high:.0f}" '
        f'font-family="system-ui, sans-serif" font-size="12"><rect width="100%" height="100%" fill="#ffffff"/>'
        f'<text x="14" y="24" font-size="15" fill="{_INK}">{escape(title)}</text>{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = _INK) -> str:
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    clean = "".join(mark for mark in short if mark.isprintable())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(clean)}</text>'


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"  # noqa: PLR2004 - longer ones do not fit
