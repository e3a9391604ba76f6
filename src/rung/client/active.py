"""An open run: what is logged to it goes through its outbox, so logging neither waits for the platform nor is lost with the process."""

from __future__ import annotations

import os
import struct
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rung.client import scalars
from rung.client.client import Client
from rung.client.endings import Status, status_of, unwatch
from rung.client.outbox import PATIENCE_S, Outbox
from rung.client.places import reopened
from rung.core.clock import SystemClock
from rung.core.digests import digest_of, digest_of_file
from rung.core.errors import Conflict, Invalid, RungError, Unavailable
from rung.core.ids import new_id
from rung.core.references import DatasetUse
from rung.core.requests import Request
from rung.tracking.artifacts import LogArtifact, media_type_of
from rung.tracking.records import Artifact, FinishRun, LogBatch, Run

A = TypeVar("A")
_clock = SystemClock()
_HASTE_S = 4.0
current: ContextVar[ActiveRun | None] = ContextVar("rung_current_run", default=None)
_alive: weakref.WeakValueDictionary[int, ActiveRun] = weakref.WeakValueDictionary()


class ActiveRun:
    """An open run; as a context manager it closes itself, ``failed`` when the block raises.

    ``client`` None: the run is offline, everything stays in the spool. ``outbox`` None: every call arrives before it
    returns, as a pipeline's step needs. ``owned``: leaving closes the run, not only this view of it.
    """

    def __init__(self, client: Client | None, run_id: str, outbox: Outbox | None, *, owned: bool, known: Run | None = None) -> None:
        self.id = run_id
        self.pid = os.getpid()
        self.known = known
        self.outer: ActiveRun | None = None
        self.closed = False
        self.at_end: list[Callable[[], None]] = []
        self.heard: Callable[[str, float, int], None] | None = None  # told of every metric logged, as a sweep's trial is
        self._client = client
        self._inherited: Client | None = None
        self._outbox = outbox
        self._owned = owned
        self._forked = False
        self._checked: set[str] = set()
        if outbox is not None:
            _alive[id(self)] = self

    @property
    def client(self) -> Client:
        """The client it was opened with. Raises Unavailable for an offline run."""
        reached = self._reached()
        if reached is None:
            why = "belongs to a process this one was forked from" if self._forked else "is offline"
            raise Unavailable(f"Run {self.id} {why}.", code="tracking.offline", hint="Only log to it here.")
        return reached

    @property
    def offline(self) -> bool:
        """Whether everything stays in the spool until ``rung sync``."""
        return self._client is None and not self._forked

    @property
    def buffered(self) -> bool:
        """Whether what is logged waits for the sender; a pipeline's step logs through, and others close its run."""
        return self._outbox is not None

    def log_metric(self, key: str, value: float, step: int = 0) -> None:
        """Log one value; it arrives within half a second. Raises Invalid for what is no number, naming it."""
        if key not in self._checked or self.closed:
            self._check(key)
        if type(value) is not float:
            value = scalars.number(key, value)
        if type(step) is not int:
            step = scalars.whole(step)
        if self.heard is not None:
            self.heard(key, value, step)
        if self._outbox is None:
            self.client.tracking.log(self.id, metrics={key: value}, step=step)
            return
        try:
            self._outbox.point(key, value, step, time.time_ns() // 1000)
        except struct.error:
            scalars.whole(step)
            raise

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values at a step, all or, when one is no number, none; they arrive within half a second."""
        for key in metrics:
            if key not in self._checked or self.closed:
                self._check(key)
        values = [(key, scalars.number(key, value)) for key, value in metrics.items()]
        step = scalars.whole(step)
        if self.heard is not None:
            for key, value in values:
                self.heard(key, value, step)
        if self._outbox is None:
            self.client.tracking.log(self.id, metrics=dict(values), step=step)
        elif values:
            self._outbox.points(values, step, time.time_ns() // 1000)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write params, once each. Raises Conflict for one that has another value, Invalid for one that cannot be kept."""
        self.ask(LogBatch(run=self.id, batch=new_id(), params=scalars.params(params)))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; anything but a text is written as its text."""
        self.ask(LogBatch(run=self.id, batch=new_id(), tags={scalars.name(key, "Tag"): str(value) for key, value in tags.items()}))

    def log_datasets(self, datasets: Sequence[DatasetUse]) -> None:
        """Say which dataset versions went in."""
        self.ask(LogBatch(run=self.id, batch=new_id(), datasets=tuple(datasets)))

    def log_artifact(self, source: Path | str | bytes, path: str | None = None) -> Artifact:
        """Store a file or bytes as an output; ``path`` is its name among the run's artifacts."""
        content = source if isinstance(source, bytes) else Path(source)
        if isinstance(content, Path) and not content.is_file():
            if content.is_dir():
                raise Invalid(f"{content} is a folder.", code="tracking.folder", hint="Log it whole: rung.log_artifacts(folder).")
            raise Invalid(f"There is no file {content}.", code="tracking.no_file", hint="Check the path.")
        return self.keep(self.id, content, path or (content.name if isinstance(content, Path) else "artifact"))

    def keep(self, owner: str, content: bytes | Path, path: str, media_type: str | None = None) -> Artifact:
        """Store bytes or a file under a path of an owner: this run, or a model it logged."""
        digest, size = (digest_of(content), len(content)) if isinstance(content, bytes) else digest_of_file(content)
        request = LogArtifact(
            owner=owner, path=path, digest=digest, size_bytes=size,
            media_type=media_type or media_type_of(path),
        )  # fmt: skip
        digest = self.put_blob(content)
        if digest != request.digest:
            raise Conflict(f"{path} changed while it was read.", code="tracking.file_changed", hint="Log it once it is written.")
        return self.ask(request) or Artifact(
            owner=owner, path=path, digest=digest, size_bytes=size, media_type=request.media_type, created_at=_clock.now()
        )

    def put_blob(self, content: bytes | Path) -> str:
        """Bring bytes to the platform, or when it is away or the run offline to the spool; return their digest."""
        reached = self._reached()
        if reached is not None and not self._is_away():
            try:
                return reached.transport.put_blob(content)
            except Unavailable:
                if self._outbox is None:
                    raise
        return self._kept_by().blob(content)

    def ask(self, request: Request[A]) -> A | None:
        """The answer to a request; None when the platform is away or the run offline: then it waits in the spool."""
        if self.closed:
            raise _closed(self.id)
        reached = self._reached()
        if reached is not None and not self._is_away():
            try:
                return reached.transport.call(request)
            except Unavailable:
                if self._outbox is None:
                    raise
        self._kept_by().request(request)
        return None

    def flush(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until everything logged here has arrived. Raises what the platform answered to what could not be kept."""
        if self._outbox is not None:
            self._outbox.flush(patience_s)

    def finish(self, status: Status = "succeeded", error: str = "", *, patience_s: float | None = None) -> Run | None:
        """Wait for everything to arrive, and close the run if it was opened here.

        Returns:
            The closed run; None when it was opened elsewhere, or waits in the spool because it is offline or the platform away.
        """
        if self.closed:
            return self.known
        for step in [] if self._forked else self.at_end:
            step()
        self._leave()
        last = FinishRun(run=self.id, status=status, error=error, ended_at=_clock.now())
        problem, answer = None, None
        try:
            # Whoever sent SIGTERM or Ctrl-C waits.
            self.flush(patience_s or (_HASTE_S if status == "cancelled" else PATIENCE_S))
        except Unavailable:
            pass  # what stays is told by _shut
        except RungError as refused:
            problem = refused  # the run is closed all the same
        try:
            if self._outbox is not None and self._outbox.dropped:
                self.set_tags({"rung.dropped_points": str(self._outbox.dropped)})
            answer = self.ask(last) if self._owned else None
        finally:
            self._shut()
        if problem is not None:
            raise problem
        self.known = answer or self.known
        return answer

    def look_after_children(self) -> None:
        """Send what forked children log from now on."""
        if self._outbox is not None and not self._forked:
            self._outbox.look_after_others()

    def end_with_process(self, status: Status, error: str) -> None:
        """Close the run because its process ends."""
        try:
            self.finish(status, error)
        except RungError as problem:
            sys.stderr.write(f"rung: run {self.id} was not closed: {problem}\n")

    def __enter__(self) -> ActiveRun:
        if current.get() is not self:
            enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.finish(*status_of(error))

    def __reduce__(self) -> tuple[Any, ...]:
        # In a process of its own a worker logs to the same run, through a journal of its own, and does not close it.
        from rung.client.current import join_run  # noqa: PLC0415 - it imports this module

        return join_run, (self.id,)

    def _repr_html_(self) -> str:
        if self.offline:
            return f"<p>Run {self.id}, offline: <code>rung sync</code> sends it.</p>"
        self.flush()
        return self.client.tracking.get(self.id)._repr_html_()

    def _check(self, key: str) -> None:
        if self.closed:
            raise _closed(self.id)
        self._checked.add(scalars.name(key))

    def _kept_by(self) -> Outbox:
        if self._outbox is None:
            raise Unavailable(f"Run {self.id} has no spool here.", code="tracking.no_spool", hint="Try again when the platform answers.")
        return self._outbox

    def _leave(self) -> None:
        unwatch(self)
        if current.get() is self:
            current.set(self.outer)

    def _shut(self) -> None:
        """Close the outbox, saying what stays in it."""
        self.closed = True
        if self._outbox is None:
            return
        _alive.pop(id(self), None)
        self._outbox.close()
        if self._forked or not self._outbox.folder.journals():
            return
        how = "is kept offline" if self.offline else "has not arrived whole; the rest lies"
        sys.stderr.write(f"rung: run {self.id} {how} in {self._outbox.folder.path}. Send it: rung sync\n")

    def _reached(self) -> Client | None:
        """The client; in a forked child one of its own, opened when it is first needed."""
        if self._inherited is not None:
            self._client, self._inherited = reopened(self._inherited), None
        return self._client

    def _is_away(self) -> bool:
        return self._outbox is not None and self._outbox.away

    def _after_fork(self) -> None:
        """In a forked child: another journal, another connection; sending and closing are left to the parent."""
        self._owned, self._forked = False, True
        self._inherited, self._client = self._inherited or self._client, None
        if self._outbox is not None:
            self._outbox.after_fork()


def enter(run: ActiveRun) -> None:
    """Make a run the current one."""
    run.outer = current.get()
    current.set(run)


def open_runs() -> list[ActiveRun]:
    """Runs that are open in this process, innermost last."""
    return sorted((run for run in _living() if not run.closed), key=lambda run: run.id)


def _living() -> list[ActiveRun]:
    """Runs that somebody holds, as they are at this instant: other threads open and close some meanwhile."""
    return [run for held in _alive.valuerefs() if (run := held()) is not None]


def _closed(run: str) -> Conflict:
    return Conflict(f"Run {run} has ended here.", code="tracking.run_ended", hint=f"Open it again: rung.start_run(run_id={run!r}).")


def _after_fork_in_child() -> None:
    for run in _living():
        run._after_fork()  # noqa: SLF001 - a hook of this module's own class


def _after_fork_in_parent() -> None:
    for run in _living():
        run.look_after_children()


os.register_at_fork(after_in_child=_after_fork_in_child, after_in_parent=_after_fork_in_parent)
