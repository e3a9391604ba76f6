"""The long poll of inference nodes: they ask what is deployed, and are answered when it differs from what they know.

Nobody asks the database meanwhile: the table of what is deployed looks at it for the whole process, and those who wait look at
the table, all of them by one task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from anyio import to_thread

from rung.serving.ending import ENDING
from rung.serving.live import LiveTable
from rung.serving.node_records import Followed

_LOOK_S = 0.05
_SLICE_S = 5.0


class Waiters:
    """Wakes everybody who waits in this process when the table has seen a change, or the server is about to end."""

    def __init__(self, table: LiveTable) -> None:
        self._table = table
        self._waiting: set[asyncio.Future[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def marker(self) -> object:
        """What was last seen to be deployed."""
        return self._table.marker

    async def changed(self, since: object, seconds: float) -> None:
        """Wait until the marker is another, but not longer than so many seconds."""
        if self.marker != since:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(woken)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look(since))
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken, seconds)
        finally:
            self._waiting.discard(woken)

    async def _look(self, seen: object) -> None:
        """``seen`` is what the first who waits has seen: it may have changed before this begins."""
        while self._waiting:
            await asyncio.sleep(_LOOK_S)
            if self.marker != seen or ENDING.is_set():
                seen = self.marker
                for woken in self._waiting:
                    if not woken.done():
                        woken.set_result(None)

    async def followed(self, ask: Callable[[], Followed], wait_s: float, gone: Callable[[], Awaitable[bool]]) -> Followed:
        """The answer to a node, as soon as it says something new.

        Args:
            ask: the question, which takes a thread for a moment.
            wait_s: how long nothing new may be waited for.
            gone: whether the node has hung up.
        """
        until = asyncio.get_running_loop().time() + wait_s
        while True:
            marker = self.marker
            answer = await to_thread.run_sync(ask)
            while not answer.changed and self.marker == marker:
                left = until - asyncio.get_running_loop().time()
                if left <= 0 or ENDING.is_set() or await gone():
                    return answer
                await self.changed(marker, min(left, _SLICE_S))
            if answer.changed:
                return answer
