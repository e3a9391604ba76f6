"""The migrator: a new database is created from the tables and stamped; an older one walks forward, step by step.

A database newer than the code is refused, and so is an applied migration whose text has changed since.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import sqlite3
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.digests import digest_of
from rung.core.errors import Conflict
from rung.core.files import write_first
from rung.core.records import Record
from rung.storage import migrations
from rung.storage.database import Database
from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.sql import Column, Connection, Integer, String
from rung.storage.tables import InstantType, metadata, table

if TYPE_CHECKING:
    import sqlalchemy

TABLES = Path(migrations.__path__[0], "tables.sqlite.sql")
APPLIED = table(
    "schema_migration",
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", String(128), nullable=False),
    Column("checksum", String(80), nullable=False),
    Column("applied_at", InstantType, nullable=False),
)


class Migration(Record):
    """One numbered step of the schema."""

    number: int
    name: str
    checksum: str


@cache
def known() -> tuple[Migration, ...]:
    """Every migration this code has, in order."""
    found = []
    for module in pkgutil.iter_modules(migrations.__path__):
        number, _, name = module.name.partition("_")
        source = Path(migrations.__path__[0], f"{module.name}.py").read_bytes().replace(b"\r\n", b"\n")
        found.append(Migration(number=int(number[1:]), name=name, checksum=digest_of(source)))
    return tuple(sorted(found, key=lambda m: m.number))


def migrate(database: Database, now: datetime) -> list[Migration]:
    """Bring the schema to this code's; returns what was applied. Raises Conflict for a newer or edited history."""
    held = database.read(_applied)
    if held == {step.number: step.checksum for step in known()}:
        return []  # as at nearly every start: no transaction is needed to know it
    return database.write(lambda connection: _migrate(connection, now))


def _applied(connection: Connection) -> dict[int, str]:
    """Checksums of the migrations that a database has, by number; none for one without tables."""
    raw = Raw(connection)
    sqlite = connection.dialect.name == "sqlite"
    there = "SELECT 1 FROM sqlite_master WHERE name = ?" if sqlite else "SELECT 1 WHERE to_regclass(?) IS NOT NULL"
    if not raw.rows(there, (APPLIED.name,)):
        return {}
    return dict(raw.rows(f"SELECT number, checksum FROM {APPLIED.name}"))  # noqa: S608 - a name of ours


def stamp() -> str:
    """The line that SQL made for these migrations begins with."""
    return f"-- of migrations {digest_of(''.join(step.checksum for step in known()).encode())}\n"


@cache
def _tables_as_sql() -> tuple[str, ...]:
    """The tables and indexes of a new SQLite database, as ``scripts/schema_dump.py`` wrote them down; compiled where that was forgotten."""
    with contextlib.suppress(FileNotFoundError):
        written = TABLES.read_text("utf-8")
        if written.startswith(stamp()):
            return tuple(written.removeprefix(stamp()).split(";\n\n"))
    return _compiled()


def _compiled() -> tuple[str, ...]:
    from sqlalchemy.dialects.sqlite.base import SQLiteDialect  # noqa: PLC0415 - see rung.storage.sql
    from sqlalchemy.schema import CreateIndex, CreateTable  # noqa: PLC0415 - see above

    dialect = SQLiteDialect()
    statements: list[str] = []
    for held in metadata().sorted_tables:
        statements.append(str(CreateTable(held).compile(dialect=dialect)))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in sorted(held.indexes, key=lambda one: str(one.name))]
    return tuple(statements)


@cache
def _new_file() -> bytes:
    """A SQLite database with this code's tables, all empty."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("BEGIN")
    for statement in _tables_as_sql():
        connection.execute(statement)
    connection.execute("COMMIT")
    data = connection.serialize()
    connection.close()
    return data


def lay_out(file: Path) -> None:
    """Put an empty database with this code's tables there unless there is one: a copy is written faster than it is made by statements."""
    if file.exists():
        return
    with contextlib.suppress(OSError):  # there are no links or no rights here: opening it says which
        write_first(file, _new_file(), mode=0o666)  # as SQLite makes one: whom else the mask of this process lets in


def _create(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        metadata().create_all(connection.core, checkfirst=False)
        return
    raw = Raw(connection)
    if not raw.rows("SELECT 1 FROM sqlite_master WHERE name = ?", (APPLIED.name,)):  # otherwise it was laid out
        for statement in _tables_as_sql():
            raw.change(statement)


def _migrate(connection: Connection, now: datetime) -> list[Migration]:
    if connection.dialect.name == "postgresql":
        Raw(connection).rows("SELECT pg_advisory_xact_lock(7474)")
    steps = list(known())
    held = _applied(connection)
    if not held:
        _create(connection)
        _stamp(connection, steps, now)
        return steps
    newest = max(held, default=0)
    if newest > steps[-1].number:
        raise Conflict(
            f"The database is at schema {newest}, this Rung knows {steps[-1].number}.",
            code="storage.newer_schema",
            hint="Upgrade Rung, or open the home with the version that wrote it.",
        )
    for step in steps:
        if step.number in held and held[step.number] != step.checksum:
            raise Conflict(
                f"Migration {step.number} ({step.name}) was changed after it was applied.",
                code="storage.edited_migration",
                hint="Restore its file.",
            )
    due = [step for step in steps if step.number not in held]
    for step in due:
        up: Callable[[sqlalchemy.Connection], None] = importlib.import_module(f"{migrations.__name__}.m{step.number:04d}_{step.name}").up
        up(connection.core)
    _stamp(connection, due, now)
    return due


def _stamp(connection: Connection, steps: list[Migration], now: datetime) -> None:
    for step in steps:
        Plain(APPLIED).insert(connection, {"number": step.number, "name": step.name, "checksum": step.checksum, "applied_at": now})
