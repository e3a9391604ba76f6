"""Processor time and memory of a process and all its descendants, from ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> dict[int, float]:
    """A process and its living descendants, each with the processor seconds of itself and of the children it has buried."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:  # it ended meanwhile
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
            used[int(entry)] = sum(map(int, fields[11:15])) / _TICKS
    found, todo = {}, [root]
    while todo:
        pid = todo.pop()
        found[pid] = used.get(pid, 0.0)
        todo += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """Processor seconds of a tree so far."""
    return sum(tree(root).values())


def memory_mb(root: int, kind: str = "Rss") -> float:
    """Resident memory of a tree: ``Rss`` counts a shared page in each process, ``Pss`` once."""
    total = 0
    for pid in tree(root):
        try:
            lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(kind + ":"))
    return total / 1024
