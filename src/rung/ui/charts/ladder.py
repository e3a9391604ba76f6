"""The maturity ladder: the rungs of one scale, those reached, and the target."""

from __future__ import annotations

from rung.ui.charts import svg
from rung.ui.charts.svg import Figure, element

_ROW, _WIDTH = 34.0, 420.0


def ladder(title: str, *, base: int, top: int, level: int, reached: float, target: int | None = None) -> Figure:
    """Rungs from ``base`` at the foot to ``top``; ``reached`` is the level plus the share held of the next one."""
    count = top - base + 1
    height = count * _ROW + 20
    parts = [element("line", x1=x, x2=x, y1=6, y2=height - 6, class_="pole") for x in (64, 204)]
    rows = []
    for step in range(count):
        number = top - step
        y = 10 + step * _ROW
        share = 1.0 if number <= level else max(0.0, min(1.0, reached - level)) if number == level + 1 else 0.0
        parts.append(element("rect", x=68, y=y + 8, width=132, height=14, rx=3, class_="empty"))
        if share:
            bar = element(
                "rect",
                svg.tip(f"level {number}: {share:.0%} of its gates hold"),
                x=68,
                y=y + 8,
                width=132 * share,
                height=14,
                rx=3,
                fill="currentColor",
            )
            parts.append(element("g", bar, class_="ok" if share == 1.0 else "accent"))
        parts.append(svg.text(56, y + 19, str(number), anchor="end", kind="name strong" if number == level else "name"))
        words = "reached" if number <= level else f"{share:.0%} held" if share else ""
        words += " · target" if number == target else ""
        parts.append(svg.text(212, y + 19, words.strip(" ·"), kind="tick"))
        rows.append((str(number), words.strip(" ·") or "not yet"))
    said = f"{title} Level {level} of {top} is reached" + (f", the target is {target}." if target is not None else ".")
    return Figure(title, svg.picture(_WIDTH, height, said, *parts), ("level", "state"), tuple(rows))
