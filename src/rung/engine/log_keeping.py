"""Keeps the prediction log: segments into Parquet, sinks told, what is too old removed. In a thread of its own; nobody waits for it.

Segments lie on the machine that answered, so every engine looks after those of its own home. That is safe without a lease:
a segment counts once whoever moves it. Sinks and removal are one engine's, by lease.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

from rung.core.errors import RungError
from rung.engine.host import Host, ServiceTransport
from rung.serving.comparing_records import KeepComparison
from rung.serving.log_parts import any_parts
from rung.serving.log_records import PrunePredictions, TellSinks
from rung.serving.records import CompactLog, ListDeployments
from rung.serving.store import projects_with_deployments
from rung.serving.telling import with_sinks
from rung.storage.queue import QueueStore

_log = logging.getLogger("rung.engine")
_LOOK_S, _COMPACT_S, _PRUNE_S = 1.0, 15.0, 3600.0
_LEASE = timedelta(seconds=60)
_COMPARE_S, _REST = 60.0, 50  # a comparison reads the log: one a minute at most, and after one that took long a long rest


class LogKeeper:
    """One round at a time: sinks every second, compaction every quarter of a minute while there is something to move."""

    def __init__(self, host: Host, owner: str) -> None:
        self._host = host
        self._owner = owner
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rung-log-keeper")
        self._out: Future[bool] | None = None
        self._look_at = self._compact_at = self._prune_at = self._compare_at = 0.0

    def tick(self) -> bool:
        """One look; whether the round before found something to do."""
        worked = False
        if self._out is not None:
            if not self._out.done():
                return False  # the engine does not wait for it
            out, self._out = self._out, None
            worked = out.result()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._out = self._pool.submit(self._round, now)
        return worked

    def close(self) -> None:
        """Let the round under way end."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _round(self, now: float) -> bool:
        try:
            projects = self._host.database.read(projects_with_deployments)
            compacts, prunes = now >= self._compact_at, now >= self._prune_at
            self._compact_at = now + _COMPACT_S if compacts else self._compact_at
            self._prune_at = now + _PRUNE_S if prunes else self._prune_at
            if not projects:
                return False
            moved = [self._compacted(project) for project in projects] if compacts else []
            if now >= self._compare_at and any(moved):
                self._compare([project for project, some in zip(projects, moved, strict=True) if some])
            asked = any(with_sinks(ServiceTransport(self._host, project).scope()) for project in projects)
            prunes = prunes and self._host.settings.serving.log_days > 0
            if not (asked or prunes):
                return any(moved)
            if self._host.database.write(lambda c: QueueStore(c).hold("prediction-log", owner=self._owner, lease=_LEASE)) is None:
                return any(moved)
            told = [self._call(project, TellSinks()) > 0 for project in projects] if asked else []
            if prunes:
                self._compare(projects)  # what a shadow has shown outlives the rows
            told += [self._call(project, PrunePredictions()) > 0 for project in projects] if prunes else []
        except Exception:  # the engine's thread must outlive whatever goes wrong with a log
            _log.exception("the prediction log could not be kept")
            return False
        return any((*moved, *told))

    def _compare(self, projects: list[str]) -> None:
        """Keep what shadows have shown so far."""
        begun = time.monotonic()
        for project in projects:
            transport = ServiceTransport(self._host, project)
            try:
                for held in transport.call(ListDeployments()):
                    if any(route.arm == "shadow" for route in held.routes):
                        transport.call(KeepComparison(deployment=held.name))
            except RungError as error:
                _log.warning("shadows of project %s: %s", project, error)
        self._compare_at = time.monotonic() + max(_COMPARE_S, _REST * (time.monotonic() - begun))

    def _compacted(self, project: str) -> bool:
        return any_parts(ServiceTransport(self._host, project).scope()) and self._call(project, CompactLog(seal=False)) > 0

    def _call(self, project: str, request: CompactLog | TellSinks | PrunePredictions) -> int:
        try:
            return int(ServiceTransport(self._host, project).call(request))
        except RungError as error:
            _log.warning("prediction log of project %s: %s", project, error)
            return 0
