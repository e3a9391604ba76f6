"""Fills a database of MLflow's with runs by SQL: through its own API ten thousand would take ten minutes.

Ours is filled from it by ``rung import mlflow``, so both hold the same runs and the import is measured on the way.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.tracking.measures import SEARCHED
from benchmarks.tracking.servers import Server

_START_MS = 1_700_000_000_000
METRICS, PARAMS = ("m0", "m1", "m2", "m3", "x"), tuple(f"p{k}" for k in range(5))


def fill(database: str | Path, runs: int) -> None:
    """Put an experiment of finished runs, each with 5 metrics and 5 params, into a database whose schema is there."""
    connection, mark = _connected(database)
    cursor = connection.cursor()
    columns = "name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace"
    cursor.execute(
        f"INSERT INTO experiments ({columns}) VALUES ({', '.join([mark] * 6)})",
        (SEARCHED, "mlflow-artifacts:/search", "active", _START_MS, _START_MS, "default"),
    )
    cursor.execute(f"SELECT experiment_id FROM experiments WHERE name = {mark}", (SEARCHED,))
    experiment = cursor.fetchone()[0]
    rng = random.Random(7)
    ids = [uuid.UUID(int=rng.getrandbits(128)).hex for _ in range(runs)]

    def insert(table: str, names: str, rows: Iterable[tuple[Any, ...]]) -> None:
        cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({', '.join([mark] * (names.count(',') + 1))})", list(rows))

    insert(
        "runs",
        "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage,"
        " artifact_uri, experiment_id",
        (
            (run, f"r{i}", "UNKNOWN", "", "", "ann", "FINISHED", _START_MS + i * 1000, _START_MS + i * 1000 + 500, "", "active",
             f"mlflow-artifacts:/{experiment}/{run}/artifacts", experiment)
            for i, run in enumerate(ids)
        ),
    )  # fmt: skip
    values = [(run, key, rng.random()) for run in ids for key in METRICS]
    points = [(key, value, _START_MS, run, 0, False) for run, key, value in values]
    for table in ("metrics", "latest_metrics"):
        insert(table, "key, value, timestamp, run_uuid, step, is_nan", points)
    insert("params", "key, value, run_uuid", ((key, str(rng.randrange(100)), run) for run in ids for key in PARAMS))
    insert("tags", "key, value, run_uuid", (("mlflow.runName", f"r{i}", run) for i, run in enumerate(ids)))
    connection.commit()
    connection.close()


def brought(server: Server, source: Path) -> dict[str, float | str]:
    """Import a database into a running Rung; runs a minute."""
    command = [sys.executable, "-m", "rung.cli.main", "--url", server.url, "--token", server.token, "import", "mlflow", str(source)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--no-artifacts", "--json"], cwd=source.parent, env=None, stdout=subprocess.PIPE, text=True, check=False
    )  # fmt: skip
    wall = time.perf_counter() - start
    report = json.loads(done.stdout)
    if report["differences"]:
        raise RuntimeError(f"the import left something out: {report['differences'][:3]}")
    return {"value": report["here"]["runs"] / wall * 60, "unit": "runs/min"}


def _connected(database: str | Path) -> tuple[Any, str]:
    if isinstance(database, Path):
        return sqlite3.connect(database), "?"
    import psycopg

    return psycopg.connect(database), "%s"
