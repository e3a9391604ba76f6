"""How records look in a notebook: a small table of facts, a small curve. Plain HTML, everything escaped, nothing loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _EDGE = 360, 90, 4
_MOST = 200


def facts_html(title: str, groups: Mapping[str, Mapping[str, Any]], more: str = "") -> str:
    """A table with a row a fact, headed by its group; ``more`` is HTML to put below it."""
    from html import escape  # noqa: PLC0415 - for notebooks alone

    rows = []
    for group, values in groups.items():
        shown = list(values.items())[:_MOST]
        rows += [f"<tr><th>{escape(group)}</th><td>{escape(name)}</td><td>{escape(_text(value))}</td></tr>" for name, value in shown]
        if len(values) > _MOST:
            rows.append(f"<tr><th>{escape(group)}</th><td>…</td><td>{len(values) - _MOST} more</td></tr>")
    return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>{more}"


def curve_svg(steps: Sequence[float], values: Sequence[float]) -> str:
    """A curve of finite values by step, as inline SVG; gaps where a value is not finite."""
    finite = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    if not finite:
        return "<p>No finite values.</p>"
    left, right = min(step for step, _ in finite), max(step for step, _ in finite)
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    pieces: list[list[str]] = []
    piece: list[str] = []
    for step, value in zip(steps, values, strict=True):
        if math.isfinite(value):
            piece.append(f"{_place(step, left, right, _WIDTH):.1f},{_HEIGHT - _place(value, low, high, _HEIGHT):.1f}")
        elif piece:
            pieces, piece = [*pieces, piece], []
    lines = "".join(
        f'<polyline points="{" ".join(part)}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        if len(part) > 1
        else f'<circle cx="{part[0].partition(",")[0]}" cy="{part[0].partition(",")[2]}" r="2" fill="currentColor"/>'
        for part in [*pieces, piece]
        if part
    )
    label = f"{len(values)} points from {low:.4g} to {high:.4g}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{lines}</svg>'
        f"<div><small>{label}, steps {left:g} to {right:g}</small></div>"
    )


def _place(value: float, low: float, high: float, size: int) -> float:
    share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5  # halves: the span of two doubles may be none
    return _EDGE + share * (size - 2 * _EDGE)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat(sep=" ", timespec="seconds")) if hasattr(value, "hour") else str(value)
    text = str(value)
    return text if len(text) <= 500 else f"{text[:499]}…"  # noqa: PLR2004 - a cell, not a page
