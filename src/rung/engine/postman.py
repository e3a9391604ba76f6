"""Sends what webhooks are to be told, in a thread of its own: a slow receiver keeps nobody else waiting."""

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


class Postman:
    """Looks for due messages every second while idle, at once while there are more."""

    def __init__(self, platform: Host) -> None:
        self._platform = platform
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rung-postman")
        self._out: Future[int] | None = None
        self._look_at = 0.0

    def tick(self) -> bool:
        """One look; whether something was sent since the last one, or is under way."""
        if self._out is not None:
            if not self._out.done():
                return False
            sent, self._out = self._out.result(), None
            if sent:
                self._look_at = 0.0
                return True
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_S
        due = self._platform.database.read(lambda c: projects_with_due(c, self._platform.clock.now()))
        if due:
            self._out = self._pool.submit(self._round, due)
        return bool(due)

    def close(self) -> None:
        """Let the round under way end; what is not sent stays due."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _round(self, projects: list[str]) -> int:
        sent = 0
        for project in projects:
            try:
                sent += ServiceTransport(self._platform, project).call(DeliverWebhooks())
            except RungError as error:
                _log.warning("webhooks of project %s: %s", project, error)
        return sent
