"""The home of an inference node: whose it is, how it is, and what its processes tell each other.

node.json     which node of which platform's project, and what of it is here
status.json   how following and shipping go; written by the one process that does that
workers/PID   what a process answers with
node.lock     held by the process that follows and ships
"""

from __future__ import annotations

import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from rung.core.errors import Conflict, Unavailable
from rung.core.files import write_first, write_whole
from rung.core.ids import new_id
from rung.core.locking import FileLock
from rung.core.records import Record, prepared, replaced
from rung.core.settings import Settings
from rung.governance.records import Project
from rung.serving.keeping import mask_key_file
from rung.serving.node_records import ServedRevision

_NOTE, _STATUS, _WORKERS, _LOCK = "node.json", "status.json", "workers", "node.lock"
R = TypeVar("R", bound=Record)


class NodeNote(Record):
    """Which node of which project a home is, and the cursor of what it holds; the choice is whose cursor that is."""

    node: str
    project: Project
    cursor: str = ""
    choice: str = ""


class NodeStatus(Record):
    """How following and shipping go. Instants are seconds since 1970 by this machine's clock."""

    url: str
    heard_at: float = 0.0
    rung: str = ""
    trouble: str = ""
    skew_s: float = 0.0
    fetched_bytes: int = 0
    waiting_bytes: int = 0
    oldest_at: float = 0.0
    shipped_rows: int = 0
    shipped_bytes: int = 0
    shipping_trouble: str = ""


class WorkerState(Record):
    """What one process answers with, and what it cannot answer for."""

    serves: tuple[ServedRevision, ...] = ()
    failed: dict[str, str] = {}
    started_at: datetime
    born: str = ""  # when its process began, by the kernel: a number is given to another process once it is free


class NodeHome:
    """The files of a node's home."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(self.path / _LOCK)

    def make(self) -> None:
        """Make the folders. Raises Unavailable."""
        try:
            (self.path / _WORKERS).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable(
                f"The node's home {self.path} cannot be made: {error.strerror}.",
                code="home.unwritable",
                hint="Choose another with RUNG_HOME.",
            ) from None

    def note(self) -> NodeNote | None:
        """Whose home this is; None while it is nobody's."""
        return _read(self.path / _NOTE, NodeNote)

    def claim(self, project: Project) -> NodeNote:
        """Make the home that of a node of a project, unless it is. Raises Conflict when it is of another."""
        held = self.note()
        if held is None:
            held = self._first(NodeNote(node=new_id(), project=project))
        if held.project.id != project.id:
            raise Conflict(
                f"The home {self.path} is that of a node of project {held.project.name!r} ({held.project.id}), and the token opens"
                f" {project.name!r} ({project.id}).",
                code="serving.node_project", hint="Name another home with RUNG_HOME, or another project with RUNG_PROJECT.",
            )  # fmt: skip
        return held

    def _first(self, note: NodeNote) -> NodeNote:
        """The note of whoever is first: processes of one node may begin at once, and are one node to the platform."""
        write_first(self.path / _NOTE, msgspec.json.encode(note))
        held = self.note()
        if held is None:  # what was there cannot be read
            self.keep(note)
        return held or note

    def keep(self, note: NodeNote) -> None:
        """Write the note, durably."""
        _write(self.path / _NOTE, note, durable=True)

    def status(self) -> NodeStatus | None:
        """How following and shipping go, as last told."""
        return _read(self.path / _STATUS, NodeStatus)

    def tell(self, status: NodeStatus) -> None:
        """Say how following and shipping go."""
        _write(self.path / _STATUS, status, durable=False)

    def tell_worker(self, state: WorkerState) -> None:
        """Say what this process answers with."""
        _write(self.path / _WORKERS / str(os.getpid()), replaced(state, born=_born(os.getpid())), durable=False)

    def leave_worker(self) -> None:
        """Say that this process answers no more."""
        (self.path / _WORKERS / str(os.getpid())).unlink(missing_ok=True)

    def workers(self) -> list[WorkerState]:
        """What the living processes answer with; what dead ones left is removed."""
        found = []
        for path in (self.path / _WORKERS).iterdir():
            if path.name.startswith("."):
                continue
            state = _read(path, WorkerState)
            if path.name.isdigit() and state is not None and state.born == _born(int(path.name)):
                found.append(state)
            else:
                path.unlink(missing_ok=True)
        return found

    def lock(self) -> bool:
        """Become the process that follows and ships; False while another is."""
        return self._lock.take()

    def unlock(self) -> None:
        """Let another process follow and ship."""
        self._lock.give()

    def keep_mask_key(self, project: str, key: str) -> None:
        """Keep the project's key for masked columns, so that values are masked here as on the platform."""
        path = mask_key_file(self.path, project)
        wanted = bytes.fromhex(key)
        if wanted and not (path.exists() and path.read_bytes() == wanted):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(path, wanted, durable=True)


def node_name(settings: Settings) -> str:
    """What the node calls itself."""
    return settings.serving.node_name or socket.gethostname()


def silence_s(status: NodeStatus | None) -> float:
    """Seconds since the platform was last heard; infinite if never."""
    return max(0.0, time.time() - status.heard_at) if status and status.heard_at else float("inf")


def _born(pid: int) -> str:
    """When a process began, in clock ticks since the machine did; a dash for one that does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "-"


def _read(path: Path, kind: type[R]) -> R | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=prepared(kind))
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, record: Record, *, durable: bool) -> None:
    write_whole(path, msgspec.json.encode(record), durable=durable)
