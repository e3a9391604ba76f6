"""The connection of a transaction: plain SQL goes to the driver, statements that SQLAlchemy builds go through it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVarTuple, overload

import msgspec

from rung.storage.later import real

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy import CursorResult, Executable
    from sqlalchemy.sql.selectable import TypedReturnsRows

Ts = TypeVarTuple("Ts")


class Dialect(msgspec.Struct, frozen=True):
    """Which product a connection leads to: ``sqlite`` or ``postgresql``."""

    name: str


class Connection:
    """One connection to the database; ``rung.storage.raw`` and ``rung.storage.plain`` use its ``driver``."""

    def __init__(self, product: str, driver: Any, core: Callable[[], sqlalchemy.Connection]) -> None:
        self.dialect = Dialect(product)
        self.driver = driver
        self.sqlite: sqlite3.Connection | None = driver if product == "sqlite" else None
        self._core = core
        self.opened_core: sqlalchemy.Connection | None = None

    @property
    def core(self) -> sqlalchemy.Connection:
        """SQLAlchemy's connection over the same driver's; the first use in a process loads SQLAlchemy."""
        if self.opened_core is None:
            self.opened_core = self._core()
        return self.opened_core

    if TYPE_CHECKING:

        @overload
        def execute(
            self, statement: TypedReturnsRows[*Ts], parameters: Any = None, *, execution_options: Any = None
        ) -> CursorResult[*Ts]: ...

        @overload
        def execute(
            self, statement: Executable, parameters: Any = None, *, execution_options: Any = None
        ) -> CursorResult[*tuple[Any, ...]]: ...

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Run a statement that was built; its result."""
        return self.core.execute(real(statement), parameters, execution_options=execution_options)

    def exec_driver_sql(self, sql: str) -> CursorResult[*tuple[Any, ...]]:
        """Run SQL as it is; its result as SQLAlchemy gives it."""
        return self.core.exec_driver_sql(sql)
