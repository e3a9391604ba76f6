"""Fills a database of MLflow's with runs by SQL: through its own API ten thousand would take ten minutes.

Ours is filled from it by ``rung import mlflow``, so both hold the same and the import is measured on the way.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.tracking.servers import Server
from benchmarks.tracking.sizes import Sizes

if TYPE_CHECKING:
    from mlflow import MlflowClient

SEARCHED, SERIES, LONG, MANY = "bench_search", "bench_series", "long", "bench_many"
METRICS, PARAMS = ("m0", "m1", "m2", "m3", "x"), tuple(f"p{k}" for k in range(5))
_START_MS = 1_700_000_000_000
_RUN = (
    "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage,"
    " artifact_uri, experiment_id"
)
_POINT = "key, value, timestamp, run_uuid, step, is_nan"


def mlflow_client(url: str) -> MlflowClient:
    """MLflow's client, with everything off that would speak to others, wait or try again."""
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )  # fmt: skip
    from mlflow import MlflowClient

    return MlflowClient(url)


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment of a name, made if it is new."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def fill(database: str | Path, sizes: Sizes, runs: int | None = None) -> None:
    """Put finished runs into a database whose schema is there.

    Many runs of 5 metrics and 5 params in one experiment; in another one run with a long series, and some with short ones.
    """
    base = _Base(database)
    rng = random.Random(7)
    experiment = base.experiment(SEARCHED)
    ids = [uuid.UUID(int=rng.getrandbits(128)).hex for _ in range(sizes.runs if runs is None else runs)]
    base.runs(experiment, [(run, f"r{i}") for i, run in enumerate(ids)])
    points = [(key, rng.random(), _START_MS, run, 0, False) for run in ids for key in METRICS]
    for table in ("metrics", "latest_metrics"):
        base.insert(table, _POINT, points)
    base.insert("params", "key, value, run_uuid", [(key, str(rng.randrange(100)), run) for run in ids for key in PARAMS])
    experiment = base.experiment(SERIES)
    lengths = {LONG: sizes.points} | {f"series {i}": 1000 for i in range(sizes.series)}
    named = [(uuid.UUID(int=rng.getrandbits(128)).hex, name) for name in lengths]
    base.runs(experiment, named)
    for run, name in named:
        some = [("h", rng.random(), _START_MS + step, run, step, False) for step in range(lengths[name])]
        base.insert("metrics", _POINT, some)
        base.insert("latest_metrics", _POINT, some[-1:])
    base.close()


def brought(server: Server, source: Path) -> Iterator[tuple[str, str, float]]:
    """Import a database into a running Rung: measures of it."""
    command = [sys.executable, "-m", "rung.cli.main", "--url", server.url, "--token", server.token, "import", "mlflow", str(source)]
    start = time.perf_counter()
    done = subprocess.run([*command, "--no-artifacts", "--json"], cwd=source.parent, stdout=subprocess.PIPE, text=True, check=False)
    wall = time.perf_counter() - start
    report = json.loads(done.stdout)
    if report["differences"]:
        raise RuntimeError(f"the import left something out: {report['differences'][:3]}")
    yield "import from MLflow's database", "runs/s", report["here"]["runs"] / wall


def pour(server: Server, runs: int) -> Iterator[tuple[str, str, float]]:
    """As many more runs into a running Rung, without MLflow's database: measures of it."""
    from rung.client.transports import HttpTransport
    from rung.core.clock import from_micros
    from rung.tracking import imports as i
    from rung.tracking.records import MetricColumns

    transport, rng = HttpTransport(server.url, server.token), random.Random(8)
    instant = [from_micros((_START_MS + second * 1000) * 1000) for second in range(runs)]
    start = time.perf_counter()
    experiment = transport.call(i.ImportExperiment(name=MANY, created_at=instant[0], updated_at=instant[0]))
    for first in range(0, runs, 500):
        some = [
            i.ImportedRun(
                id=uuid.UUID(int=rng.getrandbits(128)).hex, name=f"r{number}", status="succeeded", started_at=instant[number],
                ended_at=instant[number], created_by="ann", params={key: str(rng.randrange(100)) for key in PARAMS},
                points=MetricColumns(
                    keys=METRICS, key=tuple(range(5)), step=(0,) * 5, at=(_START_MS * 1000,) * 5, value=tuple(rng.random() for _ in METRICS)
                ),
            )
            for number in range(first, min(first + 500, runs))
        ]  # fmt: skip
        transport.call(i.ImportRuns(experiment_number=experiment.number, runs=tuple(some)))
    transport.close()
    yield f"{runs:,} runs, entered", "runs/s", runs / (time.perf_counter() - start)


class _Base:
    """A database of MLflow's, written to by the fastest way there is."""

    def __init__(self, database: str | Path) -> None:
        self._sqlite = sqlite3.connect(database) if isinstance(database, Path) else None
        self._postgresql: Any = None
        if self._sqlite is None:
            import psycopg

            self._postgresql = psycopg.connect(str(database))

    def experiment(self, name: str) -> int:
        """A new experiment."""
        columns = "name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace"
        self.insert("experiments", columns, [(name, f"mlflow-artifacts:/{name}", "active", _START_MS, _START_MS, "default")])
        mark = "?" if self._sqlite else "%s"
        sql = f"SELECT experiment_id FROM experiments WHERE name = {mark}"
        return int((self._sqlite or self._postgresql).execute(sql, (name,)).fetchone()[0])

    def runs(self, experiment: int, named: list[tuple[str, str]]) -> None:
        """Finished runs, one a second."""
        rows = (
            (run, name, "UNKNOWN", "", "", "ann", "FINISHED", _START_MS + i * 1000, _START_MS + i * 1000 + 500, "", "active",
             f"mlflow-artifacts:/{experiment}/{run}/artifacts", experiment)
            for i, (run, name) in enumerate(named)
        )  # fmt: skip
        self.insert("runs", _RUN, rows)
        self.insert("tags", "key, value, run_uuid", (("mlflow.runName", name, run) for run, name in named))

    def insert(self, table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Rows of a table."""
        if self._sqlite:
            marks = ", ".join("?" * (columns.count(",") + 1))
            self._sqlite.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
            return
        with self._postgresql.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def close(self) -> None:
        """Commit; PostgreSQL learns what there is, as it would have by itself some minutes later."""
        (self._sqlite or self._postgresql).commit()
        if self._postgresql:
            self._postgresql.autocommit = True
            self._postgresql.execute("ANALYZE")
        (self._sqlite or self._postgresql).close()
