"""What a run is made with, read from this machine: commit, libraries, interpreter, hardware. Read once a process and folder."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path

from rung.core.records import Record
from rung.tracking.records import Hardware, LockKind, RunContext

_LOCKS: tuple[LockKind, ...] = ("uv.lock", "requirements.lock", "requirements.txt")
_GIT_S = 15.0


class Lock(Record):
    """Resolved dependencies: a lock file's bytes, or where there is none the list of what is installed."""

    kind: LockKind
    content: bytes


def capture(
    folder: Path | None = None, *, seeds: dict[str, int] | None = None, lock_digest: str = "", lock_kind: LockKind = ""
) -> RunContext:
    """The context of a run started in ``folder`` (default: the working folder), with the lock stored under a digest."""
    here = (folder or Path.cwd()).resolve()
    commit, dirty = _git_state(here)
    return RunContext(
        git_commit=commit, git_dirty=dirty, lock=lock_digest, lock_kind=lock_kind,
        python=platform.python_version(), platform=platform.platform(), seeds=seeds or {}, hardware=hardware(),
        source=Path(sys.argv[0]).name[:200] if sys.argv else "",
    )  # fmt: skip


@lru_cache(maxsize=8)
def find_lock(folder: Path | None = None) -> Lock:
    """The lock of the project around ``folder``: the nearest lock file upwards, else what is installed."""
    here = (folder or Path.cwd()).resolve()
    for place in (here, *here.parents):
        for kind in _LOCKS:
            if (place / kind).is_file():
                return Lock(kind=kind, content=(place / kind).read_bytes())
        if (place / ".git").exists() or (place / "rung.toml").exists():
            break
    installed = sorted({f"{item.metadata['Name']}=={item.version}" for item in distributions() if item.metadata["Name"]}, key=str.lower)
    return Lock(kind="installed", content=("\n".join(installed) + "\n").encode())


@lru_cache(maxsize=1)
def hardware() -> Hardware:
    """CPUs this process may use, memory, GPUs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    return Hardware(cpus=cpus, memory_bytes=max(memory, 0), gpus=_gpus())


def _gpus() -> tuple[str, ...]:
    """GPU models as the NVIDIA driver's files name them; asking its tool would cost a run a second."""
    found = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = file.read_text("utf-8", "replace").splitlines()
        found += [line.partition(":")[2].strip()[:200] for line in lines if line.startswith("Model")]
    return tuple(found)


@lru_cache(maxsize=8)
def _git_state(folder: Path) -> tuple[str, bool]:
    if not any((place / ".git").exists() for place in (folder, *folder.parents)):
        return "", False
    commit = _git(folder, "rev-parse", "HEAD")
    return (commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))) if commit else ("", False)


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):  # no git here, or a hanging file system: the run goes on without
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
