"""Steps as users write them, good and bad, for every executor. Imported by other processes: no test library in here."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rung.pipelines.context import current_step


class NoSuchRowError(LookupError):
    """An exception of the project's own."""


class AlarmError(BaseException):
    """An exception that is none of Exception."""


def double(x: int) -> int:
    print("doubling", x)
    return 2 * x


def pair(x: int) -> tuple[int, str]:
    return x, str(x)


def crash() -> None:
    raise NoSuchRowError("no such row")


def picky(x: int, fixed: list[int]) -> list[Any]:
    fixed.append(x)  # seen by no other item
    if x == 2:
        raise NoSuchRowError(f"no row {x}")
    found = current_step.get()
    return [x, list(fixed), found.seed if found else None, random.random()]


def context() -> list[Any]:
    found = current_step.get()
    return [found.run_id, found.seed, found.step] if found else []


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unserialisable() -> Any:
    return lambda: 1


def wrong_type() -> int:
    return "one"  # type: ignore[return-value]


def leave() -> None:
    sys.exit(3)


def leave_at_once() -> None:
    os._exit(3)


def fall() -> None:
    ctypes.string_at(0)


def alarm() -> None:
    raise AlarmError("stop everything")


def interrupt() -> None:
    raise KeyboardInterrupt


def own_pid() -> int:
    return os.getpid()


def linger(pids: str, wait_s: float = 0.0) -> int:
    """Leave a child running, and a daemon that has left the session."""
    child = subprocess.Popen(["sleep", "300"])
    daemon = subprocess.Popen([sys.executable, "-S", "-c", _DAEMON, pids])
    daemon.wait()
    while not Path(pids).exists() or not Path(pids).read_text().strip():
        time.sleep(0.01)
    with Path(pids).open("a") as file:
        file.write(f"{child.pid}\n")
    time.sleep(wait_s)
    return child.pid


_DAEMON = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
open(sys.argv[1], "w").write(f"{os.getpid()}\\n")
time.sleep(300)
"""


def deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def deaf(seconds: float) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)


def fill(megabytes: int) -> int:
    held = [bytearray(1 << 20) for _ in range(megabytes)]
    for part in held:
        part[::4096] = b"x" * 256
    return len(held)


def fill_in_child(megabytes: int) -> int:
    """Each of ten children stays below the limit."""
    held = f"x = bytearray({megabytes // 15} << 20); x[::4096] = b'x' * len(x[::4096]); import time; time.sleep(30)"
    children = [subprocess.Popen([sys.executable, "-S", "-c", held]) for _ in range(10)]
    return sum(child.wait() for child in children)


def say_much(megabytes: int) -> int:
    sys.stdout.buffer.write(b"\xff\xfe\x00binary\n")
    sys.stdout.flush()
    for _ in range(megabytes):
        sys.stdout.write("0123456789abcde\n" * 65536)
    return megabytes


def close_output() -> int:
    print("before")
    sys.stdout.flush()
    os.close(1)
    os.close(2)
    return 1


def disturb(folder: str) -> int:
    os.chdir(folder)
    os.environ["DISTURBED"] = "yes"
    os.environ.pop("HOME", None)
    os.umask(0o777)
    sys.path.insert(0, "/disturbed")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(1)
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    return 1


def undisturbed() -> list[Any]:
    umask = os.umask(0o022)
    os.umask(umask)
    print("still here")
    return [Path.cwd().name, "DISTURBED" in os.environ, "HOME" in os.environ, umask, "/disturbed" in sys.path,
            signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, signal.getitimer(signal.ITIMER_REAL)[0]]  # fmt: skip


def leave_thread() -> int:
    threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
    return os.getpid()


def whisper(secret: str) -> None:
    for part in (secret[:5], secret[5:], "\n", f"all of {secret} at once\n"):
        sys.stdout.write(part)
        sys.stdout.flush()
        time.sleep(0.05)


def variables(name: str) -> str:
    return os.environ.get(name, "")


def read_file(path: str) -> str:
    return Path(path).read_text("utf-8")


def greet(path: str) -> int:
    """Say something at once, and wait until the test has heard it."""
    print("I have begun", flush=True)
    until = time.monotonic() + 90
    while not Path(path).exists() and time.monotonic() < until:
        time.sleep(0.02)
    return int(Path(path).exists())
