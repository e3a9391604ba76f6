"""What a node tells its platform of itself, and what its processes tell it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rung.client.transports import HttpTransport
from rung.core.errors import RungError
from rung.server.node.home import NodeHome, NodeStatus, WorkerState, silence_s
from rung.serving.live import LiveTable
from rung.serving.node_records import NodeState, ReportNode, ServedRevision

LOG = logging.getLogger("rung.node")
_EVERY_S = 10.0


@dataclass
class Reporter:
    """Tells the platform how the node is: every ten seconds, and when what it serves has changed."""

    home: NodeHome
    node: str
    name: str
    rung: str
    address: str
    workers: int
    started_at: datetime
    transport: HttpTransport
    _due: float = 0.0
    _told: tuple[object, ...] = ()

    def tell(self, status: NodeStatus) -> None:
        """Tell it, if it is time. What goes wrong is not: the platform sees that the node is silent."""
        serves, failed = together(self.home.workers())
        told = (serves, failed, status.shipping_trouble, status.trouble)
        if told == self._told and time.monotonic() < self._due:
            return
        state = NodeState(
            id=self.node, name=self.name, rung=self.rung, address=self.address, workers=self.workers, started_at=self.started_at,
            serves=serves, failed=failed, waiting_bytes=status.waiting_bytes,
            lag_s=round(max(0.0, time.time() - status.oldest_at), 3) if status.oldest_at else 0.0, shipped_rows=status.shipped_rows,
            skew_s=status.skew_s, trouble=(status.shipping_trouble or status.trouble)[:900],
        )  # fmt: skip
        try:
            self.transport.call(ReportNode(state=state))
        except RungError as error:
            LOG.debug("the platform cannot be told: %s", error)
            self._due = time.monotonic() + 1.0
            self._told = told
            return
        self._due, self._told = time.monotonic() + _EVERY_S, told


def together(workers: list[WorkerState]) -> tuple[tuple[ServedRevision, ...], dict[str, str]]:
    """What all processes answer with: the oldest revision of each deployment that one still has, and since when all have it."""
    found: dict[str, ServedRevision] = {}
    for one in (served for worker in workers for served in worker.serves):
        held = found.get(one.deployment)
        if held is None or (one.revision, -one.since.timestamp()) < (held.revision, -held.since.timestamp()):
            found[one.deployment] = one
    failed = {name: why for worker in workers for name, why in worker.failed.items()}
    return tuple(found[name] for name in sorted(found)), failed


class _Numbers:
    """The node's numbers, read when somebody asks for them: any process answers for all."""

    def __init__(self, home: NodeHome) -> None:
        self._home = home

    def collect(self) -> Iterator[Metric]:
        """Gauges and counters."""
        status = self._home.status()
        if status is None:
            return
        now = time.time()
        lag = max(0.0, now - status.oldest_at) if status.oldest_at else 0.0
        yield GaugeMetricFamily("rung_node_platform_silent_seconds", "Seconds since the platform was last heard.", silence_s(status))
        yield GaugeMetricFamily("rung_node_clock_skew_seconds", "This machine's clock less the platform's.", status.skew_s)
        yield GaugeMetricFamily(
            "rung_node_unshipped_bytes", "Bytes of the prediction log that the platform does not have yet.", status.waiting_bytes
        )
        yield GaugeMetricFamily("rung_node_shipping_lag_seconds", "Age of the oldest answer that the platform does not have yet.", lag)
        yield CounterMetricFamily("rung_node_shipped_rows", "Rows of the prediction log that the platform has.", status.shipped_rows)
        yield CounterMetricFamily("rung_node_fetched_bytes", "Bytes of blobs that came from the platform.", status.fetched_bytes)


def measure(home: NodeHome) -> None:
    """Let this process's metrics tell the node's numbers."""
    REGISTRY.register(_Numbers(home))


@dataclass
class WorkerTelling:
    """Writes down what this process answers with, whenever that changes."""

    home: NodeHome
    table: LiveTable
    project: str
    _since: dict[tuple[str, int], datetime] = field(default_factory=dict)
    _started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> None:
        """Write it down."""
        now = datetime.now(UTC)
        held = self.table.revisions(self.project)
        self._since = {(name, number): self._since.get((name, number), now) for name, number in held.items()}
        serves = tuple(
            ServedRevision(deployment=name, revision=number, since=since) for (name, number), since in sorted(self._since.items())
        )
        failed = {name: error.message for (_, name), error in self.table.failed.items()}
        try:
            self.home.tell_worker(WorkerState(serves=serves, failed=failed, started_at=self._started_at))
        except OSError as error:  # a full disk must not keep a deployment from answering
            LOG.warning("what this process serves cannot be written down: %s", error.strerror)
