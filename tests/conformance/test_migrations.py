"""From every released schema, on both engines, the migrator arrives where a new database starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from rung.core.clock import SystemClock
from rung.core.settings import Settings
from rung.storage.connection import Connection
from rung.storage.database import Database, sqlite_url
from rung.storage.migrate import APPLIED, TABLES, _compiled, known, migrate, stamp

SCHEMAS = Path(__file__).parent / "schemas"
RELEASED = sorted({path.name.split(".")[0] for path in SCHEMAS.glob("*.sql")})
NOW = SystemClock().now()


def shape(connection: Connection) -> dict[str, object]:
    """Tables with their columns, keys and indexes, in a form that can be compared."""
    found = inspect(connection.core)
    return {
        name: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)),
            found.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"] or "", tuple(i["column_names"]), bool(i["unique"])) for i in found.get_indexes(name)),
            sorted(tuple(u["column_names"]) for u in found.get_unique_constraints(name)),
        )
        for name in sorted(found.get_table_names())
    }


def opened(settings: Settings, name: str, request: pytest.FixtureRequest) -> Database:
    settings.home_path.mkdir(parents=True, exist_ok=True)
    if settings.storage.database:
        return Database(request.getfixturevalue("postgres").new_database())
    return Database(sqlite_url(settings.home_path / name))


def test_there_is_a_dump_of_the_newest_schema() -> None:
    assert f"{known()[-1].number:04d}" in RELEASED, "run scripts/schema_dump.py"


def test_a_new_file_is_laid_out_from_what_was_written_down() -> None:
    written, text = TABLES.read_text("utf-8"), (SCHEMAS / f"{RELEASED[-1]}.sqlite.sql").read_text("utf-8")
    assert written == stamp() + text, "run scripts/schema_dump.py"
    assert ";\n\n".join(statement.strip() for statement in _compiled()) + ";\n" == text, "run scripts/schema_dump.py"


@pytest.mark.parametrize("released", RELEASED)
def test_an_old_database_becomes_a_new_one(released: str, any_settings: Settings, backend: str, request: pytest.FixtureRequest) -> None:
    fresh, old = opened(any_settings, "fresh.db", request), opened(any_settings, "old.db", request)
    migrate(fresh, NOW)
    script = (SCHEMAS / f"{released}.{backend}.sql").read_text("utf-8")
    stamps = [m for m in known() if m.number <= int(released)]

    def restore(connection: Connection) -> None:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.execute(text(statement.replace(":", "\\:")))
        for m in stamps:
            connection.execute(APPLIED.insert().values(number=m.number, name=m.name, checksum=m.checksum, applied_at=NOW))

    old.write(restore)
    applied = migrate(old, NOW)
    assert [m.number for m in applied] == [m.number for m in known() if m.number > int(released)]
    assert old.read(shape) == fresh.read(shape)
    fresh.close()
    old.close()
