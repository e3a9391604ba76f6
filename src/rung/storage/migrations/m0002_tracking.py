"""Schema 2: experiments with numbers, runs that point at them, packed metric points, owners of artifacts, logged models.

Tables that change their keys are copied aside, made anew and filled from the copy, on both engines alike. The tables
stand here as they are at this schema; later changes are for later migrations.
"""
# ruff: noqa: S608 - every statement is made of names that stand here

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

_OLD = ("experiment", "run", "run_param", "run_tag", "metric_series", "metric_point", "metric_latest", "run_artifact")
_ROWID = BigInteger().with_variant(Integer(), "sqlite")
_META = MetaData(naming_convention={"pk": "pk_%(table_name)s"})


def _id(name: str = "id", *, null: bool = False) -> Column[str]:
    return Column(name, String(32), nullable=null)


Table(
    "experiment", _META, _id(), _id("project"), Column("number", Integer, nullable=False), Column("name", String(500), nullable=False),
    Column("note", Text, nullable=False), Column("tags", Text, nullable=False), Column("artifact_location", Text, nullable=False),
    Column("runs", Integer, nullable=False), Column("created_at", BigInteger, nullable=False), Column("created_by", String(128), nullable=False),
    Column("updated_at", BigInteger, nullable=False), Column("deleted_at", BigInteger), PrimaryKeyConstraint("id"),
    UniqueConstraint("project", "name", name="uq_experiment_name"), UniqueConstraint("project", "number", name="uq_experiment_number"),
)  # fmt: skip
Table(
    "run", _META, _id(), _id("project"), Column("experiment_number", Integer, nullable=False), Column("number", Integer, nullable=False),
    Column("name", Text, nullable=False), Column("status", String(16), nullable=False), Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger), Column("created_by", String(128), nullable=False), Column("context", Text, nullable=False),
    Column("git_commit", String(64), nullable=False), Column("datasets", Text, nullable=False), Column("inputs", Text, nullable=False),
    Column("models", Text, nullable=False), _id("pipeline_run", null=True), Column("step", Text, nullable=False), _id("parent", null=True),
    Column("deleted_at", BigInteger), Column("error", Text, nullable=False), PrimaryKeyConstraint("id"),
    UniqueConstraint("project", "experiment_number", "number", name="uq_run_number"),
    Index("ix_run_started", "project", "started_at", "id"), Index("ix_run_experiment", "project", "experiment_number", "started_at", "id"),
    Index("ix_run_pipeline_run", "project", "pipeline_run"), Index("ix_run_parent", "project", "parent"),
    Index(
        "ix_run_deleted", "project", "experiment_number", sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
)  # fmt: skip
Table(
    "run_param", _META, _id("run"), Column("key", String(250), nullable=False), _id("project"),
    Column("experiment_number", Integer, nullable=False), Column("value", Text, nullable=False), Column("text", Text, nullable=False),
    Column("head", String(64), nullable=False), Column("number", Float), PrimaryKeyConstraint("run", "key"),
    Index("ix_run_param_head", "project", "experiment_number", "key", "head", "run"),
    Index("ix_run_param_number", "project", "experiment_number", "key", "number", "run"),
)  # fmt: skip
Table(
    "run_tag", _META, _id("run"), Column("key", String(250), nullable=False), _id("project"),
    Column("experiment_number", Integer, nullable=False), Column("value", Text, nullable=False), Column("head", String(64), nullable=False),
    PrimaryKeyConstraint("run", "key"), Index("ix_run_tag_head", "project", "experiment_number", "key", "head", "run"),
)  # fmt: skip
Table(
    "run_input", _META, _id("run"), Column("name", String(500), nullable=False), Column("digest", String(36), nullable=False),
    Column("context", String(250), nullable=False), _id("project"), PrimaryKeyConstraint("run", "name", "digest", "context"),
    Index("ix_run_input_name", "project", "name"),
)  # fmt: skip
Table(
    "metric_series", _META, Column("id", _ROWID, primary_key=True, autoincrement=True), _id("run"), Column("key", String(250), nullable=False),
    Column("tail", Integer, nullable=False), UniqueConstraint("run", "key", name="uq_metric_series"),
    Index("ix_metric_series_tail", "tail", sqlite_where=text("tail >= 4096"), postgresql_where=text("tail >= 4096")),
)  # fmt: skip
Table(
    "metric_point", _META, Column("series", _ROWID, nullable=False, autoincrement=False), Column("step", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False), Column("value", Float, nullable=False), Column("is_nan", Boolean, nullable=False),
    PrimaryKeyConstraint("series", "step", "at", "value", "is_nan"), sqlite_with_rowid=False,
)  # fmt: skip
Table(
    "metric_chunk", _META, Column("id", _ROWID, primary_key=True, autoincrement=True), Column("series", _ROWID, nullable=False),
    Column("first_step", BigInteger, nullable=False), Column("last_step", BigInteger, nullable=False), Column("points", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False), Column("summary", LargeBinary, nullable=False),
    Index("ix_metric_chunk_series", "series", "first_step"),
)  # fmt: skip
Table(
    "metric_latest", _META, _id("run"), Column("key", String(250), nullable=False), _id("project"),
    Column("experiment_number", Integer, nullable=False), Column("step", BigInteger, nullable=False), Column("at", BigInteger, nullable=False),
    Column("value", Float), Column("is_nan", Boolean, nullable=False), Column("low", Float), Column("low_step", BigInteger),
    Column("high", Float), Column("high_step", BigInteger), PrimaryKeyConstraint("run", "key"),
    Index("ix_metric_latest_value", "project", "experiment_number", "key", "value", "run"),
)  # fmt: skip
Table(
    "artifact", _META, Column("owner", String(40), nullable=False), Column("path", String(1000), nullable=False), _id("project"),
    Column("digest", String(80), nullable=False), Column("size_bytes", BigInteger, nullable=False), Column("media_type", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False), PrimaryKeyConstraint("owner", "path", "project"),
)  # fmt: skip
Table(
    "logged_model", _META, _id(), _id("project"), Column("experiment_number", Integer, nullable=False), Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False), Column("type", Text, nullable=False), _id("run", null=True), Column("params", Text, nullable=False),
    Column("tags", Text, nullable=False), Column("created_at", BigInteger, nullable=False), Column("updated_at", BigInteger, nullable=False),
    Column("created_by", String(128), nullable=False), Column("deleted_at", BigInteger), PrimaryKeyConstraint("id"),
    Index("ix_logged_model_experiment", "project", "experiment_number", "created_at"), Index("ix_logged_model_run", "project", "run"),
)  # fmt: skip
Table(
    "logged_model_metric", _META, _id("model"), Column("key", String(250), nullable=False), _id("run"),
    Column("dataset_name", String(500), nullable=False), Column("dataset_digest", String(36), nullable=False),
    Column("step", BigInteger, nullable=False), Column("at", BigInteger, nullable=False), Column("value", Float),
    Column("is_nan", Boolean, nullable=False), PrimaryKeyConstraint("model", "key", "run", "dataset_name", "dataset_digest"),
)  # fmt: skip

