"""Following a platform: asked again and again what is deployed, with an answer as soon as that changes."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rung.app.node import NodePlatform
from rung.client.transports import HttpTransport
from rung.core.digests import digest_of_value
from rung.core.errors import Conflict, NotFound, RungError, Unavailable
from rung.core.records import replaced
from rung.server.node.choosing import Following
from rung.server.node.copying import copied, evict
from rung.server.node.home import NodeHome, NodeStatus
from rung.serving.node_records import FollowDeployments, Followed

LOG = logging.getLogger("rung.node")
WAIT_S = 20.0
_FIRST_S, _LONGEST_S = 0.2, 10.0


@dataclass
class Telling:
    """The node's status, changed by several threads and written down at once."""

    home: NodeHome
    status: NodeStatus
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, **changes: object) -> None:
        """Change some of it."""
        with self._lock:
            changed = replaced(self.status, **changes)
            if changed != self.status:
                self.status = changed
                try:
                    self.home.tell(changed)
                except OSError as error:  # a full disk must not end who follows, or who ships and so makes room
                    LOG.warning("the node's status cannot be written down: %s", error.strerror)


def ask(transport: HttpTransport, wanted: Following, cursor: str, wait_s: float) -> Followed:
    """What is deployed. Raises Conflict for a platform that has no nodes yet, and what it says."""
    request = FollowDeployments(cursor=cursor, wait_s=wait_s, deployments=wanted.deployments, environment=wanted.environment)
    try:
        return transport.call(request)
    except NotFound as error:
        if error.code != "platform.no_operation":
            raise
        raise Conflict(
            f"The platform at {transport.url} knows no inference nodes: it is older than this Rung.", code="serving.node_platform",
            hint="Bring the platform up to date, or run the node with the platform's version.",
        ) from None  # fmt: skip


def choice(wanted: Following) -> str:
    """What stands for the choice of deployments, whose cursor another choice must not use."""
    return digest_of_value([sorted(wanted.deployments), wanted.environment or ""])


class Follower:
    """Keeps the node's home as the platform's deployments are, until stopped."""

    def __init__(self, platform: NodePlatform, transport: HttpTransport, wanted: Following, telling: Telling) -> None:
        self._platform, self._transport, self._wanted, self._telling = platform, transport, wanted, telling
        self._home = telling.home
        self._trouble: dict[str, RungError] = {}

    def run(self, stop: threading.Event) -> None:
        """Follow until told to stop; whatever goes wrong is told, and tried again ever less often."""
        pause, heard = 0.0, False
        while not stop.wait(pause):
            try:
                self.once(WAIT_S if heard and not self._trouble else 0.0)
                heard = True
                pause = _LONGEST_S if self._trouble else 0.0
                if self._trouble:
                    name, error = next(iter(self._trouble.items()))
                    self._telling.tell(trouble=f"{name}: {error.message}"[:900])
                continue
            except RungError as error:
                if self._telling.status.trouble != error.message[:900]:
                    LOG.warning("%s cannot be followed: %s", self._wanted.url, error)
                self._telling.tell(trouble=error.message[:900])
            except Exception as error:
                LOG.exception("%s cannot be followed", self._wanted.url)
                self._telling.tell(trouble=f"{type(error).__name__}: {error}"[:900])
            heard = False
            pause = min(_LONGEST_S, max(_FIRST_S, pause * 2)) * random.uniform(0.8, 1.0)  # noqa: S311 - so that nodes do not come back all at once

    def once(self, wait_s: float) -> None:
        """Ask, and take over what is new. Raises what keeps it from that; a deployment whose blobs do not come stays as it was."""
        note, mine = self._home.note(), choice(self._wanted)
        cursor = note.cursor if note is not None and note.choice == mine else ""
        found = ask(self._transport, self._wanted, cursor, wait_s)
        self.heard(found)
        note = self._home.claim(found.project)
        if not found.changed:
            return
        self._home.keep_mask_key(found.project.id, found.mask_key)
        fetched, self._trouble = copied(self._platform, self._transport, found.deployments)
        self._telling.tell(fetched_bytes=self._telling.status.fetched_bytes + fetched)
        for name, error in self._trouble.items():
            LOG.warning("deployment %s stays as it was: %s", name, error)
        if not self._trouble:
            self._home.keep(replaced(note, cursor=found.cursor, choice=mine))
            evict(self._platform)

    def heard(self, found: Followed) -> None:
        """Note that the platform answered."""
        skew = round((datetime.now(UTC) - found.now).total_seconds(), 1)
        held = self._telling.status.skew_s
        self._telling.tell(heard_at=time.time(), rung=found.rung, trouble="", skew_s=skew if abs(skew - held) > 1 else held)


def first(transport: HttpTransport, wanted: Following, home: NodeHome) -> Followed | None:
    """What is deployed, asked before anything is opened; None when the platform is away and the home holds what was deployed before.

    Raises:
        Unavailable: the platform does not answer, and nothing is known of it yet. Denied: the token may not serve.
        Conflict: the home is that of another project's node, or the versions do not go together.
    """
    try:
        return ask(transport, wanted, "", 0.0)
    except Unavailable as error:
        held = home.note()
        if held is None or not held.cursor:
            raise Unavailable(
                f"{error.message} A node needs its platform for its first start.", code="serving.node_first_start", hint=error.hint
            ) from None
        LOG.warning("%s; serving what was deployed before", error.message)
        return None
