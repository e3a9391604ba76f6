"""Shadows are scored beside the answers' path, by one thread with a bounded queue: when it is behind, requests are dropped and counted."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from rung.core.errors import RungError

if TYPE_CHECKING:
    from rung.serving.live import LiveDeployment

LOG = logging.getLogger("rung.serving")
_MOST = 256
_IDLE_S = 10.0


class Shadows:
    """Runs what shadows do, one after the other."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._waiting: deque[Callable[[], object]] = deque()
        self._ready = threading.Condition()
        self._running = False

    def submit(self, live: LiveDeployment, work: Callable[[], object]) -> None:
        """Run it later, or count it as dropped when too many wait."""
        if not self._take(work, self._most):
            live.meter.dropped()

    def settle(self) -> None:
        """Wait for everything submitted so far."""
        done = threading.Event()
        self._take(done.set, 1 << 30)
        done.wait()

    def _take(self, work: Callable[[], object], most: int) -> bool:
        with self._ready:
            if len(self._waiting) >= most:
                return False
            self._waiting.append(work)
            if self._running:
                self._ready.notify()
            else:
                threading.Thread(target=self._run, name="rung-shadow", daemon=True).start()
                self._running = True  # only now: where no thread can be started, the next one tries again
        return True

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._waiting:
                    if not self._ready.wait(_IDLE_S) and not self._waiting:
                        self._running = False
                        return
                work = self._waiting.popleft()
            try:
                work()
            except RungError:  # logged as an error of the shadow's arm where it arose
                continue
            except Exception:
                LOG.exception("a shadow failed")


SHADOWS = Shadows()
