"""Parts of the prediction log that no Parquet file stands for yet: segments on this machine, and frames that nodes have shipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rung.serving.log import log_folder, segments
from rung.serving.node_store import NodeStore, ShippedPart
from rung.storage.scope import Scope
from rung.storage.sql import Connection


@dataclass(frozen=True)
class LogPart:
    """A segment as readers meet it. ``stem`` names it for good, wherever it lies."""

    stem: str
    path: Path
    sealed: bool
    shipped: bool = False

    @property
    def sealed_path(self) -> Path:
        """Where an open one lies once it is sealed."""
        return self.path if self.sealed else self.path.with_suffix(".seg")


def log_parts(scope: Scope, *, sealed_only: bool = False) -> list[LogPart]:
    """Every part of the project's log that lies beside Parquet, oldest first."""
    own = segments(log_folder(scope.home, scope.project), sealed_only=sealed_only)
    found = [LogPart(path.stem, path, sealed=path.suffix == ".seg") for path in own]
    shipped = _read(scope)
    found += [LogPart(part.id, Path(scope.blobs.url(part.blob)), sealed=True, shipped=True) for part in shipped]
    return sorted(found, key=lambda part: part.stem) if shipped else found


def any_parts(scope: Scope) -> bool:
    """Whether there is something to move into Parquet."""
    return bool(segments(log_folder(scope.home, scope.project)) or _read(scope))


def _read(scope: Scope) -> list[ShippedPart]:
    def look(connection: Connection) -> list[ShippedPart]:
        return NodeStore(connection, scope.project).parts()

    if scope.open_connection is not None:
        return look(scope.open_connection)
    return scope.read(lambda inside: look(inside.connection))