_NUMBER = "CASE WHEN name = 'default' THEN 0 ELSE ROW_NUMBER() OVER (PARTITION BY project ORDER BY created_at, id) END"
_OF_EXPERIMENT = "JOIN experiment e ON e.project = o.project AND e.name = o.experiment"
_OF_SERIES = "FROM metric_point p JOIN metric_series s ON s.id = p.series WHERE s.run = metric_latest.run AND s.key = metric_latest.key"
_FILL = (
    "INSERT INTO experiment SELECT id, project, "
    + _NUMBER
    + ", name, note, '{}', '', runs, created_at, created_by, created_at, NULL FROM old_experiment",
    "INSERT INTO run SELECT o.id, o.project, e.number, o.number, o.name, o.status, o.started_at, o.ended_at, o.created_by, o.context, o.git_commit,"
    " o.datasets, '[]', '[]', o.pipeline_run, o.step, o.parent, o.deleted_at, o.error FROM old_run o " + _OF_EXPERIMENT,
    "INSERT INTO run_param SELECT o.run, o.key, o.project, e.number, o.value, o.text, substr(o.text, 1, 64), o.number FROM old_run_param o "
    + _OF_EXPERIMENT,
    "INSERT INTO run_tag SELECT o.run, o.key, o.project, r.experiment_number, o.value, substr(o.value, 1, 64) FROM old_run_tag o JOIN run r ON r.id = o.run",
    "INSERT INTO metric_series (id, run, key, tail) SELECT id, run, key, 0 FROM old_metric_series",
    "INSERT INTO metric_point SELECT DISTINCT series, step, at, coalesce(value, 0), is_nan FROM old_metric_point",
    "UPDATE metric_series SET tail = (SELECT count(*) FROM metric_point p WHERE p.series = metric_series.id)",
    "INSERT INTO metric_latest SELECT o.run, o.key, o.project, e.number, o.step, o.at, o.value, o.is_nan, NULL, NULL, NULL, NULL"
    " FROM old_metric_latest o " + _OF_EXPERIMENT,
    f"UPDATE metric_latest SET low = (SELECT min(p.value) {_OF_SERIES} AND NOT p.is_nan), high = (SELECT max(p.value) {_OF_SERIES} AND NOT p.is_nan)",
    f"UPDATE metric_latest SET low_step = (SELECT min(p.step) {_OF_SERIES} AND NOT p.is_nan AND p.value = low),"
    f" high_step = (SELECT min(p.step) {_OF_SERIES} AND NOT p.is_nan AND p.value = high)",
    "INSERT INTO artifact SELECT run, path, project, digest, size_bytes, media_type, created_at FROM old_run_artifact",
)


def up(connection: Connection) -> None:
    """Copy aside, make anew, fill."""
    for name in _OLD:
        connection.execute(text(f"CREATE TABLE old_{name} AS SELECT * FROM {name}"))
        connection.execute(text(f"DROP TABLE {name}"))
    _META.create_all(connection, checkfirst=False)
    for statement in _FILL:
        connection.execute(text(statement))
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('metric_series', 'id'), coalesce((SELECT max(id) FROM metric_series), 0) + 1, false)"
            )
        )
    for name in _OLD:
        connection.execute(text(f"DROP TABLE old_{name}"))
