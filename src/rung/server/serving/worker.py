"""One worker process: opens the platform for itself, answers on a socket it was given, and ends in order."""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from rung.core.settings import Settings
from rung.serving.ending import ENDING

if TYPE_CHECKING:
    from rung.app.platform import Platform
    from rung.governance.records import NewToken
    from rung.server.node.choosing import Following
    from rung.server.node.home import NodeHome
    from rung.server.node.running import NodeService

RETIRE = signal.SIGUSR2
_PDEATHSIG, _SET_NAME = 1, 15
_ORDERS = (signal.SIGTERM, RETIRE)
_LOADED_S = 600.0
_LOOK_EVERY_S = 0.1
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Job:
    """What a worker does: the settings it opens the platform with, how many it is one of, and what it follows as a node."""

    settings: Settings
    workers: int
    node: Following | None = None


def pin_threads(workers: int) -> None:
    """Let native libraries use one thread a worker for small work, and share the machine for large; the user's word goes first.

    Two OpenMP threads on two busy cores take 25 times as long for one row as one thread does. Before anything native is loaded.
    """
    for name in THREADS:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, (os.cpu_count() or 1) // max(1, workers))))


def become_worker(job: Job, listener: socket.socket, ready: int, *, supervisor: int) -> NoReturn:
    """Work in this freshly forked process until it is told to end; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to everybody; the supervisor tells us
            signal.signal(number, signal.SIG_IGN)
        for number in _ORDERS:
            signal.signal(number, _told)
        let_orders_in()
        dies_with(supervisor, signal.SIGTERM)
        called("rung-worker")
        code = work(job, listener, lambda _: os.write(ready, b"R"))
    except BaseException:  # the last resort of the process: nothing above it would print
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _told(*_: object) -> None:
    """What an order to end does beside the server: before that runs there is nothing to close, and after it the closing goes on."""
    if not ENDING.is_set():
        os._exit(0)


@contextmanager
def held_orders() -> Iterator[None]:
    """Around a fork: orders to end wait for the child until it knows what to do with them, and lets them in."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ORDERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_orders_in() -> None:
    """In the child of such a fork."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ORDERS)


def comes(connection: socket.socket, stopping: Callable[[], bool]) -> bool:
    """Wait until there is something to receive; False as soon as we are told to stop."""
    while not select.select([connection], [], [], _LOOK_EVERY_S)[0]:
        if stopping():
            return False
    return not stopping()


def work(job: Job, listener: socket.socket, answers: Callable[[str], object]) -> int:
    """Open, answer until the end, close; returns the exit code. ``answers`` is told when it does, with the first token of a fresh home."""
    from rung.server.calls import calls  # noqa: PLC0415 - see above
    from rung.server.run import serve  # noqa: PLC0415 - see above
    from rung.server.serving.composing import build_serving  # noqa: PLC0415 - see above

    with ExitStack() as stack:
        platform, first = opened(job)
        service = serviced(job, platform, stack)
        stack.callback(platform.close)
        app, table, stopped = build_serving(platform, node_home(job))
        stack.callback(stopped)
        grpc = calls(platform, stack, shared=True, say=lambda line: print(line.strip(), file=sys.stderr, flush=True))  # noqa: T201 - its log

        def loaded() -> None:
            if grpc is not None:
                grpc.start()
            table.wait(_LOADED_S)
            gc.collect()
            gc.freeze()
            answers(first.secret if first else "")
            if service is not None:
                service.start()

        ready = threading.Thread(target=loaded, name="rung-loaded", daemon=True).start
        serve(app, listener, ready=ready, drain_s=job.settings.serving.drain_s)
    return 0


def opened(job: Job) -> tuple[Platform, NewToken | None]:
    """The platform of a job, and the first token of a fresh home; of a node, what it knows of the platform that it follows."""
    from rung.app.opening import open_platform  # noqa: PLC0415 - after the fork, and after the threads are pinned

    if job.node is None:
        return open_platform(job.settings)
    from rung.server.node.running import open_followed  # noqa: PLC0415 - only a node

    return open_followed(job.settings, job.node), None


def serviced(job: Job, platform: Platform, stack: ExitStack) -> NodeService | None:
    """What follows and ships in the one process of a node without a supervisor; to be stopped after everything else."""
    if job.node is None or job.workers:
        return None
    from rung.app.node import NodePlatform  # noqa: PLC0415 - only a node
    from rung.server.node.running import NodeService  # noqa: PLC0415 - see above

    assert isinstance(platform, NodePlatform)  # noqa: S101 - opened for a node
    service = NodeService(job.settings, job.node, job.workers, platform)
    stack.callback(service.stop)
    return service


def node_home(job: Job) -> NodeHome | None:
    """The home of the node that a process is part of."""
    if job.node is None:
        return None
    from rung.server.node.home import NodeHome  # noqa: PLC0415 - only a node

    return NodeHome(job.settings.home_path)


def called(name: str) -> None:
    """Take a name that process lists show."""
    ctypes.CDLL(None).prctl(_SET_NAME, name.encode(), 0, 0, 0)


def keep_only(*descriptors: int) -> None:
    """Close what was inherited beside these and the standard streams: sockets of other places must end with the supervisor."""
    kept = {0, 1, 2, *descriptors}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the one the list itself was read by
                os.close(int(name))


def dies_with(parent: int, number: int) -> None:
    """Get a signal when the parent ends; ends at once if it has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def ended(status: int) -> str:
    """How a process ended, in words."""
    code = os.waitstatus_to_exitcode(status)
    return f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
