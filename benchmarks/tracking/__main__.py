"""``python -m benchmarks.tracking [--full]``: Rung beside MLflow's own server, the same client, in one table.

The quick form takes some minutes and one round; the full one alternates five rounds, with the sizes the claims are made
for, and searches 100,000 runs of ours as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import postgres_server

from benchmarks.measure import command, versions
from benchmarks.tracking import sdk
from benchmarks.tracking.servers import DEFAULT, ONE, RUNG, Server, serving

ROOT = Path(__file__).resolve().parent.parent.parent
LESS_IS_MORE = {"CPU-s", "s", "MB", "", "ms", "CPU ms"}


@dataclass
class Sizes:
    """How much of everything, and how often."""

    seconds: float
    rounds: int
    runs: int
    points: int
    megabytes: int
    files: int
    many: int = 0


QUICK = Sizes(seconds=2, rounds=1, runs=10_000, points=20_000, megabytes=100, files=400)
FULL = Sizes(seconds=5, rounds=5, runs=10_000, points=100_000, megabytes=500, files=2000, many=100_000)


@dataclass
class Figures:
    """By database and server, the rounds of every measure."""

    rounds: dict[str, dict[str, dict[str, list[dict[str, float | str]]]]] = field(default_factory=dict)

    def add(self, database: str, server: str, results: dict[str, dict[str, float | str]]) -> None:
        """Add a round."""
        held = self.rounds.setdefault(database, {}).setdefault(server, {})
        for name, result in results.items():
            held.setdefault(name, []).append(result)

    def middle(self, database: str, server: str, name: str, what: str = "value") -> float | None:
        """Median of the rounds of a measure, None where it was not taken."""
        values = [float(item[what]) for item in self.rounds.get(database, {}).get(server, {}).get(name, ()) if what in item]
        return statistics.median(values) if values else None


def main() -> None:
    """Measure and print; ``--json FILE`` keeps every round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the sizes of the claims, five rounds; the better part of an hour")
    parser.add_argument("--quick", action="store_true", help="some minutes, one round (the default)")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--sections", default="calls,clients,search,history,artifacts")
    parser.add_argument("--databases", default="SQLite,PostgreSQL")
    parser.add_argument("--no-sdk", action="store_true", help="leave out our own SDK")
    parser.add_argument("--json", type=Path, help="write every round here")
    options = parser.parse_args()
    sizes = FULL if options.full else QUICK
    sizes.rounds = options.rounds or sizes.rounds
    start = time.perf_counter()
    figures = Figures()
    print(f"{versions('mlflow', 'uvicorn', 'msgspec')}, {time.strftime('%Y-%m-%d')}, {sizes.rounds} round(s)", flush=True)
    _commands(figures)
    with tempfile.TemporaryDirectory(prefix="rung-bench-") as name:
        folder = Path(name)
        template = _template(folder, sizes.runs)
        for database in options.databases.split(","):
            for number in range(sizes.rounds):
                _round(figures, folder / f"{database}-{number}", database, sizes, options.sections, template)
            _print(figures, database)
        if sizes.many:
            _many(figures, folder / "many", sizes)
    if not options.no_sdk:
        print("\n== our own SDK")
        sdk.run()
    print(f"\ntook {(time.perf_counter() - start) / 60:.1f} minutes")
    if options.json:
        options.json.write_text(json.dumps({"versions": versions("mlflow"), "rounds": figures.rounds}, indent=1) + "\n")


def run() -> None:
    """What ``python -m benchmarks`` does with this: the quick form."""
    subprocess.run([sys.executable, "-m", "benchmarks.tracking", "--quick"], cwd=ROOT, check=True)


def _commands(figures: Figures) -> None:
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    for server, package in ((RUNG, "rung"), (ONE, "mlflow")):
        imported = command([sys.executable, "-c", f"import {package}"], repeats=3, environment=quiet)[0]
        shown = command([str(Path(sys.executable).parent / package), "--version"], repeats=3, environment=quiet)[0]
        figures.add(
            "SQLite", server, {f"import {package}".replace("rung", "the package").replace("mlflow", "the package"): {"value": imported, "unit": "CPU-s"}, "--version": {"value": shown, "unit": "CPU-s"}}
        )  # fmt: skip


