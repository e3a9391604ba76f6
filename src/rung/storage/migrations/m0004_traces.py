"""Schema 4: traces of instrumented code."""

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, Text

_META = MetaData(naming_convention={"pk": "pk_%(table_name)s"})
Table(
    "trace", _META, Column("project", String(32), nullable=False), Column("id", String(35), nullable=False),
    Column("experiment_number", Integer, nullable=False), Column("at", BigInteger, nullable=False), Column("tags", Text, nullable=False),
    Column("record", Text, nullable=False), PrimaryKeyConstraint("project", "id"),
    Index("ix_trace_experiment", "project", "experiment_number", "at"),
)  # fmt: skip


def up(connection: Connection) -> None:
    """Make the table."""
    _META.create_all(connection, checkfirst=False)
