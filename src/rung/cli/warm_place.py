"""Which warm process may run a command: that of the same user, interpreter and surroundings, found by the name of its socket.

A forked child has what the warm process has, where a command's own process would have what its shell gave it. So all that a
process inherits unseen is part of the name, and commands that differ in any of it have a warm process each.
"""

from __future__ import annotations

import os
import sys

_READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "GLIBC_TUNABLES", "COVERAGE_", "HOME", "LC_ALL", "LC_CTYPE", "LANG", "TZ")
_OF_STATUS = (
    "Uid:", "Gid:", "Groups:", "SigBlk:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:",
    "Cpus_allowed:", "Mems_allowed:",
)  # fmt: skip
_FILES = ("cgroup", "limits", "oom_score_adj")
_WHERE_THERE = ("personality", "attr/current", "loginuid", "sessionid")  # not every kernel has them
_NAMESPACES = ("mnt", "net", "pid", "user", "ipc", "uts")


def socket_path() -> str | None:
    """Where a warm process for this command would listen; None where there is to be none.

    That is: switched off, watched by a debugger, tracer or profiler, or on a system that does not say what a process inherits.
    """
    if os.environ.get("RUNG_WARM", "1").lower() in {"0", "false"} or sys.gettrace() is not None or sys.getprofile() is not None:
        return None
    alike = identity()
    if alike is None:
        return None
    from zlib import crc32  # noqa: PLC0415

    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = f"{runtime}/rung" if runtime else f"/tmp/rung-{os.getuid()}"  # noqa: S108 - its owner and mode are checked before use
    return f"{folder}/warm-{crc32(alike):08x}.sock"


def identity() -> bytes | None:
    """What two processes have alike whose commands one process may run; None where the kernel does not tell (see proc(5)).

    The binary with its options, the environment Rung lies in, the variables that Python and the C library read at their start,
    groups, rights and labels, limits, scheduling, cores, control groups, namespaces, root and login.
    """
    shaping = [f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith(_READ_AT_START)]
    options = [str(sys.flags), str(sys.warnoptions), str(sys._xoptions)]  # noqa: SLF001 - it is documented
    python = [sys.executable, sys.prefix, __file__, sys.version, *options]
    try:
        inherited = _inherited()
    except OSError:
        return None
    if not inherited:
        return None
    return b"\n".join(["\n".join([*python, *shaping]).encode("utf-8", "surrogateescape"), *inherited])


def _inherited() -> list[bytes]:
    """What the kernel hands from a process to its children; nothing for a traced one. Raises OSError where it is not told."""
    told = dict(line.split(b"\t", 1) for line in _read("status").splitlines() if b"\t" in line)
    if told.get(b"TracerPid:", b"0") != b"0":
        return []
    places = [os.readlink(b"/proc/self/ns/" + name.encode()) for name in _NAMESPACES]
    held = [told.get(name.encode(), b"") for name in _OF_STATUS]
    files = [*(_read(name) for name in _FILES), *(_read_if_there(name) for name in _WHERE_THERE)]
    order = b"%d %d" % (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))
    return [*held, *places, os.readlink(b"/proc/self/root"), *(text.replace(b"\0", b"") for text in files), order]


def _read(name: str) -> bytes:
    number = os.open(f"/proc/self/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(number, 1 << 16)
    finally:
        os.close(number)


def _read_if_there(name: str) -> bytes:
    try:
        return _read(name)
    except OSError:
        return b""
