"""The migrator: a new database is created from the tables and stamped; an older one walks forward, step by step.

A database newer than the code is refused, and so is an applied migration whose text has changed since.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Column, Connection, Integer, String, select, text
from sqlalchemy import inspect as reflect

from rung.core.digests import digest_of
from rung.core.errors import Conflict
from rung.core.records import Record
from rung.storage import migrations
from rung.storage.database import Database
from rung.storage.tables import METADATA, InstantType, table

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


def known() -> list[Migration]:
    """Every migration this code has, in order."""
    found = []
    for module in pkgutil.iter_modules(migrations.__path__):
        number, _, name = module.name.partition("_")
        source = inspect.getsource(importlib.import_module(f"{migrations.__name__}.{module.name}"))
        found.append(Migration(number=int(number[1:]), name=name, checksum=digest_of(source.encode())))
    return sorted(found, key=lambda m: m.number)


def migrate(database: Database, now: datetime) -> list[Migration]:
    """Bring the schema to this code's; returns what was applied. Raises Conflict for a newer or edited history."""
    return database.write(lambda connection: _migrate(connection, now))


def _migrate(connection: Connection, now: datetime) -> list[Migration]:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(7474)"))
    steps = known()
    if not reflect(connection).has_table(APPLIED.name):
        METADATA.create_all(connection)
        _stamp(connection, steps, now)
        return steps
    held = {row.number: row for row in connection.execute(select(APPLIED))}
    newest = max(held, default=0)
    if newest > steps[-1].number:
        raise Conflict(
            f"The database is at schema {newest}, this Rung knows {steps[-1].number}.",
            code="storage.newer_schema",
            hint="Upgrade Rung, or open the home with the version that wrote it.",
        )
    for step in steps:
        if step.number in held and held[step.number].checksum != step.checksum:
            raise Conflict(
                f"Migration {step.number} ({step.name}) was changed after it was applied.",
                code="storage.edited_migration",
                hint="Restore its file.",
            )
    due = [step for step in steps if step.number not in held]
    for step in due:
        up: Callable[[Connection], None] = importlib.import_module(f"{migrations.__name__}.m{step.number:04d}_{step.name}").up
        up(connection)
    _stamp(connection, due, now)
    return due


def _stamp(connection: Connection, steps: list[Migration], now: datetime) -> None:
    for step in steps:
        connection.execute(APPLIED.insert().values(number=step.number, name=step.name, checksum=step.checksum, applied_at=now))
