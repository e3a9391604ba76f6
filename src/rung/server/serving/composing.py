"""The composition of a process that only answers inference: guard, data plane, health and metrics; no API, no pages.

Nothing of the API, the UI, scikit-learn, Polars or Arrow is imported here: a worker is ready in a moment and small.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from rung.app.bundle import open_token
from rung.app.platform import Platform
from rung.server.doors import Guard, PredictDoor, Projects
from rung.server.serving.behind import Behind
from rung.server.serving.telling import listeners
from rung.serving.dataplane import DataPlane
from rung.serving.live import LiveTable, live_table
from rung.serving.paths import Paths

if TYPE_CHECKING:
    from rung.server.node.home import NodeHome


def preload(platform: Platform) -> None:
    """Load every deployed model into this process's memory."""
    live_table(platform.database, platform.blobs, platform.settings).refresh()


def build_serving(platform: Platform, node: NodeHome | None = None) -> tuple[ASGIApp, LiveTable, Callable[[], None]]:
    """The application, its table of what is deployed, which loads in a thread from now on, and what to call when it has stopped.

    ``node``: the home of the inference node that this process is part of.
    """
    table = live_table(platform.database, platform.blobs, platform.settings)
    platform.after_write.append(table.settle)
    hosts = platform.settings.server.names
    behind = Guard(Projects(Behind(platform, table, node)), hosts=hosts)
    plane = DataPlane(table, PredictDoor(platform, hosts, open_token(platform.settings)), behind, paths=Paths(os.environ, pages=False))
    heard, ended = listeners(platform.settings)
    plane.told.extend(heard)
    if node is not None:
        _tell(platform, table, node)
    table.start()

    def stopped() -> None:
        plane.close()
        ended()
        if node is not None:
            node.leave_worker()

    return plane, table, stopped


def _tell(platform: Platform, table: LiveTable, node: NodeHome) -> None:
    """Let the process that follows, and metrics, know what this one answers with."""
    from rung.app.node import NodePlatform  # noqa: PLC0415 - only a node
    from rung.server.node.reporting import WorkerTelling, measure  # noqa: PLC0415 - see above

    assert isinstance(platform, NodePlatform)  # noqa: S101 - opened for a node
    table.told.append(WorkerTelling(node, table, platform.project.id))
    measure(node)
