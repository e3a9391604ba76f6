"""``python -m benchmarks.tracking [--full]``: Rung beside MLflow's own server, the same client, in one table a database.

The short form takes some minutes; the full one has the sizes the claims are made for and takes the better part of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
from tests.servers import postgres_server

from benchmarks.measure import command
from benchmarks.tracking import sdk
from benchmarks.tracking.board import Board, facts
from benchmarks.tracking.population import brought, fill
from benchmarks.tracking.servers import KINDS, ONE, RUNG, Server, serving
from benchmarks.tracking.sizes import FULL, SHORT, Sizes

ROOT = Path(__file__).resolve().parent.parent.parent
SECTIONS = ("start", "calls", "clients", "search", "history", "artifacts", "sdk", "many")
DATABASES = ("SQLite", "PostgreSQL")
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def main() -> None:
    """Measure and print; ends with 1 when a target is missed and ``--strict`` was given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the sizes of the claims, five rounds")
    parser.add_argument("--sections", help=f"some of {', '.join(SECTIONS)}; the short form leaves clients out")
    parser.add_argument("--databases", default=",".join(DATABASES), help=f"some of {', '.join(DATABASES)}")
    parser.add_argument("--servers", default=",".join(KINDS), help="rung and those to compare it with")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--markdown", type=Path, help="write the tables here, for a page")
    parser.add_argument("--strict", action="store_true", help="end with 1 when a target is missed")
    options = parser.parse_args()
    for wanted, known in ((options.databases, DATABASES), (options.sections or "", SECTIONS), (options.servers, KINDS)):
        for word in filter(None, wanted.split(",")):
            if word not in known:
                parser.error(f"{word!r} is none of {', '.join(known)}")
    sizes = FULL if options.full else SHORT
    sections = options.sections.split(",") if options.sections else [name for name in SECTIONS if options.full or name != "clients"]
    names = [name for kind, name in KINDS.items() if kind in ("rung", *options.servers.split(","))]
    start, board = time.perf_counter(), Board(facts=facts() | {"full": options.full})
    print("; ".join(f"{name}: {value}" for name, value in board.facts.items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="rung-bench-") as folder:
        template = _template(Path(folder), "", sizes)
        for database in options.databases.split(","):
            place = Path(folder) / database
            place.mkdir()
            _database(board, place, database, sizes, names, sections, template, full=options.full)
            print(f"\n{board.text(database)}\n", flush=True)
    board.facts |= {"minutes": round((time.perf_counter() - start) / 60, 1), "load_after": round(os.getloadavg()[0], 1)}
    _told(board, options.json, options.markdown)
    if options.strict and board.missed():
        sys.exit(1)


def run() -> None:
    """What ``python -m benchmarks`` does with this: the short form."""
    subprocess.run([sys.executable, "-m", "benchmarks.tracking"], cwd=ROOT, check=True)


def _told(board: Board, as_json: Path | None, as_markdown: Path | None) -> None:
    missed = board.missed()
    print(f"took {board.facts['minutes']} minutes, load {board.facts['load_before']} before and {board.facts['load_after']} after")
    print(f"{len(missed)} target(s) missed: " + "; ".join(f"{database}: {row.measure}" for database, row in missed))
    if as_json:
        as_json.write_text(json.dumps(board.as_json(), indent=1) + "\n")
    if as_markdown:
        as_markdown.write_text("\n".join(board.markdown(database) for database in board.rounds))


def _database(
    board: Board, folder: Path, database: str, sizes: Sizes, names: list[str], sections: list[str], template: Path, *, full: bool
) -> None:
    """All measures on one kind of database."""
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server(durable=True)) if database == "PostgreSQL" else None
        urls = dict.fromkeys(names, "")
        if postgres:
            filled = postgres.new_database()
            _template(folder, filled, sizes)
            urls = {name: postgres.new_database() if name == RUNG else _copy(filled, name) for name in names}
        servers = []
        for name in names:
            place = folder / name.replace(" ", "-")
            place.mkdir()
            if name != RUNG and not postgres:
                (place / "mlflow.db").write_bytes(template.read_bytes())
            servers.append(stack.enter_context(serving(name, place, urls[name])))
            _say(f"{database}: {name} is up")
        ours = next(server for server in servers if server.name == RUNG)
        for measure, unit, value in brought(ours, template):
            board.add(database, RUNG, measure, unit, value)
        _sections(board, database, servers, sizes, sections, cpu_root=postgres.pid if postgres else None)
        if "many" in sections and (full or not postgres):
            _many(board, database, ours, sizes)


def _sections(board: Board, database: str, servers: list[Server], sizes: Sizes, sections: list[str], cpu_root: int | None) -> None:
    from benchmarks.tracking.measures import Bench

    ours = servers[0]
    os.environ["MLFLOW_TRACKING_TOKEN"] = ours.token  # MLflow's own server without accounts does not look at it
    bench = Bench(servers, database, board, sizes, cpu_root)
    steps: dict[str, Callable[[], None]] = {
        "start": lambda: _starts(board, database, servers),
        "calls": bench.calls, "clients": bench.clients, "search": bench.search, "history": bench.history, "artifacts": bench.artifacts,
        "sdk": lambda: sdk.measure(ours, database, board, sizes),
    }  # fmt: skip
    for name, step in steps.items():
        if name in sections:
            _say(f"{database}: {name}")
            step()


def _starts(board: Board, database: str, servers: list[Server]) -> None:
    for server in servers:
        for measure, (unit, value) in server.start.items():
            board.add(database, server.name, measure, unit, value)
    if database != "SQLite":
        return
    for name, package in ((RUNG, "rung"), (ONE, "mlflow")):
        for measure, arguments in (
            ("import of the package", [sys.executable, "-c", f"import {package}"]),
            ("--version", [str(Path(sys.executable).parent / package), "--version"]),
        ):
            board.add(database, name, measure, "CPU-s", command(arguments, repeats=1, environment=_QUIET)[0])


def _many(board: Board, database: str, ours: Server, sizes: Sizes) -> None:
    """Search of far more runs, ours alone: MLflow's own server does not end some of these queries on SQLite."""
    from benchmarks.tracking.measures import Bench
    from benchmarks.tracking.population import MANY, pour

    _say(f"{database}: {sizes.many} runs")
    for measure, unit, value in pour(ours, sizes.many):
        board.add(database, RUNG, measure, unit, value)
    Bench([ours], database, board, sizes).pages(f"{sizes.many:,} runs, ", MANY)


def _template(folder: Path, url: str, sizes: Sizes) -> Path:
    """A database with MLflow's schema and the runs to search; every server of MLflow's gets a copy."""
    place = folder / "template"
    place.mkdir()
    with serving(ONE, place, url, 0):
        pass
    fill(url or place / "mlflow.db", sizes)
    _say(f"a database of MLflow's with {sizes.runs:,} runs is filled")
    return place / "mlflow.db"


def _copy(url: str, name: str) -> str:
    base, _, filled = url.rpartition("/")
    copy = f"{filled}_{'one' if name == ONE else 'default'}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{filled}"'.encode())
    return f"{base}/{copy}"


def _say(text: str) -> None:
    print(f"… {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
