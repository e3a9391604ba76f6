"""What happens to open runs when their process ends: at its normal end, by an exception, by SIGTERM."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import Literal, Protocol

Status = Literal["succeeded", "failed", "cancelled"]
_SIGTERM_CODE = 128 + signal.SIGTERM


class Ending(Protocol):
    """Something that must be closed before the process is gone."""

    pid: int

    def end_with_process(self, status: Status, error: str) -> None:
        """Close it; say on standard error what cannot be done."""
        ...


_open: list[Ending] = []
_lock = threading.Lock()
_watching = False
_terminated = False


def _forked() -> None:
    """A child does not wait for a lock that a thread of its parent held."""
    global _lock  # noqa: PLW0603 - a lock a process
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forked)


def watch(run: Ending) -> None:
    """Close a run when the process ends, unless it is closed before."""
    global _watching  # noqa: PLW0603 - handlers of a process are installed once
    with _lock:
        _open.append(run)
        if not _watching:
            atexit.register(_at_exit)
            _watching = True
    # Only the main thread may set signals, and whoever set a handler before us knows better.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def unwatch(run: Ending) -> None:
    """The run is closed."""
    with _lock:
        if run in _open:
            _open.remove(run)
        last = not _open
    main = threading.current_thread() is threading.main_thread()
    if last and main and not _terminated and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def status_of(error: BaseException | None) -> tuple[Status, str]:
    """How a run ends whose block was left by an exception, and what is kept of it."""
    if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):
        return "succeeded", ""
    if _terminated:
        return "cancelled", "SIGTERM"
    text = f"{type(error).__name__}: {error}"[:10_000].replace("\0", "")
    return ("cancelled" if isinstance(error, KeyboardInterrupt) else "failed"), text


def _at_exit() -> None:
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if "IPython" in sys.modules and hasattr(sys, "ps1"):
        error = None  # a notebook's last failed cell is not how the session ended
    status, why = status_of(error)
    if _terminated:
        status, why = "cancelled", "SIGTERM"
    for run in reversed(list(_open)):
        if run.pid == os.getpid():
            run.end_with_process(status, why)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    global _terminated  # noqa: PLW0603 - a process is told to end once
    _terminated = True
    raise SystemExit(_SIGTERM_CODE)
