"""What every database engine must hold: durable writes, savepoints, snapshots, races told apart."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from rung.core.clock import SystemClock
from rung.core.errors import Conflict, Invalid
from rung.core.ids import new_id
from rung.core.settings import Settings
from rung.governance.records import Project
from rung.governance.store import PROJECT, GovernanceStore
from rung.storage.connection import Connection
from rung.storage.database import Database, sqlite_url
from rung.storage.migrate import APPLIED, known, migrate
from rung.storage.raw import Raw
from tests.servers import PostgresServer

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def database(any_settings: Settings) -> Iterator[Database]:
    any_settings.home_path.mkdir(parents=True)
    opened = Database(any_settings.storage.database or sqlite_url(any_settings.home_path / "rung.db"))
    migrate(opened, SystemClock().now())
    yield opened
    opened.close()


def add(name: str) -> object:
    return lambda connection: GovernanceStore(connection).add_project(Project(id=new_id(), name=name, created_at=NOW))


def names(database: Database) -> set[str]:
    return database.read(lambda connection: set(connection.execute(select(PROJECT.c.name)).scalars()))


def test_an_instant_keeps_its_microseconds(database: Database) -> None:
    database.write(add("a"))  # type: ignore[arg-type]
    found = database.read(lambda connection: GovernanceStore(connection).find_project("a"))
    assert found is not None
    assert found.created_at == NOW


def test_a_failed_write_leaves_nothing_and_harms_no_neighbour(database: Database) -> None:
    def fail(connection: Connection) -> None:
        GovernanceStore(connection).add_project(Project(id=new_id(), name="half", created_at=NOW))
        raise Invalid("No.", code="test.no")

    with ThreadPoolExecutor(8) as pool:
        good = [pool.submit(database.write, add(f"p{i}")) for i in range(20)]  # type: ignore[arg-type]
        bad = [pool.submit(database.write, fail) for _ in range(20)]
    assert all(future.exception() is None for future in good)
    assert all(isinstance(future.exception(), Invalid) for future in bad)
    assert names(database) == {f"p{i}" for i in range(20)}


def test_a_taken_unique_key_is_a_conflict_without_sql(database: Database) -> None:
    database.write(add("a"))  # type: ignore[arg-type]
    with pytest.raises(Conflict) as caught:
        database.write(add("a"))  # type: ignore[arg-type]
    assert "INSERT" not in str(caught.value)


def test_a_second_start_migrates_nothing(database: Database) -> None:
    assert migrate(database, NOW) == []


def test_a_newer_schema_is_refused(database: Database) -> None:
    newest = known()[-1].number + 1
    row = APPLIED.insert().values(number=newest, name="future", checksum="x", applied_at=NOW)
    database.write(lambda connection: connection.execute(row) and None)
    with pytest.raises(Conflict, match=str(newest)):
        migrate(database, NOW)


def test_an_edited_migration_is_refused(database: Database) -> None:
    database.write(lambda connection: connection.execute(APPLIED.update().values(checksum="other")) and None)
    with pytest.raises(Conflict, match="changed"):
        migrate(database, NOW)


@pytest.mark.parametrize("plain", [False, True])
def test_connections_that_the_server_ended_are_opened_again(postgres: PostgresServer, plain: bool) -> None:
    database = Database(postgres.new_database())
    ask = _one_by_the_driver if plain else _one
    try:
        assert database.read(ask) == database.write(ask) == 1
        with psycopg.connect(database.url) as other:  # as a restart, a failover or a firewall would
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        assert database.read(ask) == database.write(ask) == database.submit(ask).result() == 1
    finally:
        database.close()


def test_a_read_on_postgresql_sees_one_snapshot_and_may_not_write(postgres: PostgresServer) -> None:
    database = Database(postgres.new_database())
    try:
        database.write(lambda connection: connection.execute(text("CREATE TABLE place (n int)")))

        def look(connection: Connection) -> tuple[int, int]:
            before = connection.execute(text("SELECT count(*) FROM place")).scalar_one()
            database.submit(lambda other: other.execute(text("INSERT INTO place VALUES (1)"))).result()
            return before, connection.execute(text("SELECT count(*) FROM place")).scalar_one()

        assert database.read(look) == (0, 0)
        assert database.read(lambda connection: connection.execute(text("SELECT count(*) FROM place")).scalar_one()) == 1
        with pytest.raises(DBAPIError):
            database.read(lambda connection: connection.execute(text("INSERT INTO place VALUES (2)")))
    finally:
        database.close()


def _one(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


def _one_by_the_driver(connection: Connection) -> int:
    return int(Raw(connection).rows("SELECT ?::int", (1,))[0][0])
