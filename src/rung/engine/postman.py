"""Sends what webhooks are to be told, in threads of its own: a slow receiver keeps neither the engine nor another project waiting."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor

from rung.core.errors import RungError
from rung.engine.host import Host, ServiceTransport
from rung.registry.store.webhooks import projects_with_due
from rung.registry.webhooks import DeliverWebhooks

_log = logging.getLogger("rung.engine")
_LOOK_S = 1.0
_SIDE_BY_SIDE = 4


class Postman:
    """Looks for due messages every second while idle, at once while there are more; one round a project at a time."""

    def __init__(self, platform: Host) -> None:
        self._platform = platform
        self._pool = ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE, thread_name_prefix="rung-postman")
        self._out: dict[str, Future[int]] = {}
        self._look_at = 0.0

    def tick(self) -> bool:
        """One look; whether something was sent since the last one, or is under way."""
        sent = 0
        for project in [name for name, out in self._out.items() if out.done()]:
            sent += self._out.pop(project).result()
        if sent:
            self._look_at = 0.0
            return True
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_S
        due = self._platform.database.read(lambda c: projects_with_due(c, self._platform.clock.now()))
        fresh = [project for project in due if project not in self._out]
        for project in fresh:
            self._out[project] = self._pool.submit(self._round, project)
        return bool(fresh)

    def close(self) -> None:
        """Let the rounds under way end; what is not sent stays due."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _round(self, project: str) -> int:
        try:
            return ServiceTransport(self._platform, project).call(DeliverWebhooks())
        except RungError as error:
            _log.warning("webhooks of project %s: %s", project, error)
            return 0
