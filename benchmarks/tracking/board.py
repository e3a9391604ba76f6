"""Figures by database, measure and server, and the one table they end up in."""

from __future__ import annotations

import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.tracking.claims import LESS_IS_BETTER, claim_of
from benchmarks.tracking.servers import DEFAULT, ONE, RUNG

_HEADS = ("measure", "ours", "MLflow default", "MLflow one process", "ratio", "target", "met")


@dataclass(frozen=True)
class Row:
    """A measure: medians of its rounds, how many times better ours is, and what was promised."""

    measure: str
    unit: str
    ours: float | None
    default: float | None
    one: float | None
    ratio_default: float | None
    ratio_one: float | None
    target: str
    met: bool | None


@dataclass
class Board:
    """Rounds of every measure, by database and server."""

    rounds: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    client: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # CPU ms of the client itself

    def add(self, database: str, server: str, measure: str, unit: str, value: float) -> None:
        """Enter one figure."""
        self.units[measure] = unit
        self.rounds.setdefault(database, {}).setdefault(measure, {}).setdefault(server, []).append(value)

    def rows(self, database: str) -> list[Row]:
        """All measures of a database."""
        return [self._row(database, measure) for measure in self.rounds.get(database, {})]

    def missed(self) -> list[tuple[str, Row]]:
        """Measures that do not reach their target, with their database."""
        return [(database, row) for database in self.rounds for row in self.rows(database) if row.met is False]

    def text(self, database: str) -> str:
        """The table for a terminal."""
        cells = [_HEADS, *(_cells(row) for row in self.rows(database))]
        widths = [max(len(row[place]) for row in cells) for place in range(len(_HEADS))]
        lines = [
            "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]  # fmt: skip
        return "\n".join([f"== {database}", *lines])

    def markdown(self, database: str) -> str:
        """The table for a page."""
        cells = [_HEADS, ("---", *("---:",) * 4, "---", "---"), *(_cells(row) for row in self.rows(database))]
        return "\n".join([f"### {database}", "", *("| " + " | ".join(row) + " |" for row in cells), ""])

    def as_json(self) -> dict[str, Any]:
        """Everything, for a machine."""
        tables = {database: [asdict(row) for row in self.rows(database)] for database in self.rounds}
        return {"facts": self.facts, "tables": tables, "rounds": self.rounds, "client_cpu_ms": self.client}

    def _row(self, database: str, measure: str) -> Row:
        held, unit = self.rounds[database][measure], self.units[measure]
        ours, default, one = (statistics.median(held[server]) if server in held else None for server in (RUNG, DEFAULT, ONE))
        ratio_default, ratio_one = _ratio(unit, ours, default), _ratio(unit, ours, one)
        claim = claim_of(database, measure)
        met = claim.met(unit, ours, ratio_default, ratio_one)
        return Row(measure, unit, ours, default, one, ratio_default, ratio_one, str(claim) + _side(unit, claim.limit), met)


def facts() -> dict[str, Any]:
    """What the figures were taken on."""
    names = ("rung", "mlflow", "uvicorn", "msgspec", "sqlalchemy", "psycopg", "scikit-learn")
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) // (1 << 20) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "kernel": platform.release(), "cores": os.cpu_count(),
        "cpu": model, "memory_gib": memory, "load_before": round(os.getloadavg()[0], 1), "versions": {name: version(name) for name in names},
    }  # fmt: skip


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _ratio(unit: str, ours: float | None, theirs: float | None) -> float | None:
    if not ours or not theirs:
        return None
    return theirs / ours if unit in LESS_IS_BETTER else ours / theirs


def _side(unit: str, limit: float | None) -> str:
    return "" if limit is None else " at most" if unit in LESS_IS_BETTER else " at least"


def _cells(row: Row) -> tuple[str, ...]:
    ratios = " / ".join("–" if ratio is None else f"{ratio:.1f}×" for ratio in (row.ratio_default, row.ratio_one))
    met = {True: "yes", False: "NO", None: ""}[row.met]
    figures = (number(row.ours), number(row.default), number(row.one))
    return (f"{row.measure}, {row.unit}", *figures, "" if ratios == "– / –" else ratios, row.target, met)


def number(value: float | None) -> str:
    """A figure with three digits or so."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
