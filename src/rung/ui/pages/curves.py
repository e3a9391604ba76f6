"""Curves of one metric over many runs: the JSON that the charts in the browser draw, and the same as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from rung.core.clock import to_micros
from rung.core.errors import NotFound
from rung.stats.curves import Curve, band
from rung.tracking.records import MetricSeries, Run, SearchRuns
from rung.tracking.views import MetricOfRuns
from rung.ui import words
from rung.ui.blocks import Charts, Page, Visit, Words
from rung.ui.charts.line import Series, line_chart
from rung.ui.looks import ids
from rung.ui.pages.runs import run_title

_MOST_POINTS, _FEWEST, _ALL_POINTS = 2000, 40, 60_000
_DRAWN = 40
_GRID = 200
NONE = "(not set)"


def curves(visit: Visit) -> Page:
    """One metric of the runs ``runs=a,b``; ``group=lr`` gives mean and spread over runs that share that param."""
    key, wanted = visit.query.get("key", ""), ids(visit.query.get("runs", ""))
    if not key or not wanted:
        raise NotFound("The address names no metric or no run.", code="ui.no_page", hint="Write /curves?runs=ID,ID&key=loss.")
    held = by_id(visit, wanted)
    limit = max(_FEWEST, min(_MOST_POINTS, _ALL_POINTS // max(1, len(held))))
    found = visit.ask(MetricOfRuns(runs=tuple(held), key=key, limit=limit)) if held else ()
    group = visit.query.get("group", "")
    lines = _grouped(found, held, group) if group else [_line(series, held[series.run]) for series in found]
    running = any(run.status in {"running", "scheduled"} for run in held.values())
    data = {"key": key, "group": group, "running": running, "runs": len(held), "series": lines}
    figure = line_chart(f"{key} by step", [_drawn(line) for line in lines[:_DRAWN]], y_label=key, x_label="step")
    more = [Words(f"{len(lines) - _DRAWN} more are not drawn here.")] if len(lines) > _DRAWN else []
    command = f"rung runs history {wanted[0]} {key}"
    of = run_title(held[found[0].run]) if len(found) == 1 else words.many(len(found), "run")
    return Page("Curves", f"{key} of {of}.", [Charts([figure]), *more], command, data)


def by_id(visit: Visit, wanted: Sequence[str]) -> dict[str, Run]:
    """Runs by their ids, in that order; ids of nobody, or of another project, are left out."""
    if not wanted:
        return {}
    named = ", ".join(f"'{run}'" for run in wanted)
    found = {run.id: run for run in visit.ask(SearchRuns(filter=f"id IN ({named})", limit=len(wanted), view="all")).items}
    return {run: found[run] for run in wanted if run in found}


def _line(series: MetricSeries, held: Run) -> dict[str, Any]:
    points = series.points
    return {
        "run": held.id, "name": run_title(held), "status": held.status, "steps": [point.step for point in points],
        "ats": [to_micros(point.at) / 1e6 if point.at else 0 for point in points],
        "values": [point.value if isfinite(point.value) else None for point in points], "total": series.total,
        "odd": sum(not isfinite(point.value) for point in points), "href": words.address("runs", held.id),
    }  # fmt: skip


def _grouped(found: Sequence[MetricSeries], held: dict[str, Run], group: str) -> list[dict[str, Any]]:
    """Mean of each group with the spread around it, over steps."""
    groups: dict[str, list[MetricSeries]] = {}
    for series in found:
        run = held[series.run]
        groups.setdefault(words.plain(run.params[group]) if group in run.params else NONE, []).append(series)
    lines = []
    for name in sorted(groups, key=lambda name: (name == NONE, _number(name), name)):
        members = [Curve([p.step for p in s.points], [p.value for p in s.points]) for s in groups[name]]
        joined = band(members, _GRID)
        lines.append(
            {
                "run": "",
                "name": f"{group}={name}",
                "status": "",
                "steps": joined.x,
                "ats": [],
                "values": joined.mean,
                "low": joined.low,
                "high": joined.high,
                "total": len(joined.x),
                "odd": 0,
                "members": len(members),
                "href": "",
            }
        )
    return lines


def _drawn(line: dict[str, Any]) -> Series:
    values = [float("nan") if value is None else value for value in line["values"]]
    edges = zip(line["steps"], line.get("low", ()), line.get("high", ()), strict=False)
    rims = tuple((float(x), low, high) for x, low, high in edges if low is not None and high is not None)
    return Series(line["name"], tuple(zip(map(float, line["steps"]), values, strict=True)), rims)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return float("inf")
    return value if isfinite(value) else float("inf")
