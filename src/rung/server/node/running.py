"""Running an inference node: its home made ready, its platform opened, and one follower and one shipper, whatever its processes."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

import rung
from rung.app.node import REFUSED, Ask, NodePlatform, open_node
from rung.client.transports import HttpTransport
from rung.core.errors import Denied, NotFound, RungError, Unavailable, rebuilt
from rung.core.records import replaced
from rung.core.settings import Settings
from rung.engine.workers.keeper import receive, send
from rung.governance.records import Project
from rung.server.node.choosing import Following
from rung.server.node.copying import copied, sweep
from rung.server.node.following import WAIT_S, Follower, Telling, choice, first
from rung.server.node.home import NodeHome, NodeStatus, node_name
from rung.server.node.reporting import Reporter
from rung.server.node.shipping import Shipper
from rung.serving.node_records import Admission, AdmitCaller

_ASK_S, _FIRST_S, _SHIP_S = 5.0, 30.0, 60.0
_DRAIN_S = 5.0
_LOCK_S = 1.0


def transport_to(wanted: Following, timeout_s: float) -> HttpTransport:
    """The platform that a node follows."""
    return HttpTransport(wanted.url, wanted.token, wanted.project, timeout_s=timeout_s)


def asking(wanted: Following, own: Project) -> Ask:
    """What asks the platform who a caller is, in the node's project; the connection is made by the first question."""
    held: list[HttpTransport] = []
    lock = threading.Lock()

    def ask(token: str, project: str | None) -> Admission:
        with lock:
            if not held:
                held.append(transport_to(wanted, _ASK_S))
        try:
            said = held[0].call(AdmitCaller(token=token, project=project or ""))
        except (Denied, NotFound) as error:  # of the node, not of the caller
            raise Unavailable(f"The platform refuses this node: {error.message}", code=REFUSED, hint=error.hint) from None
        if said.project != own.id:
            raise Unavailable("The node's token opens another project than its home is of.", code=REFUSED, hint="Give it its own.")
        if said.admission is None:
            kind = NotFound if said.code == "governance.no_project" else Denied
            raise kind(said.refusal, code=said.code, hint=said.hint)
        return said.admission

    return ask


def made_ready(settings: Settings, wanted: Following) -> None:
    """Make the home that of a node, and bring into it what is deployed. What it holds from before is served at once; the follower asks.

    Raises:
        Unavailable: the platform does not answer, and nothing of what is asked for is here, or the home cannot be used.
        Denied: the token may not serve. Conflict: the home is another project's, or the versions do not go together.
    """
    home = NodeHome(settings.home_path)
    home.make()
    held = home.note()
    if held is not None and held.cursor and held.choice == choice(wanted):
        return
    transport = transport_to(wanted, _FIRST_S)
    try:
        found = first(transport, wanted, home)
        if found is None:
            return  # other deployments are asked for than before
        note = home.claim(found.project)
        status = home.status() or NodeStatus(url=wanted.url)
        home.tell(replaced(status, url=wanted.url, heard_at=time.time(), rung=found.rung, trouble=""))
        home.keep_mask_key(found.project.id, found.mask_key)
        platform = open_node(settings, found.project, asking(wanted, found.project))
        try:
            if not home.lock():
                return  # another process of this node is at it
            sweep(platform)
            _, failed = copied(platform, transport, found.deployments)
        finally:
            home.unlock()
            platform.close()
        if not failed:
            home.keep(replaced(note, cursor=found.cursor, choice=choice(wanted)))
    finally:
        transport.close()


def open_followed(settings: Settings, wanted: Following) -> NodePlatform:
    """The platform of a node whose home was made ready."""
    note = NodeHome(settings.home_path).note()
    if note is None:
        raise Unavailable("The node's home is gone.", code="home.unwritable", hint="Start the node anew.")
    return open_node(settings, note.project, asking(wanted, note.project))


