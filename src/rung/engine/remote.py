"""Attempts on other machines: what a worker of Ray, Dask or Kubernetes does with an errand. It sees blobs, never rows.

The project's code comes as its snapshot, restored once a machine; results leave as digests, and so does the log where
its file cannot be reached from there. Steps with limits run in processes of the worker's own pool.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from rung.core.ids import new_id
from rung.core.records import prepared
from rung.engine.executors.family import EXECUTORS, Executor, Outcome, Task
from rung.engine.logs import LogFile
from rung.engine.secrets import values_of, with_secrets
from rung.engine.wire import Answer, Errand, answer_of, packed, unpacked
from rung.engine.workers.keeper import adopt_orphans, children_of, kill_tree
from rung.engine.workers.worker import Before, performed
from rung.pipelines.project import forget_modules, restore
from rung.storage.blobs import BlobStore, open_blobs

_LIVE_S = 0.3
_CHUNK = 1 << 20
_IN_TURN_S = 0.1
_LEAVE_S = 8.0  # less than Kubernetes waits before it kills
_lock = threading.Lock()
_pools: list[Executor] = []
_under_way: set[str] = set()
_stores: dict[str, BlobStore] = {}
_running: dict[str, Future[Outcome]] = {}
_imported: list[str] = []


class Reply(msgspec.Struct):
    """What comes back: how the attempt ended, and its log when only this machine has it."""

    status: str
    answer: Answer
    log: str = ""


def errand_for(task: Task, *, apart: bool) -> bytes:
    """A task as another machine is told of it, with its secrets.

    Args:
        apart: it must run in a process of its own there.
    """
    limited = task.timeout_s is not None or task.memory_bytes is not None or task.environment is not None or task.audit
    return packed(with_secrets(task), isolated=apart or limited)


def attempted(data: bytes) -> bytes:
    """Carry out an errand on this machine and answer it."""
    errand = msgspec.msgpack.decode(data, type=prepared(Errand))
    store = _stores.get(errand.blobs) or _stores.setdefault(errand.blobs, open_blobs(errand.blobs))
    code = code_folder(errand, store)
    reply = _apart(errand, code, store) if errand.isolated else _here(errand, code, store)
    return msgspec.msgpack.encode(reply)


def attempted_in_turn(errands: list[bytes]) -> list[bytes]:
    """Carry out errands one after the other; those that have not begun after a tenth of a second are answered empty.

    So is one that cannot begin, and all after it, unless it is the first: then what it raises is the answer.
    """
    began, replies = time.monotonic(), list[bytes]()
    for errand in errands:
        if replies and time.monotonic() - began > _IN_TURN_S:
            break
        try:
            replies.append(attempted(errand))
        except Exception:
            if not replies:
                raise
            break
    return replies + [b""] * (len(errands) - len(replies))


def stop_here(attempt: str) -> None:
    """End an attempt that runs in a process of this worker's pool."""
    for pool in list(_pools):
        pool.cancel(attempt)


def close_here(*, idle_only: bool = False) -> None:
    """End what this worker's pool holds; with ``idle_only`` not where an attempt is under way, which may be another engine's."""
    with _lock:
        if idle_only and _under_way:
            return
        closing, _pools[:] = list(_pools), []
    for pool in closing:
        pool.close()


def outcome_of_reply(data: bytes, task: Task, blobs: BlobStore) -> Outcome:
    """The outcome that a reply tells of; its log goes where the engine expects it."""
    reply = msgspec.msgpack.decode(data, type=prepared(Reply))
    if reply.log:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        task.log.write_bytes(blobs.get(reply.log))
    a = reply.answer
    return Outcome(
        reply.status, outputs=a.outputs, error=a.error, wall_s=a.wall_s, cpu_s=a.cpu_s, peak_bytes=a.peak_bytes,  # type: ignore[arg-type]  # one of the statuses
        error_types=a.error_types, items=a.items, undeclared=a.undeclared,
    )  # fmt: skip


def code_folder(errand: Errand, store: BlobStore) -> str:
    """The folder to import the project from: its snapshot restored on this machine, else the folder that the engine named."""
    if not errand.snapshot:
        return errand.code or errand.folder
    place = Path(tempfile.gettempdir()) / f"rung-code-{os.getuid()}"
    folder = place / errand.snapshot.partition(":")[2][:32]
    if not folder.is_dir():
        place.mkdir(mode=0o700, exist_ok=True)
        if place.stat().st_uid != os.getuid():
            raise PermissionError(f"{place} belongs to somebody else")
        part = Path(tempfile.mkdtemp(dir=place))
        try:
            restore(errand.snapshot, store.get, part)
            with suppress(OSError):  # another process of this machine was faster
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return str(folder)


def fetch_and_answer(digest: str, answer: str) -> None:
    """Carry out the errand that a blob holds, and leave the digest of the reply in a file: a container's whole work."""
    store = open_blobs(os.environ["RUNG_STORAGE_BLOBS"])
    signal.signal(signal.SIGTERM, lambda *_: _leave())
    data = store.get(digest)
    reply = attempted(data)
    Path(answer).write_text(store.put(reply), "ascii")
    close_here()


