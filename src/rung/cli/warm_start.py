"""Starting the warm process: when asked to, and by itself for who gives a second command within a quarter of an hour.

The file beside its socket is its lock, held for as long as it loads and listens. The file's time is that of the last command
that would have used one, its text why the last start failed.
"""

from __future__ import annotations

import os
import sys
import time

from rung.cli.warm_client import OWN_PROCESS, trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

FAILED = b"failed: "  # what the lock file of a process begins with that could not start
USED = b"used\n"
IDLE_S = 900.0
_SOON_S = 900.0
_AGAIN_S = 86_400.0


def for_the_next(path: str, arguments: list[str]) -> None:
    """Start a warm process for the commands after this one, unless this is the first for a while, or the last start failed.

    So a single command, as in a nightly job, leaves nothing behind. Neither does a command of somebody's test.
    """
    if not OWN_PROCESS.isdisjoint(arguments) or "PYTEST_CURRENT_TEST" in os.environ:
        return
    try:
        lock = taken(path)
        if lock is None:
            return
        try:
            if _is_due(lock):
                spawn(path, IDLE_S, lock).returncode = 0  # it is nobody's to wait for
                if os.isatty(2):
                    os.write(2, _TOLD)
        finally:
            os.close(lock)
    except OSError:
        return  # commands work without it


_TOLD = b"Rung stays loaded for your next commands, until 15 minutes without one (rung warm --help; RUNG_WARM=0: never).\n"


def taken(path: str) -> int | None:
    """The lock as an open descriptor; None when another process holds it, or the folder is not this user's alone. Raises OSError."""
    import fcntl  # noqa: PLC0415

    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if not trusted(path):
        return None
    lock = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def tidy(path: str) -> None:
    """Delete lock files beside this one that have not been used for days: each terminal may have had its own."""
    folder = os.path.dirname(path)
    for name in os.listdir(folder):
        other = os.path.join(folder, name)
        try:
            if name.endswith(".lock") and other != lock_path(path) and time.time() - os.stat(other).st_mtime > 2 * _AGAIN_S:
                os.unlink(other)  # were it locked yet, another would take its place, and the former end as one that was replaced
        except OSError:
            continue


def lock_path(path: str) -> str:
    """The lock file of the warm process that listens at ``path``."""
    return f"{path.removesuffix('.sock')}.lock"


def why_not(path: str) -> str:
    """Why the last start failed; nothing where it did not."""
    try:
        with open(lock_path(path), "rb") as file:
            told = file.read(4096)
    except OSError:
        return ""
    return told.removeprefix(FAILED).decode("utf-8", "replace").strip() if told.startswith(FAILED) else ""


def spawn(path: str, idle_s: float, lock: int) -> subprocess.Popen[bytes]:
    """Start a warm process, which inherits the lock and writes there why it cannot go on. Raises OSError."""
    import subprocess  # noqa: PLC0415

    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing does
    return subprocess.Popen(
        [sys.executable, *options, "-m", "rung.cli.warm_host", path, str(idle_s), str(lock)], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/", pass_fds=(lock,),
    )  # fmt: skip


def _is_due(lock: int) -> bool:
    told, now = os.pread(lock, len(FAILED), 0), time.time()
    age = now - os.fstat(lock).st_mtime
    if told == FAILED and 0 <= age < _AGAIN_S:
        return False
    note(lock, USED)
    return told == USED and 0 <= age < _SOON_S


def note(lock: int, text: bytes) -> None:
    """Write what the lock file says. Raises OSError."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, text, 0)
