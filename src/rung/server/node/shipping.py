"""Shipping the node's prediction log to its platform: oldest first, in order, until the platform says that it has it.

The platform says up to where it has a segment, and takes only what begins there; so nothing is remembered here that a kill
could undo, and whatever was sent and not answered is sent again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rung.client.transports import HttpTransport
from rung.core.errors import Invalid, RungError
from rung.server.node.following import Telling
from rung.serving.log import log_folder, recover, segments
from rung.serving.node_records import ShipPredictions
from rung.serving.packing import HEADER
from rung.serving.shipping import MOST_BYTES, Outgoing, Part

LOG = logging.getLogger("rung.node")
EVERY_S = 0.3
_RECOVER_S = 5.0
_FIRST_S, _LONGEST_S = 0.2, 10.0
_LEAST_BYTES = 64 << 10


class Shipper:
    """Ships what the processes of a node have answered, until stopped."""

    def __init__(self, home: Path, project: str, node: str, transport: HttpTransport, telling: Telling) -> None:
        self._folder = log_folder(home, project)
        self._node, self._transport, self._telling = node, transport, telling
        self._open: dict[str, Outgoing] = {}
        self._reached: dict[str, int] = {}
        self._most = MOST_BYTES
        self._recover_at = 0.0
        self.after: Callable[[], object] = lambda: None

    def run(self, stop: threading.Event) -> None:
        """Ship until told to stop; what goes wrong is told, and tried again ever less often."""
        pause = 0.0
        while not stop.wait(pause or EVERY_S):
            try:
                self.round()
                pause = 0.0
            except RungError as error:
                if self._telling.status.shipping_trouble != error.message[:900]:
                    LOG.warning("the prediction log cannot be shipped: %s", error)
                self._telling.tell(shipping_trouble=error.message[:900])
                pause = min(_LONGEST_S, max(_FIRST_S, pause * 2)) * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
            except Exception as error:
                LOG.exception("the prediction log cannot be shipped")
                self._telling.tell(shipping_trouble=f"{type(error).__name__}: {error}"[:900])
                pause = _LONGEST_S
            try:
                self.measure()
                self.after()
            except Exception:  # a disk that fails for a moment must not end the shipping
                LOG.exception("what waits to be shipped cannot be told")

    def round(self) -> int:
        """Ship all there is; how many rows. Raises what the platform says."""
        if time.monotonic() > self._recover_at:
            self._recover_at = time.monotonic() + _RECOVER_S
            if self._folder.exists():
                recover(self._folder)
        rows = 0
        for path in segments(self._folder):
            rows += self._ship(path)
        self._telling.tell(shipping_trouble="")
        return rows

    def drain(self, seconds: float) -> None:
        """Ship what is left, for so long at most: the node is about to end."""
        until = time.monotonic() + seconds
        self._recover_at = 0.0
        while time.monotonic() < until:
            try:
                if not self.round():
                    break
            except RungError as error:
                LOG.warning("what is left of the prediction log is shipped after the next start: %s", error)
                break
        self.measure()

    def close(self) -> None:
        """Give files back."""
        for held in self._open.values():
            held.close()
        self._open.clear()

    def measure(self) -> None:
        """Tell how much waits, and since when."""
        waiting, oldest = 0, 0
        for path in segments(self._folder):
            reached = self._reached.get(path.stem, HEADER.size)
            if path.suffix == ".seg" and oldest:  # many, perhaps, and none older than those before
                with suppress(FileNotFoundError):
                    waiting += max(0, path.stat().st_size - reached)
                continue
            held = self._outgoing(path)
            size, first = held.waiting(reached) if held else (0, 0)
            waiting += size
            oldest = min(oldest or first, first or oldest)
        self._telling.tell(waiting_bytes=waiting, oldest_at=oldest / 1e6)

    def _ship(self, path: Path) -> int:
        """Ship a segment; how many rows. It is removed once it is sealed and the platform has all of it."""
        held = self._outgoing(path)
        if held is None:
            return 0
        if path.stem not in self._reached:
            self._reached[path.stem] = self._call(path.stem, None)
        rows = 0
        held.begin(self._reached[path.stem])
        while (part := held.next(self._most)) is not None:
            try:
                reached = self._call(path.stem, part)
            except Invalid as error:
                if error.code != "request.too_large" or self._most <= _LEAST_BYTES:
                    raise
                self._most //= 2
                held.begin(part.start)
                continue
            rows += part.rows if reached == part.end else 0
            self._reached[path.stem] = reached
            if reached != part.end:
                held.begin(reached)
            status = self._telling.status
            self._telling.tell(
                shipped_rows=status.shipped_rows + (part.rows if reached == part.end else 0),
                shipped_bytes=status.shipped_bytes + len(part.frames),
            )
        if path.suffix == ".seg":
            self._finish(path, held)
        return rows

    def _finish(self, path: Path, held: Outgoing) -> None:
        """Remove a sealed segment that was shipped; what of it cannot be read is set aside."""
        with suppress(FileNotFoundError):
            if held.offset < path.stat().st_size:
                aside = path.with_suffix(".damaged")
                LOG.error("segment %s is damaged after byte %d; what lies before is shipped, the file is %s", path.stem, held.offset, aside)
                path.rename(aside)
            else:
                path.unlink()
        held.close()
        self._open.pop(path.stem, None)
        self._reached.pop(path.stem, None)

    def _call(self, segment: str, part: Part | None) -> int:
        """Up to where the platform has a segment, once it was given a part of it."""
        request = ShipPredictions(
            node=self._node, segment=segment, start=part.start if part else 0, end=part.end if part else 0,
            frames=part.frames if part else b"",
        )  # fmt: skip
        return self._transport.call(request).end

    def _outgoing(self, path: Path) -> Outgoing | None:
        held = self._open.get(path.stem)
        if held is None:
            for candidate in dict.fromkeys((path, path.with_suffix(".seg"))):
                with suppress(FileNotFoundError):
                    held = self._open[path.stem] = Outgoing(candidate)
                    break
        return held