def _leave() -> None:
    # beside, and not for ever: what this signal has interrupted may hold a lock that closing takes
    closing = threading.Thread(target=close_here, daemon=True)
    closing.start()
    closing.join(_LEAVE_S)
    os._exit(143)


def _apart(errand: Errand, code: str, store: BlobStore) -> Reply:
    with _lock:
        if not _pools:
            _pools.append(EXECUTORS.get("pool")(store, 64))
        pool = _pools[0]
        _under_way.add(errand.id)
    try:
        return _in(pool, errand, code, store)
    finally:
        with _lock:
            _under_way.discard(errand.id)


def _in(pool: Executor, errand: Errand, code: str, store: BlobStore) -> Reply:
    shared = Path(errand.log).parent.is_dir()
    with tempfile.TemporaryDirectory(prefix="rung-") as scratch:
        task = replace(unpacked(errand), code=Path(code), scratch=Path(scratch))
        folder = task.folder if task.folder is not None and task.folder.is_dir() else Path(code)
        environment = task.environment
        if environment is not None and not environment.is_file() and errand.snapshot:
            environment = Path(code) / environment.name
        task = replace(task, folder=folder, environment=environment, log=task.log if shared else Path(scratch) / "log")
        outcome = pool.submit(task).result()
        log = "" if shared or not task.log.is_file() else store.put(task.log)
    return Reply(outcome.status, answer_of(outcome), log)


def _here(errand: Errand, code: str, store: BlobStore) -> Reply:
    if _imported[-1:] != [code]:
        if _imported:
            forget_modules(Path(_imported[-1]))
        _imported[:] = [code]
        adopt_orphans()
    errand.code = code
    if not os.path.isdir(errand.folder):
        errand.folder = code
    shared = os.path.isdir(os.path.dirname(errand.log))
    before = _before_with(errand.environ)
    spool = _spool()
    spool.begin(Path(errand.log) if shared else None, errand)
    try:
        answer = performed(errand)
    finally:
        before.restore_quickly()
        _end_strays()
        log = spool.end()
    return Reply(answer.status, answer, store.put(log) if log else "")


def _before_with(environ: dict[str, str]) -> Before:
    """The state to put back after a step. An errand's variables stay until one comes that has others."""
    held = _befores.get("last")
    if held is None or held[1] != environ:
        first = _befores.setdefault("first", (Before(), {}))[0]
        first.restore_quickly()
        os.environ.update(environ)
        held = _befores["last"] = (Before(), environ)
    return held[0]


_befores: dict[str, tuple[Before, dict[str, str]]] = {}
_spools: list[Spool] = []


def _spool() -> Spool:
    if not _spools:
        _spools.append(Spool())
    return _spools[0]


class Spool:
    """What a step says in a worker of another engine: a file under descriptors 1 and 2 while it runs, copied as it grows."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - kept as long as the worker
        self._kept = [os.dup(1), os.dup(2)]
        self._texts = (sys.stdout, sys.stderr)
        self._lock = threading.Lock()
        self._log: LogFile | None = None
        self._read = 0
        self._active = threading.Event()
        threading.Thread(target=self._copy, name="rung-log", daemon=True).start()

    def begin(self, path: Path | None, errand: Errand) -> None:
        """Take the process's output."""
        self._path = path
        self._secrets = values_of(unpacked(errand)) if errand.secrets else ()
        for number in (1, 2):
            os.dup2(self._file.fileno(), number)
        self._began = time.monotonic()
        self._active.set()

    def end(self) -> bytes:
        """Give the output back; what was said, where it could not be written to the log."""
        self._active.clear()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # whatever the step has put there
                stream.flush()
        for number, kept in zip((1, 2), self._kept, strict=True):
            os.dup2(kept, number)
        sys.stdout, sys.stderr = self._texts
        size = os.lseek(self._file.fileno(), 0, os.SEEK_END)
        said = b""
        if size:
            self._pump()
            with self._lock:
                if self._log is not None:
                    self._log.close()
                    if self._path is None:
                        said = self._log.path.read_bytes()
                        self._log.path.unlink()
                self._log, self._read = None, 0
                os.ftruncate(self._file.fileno(), 0)
                os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        return said

    def _pump(self) -> None:
        with self._lock:
            while data := os.pread(self._file.fileno(), _CHUNK, self._read):
                self._read += len(data)
                if self._log is None:
                    # no pid in its name: it may be that of one who was killed here and left a log
                    path = self._path or Path(tempfile.gettempdir()) / f"rung-log-{new_id()}"
                    self._log = LogFile(path, self._secrets)
                self._log.write(data)

    def _copy(self) -> None:
        while True:
            self._active.wait()
            time.sleep(_LIVE_S)
            if self._active.is_set() and self._path is not None:
                with suppress(OSError):
                    self._pump()


def _end_strays() -> None:
    """End what the step has left running in this worker."""
    with suppress(OSError):
        file = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
        some = os.read(file, 1)
        os.close(file)
        for child in children_of(os.getpid()) if some else ():
            kill_tree(child)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)
