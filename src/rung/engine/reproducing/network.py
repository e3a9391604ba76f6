"""No network for a step's process: in the kernel where that is allowed, else by refusing what Python code asks for.

``kernel``: the process is moved to a network namespace of its own, in which there is a loopback and nothing else. Nothing it
starts, native code included, reaches any other machine, or a service of this one by TCP or UDP. Sockets in the file system
still work. ``guard``: an audit hook refuses connections, datagrams and look-ups of names from Python code of this process.
Native code and programs it starts are not held back. Only the standard library is used: this runs before all else.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

VARIABLE = "RUNG_NETWORK"
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
_WATCHED = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def wished(*, allow: tuple[str, ...] = ()) -> str:
    """The value of the variable that closes the network of a step's process, but for some ``host:port``."""
    return ",".join(("blocked", *allow))


def obey(value: str) -> str:
    """Do what the variable says; ``kernel``, ``guard`` or ``open``."""
    word, *allow = value.split(",")
    if word != "blocked":
        return "open"
    return block(tuple(allow))


def block(allow: tuple[str, ...] = ()) -> str:
    """Close the network of this process; how it was closed. With addresses that stay open only the guard can do it."""
    if not allow and _unshared():
        return "kernel"
    guard(allow)
    return "guard"


def can_unshare() -> bool:
    """Whether the kernel lets a process of this user leave the network; tried in a process of its own, so that this one stays."""
    return subprocess.run([sys.executable, "-I", "-S", __file__], check=False, capture_output=True).returncode == 0


def guard(allow: tuple[str, ...]) -> None:
    """Refuse what Python code asks of the network from now on; it cannot be taken back."""
    hosts = {entry.rpartition(":")[0] for entry in allow}
    addresses = {_split(entry) for entry in allow}
    for entry in allow:
        host, port = _split(entry)
        try:
            addresses |= {(str(found[4][0]), port) for found in socket.getaddrinfo(host, port)}
        except OSError:
            continue  # it will not answer either way

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _WATCHED:
            return
        target = arguments[1] if event in {"socket.connect", "socket.sendto", "socket.sendmsg"} else arguments[0]
        if isinstance(target, tuple):
            if (str(target[0]), int(target[1])) not in addresses:
                raise PermissionError(f"A reproduced step may not reach the network: {target[0]}:{target[1]}.")
        elif not event.startswith(("socket.connect", "socket.send")) and target not in {None, "", *hosts}:
            raise PermissionError(f"A reproduced step may not look up the address of {target!r}.")

    sys.addaudithook(hook)


def _split(entry: str) -> tuple[str, int]:
    host, _, port = entry.rpartition(":")
    return host, int(port)


def _unshared() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return False
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET) == 0:
        _raise_loopback()
        return True
    if ctypes.get_errno() != errno.EPERM or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny", "ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", "ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", "ascii")
    except OSError:
        return True  # the network is gone all the same; files of others look like nobody's
    _raise_loopback()
    return True


def _raise_loopback() -> None:
    """Libraries that talk to themselves over 127.0.0.1 go on working."""
    import fcntl  # noqa: PLC0415 - only where a namespace was made

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        try:
            flags = struct.unpack("16sh", fcntl.ioctl(plug, _GET_FLAGS, struct.pack("16sh", b"lo", 0)))[1]
            fcntl.ioctl(plug, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP))
        except OSError:
            return  # without a loopback it is stricter still


if __name__ == "__main__":
    sys.exit(0 if _unshared() else 1)
