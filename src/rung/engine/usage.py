"""What a process uses: processor seconds, memory now and at its peak, of itself and of what descends from it."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

from rung.engine.workers.keeper import children_of

_PAGE = os.sysconf("SC_PAGE_SIZE")
_KIB = 1024
_STATUS = Path("/proc/self/status")
_open: dict[tuple[int, str], int] = {}


def reset_peak() -> bool:
    """Begin to measure the peak of this process's memory anew; whether the kernel lets it."""
    try:
        os.pwrite(_own("clear_refs", os.O_WRONLY), b"5", 0)
    except OSError:
        _open.clear()
        return False
    return True


def peak_bytes() -> int:
    """The most memory this process has held since the peak was reset."""
    try:
        return int(os.pread(_own("status", os.O_RDONLY), 4096, 0).partition(b"VmHWM:")[2].split(None, 1)[0]) * _KIB
    except (OSError, ValueError, IndexError):
        _open.clear()
        return 0


def _own(name: str, flags: int) -> int:
    """A descriptor of a file in /proc about this process, kept open; a fork opens its own."""
    key = (os.getpid(), name)
    held = _open.get(key)
    if held is None:
        held = _open[key] = os.open(f"/proc/self/{name}", flags | os.O_CLOEXEC)
    return held


def cpu_seconds() -> float:
    """Processor seconds of this process and of the children it has waited for."""
    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


def held_bytes(pid: int) -> int:
    """Memory in pages that a process and its descendants hold now; pages of files they share are counted once a process."""
    total = 0
    with suppress(OSError, IndexError, ValueError):
        total = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    return total + sum(held_bytes(child) for child in children_of(pid))


def own_bytes(pid: int) -> int:
    """Memory that a process and its descendants hold for themselves now, without the files mapped into it."""
    total = 0
    with suppress(OSError, IndexError, ValueError):
        parts = Path(f"/proc/{pid}/statm").read_bytes().split()
        total = (int(parts[1]) - int(parts[2])) * _PAGE
    return total + sum(own_bytes(child) for child in children_of(pid))


def data_bytes() -> int:
    """Bytes of writable private memory this process has mapped, as the kernel counts them for its limit."""
    with suppress(OSError, IndexError, ValueError):
        return int(_STATUS.read_bytes().partition(b"VmData:")[2].split(None, 1)[0]) * _KIB
    return 0
