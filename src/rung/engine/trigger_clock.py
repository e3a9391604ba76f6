"""What calls upon triggers by time: schedules that are due, calls that wait, repositories on this machine."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

from rung.core.errors import RungError
from rung.core.requests import Request
from rung.engine.git_watch import look
from rung.engine.host import Host, ServiceTransport
from rung.engine.records import CallSchedule, CallTriggers, HealSchedules, ReconsiderFires
from rung.pipelines.trigger_store import TriggerStore, due_schedules, due_waiting, far_schedules, watched_folders
from rung.storage.queue import QueueStore

_log = logging.getLogger("rung.engine")
_HEAL_S = 60.0
_WAITING_S = 2.0
_AGAIN_S = 30.0


class TriggerClock:
    """One look a round of the engine; what fails is put off, so that one bad trigger keeps no other waiting."""

    def __init__(self, host: Host, owner: str) -> None:
        self._host = host
        self._owner = owner
        self._heal_at = time.monotonic() + _HEAL_S
        self._waiting_at = 0.0
        self._not_before: dict[str, float] = {}
        self._watch_at: dict[str, float] = {}
        self._folders_at = 0.0

    def tick(self) -> bool:
        """Call what is due; whether anything was."""
        worked = self._schedules()
        now = time.monotonic()
        if now >= self._waiting_at:
            self._waiting_at = now + _WAITING_S
            worked |= self._waiting()
        if now >= self._heal_at:
            self._heal_at = now + _HEAL_S
            self._heal()
        if now >= self._folders_at:
            self._folders_at = now + 1.0
            worked |= self._folders(now)
        return worked

    def _schedules(self) -> bool:
        now = self._host.clock.now()
        called = False
        for project, name in self._host.database.read(lambda c: due_schedules(c, now)):
            called |= self._ask(project, f"schedule {name}", CallSchedule(name=name))
        return called

    def _waiting(self) -> bool:
        now = self._host.clock.now()
        projects = self._host.database.read(lambda c: due_waiting(c, now))
        worked = [self._ask(project, f"waiting calls of {project}", ReconsiderFires()) for project in projects]
        return any(worked)

    def _heal(self) -> None:
        now = self._host.clock.now()
        far = self._host.database.read(lambda c: far_schedules(c, now))
        for project in dict.fromkeys(project for project, _ in far):
            self._ask(project, f"schedules of {project}", HealSchedules())

    def _folders(self, now: float) -> bool:
        called = False
        for project, trigger in self._host.database.read(watched_folders):
            if now < self._watch_at.get(trigger.id, 0.0):
                continue
            every = float(trigger.options.get("every_s", 60.0))
            self._watch_at[trigger.id] = now + every
            if not self._mine(trigger.id, every):
                continue
            signal = look(self._host.settings.folder, trigger, self._last(project, trigger.id))
            if signal is not None:
                called |= self._ask(project, f"push trigger {trigger.name}", CallTriggers(signal=signal, name=trigger.name))
        return called

    def _mine(self, trigger: str, every_s: float) -> bool:
        """One worker looks at a repository, not all of them."""
        lease = timedelta(seconds=max(every_s * 2, 15.0))
        return self._host.database.write(lambda c: QueueStore(c).hold(f"push {trigger}", owner=self._owner, lease=lease)) is not None

    def _last(self, project: str, trigger: str) -> dict[str, Any] | None:
        scope = ServiceTransport(self._host, project).scope()
        return scope.read(lambda inside: TriggerStore(inside.connection, inside.project).newest_facts(trigger))

    def _ask(self, project: str, what: str, request: Request[Any]) -> bool:
        if time.monotonic() < self._not_before.get(what, 0.0):
            return False
        try:
            ServiceTransport(self._host, project).call(request)
        except RungError as error:
            self._not_before[what] = time.monotonic() + _AGAIN_S
            _log.warning("%s: %s", what, error)
            return False
        return True
