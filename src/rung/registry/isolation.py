"""Confining this process for good: no network, no other program, no file but those named. Linux only.

Two locks of the kernel, set from within and inherited by every thread: Landlock for files, a system call filter for the
rest. Neither can be opened again, by whatever code runs after.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Iterable
from pathlib import Path

from rung.core.errors import Unavailable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_WRITE_FILE, _REMOVE_FILE, _MAKE_FILE, _TRUNCATE = 1 << 1, 1 << 5, 1 << 8, 1 << 14
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_WITH_DEVICES = (1 << 16) - 1
_WRITING = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_FILE | _TRUNCATE  # plain files only: no links, pipes, devices
_TCP, _SCOPES = 0b11, 0b11
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# socket socketpair connect bind (fork vfork) execve execveat ptrace kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
# process_vm_readv process_vm_writev io_uring_setup bpf perf_event_open userfaultfd keyctl add_key request_key mount umount2 unshare
# setns pidfd_open pidfd_getfd kexec_load init_module finit_module open_by_handle_at setpriority sched_setscheduler
_REFUSED = {
    "x86_64": (
        41, 53, 42, 49, 57, 58, 59, 322, 101, 62, 200, 234, 129, 297, 424, 310, 311, 425, 321, 298, 323, 250, 248, 249, 165, 166, 272, 308, 434,
        438, 246, 175, 313, 304, 141, 144,
    ),
    "aarch64": (
        198, 199, 203, 200, 221, 281, 117, 129, 130, 131, 138, 240, 424, 270, 271, 425, 280, 241, 282, 219, 217, 218, 40, 39, 97, 268, 434,
        438, 104, 105, 273, 265, 140, 119,
    ),
}  # fmt: skip
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_CLONE, _CLONE3, _A_THREAD = {"x86_64": 56, "aarch64": 220}, 435, 0x10000
_ALLOW, _REFUSE, _UNKNOWN, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


def confine(readable: Iterable[Path], writable: Iterable[Path], *, seconds: int, memory_bytes: int, file_bytes: int) -> None:
    """Give up everything but the files named, for this process and all it starts.

    Raises:
        Unavailable: the kernel has no such locks, or another architecture.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise _unable("does not let a process give up privileges")
    _lock_files(libc, readable, writable)
    _lock_calls(libc)


def _lock_files(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        raise _unable("has no Landlock")
    handled = _FILES.get(version, _WITH_DEVICES)
    held = struct.pack("QQQ", handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)  # noqa: PLR2004 - versions of Landlock
    size = 24 if version >= 6 else 16 if version >= 4 else 8  # noqa: PLR2004 - see above
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.c_char_p(held), size, 0)
    if ruleset < 0:
        raise _unable("refuses a Landlock ruleset")
    for paths, rights in ((readable, _READ_FILE | _READ_DIR | _EXECUTE), (writable, _WRITING & handled)):
        for path in paths:
            _allow(libc, ruleset, path, rights)
    if libc.syscall(_RESTRICT_SELF, ruleset, 0):
        raise _unable("refuses to restrict a process")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not path.is_dir():
        rights &= _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE
    rule = struct.pack("=Qi", rights, place)
    failed = libc.syscall(_ADD_RULE, ruleset, _BENEATH, ctypes.c_char_p(rule), 0)
    os.close(place)
    if failed:
        raise _unable(f"refuses a rule for {path}")


def _lock_calls(libc: ctypes.CDLL) -> None:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise _unable(f"is of {machine}, for which no filter is written")
    program = _program(machine)
    buffer = ctypes.create_string_buffer(program, len(program))
    held = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_SECCOMP, _FILTER, ctypes.c_char_p(held), 0, 0):
        raise _unable("refuses a system call filter")


def _program(machine: str) -> bytes:
    """The filter: another architecture ends the process, calls on the list are refused.

    Threads may be started, processes may not; limits may be asked for, of the process itself only.
    """
    calls = _REFUSED[machine]
    rules = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT), (_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL),
    ]  # fmt: skip
    for call in calls:
        rules += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _REFUSE)]
    rules += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _UNKNOWN)]  # its flags lie in memory; the C library then uses clone
    rules += [(_EQUAL, 0, 4, _CLONE[machine]), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT)]
    rules += [(_ANY_BIT, 1, 0, _A_THREAD), (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    rules += [(_EQUAL, 0, 3, _PRLIMIT[machine]), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _REFUSE)]
    rules += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *rule) for rule in rules)


def _unable(why: str) -> Unavailable:
    return Unavailable(
        f"Code of strangers cannot be confined here: the kernel {why}.",
        code="registry.no_isolation",
        hint="Use Linux 5.13 or newer with Landlock and seccomp, on x86_64 or aarch64.",
    )
