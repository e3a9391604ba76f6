"""Schema 3: longer names of models, stages, holds on versions that are served, approvals, webhooks.

SQLite cannot change a column's type, so there the table is made anew from its own text with the longer width in it.
"""

import json

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# table, column, width before, width now
_WIDER = (
    ("model", "name", 128, 256), ("model_version", "model", 128, 256), ("model_alias", "model", 128, 256), ("model_alias", "alias", 64, 250),
    ("alias_move", "model", 128, 256), ("alias_move", "alias", 64, 250), ("gate_rules", "model", 128, 256), ("verdict", "model", 128, 256),
    ("evaluation", "model", 128, 256), ("value_matrix", "model", 128, 256), ("retraining_policy", "model", 128, 256),
    ("value_report", "model", 128, 256), ("rehearsal", "model", 128, 256), ("model_goal", "model", 128, 256),
    ("ledger_entry", "model", 128, 256), ("decision", "model", 128, 256), ("realised_gain", "model", 128, 256),
    ("dossier", "model", 128, 256), ("lineage_edge", "source_id", 250, 300), ("lineage_edge", "target_id", 250, 300),
)  # fmt: skip
_NEW = (
    "ALTER TABLE model ADD COLUMN updated_at BIGINT",
    "ALTER TABLE model ADD COLUMN gated BOOLEAN",
    "ALTER TABLE model ADD COLUMN deleted_at BIGINT",
    "ALTER TABLE model_version ADD COLUMN updated_at BIGINT",
    "ALTER TABLE model_version ADD COLUMN stage VARCHAR(16)",
    "ALTER TABLE model_version ADD COLUMN staged_at BIGINT",
)
_META = MetaData(naming_convention={"pk": "pk_%(table_name)s"})


def _text(name: str, width: int) -> Column[str]:
    return Column(name, String(width), nullable=False)


def _at(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


Table(
    "model_hold", _META, _text("project", 32), _text("model", 256), Column("number", Integer, nullable=False, autoincrement=False),
    _text("holder", 200), PrimaryKeyConstraint("project", "model", "number", "holder"),
)  # fmt: skip
Table(
    "approval_rule", _META, _text("project", 32), _text("model", 256), Column("record", Text, nullable=False),
    PrimaryKeyConstraint("project", "model"),
)  # fmt: skip
Table(
    "approval", _META, _text("id", 32), _text("project", 32), _text("model", 256), Column("number", Integer, nullable=False),
    _text("digest", 80), _text("by", 128), _text("role", 16), _at("created_at"), Column("comment", Text, nullable=False),
    _at("until", null=True), _at("revoked_at", null=True), _text("revoked_by", 128),
    Column("rejected", Boolean, nullable=False), PrimaryKeyConstraint("id"),
    Index("ix_approval_version", "project", "model", "number"),
)  # fmt: skip
Table(
    "webhook", _META, _text("id", 32), _text("project", 32), _text("name", 250), Column("url", Text, nullable=False),
    Column("events", Text, nullable=False), _text("status", 16), Column("secret", Text, nullable=False), _at("created_at"),
    _text("created_by", 128), _at("updated_at"), Column("description", Text, nullable=False), PrimaryKeyConstraint("id"),
    Index("ix_webhook_project", "project", "id"),
)  # fmt: skip
Table(
    "webhook_delivery", _META, _text("id", 32), _text("project", 32), _text("webhook", 32), _text("event", 64), _text("once", 200),
    Column("body", Text, nullable=False), _text("status", 16), _at("created_at"), _at("due_at"), Column("attempts", Integer, nullable=False),
    Column("response_status", Integer), Column("error", Text, nullable=False), _at("delivered_at", null=True), PrimaryKeyConstraint("id"),
    UniqueConstraint("webhook", "once", name="uq_webhook_delivery_once"), Index("ix_webhook_delivery_due", "status", "due_at"),
)  # fmt: skip


def up(connection: Connection) -> None:
    """Widen, add, make, and hold what is served now."""
    widths: dict[str, list[tuple[str, int, int]]] = {}
    for table, column, before, now in _WIDER:
        widths.setdefault(table, []).append((column, before, now))
    for table, columns in widths.items():
        (_widen_sqlite if connection.dialect.name == "sqlite" else _widen)(connection, table, columns)
    for statement in _NEW:
        connection.execute(text(statement))
    _META.create_all(connection, checkfirst=False)
    _hold_what_is_served(connection)


def _widen(connection: Connection, table: str, columns: list[tuple[str, int, int]]) -> None:
    for column, _, now in columns:
        connection.execute(text(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE VARCHAR({now})"))


def _widen_sqlite(connection: Connection, table: str, columns: list[tuple[str, int, int]]) -> None:
    found = connection.execute(
        text("SELECT type, name, sql FROM sqlite_master WHERE tbl_name = :t AND sql IS NOT NULL"), {"t": table}
    ).all()
    made = next(sql for kind, _, sql in found if kind == "table")
    for column, before, now in columns:
        if f"{column} VARCHAR({before})" not in made:
            raise RuntimeError(f"Table {table} has no column {column} of {before} characters.")
        made = made.replace(f"{column} VARCHAR({before})", f"{column} VARCHAR({now})")
    connection.execute(text(f"ALTER TABLE {table} RENAME TO old_{table}"))
    for kind, name, _ in found:
        if kind == "index":
            connection.execute(text(f"DROP INDEX {name}"))
    connection.exec_driver_sql(made)
    connection.execute(text(f"INSERT INTO {table} SELECT * FROM old_{table}"))  # noqa: S608 - names are ours
    connection.execute(text(f"DROP TABLE old_{table}"))
    for kind, _, sql in found:
        if kind == "index":
            connection.exec_driver_sql(sql)


def _hold_what_is_served(connection: Connection) -> None:
    """A hold on each version that the newest revision of a deployment routes to."""
    newest = (
        "SELECT r.project, r.deployment, r.routes FROM deployment_revision r JOIN (SELECT project, deployment, max(number) AS number FROM deployment_revision"
        " GROUP BY project, deployment) n ON n.project = r.project AND n.deployment = r.deployment AND n.number = r.number"
    )
    for project, deployment, routes in connection.execute(text(newest)).all():
        for model, number in sorted({(route["model"], route["number"]) for route in json.loads(routes)}):
            values = {"project": project, "model": model, "number": number, "holder": f"deployment {deployment}"}
            connection.execute(
                text("INSERT INTO model_hold (project, model, number, holder) VALUES (:project, :model, :number, :holder)"), values
            )
