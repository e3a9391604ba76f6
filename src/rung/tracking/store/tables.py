"""Tables of tracking.

Runs, params, tags and latest values carry the number of their experiment, so that a filter by metric or param is one
index range and renaming an experiment touches one row. ``head`` is the beginning of a text: what is indexed of it.
A metric's points live in ``metric_point`` until a packer moves them into ``metric_chunk``; NaN is NULL with ``is_nan``.
"""

from __future__ import annotations

from typing import Any

from rung.storage.later import real
from rung.storage.sql import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from rung.storage.tables import InstantType, JsonType, RowNumber, id_column, project_column, table

HEAD = 64
PACK_FROM = 4096  # points a series keeps unpacked before the packer takes them

EXPERIMENT = table(
    "experiment",
    id_column(),
    project_column(),
    Column("number", Integer, nullable=False),
    Column("name", String(500), nullable=False),
    Column("note", Text, nullable=False),
    Column("tags", JsonType, nullable=False),
    Column("artifact_location", Text, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("updated_at", InstantType, nullable=False),
    Column("deleted_at", InstantType),
    UniqueConstraint("project", "name", name="uq_experiment_name"),
    UniqueConstraint("project", "number", name="uq_experiment_number"),
)
RUN = table(
    "run",
    id_column(),
    project_column(),
    Column("experiment_number", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("started_at", InstantType, nullable=False),
    Column("ended_at", InstantType),
    Column("created_by", String(128), nullable=False),
    Column("context", JsonType, nullable=False, info={"blobs": ("lock",)}),
    Column("git_commit", String(64), nullable=False),
    Column("datasets", JsonType, nullable=False),
    Column("inputs", JsonType, nullable=False),
    Column("models", JsonType, nullable=False),
    Column("pipeline_run", String(32)),
    Column("step", Text, nullable=False),
    Column("parent", String(32)),
    Column("deleted_at", InstantType),
    Column("error", Text, nullable=False),
    UniqueConstraint("project", "experiment_number", "number", name="uq_run_number"),
    Index("ix_run_started", "project", "started_at", "id"),
    Index("ix_run_experiment", "project", "experiment_number", "started_at", "id"),
    Index("ix_run_pipeline_run", "project", "pipeline_run"),
    Index("ix_run_parent", "project", "parent"),
    Index(
        "ix_run_deleted",
        "project",
        "experiment_number",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
)
PARAM = table(
    "run_param",
    id_column("run"),
    Column("key", String(250), primary_key=True),
    project_column(),
    Column("experiment_number", Integer, nullable=False),
    Column("value", JsonType, nullable=False),
    Column("text", Text, nullable=False),
    Column("head", String(HEAD), nullable=False),
    Column("number", Float),
    Index("ix_run_param_head", "project", "experiment_number", "key", "head", "run"),
    Index("ix_run_param_number", "project", "experiment_number", "key", "number", "run"),
)
TAG = table(
    "run_tag",
    id_column("run"),
    Column("key", String(250), primary_key=True),
    project_column(),
    Column("experiment_number", Integer, nullable=False),
    Column("value", Text, nullable=False),
    Column("head", String(HEAD), nullable=False),
    Index("ix_run_tag_head", "project", "experiment_number", "key", "head", "run"),
)
INPUT = table(
    "run_input",
    id_column("run"),
    Column("name", String(500), primary_key=True),
    Column("digest", String(36), primary_key=True),
    Column("context", String(250), primary_key=True),
    project_column(),
    Index("ix_run_input_name", "project", "name"),
)
SERIES = table(
    "metric_series",
    Column("id", RowNumber(), primary_key=True, autoincrement=True),
    id_column("run", primary_key=False),
    Column("key", String(250), nullable=False),
    Column("tail", Integer, nullable=False),
    UniqueConstraint("run", "key", name="uq_metric_series"),
    Index("ix_metric_series_tail", "tail", sqlite_where=text(f"tail >= {PACK_FROM}"), postgresql_where=text(f"tail >= {PACK_FROM}")),
)
POINT = table(
    "metric_point",
    Column("series", RowNumber(), primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Float, primary_key=True),
    Column("is_nan", Boolean, primary_key=True),
    sqlite_with_rowid=False,
)
CHUNK = table(
    "metric_chunk",
    Column("id", RowNumber(), primary_key=True, autoincrement=True),
    Column("series", RowNumber(), nullable=False),
    Column("first_step", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("points", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("summary", LargeBinary, nullable=False),
    Index("ix_metric_chunk_series", "series", "first_step"),
)
LATEST = table(
    "metric_latest",
    id_column("run"),
    Column("key", String(250), primary_key=True),
    project_column(),
    Column("experiment_number", Integer, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("value", Float),
    Column("is_nan", Boolean, nullable=False),
    Column("low", Float),
    Column("low_step", BigInteger),
    Column("high", Float),
    Column("high_step", BigInteger),
    Index("ix_metric_latest_value", "project", "experiment_number", "key", "value", "run"),
)
BATCH = table("metric_batch", id_column("run"), id_column("batch"))
ARTIFACT = table(
    "artifact",
    Column("owner", String(40), primary_key=True, nullable=False),
    Column("path", String(1000), primary_key=True, nullable=False),
    Column("project", String(32), primary_key=True, nullable=False),
    Column("digest", String(80), nullable=False, info={"blobs": ("",)}),
    Column("size_bytes", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("created_at", InstantType, nullable=False),
)
LOGGED = table(
    "logged_model",
    id_column(),
    project_column(),
    Column("experiment_number", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("type", Text, nullable=False),
    Column("run", String(32)),
    Column("params", JsonType, nullable=False),
    Column("tags", JsonType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("updated_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("deleted_at", InstantType),
    Index("ix_logged_model_experiment", "project", "experiment_number", "created_at"),
    Index("ix_logged_model_run", "project", "run"),
)
MODEL_METRIC = table(
    "logged_model_metric",
    id_column("model"),
    Column("key", String(250), primary_key=True),
    Column("run", String(32), primary_key=True),
    Column("dataset_name", String(500), primary_key=True),
    Column("dataset_digest", String(36), primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("value", Float),
    Column("is_nan", Boolean, nullable=False),
)
TRACE = table(
    "trace",
    Column("project", String(32), primary_key=True, nullable=False),
    Column("id", String(35), primary_key=True, nullable=False),
    Column("experiment_number", Integer, nullable=False),
    Column("at", InstantType, nullable=False),
    Column("tags", JsonType, nullable=False),
    Column("record", JsonType, nullable=False),
    Index("ix_trace_experiment", "project", "experiment_number", "at"),
)


def inserting(connection: Connection) -> Any:
    """The INSERT of the connection's engine, which knows ON CONFLICT."""
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415 - see rung.storage.sql

    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return lambda table: insert(real(table))


def fields(record: Any) -> dict[str, Any]:
    """Field names and values of a record."""
    return {name: getattr(record, name) for name in record.__struct_fields__}
