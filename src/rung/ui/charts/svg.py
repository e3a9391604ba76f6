"""What all charts share: escaped elements, scales, nice ticks, axes, and the figure they come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, isfinite, log10

from markupsafe import Markup, escape

SERIES = 6
Map = Callable[[float], float]
_CHAR = 6.4  # mean width of a character of the 12 px tick text


@dataclass(frozen=True)
class Figure:
    """A chart with everything a page needs around it; ``columns`` and ``rows`` say the same in a table."""

    title: str
    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Frame:
    """The plotting area inside a picture."""

    width: float = 480
    height: float = 220
    left: float = 52
    right: float = 14
    top: float = 26
    bottom: float = 38

    @property
    def x(self) -> tuple[float, float]:
        """Left and right edge."""
        return self.left, self.width - self.right

    @property
    def y(self) -> tuple[float, float]:
        """Bottom and top edge, in that order: values grow upwards."""
        return self.height - self.bottom, self.top


def element(tag: str, *content: str | Markup, **attributes: object) -> Markup:
    """An element with escaped attributes and text; ``class_`` and ``text_anchor`` lose and turn their underscores."""
    parts = [f' {name.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"' for name, value in attributes.items() if value is not None]
    inner = Markup("").join(content)
    return Markup(f"<{tag}{''.join(parts)}>{inner}</{tag}>")  # noqa: S704 - every part is escaped above


def picture(width: float, height: float, label: str, *content: Markup, kind: str = "chart") -> Markup:
    """The root of a chart; ``label`` is what a screen reader says."""
    return element(
        "svg",
        *content,
        viewBox=f"0 0 {_plain(width)} {_plain(height)}",
        role="img",
        aria_label=label,
        class_=kind,
        width=width,
        height=height,
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "tick", **more: object) -> Markup:
    """Words at a place."""
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=kind, **more)


def tip(words: str) -> Markup:
    """What shows when the pointer rests on a mark."""
    return element("title", words)


def scale(domain: tuple[float, float], target: tuple[float, float]) -> Map:
    """A linear map; a domain of one point maps to the middle."""
    (low, high), (start, end) = domain, target
    if high == low:
        return lambda _: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``, about ``count`` of them."""
    if not (isfinite(low) and isfinite(high)):
        return [0.0, 1.0]
    if high - low <= max(abs(low), abs(high)) * 1e-9:  # equal, or too close for marks between them to be told apart
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def short(value: float) -> str:
    """A number in few characters: 1.2M, 34k, 0.705."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1000 if letter == 'k' else limit):.3g}{letter}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def day(seconds: float) -> str:
    """A date from seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %b %Y")


def time_ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """Instants with short labels, from months to minutes as the span asks."""
    span = max(high - low, 1.0)
    pattern = "%b %y" if span > 200 * 86400 else "%-d %b" if span > 3 * 86400 else "%H:%M" if span > 300 else "%H:%M:%S"  # noqa: PLR2004
    places = [low + span * index / (count - 1) for index in range(count)]
    return [(place, datetime.fromtimestamp(place, UTC).strftime(pattern)) for place in places]


def value_axis(frame: Frame, values: Sequence[float], label: str = "", show: Callable[[float], str] = short) -> Markup:
    """Horizontal grid lines with their numbers at the left, and what they measure above them."""
    low, high = values[0], values[-1]
    place = scale((low, high), frame.y)
    left, right = frame.x
    parts = [
        element("line", x1=left, x2=right, y1=place(value), y2=place(value), class_="axis" if value == 0 else "grid")
        + text(left - 7, place(value) + 4, show(value), anchor="end")
        for value in values
    ]
    return Markup("").join(parts) + (text(2, 11, label, kind="label") if label else Markup(""))


def shift_axis(frame: Frame, places: Sequence[tuple[float, str]], place: Map, label: str = "") -> Markup:
    """Labels under the plot, and what they mean under them."""
    bottom = frame.y[0]
    last = len(places) - 1
    parts = []
    for index, (value, words) in enumerate(places):
        anchor = "start" if index == 0 and last else "end" if index == last and last else "middle"
        parts.append(text(place(value), bottom + 16, words, anchor=anchor))
    if label:
        parts.append(text(frame.x[1], frame.height - 4, label, anchor="end", kind="label"))
    return Markup("").join(parts)


def width(words: str) -> float:
    """About how wide words are, in the picture's units."""
    return len(words) * _CHAR


def fits(words: str, width: float) -> str:
    """The words, cut with an ellipsis where they would be wider than ``width``."""
    room = max(1, int(width / _CHAR))
    return words if len(words) <= room else words[: max(1, room - 1)] + "…"


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