@dataclass
class NodeService:
    """One follower and one shipper for all processes of a home: whoever holds its lock does both."""

    settings: Settings
    wanted: Following
    workers: int
    platform: NodePlatform

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._home = NodeHome(self.settings.home_path)
        self._threads: list[threading.Thread] = []
        self._shipper: Shipper | None = None
        self._transports: list[HttpTransport] = []

    def start(self) -> None:
        """Begin, in threads."""
        self._begun("rung-node", self._run)

    def stop(self) -> None:
        """Ship what is left, for a few seconds at most, and end."""
        self._stop.set()
        for thread in self._threads:
            if thread.name == "rung-ship":
                thread.join(_SHIP_S)
        if self._shipper is not None:
            self._shipper.drain(_DRAIN_S)
            self._shipper.close()
        self._home.unlock()

    def _begun(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while not self._home.lock():
            if self._stop.wait(_LOCK_S):
                return
        note = self._home.note()
        assert note is not None  # noqa: S101 - made ready before
        held = self._home.status() or NodeStatus(url=self.wanted.url)
        telling = Telling(self._home, replaced(held, url=self.wanted.url))
        ships = transport_to(self.wanted, _SHIP_S)
        name = node_name(self.settings)
        reporter = Reporter(self._home, note.node, name, rung.__version__, self.wanted.address, self.workers, datetime.now(UTC), ships)
        self._shipper = shipper = Shipper(self._home.path, note.project.id, note.node, ships, telling)
        shipper.after = lambda: reporter.tell(telling.status)
        self._begun("rung-ship", lambda: shipper.run(self._stop))
        Follower(self.platform, transport_to(self.wanted, WAIT_S + _ASK_S), self.wanted, telling).run(self._stop)


def start_node_process(
    settings: Settings, wanted: Following, workers: int, *, again: bool = False, stopping: Callable[[], bool] = lambda: False
) -> int:
    """Fork the process that follows and ships for the workers; its pid. Unless ``again``, wait until the home is ready, or we are to stop.

    Raises:
        RungError: as ``made_ready`` does.
    """
    from rung.server.serving.worker import comes, held_orders  # noqa: PLC0415 - which imports what this is part of

    ours, theirs = socket.socketpair()
    supervisor = os.getpid()
    with held_orders():
        pid = os.fork()
        if pid == 0:
            ours.close()
            _become_node(settings, wanted, workers, theirs, supervisor, again=again)
    theirs.close()
    if again:
        ours.close()
        return pid
    if not comes(ours, stopping):
        os.kill(pid, signal.SIGKILL)  # what it has fetched so far stays, and the next start goes on from there
        ours.close()
        return pid
    data, _ = receive(ours)
    ours.close()
    if not data:
        raise Unavailable("The process that follows the platform has died.", code="serving.node_died", hint="See above.")
    said = json.loads(data)
    if "error" in said:
        os.waitpid(pid, 0)
        raise rebuilt(said["error"], said["message"], code=said["code"], hint=said["hint"])
    return pid


def _become_node(settings: Settings, wanted: Following, workers: int, control: socket.socket, supervisor: int, *, again: bool) -> NoReturn:
    from rung.server.serving.worker import called, dies_with, keep_only, let_orders_in  # noqa: PLC0415 - which imports what this is part of

    code = 1
    try:
        signal.set_wakeup_fd(-1)
        # a handler may put into one whatever it interrupts; an Event's lock it may not take
        ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda *_: ended.put(None))
        let_orders_in()
        dies_with(supervisor, signal.SIGTERM)
        keep_only(control.fileno())
        called("rung-node")
        if not again and not _is_ready(settings, wanted, control):
            os._exit(1)
        control.close()
        with ExitStack() as stack:
            platform = open_followed(settings, wanted)
            stack.callback(platform.close)
            service = NodeService(settings, wanted, workers, platform)
            stack.callback(service.stop)
            service.start()
            ended.get()
        code = 0
    except BaseException:  # the last resort of the process
        traceback.print_exc()
    finally:
        os._exit(code)


def _is_ready(settings: Settings, wanted: Following, control: socket.socket) -> bool:
    """Make the home ready, and tell the supervisor how that went."""
    try:
        made_ready(settings, wanted)
    except RungError as error:
        send(control, json.dumps({"error": error.kind, "message": error.message, "code": error.code, "hint": error.hint}).encode())
        return False
    send(control, b"{}")
    return True
