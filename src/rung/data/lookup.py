"""Dataset versions for handlers of higher floors, inside or outside a transaction."""

from __future__ import annotations

from rung.data.records import DatasetVersion
from rung.data.store import DataStore
from rung.storage.scope import Scope


def version_of(scope: Scope, dataset: str, number: int | None = None) -> DatasetVersion:
    """A version, or the latest. Raises NotFound."""
    if scope.open_connection is not None:
        return DataStore(scope.open_connection, scope.project).version(dataset, number)
    return scope.read(lambda inside: DataStore(inside.connection, inside.project).version(dataset, number))
