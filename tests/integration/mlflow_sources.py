"""Sources of imports for tests: a database of MLflow's shape written by hand, and an import with a journal of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from rung.client.importing.copying import Copier, ImportReport
from rung.client.importing.journal import Journal
from rung.client.importing.opening import open_source
from rung.client.transports import Transport


def brought(
    uri: str, transport: Transport, journal: Path, *, folder: Path | None = None, again: bool = False, **options: Any
) -> ImportReport:
    """Import with a journal of its own."""
    opened, kept = open_source(uri, folder, {}), Journal(journal)
    try:
        return Copier(opened, transport, kept, again=again).copy(**options)
    finally:
        kept.close()
        opened.close()


def many(path: Path, runs: int, points: int = 3) -> str:
    """A database of MLflow's shape with many runs, written by hand because MLflow itself would take minutes."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT, lifecycle_stage TEXT, creation_time BIGINT, last_update_time BIGINT);"
        "CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT, source_type TEXT, source_name TEXT, entry_point_name TEXT, user_id TEXT, status TEXT,"
        " start_time BIGINT, end_time BIGINT, source_version TEXT, lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER, deleted_time BIGINT);"
        "CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT); CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);"
        "CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN);"
        "CREATE INDEX of_run ON metrics (run_uuid);"
    )
    ids = [f"{i:032x}" for i in range(1, runs + 1)]
    connection.execute("INSERT INTO experiments VALUES (7, 'many', '', 'active', 1, 1)")
    connection.executemany(
        "INSERT INTO runs VALUES (?, ?, '', '', '', 'ann', 'FINISHED', ?, ?, 'abc123', 'active', ?, 7, NULL)",
        [(run, f"r{i}", 1_700_000_000_000 + i, 1_700_000_100_000 + i, f"mlflow-artifacts:/7/{run}/artifacts") for i, run in enumerate(ids)],
    )  # fmt: skip
    for table in ("params", "tags"):
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", [(f"k{k}", str(k), run) for run in ids for k in range(5)])
    connection.executemany(
        "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, 0)", [(f"m{k}", s / 3, 1_700_000_000_000 + s, run, s) for run in ids for k in range(2) for s in range(points)]
    )  # fmt: skip
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"
