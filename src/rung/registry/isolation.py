"""Confining this process for good: no network, no other program, no file but those named. Linux only.

Two locks of the kernel, set from within and inherited by every thread: Landlock for files, and a filter that lets
through only the system calls that arithmetic and reading files need. Neither can be opened again, by whatever code runs
after. They hold for threads started later; so there must be no other thread yet.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from rung.core.errors import Unavailable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_CHANGE_BELOW = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13  # remove folders and files, make folders and files, move between folders
_OLDEST = 3  # the first that holds back truncation too
_FILES, _WITH_DEVICES = (1 << 15) - 1, (1 << 16) - 1
_TCP, _SCOPES = 0b11, 0b11
_DEVICES_SINCE, _TCP_SINCE, _SCOPES_SINCE = 5, 4, 6
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# read write readv writev pread64 pwrite64 lseek close close_range dup dup2 dup3 ftruncate fsync fdatasync; open openat stat lstat fstat
# newfstatat statx access faccessat faccessat2 readlink readlinkat getdents64 getcwd statfs fstatfs; mmap mprotect munmap mremap madvise
# brk futex set_robust_list set_tid_address rseq arch_prctl; sched_yield sched_getaffinity getcpu nanosleep clock_nanosleep clock_gettime
# clock_getres gettimeofday time times; getrusage getrlimit getpid getppid gettid getuid geteuid getgid getegid uname sysinfo getrandom;
# rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group
_LET_THROUGH = {
    "x86_64": (
        0, 1, 19, 20, 17, 18, 8, 3, 436, 32, 33, 292, 77, 74, 75, 2, 257, 4, 6, 5,
        262, 332, 21, 269, 439, 89, 267, 217, 79, 137, 138, 9, 10, 11, 25, 28,
        12, 202, 273, 218, 334, 158, 24, 204, 309, 35, 230, 228,
        229, 96, 201, 100, 98, 97, 39, 110, 186, 102, 107, 104, 108, 63, 99, 318,
        13, 14, 15, 131, 219, 60, 231,
    ),
    "aarch64": (
        63, 64, 65, 66, 67, 68, 62, 57, 436, 23, 24, 46, 82, 83, 56, 80,
        79, 291, 48, 439, 78, 61, 17, 43, 44, 222, 226, 215, 216, 233,
        214, 98, 99, 96, 293, 124, 123, 168, 101, 115, 113,
        114, 169, 153, 165, 163, 172, 173, 178, 174, 175, 176, 177, 160, 179, 278,
        134, 135, 139, 132, 128, 93, 94,
    ),
}  # fmt: skip
# for who has a scratch folder, to run libraries at large in. Changing folders, Landlock says where: mkdir mkdirat rmdir unlink unlinkat
# rename renameat renameat2; and waiting on what is open already, which Polars' threads do: epoll_create1 epoll_ctl epoll_wait
# epoll_pwait eventfd2 poll ppoll select pselect6 pipe pipe2
_AT_LARGE = {
    "x86_64": (83, 258, 84, 87, 263, 82, 264, 316, 291, 233, 232, 281, 290, 7, 271, 23, 270, 22, 293),
    "aarch64": (34, 35, 38, 276, 20, 21, 22, 19, 73, 72, 59),
}
_FCNTL, _IOCTL, _PRLIMIT = {"x86_64": 72, "aarch64": 25}, {"x86_64": 16, "aarch64": 29}, {"x86_64": 302, "aarch64": 261}
_DESCRIPTORS = (0, 1, 2, 3, 1030)  # fcntl: copies and flags of a descriptor; not its owner, to whom signals would go, and no locks
_TERMINALS = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)  # ioctl: whether it is a terminal, how wide, how much waits, closing on exec
_CLONE, _CLONE3, _A_THREAD = {"x86_64": 56, "aarch64": 220}, 435, 0x10000
_ALLOW, _REFUSE, _UNKNOWN, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_FOREIGN_NUMBERS = 0x40000000
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_FIRST, _SECOND, _THIRD, _THIRD_UPPER = 16, 24, 32, 36  # where the arguments lie, low words first
Rule = tuple[int, int, int, int]


def confine(
    readable: Iterable[Path], writable: Iterable[Path], *, seconds: int, memory_bytes: int, file_bytes: int, scratch: Path | None = None
) -> None:
    """Give up everything but reading what is named (folders with all below), and writing the named files, which must exist.

    Below ``scratch``, a folder, files and folders may be made, written and removed.

    Raises:
        Unavailable: the kernel has no such locks, or another architecture; or this process has other threads already.
    """
    if sys.platform != "linux":
        raise _unable(f"is of {sys.platform}")
    if len(os.listdir("/proc/self/task")) != 1:
        raise _unable("would lock one thread only, and this process has several")
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise _unable("does not let a process give up privileges")
    _lock_files(libc, readable, writable, scratch)
    _lock_calls(libc, at_large=scratch is not None)


def _lock_files(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path], scratch: Path | None) -> None:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < _OLDEST:
        raise _unable("has no Landlock, or one too old to hold back truncation")
    handled = _WITH_DEVICES if version >= _DEVICES_SINCE else _FILES
    held = struct.pack("QQQ", handled, _TCP if version >= _TCP_SINCE else 0, _SCOPES if version >= _SCOPES_SINCE else 0)
    size = 24 if version >= _SCOPES_SINCE else 16 if version >= _TCP_SINCE else 8
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.c_char_p(held), size, 0)
    if ruleset < 0:
        raise _unable("refuses a Landlock ruleset")
    for path in readable:
        _allow(libc, ruleset, path, _READ_FILE | _READ_DIR | _EXECUTE)  # to map a library is to execute it
    for path in writable:
        _allow(libc, ruleset, path, _READ_FILE | _WRITE_FILE | _TRUNCATE)
    if scratch is not None:
        _allow(libc, ruleset, scratch, _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _CHANGE_BELOW)
    if libc.syscall(_RESTRICT_SELF, ruleset, 0):
        raise _unable("refuses to restrict a process")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)  # kept, or the kernel might forget what /proc/self was
    except FileNotFoundError:
        return
    if not path.is_dir():
        rights &= _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE
    rule = struct.pack("=Qi", rights, place)
    if libc.syscall(_ADD_RULE, ruleset, _BENEATH, ctypes.c_char_p(rule), 0):
        raise _unable(f"refuses a rule for {path}")


def _lock_calls(libc: ctypes.CDLL, *, at_large: bool) -> None:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise _unable(f"is of {machine}, for which no filter is written")
    program = b"".join(struct.pack("HBBI", *rule) for rule in _program(machine, at_large=at_large))
    buffer = ctypes.create_string_buffer(program, len(program))
    held = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_SECCOMP, _FILTER, ctypes.c_char_p(held), 0, 0):
        raise _unable("refuses a system call filter")


def _program(machine: str, *, at_large: bool) -> list[Rule]:
    """The filter: what is named is let through, all else is refused; a call of another architecture ends the process.

    Threads may be started, processes may not; limits may be asked for, of the process itself, and not set.
    """
    rules: list[Rule] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT), (_AT_LEAST, 0, 1, _FOREIGN_NUMBERS), (_RETURN, 0, 0, _KILL),
    ]  # fmt: skip
    for call in (*_LET_THROUGH[machine], *(_AT_LARGE[machine] if at_large else ())):
        rules += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _ALLOW)]
    rules += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _UNKNOWN)]  # its flags lie in memory; the C library then uses clone
    rules += _when(_CLONE[machine], [(_LOAD, 0, 0, _FIRST), (_ANY_BIT, 0, 1, _A_THREAD), (_RETURN, 0, 0, _ALLOW)])
    for call, commands in ((_FCNTL[machine], _DESCRIPTORS), (_IOCTL[machine], _TERMINALS)):
        asked: list[Rule] = [(_LOAD, 0, 0, _SECOND)]
        for command in commands:
            asked += [(_EQUAL, 0, 1, command), (_RETURN, 0, 0, _ALLOW)]
        rules += _when(call, asked)
    nothing = [
        rule for place in (_FIRST, _THIRD, _THIRD_UPPER) for rule in ((_LOAD, 0, 0, place), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _REFUSE))
    ]
    rules += _when(_PRLIMIT[machine], [*nothing, (_RETURN, 0, 0, _ALLOW)])
    return [*rules, (_RETURN, 0, 0, _REFUSE)]


def _when(call: int, rules: list[Rule]) -> list[Rule]:
    """Rules about the arguments of one call; what they do not let through is refused."""
    return [(_EQUAL, 0, len(rules) + 1, call), *rules, (_RETURN, 0, 0, _REFUSE)]


def _unable(why: str) -> Unavailable:
    return Unavailable(
        f"Code of strangers cannot be confined here: the kernel {why}.",
        code="registry.no_isolation",
        hint="Use Linux 6.2 or newer with Landlock and seccomp, on x86_64 or aarch64; or log the model as skops.",
    )