def _template(folder: Path, runs: int) -> Path:
    """A database with MLflow's schema and the runs to search, copied for every server that needs one."""
    from benchmarks.tracking.population import fill

    place = folder / "template"
    place.mkdir()
    with serving(ONE, place, ""):
        pass
    fill(place / "mlflow.db", runs)
    return place / "mlflow.db"


def _round(figures: Figures, folder: Path, database: str, sizes: Sizes, sections: str, template: Path) -> None:
    servers = (RUNG, ONE, DEFAULT) if database == "SQLite" else (RUNG, ONE)
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server(durable=True)) if database == "PostgreSQL" else None
        for name in servers:
            place = folder / name.replace(", ", "-").replace(" ", "-")
            place.mkdir(parents=True)
            url = postgres.new_database() if postgres else ""
            if name != RUNG:
                _populated(place, url, template, sizes.runs)
            with serving(name, place, url) as server:
                figures.add(database, name, server.footprint)
                if name == RUNG:
                    from benchmarks.tracking.population import brought

                    figures.add(database, name, {"import from MLflow's database": brought(server, template)})
                figures.add(database, name, _measured(server, sizes, sections))


def _populated(place: Path, url: str, template: Path, runs: int) -> None:
    from benchmarks.tracking.population import fill

    if not url:
        (place / "mlflow.db").write_bytes(template.read_bytes())
        return
    with serving(ONE, place, url):  # makes the schema
        pass
    fill(url, runs)


def _measured(server: Server, sizes: Sizes, sections: str) -> dict[str, dict[str, float | str]]:
    print(f"… {server.name}", file=sys.stderr, flush=True)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.url}
    if server.token:
        environment["MLFLOW_TRACKING_TOKEN"] = server.token
    arguments = [
        sys.executable, "-m", "benchmarks.tracking.measures", server.url, "--pid", str(server.pid), "--sections", sections,
        "--seconds", str(sizes.seconds), "--points", str(sizes.points), "--megabytes", str(sizes.megabytes), "--files", str(sizes.files),
    ]  # fmt: skip
    done = subprocess.run(arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, dict[str, float | str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _many(figures: Figures, folder: Path, sizes: Sizes) -> None:
    """Search of far more runs, ours alone: MLflow's own server does not end some of these queries there."""
    folder.mkdir()
    template = _template(folder, sizes.many)
    from benchmarks.tracking.population import brought

    place = folder / "rung"
    place.mkdir()
    with serving(RUNG, place, "") as server:
        figures.add("100k runs", RUNG, {"import from MLflow's database": brought(server, template)})
        figures.add("100k runs", RUNG, _measured(server, sizes, "search"))
    _print(figures, "100k runs")


def _print(figures: Figures, database: str) -> None:
    held = figures.rounds[database]
    peers = [name for name in (ONE, DEFAULT) if name in held]
    print(f"\n== {database}")
    print(f"{'':44} {'Rung':>10}" + "".join(f" {peer:>20} {'ratio':>7}" for peer in peers))
    for name in held[RUNG]:
        unit = str(held[RUNG][name][0]["unit"])
        _line(figures, database, peers, name, "value", f"{name}, {unit}".rstrip(", "), less=unit in LESS_IS_MORE)
    print("server CPU, ms a call")
    for name, rounds in held[RUNG].items():
        if "server_cpu_ms" in rounds[0]:
            _line(figures, database, peers, name, "server_cpu_ms", f"  {name}", less=True)


def _line(figures: Figures, database: str, peers: list[str], name: str, what: str, title: str, *, less: bool) -> None:
    ours = figures.middle(database, RUNG, name, what)
    cells = f"{title[:44]:44} {_number(ours):>10}"
    for peer in peers:
        theirs = figures.middle(database, peer, name, what)
        ratio = None if not ours or not theirs else theirs / ours if less else ours / theirs
        cells += f" {_number(theirs):>20} {'' if ratio is None else f'{ratio:.1f}x':>7}"
    print(cells, flush=True)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    main()
