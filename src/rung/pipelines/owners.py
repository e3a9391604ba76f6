"""Owners: which process holds a job, told so that a reused pid or a reboot is not mistaken for it."""

from __future__ import annotations

import os
from pathlib import Path


def this_owner() -> str:
    """``host|boot|pid|start`` of this process."""
    return f"{os.uname().nodename}|{_boot()}|{os.getpid()}|{_started(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether the owner was a process of this machine that no longer runs; False when that cannot be known."""
    parts = owner.split("|")
    if len(parts) != 4 or parts[0] != os.uname().nodename or not _boot() or not parts[2].isdigit():  # noqa: PLR2004 - the four parts above
        return False
    return parts[1] != _boot() or _started(int(parts[2])) != parts[3]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot; empty when it does not run, or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]
