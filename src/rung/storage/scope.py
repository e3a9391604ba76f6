"""What a handler is given: who asks, for which project, at what instant, and the connection of its transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from rung.core.errors import Invalid
from rung.core.settings import Settings
from rung.storage.blobs import BlobStore
from rung.storage.connection import Connection
from rung.storage.database import Database

T = TypeVar("T")


class Scope(msgspec.Struct, frozen=True):
    """The world of one request.

    ``read`` and ``write`` handlers use ``connection``. ``work`` handlers have none while they prepare: they look
    things up with ``read``, and return the function that saves, which is given a scope with a connection.
    """

    project: str
    principal: str
    principal_kind: str
    now: datetime
    settings: Settings
    database: Database
    blobs: BlobStore
    open_connection: Connection | None = None
    principal_name: str = ""

    @property
    def who(self) -> str:
        """The principal as people call it: what a record says of who made it."""
        return self.principal_name or self.principal

    @property
    def connection(self) -> Connection:
        """The connection of the transaction. Raises Invalid in the preparing phase of ``work``."""
        if self.open_connection is None:
            raise Invalid(
                "This handler has no transaction; use scope.read, or save in the function it returns.", code="platform.no_transaction"
            )
        return self.open_connection

    @property
    def home(self) -> Path:
        """The platform's folder on this machine."""
        return self.settings.home_path

    def over(self, connection: Connection | None) -> Scope:
        """The same world in another transaction, or with None in none yet."""
        return msgspec.structs.replace(self, open_connection=connection)

    def read(self, work: Callable[[Scope], T]) -> T:
        """Run ``work`` with a scope on a snapshot."""
        return self.database.read(lambda connection: work(self.over(connection)))

    def write(self, work: Callable[[Scope], T]) -> T:
        """Run ``work`` with a scope in a transaction of its own: progress that must be kept whatever follows."""
        return self.database.write(lambda connection: work(self.over(connection)))
