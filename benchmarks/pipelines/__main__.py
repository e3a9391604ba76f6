"""``python -m benchmarks.pipelines``: twenty steps that do nothing, whole commands, beside four peers; then what the engine costs by itself.

Rounds alternate between the contestants; medians are told. Peers are installed into ``--venvs`` where they are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.pipelines import engine
from benchmarks.pipelines.contestants import PEERS, Contestant, ours, peer, settle

ROOT = Path(__file__).resolve().parents[2]
OURS, COLD, APART = "Rung", "Rung, RUNG_WARM=0", "Rung, a process a step"
TARGETS = {"Metaflow": 50.0, "ZenML": 30.0, "Dagster": 15.0, "KFP local": 12.0}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS), help="some of them, or none")
    parser.add_argument("--venvs", type=Path, default=ROOT / ".peers" / "bench", help="where the peers are installed")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--markdown", type=Path, help="write the tables here, for a page")
    options = parser.parse_args()
    chosen = [name for name in PEERS if name in options.peers.split(",")]
    print(_facts(), flush=True)
    with tempfile.TemporaryDirectory(prefix="rung-bench-") as folder:
        held = [
            ours(OURS, Path(folder), "linear", warm=True), ours(COLD, Path(folder), "linear", warm=False),
            ours(APART, Path(folder), "isolated", warm=True), *(peer(name, Path(folder), options.venvs) for name in chosen),
        ]  # fmt: skip
        try:
            for one in held:
                if one.name in {OURS, APART}:
                    settle(one)
            for number in range(options.rounds + 1):  # the first round is not counted: files are read, homes are made
                for one in held if number % 2 else reversed(held):
                    _round(one, number)
                print(f"round {number} of {options.rounds}", flush=True)
        finally:
            for one in held:
                if one.resident:
                    os.kill(one.resident, signal.SIGTERM)
    table = _table(held)
    print("\n" + "\n".join("  ".join(cell.ljust(14 if place else 30) for place, cell in enumerate(row)) for row in table))
    costs = engine.measured()
    print("\n" + "\n".join(f"{row[0]:60} {row[1]:>12}  target {row[2]}" for row in costs))
    if options.json:
        told = {
            one.name: {"cpu_s": one.cpu_s, "wall_s": one.wall_s, "cached_cpu_s": one.cached_cpu_s, "cached_wall_s": one.cached_wall_s}
            for one in held
        }
        options.json.write_text(json.dumps({"facts": _facts(), "runs": told, "engine": costs}, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(f"{_facts()}\n\n{_markdown(table)}\n{_markdown([('measure', 'ours', 'target'), *costs])}")


def run() -> None:
    """What ``python -m benchmarks`` does with this."""
    subprocess.run([sys.executable, "-m", "benchmarks.pipelines"], cwd=ROOT, check=True)


def _round(one: Contestant, number: int) -> None:
    """A run that finds nothing cached, then the same again."""
    cpu, wall = one.run(number)
    if number:
        one.cpu_s.append(cpu)
        one.wall_s.append(wall)
    if one.name not in {OURS, COLD, "ZenML"}:
        return  # the others run everything again
    cpu, wall = one.run(number)
    if number:
        one.cached_cpu_s.append(cpu)
        one.cached_wall_s.append(wall)


def _table(held: list[Contestant]) -> list[tuple[str, ...]]:
    by_name = {one.name: one for one in held}
    rows: list[tuple[str, ...]] = [
        ("20 no-op steps, whole command", "CPU s", "wall s", "cached CPU s", "cached wall s", "Rung", "RUNG_WARM=0", "apart", "target")
    ]
    for one in held:
        ratios = ["", "", ""]
        if one.name in TARGETS:
            ratios = [f"{statistics.median(one.cpu_s) / statistics.median(by_name[mine].cpu_s):.1f}x" for mine in (OURS, COLD, APART)]
        cached = [f"{statistics.median(values):.3f}" if values else "–" for values in (one.cached_cpu_s, one.cached_wall_s)]
        target = f"{TARGETS[one.name]:.0f}x" if one.name in TARGETS else ""
        rows.append((one.name, f"{statistics.median(one.cpu_s):.3f}", f"{statistics.median(one.wall_s):.3f}", *cached, *ratios, target))
    return rows


def _markdown(rows: list[Any]) -> str:
    head, *rest = rows
    return "\n".join(["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rest)]) + "\n"


def _facts() -> str:
    peers = ", ".join(wish for _, wish in PEERS.values())
    load = os.getloadavg()[0]
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}; rung {version('rung')} beside {peers}"


if __name__ == "__main__":
    main()
