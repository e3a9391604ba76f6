"""What is deployed right now, with models loaded: the table the data plane answers from.

The table is replaced as a whole, by whoever notices a change: this process's own handlers mark it stale at once,
other processes' changes are seen by a look at a counter at most every quarter of a second.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from rung.core.errors import NotFound, RungError
from rung.core.settings import Settings
from rung.registry.loading import predictor
from rung.registry.predictor import Predictor
from rung.registry.records import ModelVersion
from rung.registry.store import RegistryStore
from rung.serving.log import PredictionLog
from rung.serving.records import Deployment, Route
from rung.serving.store import ServingStore, generation, projects_with_deployments
from rung.storage.blobs import BlobStore
from rung.storage.database import Database

LOG = logging.getLogger("rung.serving")
_LOOK_EVERY_S = 0.25
_changes = 0
_changes_lock = threading.Lock()


def note_change() -> None:
    """Say that this process changed a deployment; every table of the process looks again before its next answer."""
    global _changes  # noqa: PLW0603 - one counter for the process is what tables compare with
    with _changes_lock:
        _changes += 1


@dataclass(frozen=True)
class LiveRoute:
    """A route with its model loaded."""

    route: Route
    version: ModelVersion
    predictor: Predictor


@dataclass(frozen=True)
class LiveDeployment:
    """A deployment ready to answer."""

    deployment: Deployment
    project: str
    stable: LiveRoute
    other: LiveRoute | None
    log: PredictionLog


@dataclass
class LiveTable:
    """Deployments of every project, loaded; one a platform."""

    database: Database
    blobs: BlobStore
    settings: Settings
    _held: dict[tuple[str, str], LiveDeployment] = field(default_factory=dict)
    _failed: dict[tuple[str, str], RungError] = field(default_factory=dict)
    _logs: dict[str, PredictionLog] = field(default_factory=dict)
    _seen: tuple[int, tuple[int, int]] = (-1, (-1, -1))
    _looked_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, project: str, name: str) -> LiveDeployment:
        """A deployment ready to answer. Raises NotFound, or what kept its model from loading."""
        self.refresh()
        found = self._held.get((project, name))
        if found is None:
            failure = self._failed.get((project, name))
            if failure:
                raise failure
            known = ", ".join(sorted(n for p, n in self._held if p == project)) or "none"
            raise NotFound(f"There is no deployment {name!r} that answers.", code="serving.no_deployment", hint=f"Known: {known}.")
        return found

    def names(self, project: str) -> list[str]:
        """Deployments of a project that answer."""
        self.refresh()
        return sorted(name for held, name in self._held if held == project)

    def log(self, project: str) -> PredictionLog:
        """The log this process writes for a project."""
        if project not in self._logs:
            serving = self.settings.serving
            self._logs[project] = PredictionLog(
                self.settings.home_path, project, segment_bytes=serving.segment_mb << 20, fsync=serving.log_fsync
            )
        return self._logs[project]

    def refresh(self) -> None:
        """Look for changes, if this process made one or the last look is a quarter of a second old."""
        now = time.monotonic()
        if self._seen[0] == _changes and now - self._looked_at < _LOOK_EVERY_S:
            return
        if not self._lock.acquire(blocking=self._seen[0] != _changes):
            return
        try:
            marker, changes = self.database.read(generation), _changes
            if marker != self._seen[1]:
                self.database.read(self._load)
            self._seen, self._looked_at = (changes, marker), now
        finally:
            self._lock.release()

    def close(self) -> None:
        """Seal every log."""
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    def _load(self, connection: Connection) -> None:
        held: dict[tuple[str, str], LiveDeployment] = {}
        failed: dict[tuple[str, str], RungError] = {}
        for project in projects_with_deployments(connection):
            for deployment in ServingStore(connection, project).all():
                if not deployment.routes:
                    continue
                key = (project, deployment.name)
                try:
                    held[key] = self._loaded(connection, project, deployment)
                except RungError as error:
                    LOG.warning("deployment %s cannot be loaded: %s", deployment.name, error)
                    failed[key] = error
                    if key in self._held:
                        held[key] = self._held[key]  # what answered before goes on answering
        self._held, self._failed = held, failed

    def _loaded(self, connection: Connection, project: str, deployment: Deployment) -> LiveDeployment:
        routes = [self._route(connection, project, route) for route in deployment.routes]
        stable = next(live for live in routes if live.route.arm == "stable")
        other = next((live for live in routes if live.route.arm != "stable"), None)
        return LiveDeployment(deployment=deployment, project=project, stable=stable, other=other, log=self.log(project))

    def _route(self, connection: Connection, project: str, route: Route) -> LiveRoute:
        version = RegistryStore(connection, project).version(route.model, route.number)
        return LiveRoute(route=route, version=version, predictor=predictor(self.blobs, version))


_TABLES: dict[tuple[str, Path], LiveTable] = {}


def live_table(database: Database, blobs: BlobStore, settings: Settings) -> LiveTable:
    """The table of a platform in this process; made on first use."""
    key = (database.url, settings.home_path)
    held = _TABLES.get(key)
    if held is None or held.database is not database:
        _TABLES[key] = held = LiveTable(database=database, blobs=blobs, settings=settings)
        database.on_close.append(held.close)
    return held
