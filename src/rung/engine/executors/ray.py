"""Steps as tasks of Ray: on the cluster that the settings or RAY_ADDRESS name, else on one started on this machine.

Ray is told never to retry: Rung does, so every attempt is seen. Results travel as digests; run state stays in rows.

A step that takes milliseconds shares a task of Ray with others that wait like it: a task costs more than such a step.
One that takes longer than was known of it sends the others back, and one that dies makes them lost, which counts for nobody.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf
from typing import Any

from rung.core.errors import Unavailable
from rung.engine.executors.family import EXECUTORS, Outcome, Task
from rung.engine.handing import Handing
from rung.engine.remote import attempted_in_turn, errand_for, outcome_of_reply
from rung.storage.blobs import BlobStore

_SIZE_KNOWN_S = 5.0
_DEEP = 4  # tasks in flight a core: enough that no core waits for the engine
_BRIEF_S = 0.005  # steps that take less share tasks
_SHARED_S = 0.02  # as much work as one task is given
_MOST = 32


@dataclass
class _Piece:
    """An attempt on its way."""

    task: Task
    errand: bytes
    done: Future[Outcome]
    began: float = field(default_factory=time.perf_counter)


@dataclass
class _Kind:
    """Attempts that Ray is given alike: its function, how long one takes, who waits, and how many shared tasks are under way."""

    function: Any
    seconds: float = inf
    waiting: deque[_Piece] = field(default_factory=deque)
    under_way: int = 0


@EXECUTORS.member("ray")
class Ray(Handing):
    """The executor that hands steps to Ray."""

    def __init__(self, blobs: BlobStore, width: int, settings: Any = None) -> None:
        super().__init__()
        self._blobs = blobs
        self._width = width
        self._refs: dict[str, Any] = {}
        self._sending: set[str] = set()
        self._cancelled: set[str] = set()
        self._kinds: dict[Any, _Kind] = {}
        self._size = (0.0, width)
        self._address: str = settings.engine.ray_address if settings is not None else ""
        self._ray: Any = None
        self._own = False

    @property
    def slots(self) -> int:
        """A few tasks for each core that the cluster has now."""
        asked_at, slots = self._size
        if not self._connected.is_set():
            return slots
        if time.monotonic() - asked_at > _SIZE_KNOWN_S:
            slots = max(self._width, int(self._ray.cluster_resources().get("CPU", 0)) * _DEEP)
            self._size = time.monotonic(), slots
        return slots

    def _withdraw(self, task: str) -> None:
        """End the attempt's worker; one that waits for a task of Ray is not begun."""
        with self._lock:
            ref = self._refs.get(task)
            held = [(kind, piece) for kind in self._kinds.values() for piece in kind.waiting if piece.task.id == task]
            for kind, piece in held:
                kind.waiting.remove(piece)
            if ref is not None or task in self._sending:
                self._cancelled.add(task)
        for _, piece in held:
            piece.done.set_result(_cancelled(piece))
        if ref is not None:
            self._ray.cancel(ref, force=True)

    def close(self) -> None:
        """Cancel everything; a cluster that was started here ends."""
        with self._lock:
            tasks = [*self._entering, *(piece.task.id for kind in self._kinds.values() for piece in kind.waiting), *self._refs]
        for task in tasks:
            self.cancel(task)
        self._connecting.shutdown(wait=True, cancel_futures=True)
        if self._own:
            self._ray.shutdown()

    def _connect(self) -> None:
        self._ray = imported()
        self._own = joined(self._ray, self._address, self._width)

    def _hand_over(self, task: Task, done: Future[Outcome]) -> None:
        kind, piece = self._kind(task), _Piece(task, errand_for(task, apart=False), done)
        if kind.seconds > _BRIEF_S:
            self._send(kind, [piece], shared=False)
            return
        with self._lock:
            kind.waiting.append(piece)
        self._send_shared(kind)

    def _kind(self, task: Task) -> _Kind:
        key = (task.step, task.cpus, task.gpus, task.memory_bytes, tuple(sorted(task.resources.items())), _is_apart(task))
        kind = self._kinds.get(key)
        if kind is None:
            function = self._ray.remote(attempted_in_turn).options(
                name=f"rung:{task.step}", num_cpus=1 if task.cpus is None else task.cpus, num_gpus=task.gpus or 0,
                memory=task.memory_bytes, resources=dict(task.resources) or None, max_retries=0,
            )  # fmt: skip
            with self._lock:
                kind = self._kinds.setdefault(key, _Kind(function))
        return kind

    def _send_shared(self, kind: _Kind) -> None:
        """Send those that wait, in as few tasks as keep every core busy; the others go when one of these has come back."""
        cores = max(1, self.slots // _DEEP)
        while True:
            with self._lock:
                if not kind.waiting or kind.under_way >= 2 * cores:
                    return
                room = min(_MOST, int(_SHARED_S / max(kind.seconds, 1e-4)), -(-len(kind.waiting) // cores))
                pieces = [kind.waiting.popleft() for _ in range(max(1, room))]
                self._sending |= {piece.task.id for piece in pieces}
                kind.under_way += 1
            self._send(kind, pieces, shared=True)

    def _send(self, kind: _Kind, pieces: list[_Piece], *, shared: bool) -> None:
        try:
            ref = kind.function.remote([piece.errand for piece in pieces])
        except BaseException as error:
            if not shared:
                raise
            self._end_shared(kind, pieces)
            for piece in pieces:
                said = f"could not be handed over: {type(error).__name__}: {error}"
                piece.done.set_result(Outcome("lost", error=f"Step {piece.task.step!r} {said}"))
            return
        with self._lock:
            for piece in pieces:
                self._refs[piece.task.id] = ref
            ids = {piece.task.id for piece in pieces}
            self._sending -= ids
            stopped = bool(ids & self._cancelled)
        if stopped:  # meanwhile
            self._ray.cancel(ref, force=True)
        ref.future().add_done_callback(lambda future: self._ended(kind, pieces, future, shared=shared))

    def _end_shared(self, kind: _Kind, pieces: Sequence[_Piece]) -> None:
        with self._lock:
            kind.under_way -= 1
            self._sending -= {piece.task.id for piece in pieces}

    def _ended(self, kind: _Kind, pieces: Sequence[_Piece], future: Future[list[bytes]], *, shared: bool) -> None:
        with self._lock:
            cancelled = {piece.task.id for piece in pieces} & self._cancelled
            self._cancelled -= cancelled
            for piece in pieces:
                self._refs.pop(piece.task.id, None)
            self._sending |= {piece.task.id for piece in pieces}  # some may be sent again, and are to be found until then
            kind.under_way -= shared
        error = future.exception()
        replies = future.result() if error is None else [b""] * len(pieces)
        if error is not None:
            kind.seconds = inf  # whoever ended it runs alone the next time
        refused = isinstance(error, self._ray.exceptions.RayTaskError)
        for place, (piece, reply) in enumerate(zip(pieces, replies, strict=True)):
            if not reply if error is None else refused and place > 0:  # one before it took longer than was known, or could not begin
                if piece.task.id in cancelled:
                    self._forget(piece)
                    piece.done.set_result(_cancelled(piece))
                else:
                    self._again(kind, piece)
                continue
            try:
                outcome = self._outcome(piece, reply, error, cancelled=piece.task.id in cancelled)
            except BaseException as fault:  # a callback that raises would leave the run waiting for ever
                said = f"its answer from Ray cannot be read: {type(fault).__name__}: {fault}"
                outcome = Outcome("lost", error=f"Step {piece.task.step!r}: {said}")
            if error is None and not _is_apart(piece.task):
                kind.seconds = outcome.wall_s if kind.seconds == inf else 0.8 * kind.seconds + 0.2 * outcome.wall_s
            self._forget(piece)
            piece.done.set_result(outcome)
        self._send_shared(kind)

    def _forget(self, piece: _Piece) -> None:
        with self._lock:
            self._sending.discard(piece.task.id)
            self._cancelled.discard(piece.task.id)

    def _again(self, kind: _Kind, piece: _Piece) -> None:
        try:
            self._send(kind, [piece], shared=False)
        except BaseException as error:
            self._forget(piece)
            said = f"could not be handed over: {type(error).__name__}: {error}"
            piece.done.set_result(Outcome("lost", error=f"Step {piece.task.step!r} {said}"))

    def _outcome(self, piece: _Piece, reply: bytes, error: BaseException | None, *, cancelled: bool) -> Outcome:
        step, wall_s = f"Step {piece.task.step!r}", time.perf_counter() - piece.began
        if error is None:
            return outcome_of_reply(reply, piece.task, self._blobs)
        if cancelled:
            return _cancelled(piece)
        if isinstance(error, self._ray.exceptions.RayTaskError):
            return Outcome("failed", error=f"{step} could not begin: {_last_line(error)}", wall_s=wall_s)
        said = f"{type(error).__name__}: {_first_line(error)}"
        return Outcome("lost", error=f"{step} was lost with its worker or node in Ray. {said}", wall_s=wall_s, blameless=True)


def _is_apart(task: Task) -> bool:
    """Whether an attempt never shares a task: it has limits, items or devices of its own."""
    limits = (task.timeout_s, task.memory_bytes, task.environment, task.gpus)
    return task.audit or bool(task.items) or any(limit is not None for limit in limits)


def _cancelled(piece: _Piece) -> Outcome:
    return Outcome("cancelled", error=f"Step {piece.task.step!r} was cancelled.", wall_s=time.perf_counter() - piece.began)


def imported() -> Any:
    """The library. Raises Unavailable where it is not installed."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415 - an extra, and heavy
    except ImportError:
        raise Unavailable("Ray is not installed.", code="engine.no_ray", hint="pip install 'rung[ray]'.") from None
    return ray


def joined(ray: Any, address: str, width: int) -> bool:
    """Join the cluster at an address, that of RAY_ADDRESS, or a new one here; False where this process is in one already.

    Raises Unavailable when it cannot be reached.
    """
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS", "")
    here = {"_node_ip_address": "127.0.0.1"}  # else it listens on, and asks for, the machine's outer address
    options: dict[str, Any] = {"address": "local", "num_cpus": width, "include_dashboard": False, **here}  # not one left running
    if address:
        options = {"address": address, **(here if address.startswith(("127.", "localhost")) else {})}
    try:
        ray.init(**options, logging_level="ERROR", log_to_driver=False, namespace="rung")
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and others
        raise Unavailable(
            f"The Ray cluster at {address or 'this machine'} cannot be reached: {error}", code="engine.no_ray",
            hint="Check engine.ray_address, or RAY_ADDRESS.",
        ) from None  # fmt: skip
    return True


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:500]


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2][:500]
