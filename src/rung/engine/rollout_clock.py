"""What looks at growing canaries as their evidence grows; the time of a step is that of its events, so a replay grows them too."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from rung.core.errors import RungError
from rung.engine.host import Host, ServiceTransport
from rung.serving.rollout_records import WeighRollout
from rung.serving.rollout_store import looks_of, under_way
from rung.storage.queue import QueueStore

_log = logging.getLogger("rung.engine")
_LOOK_S = 2.0
_REST = 20  # a look that took long is followed by a rest of so many times its length
_LEASE = timedelta(seconds=15)


class RolloutClock:
    """One look a round at most every two seconds; a canary whose log takes long to read is looked at less often."""

    def __init__(self, host: Host, owner: str) -> None:
        self._host = host
        self._owner = owner
        self._next: dict[tuple[str, str], float] = {}
        self._at = 0.0

    def tick(self) -> bool:
        """Weigh canaries that are due; whether a look was made."""
        if time.monotonic() < self._at:
            return False
        self._at = time.monotonic() + _LOOK_S
        held = self._host.database.read(under_way)
        self._next = {key: at for key, at in self._next.items() if key in held}
        if not held or self._host.database.write(lambda c: QueueStore(c).hold("rollouts", owner=self._owner, lease=_LEASE)) is None:
            return False
        looked = [self._weigh(project, name) for project, name in held]  # every one of them, not only up to the first
        return any(looked)

    def _weigh(self, project: str, deployment: str) -> bool:
        begun, key = time.monotonic(), (project, deployment)
        if begun < self._next.get(key, 0.0):
            return False
        try:
            transport = ServiceTransport(self._host, project)
            before = self._host.database.read(lambda c: looks_of(c, project, deployment))
            return transport.call(WeighRollout(deployment=deployment)).looks > before
        except RungError as error:
            _log.warning("canary of %s: %s", deployment, error)
            return False
        finally:
            self._next[key] = time.monotonic() + max(_LOOK_S, _REST * (time.monotonic() - begun))
