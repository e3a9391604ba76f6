"""Starting ``rung serve``: sockets, then one process that answers itself, or a supervisor of several."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from rung.core.settings import Settings
from rung.server.node.choosing import following, node_settings
from rung.server.run import listening_socket
from rung.server.serving.supervising import Supervisor
from rung.server.serving.worker import Job, pin_threads, work

Say = Callable[[str], object]


def run_serving(
    settings: Settings, *, port: int | None, workers: int, allow_remote: bool, say: Say, platform: str | None = None,
    deployments: Sequence[str] = (), environment: str | None = None,
) -> int:  # fmt: skip
    """Answer inference until a signal ends it; the exit code.

    Args:
        settings: of the platform whose deployments are served.
        port: instead of the settings' own; 0 picks one.
        workers: processes that answer, with a supervisor; 0: this one, alone.
        allow_remote: whether the address may be one that others can reach.
        say: where lines for people go.
        platform: to follow as an inference node; empty: what RUNG_URL says, unless a database is set; None: none at all.
        deployments, environment: what of it a node follows; all of the project otherwise.

    Raises:
        Conflict: the port is taken, or the database was written by a newer Rung.
        Unavailable: the home cannot be used, or workers die as soon as they start; a node's first start without its platform.
        Denied: the node's token may not serve.
        Invalid: the address is not a loopback one, or a node has no token.
    """
    pin_threads(workers)
    node = None if platform is None else following(settings, platform, deployments, environment)
    host, wanted = settings.server.host, settings.server.port if port is None else port
    with ExitStack() as stack:
        first = listening_socket(host, wanted, allow_remote=allow_remote)
        stack.callback(first.close)
        bound = first.getsockname()[1]
        address = f"http://{host}:{bound}"

        if node is not None:
            node = replace(node, address=address)

        def started(token: str) -> None:
            say(
                f"Rung serves at {address}{f' with {workers} workers' if workers else ''}{f' what {node.url} has deployed' if node else ''}"
            )
            if token:
                say(f"  token     {token}\n            the owner's, shown this once")

        own = settings if node is None else node_settings(settings)
        if workers == 0:
            if node is not None:
                from rung.server.node.running import made_ready  # noqa: PLC0415 - only a node

                made_ready(own, node)
            return work(Job(own, 0, node), first, started)
        os.environ["RUNG_METRICS_FOLDER"] = metrics = tempfile.mkdtemp(prefix="rung-metrics-")
        stack.callback(shutil.rmtree, metrics, ignore_errors=True)
        first.close()  # it made sure that the port was nobody's: sockets that share it could not tell

        def opened() -> socket.socket:
            return listening_socket(host, bound, allow_remote=allow_remote, shared=True)

        listeners = [listening_socket(host, bound, allow_remote=allow_remote, shared=True) for _ in range(workers)]
        for listener in listeners:
            stack.callback(listener.close)

        return Supervisor(Job(own, workers, node), listeners, opened, say).run(started)
