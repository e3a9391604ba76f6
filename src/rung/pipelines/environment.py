"""The environment a run is made in: lock, Python, machine, and the commit of the project's repository."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from rung.core.digests import digest_of

Kind = Literal["uv.lock", "requirements.lock", "requirements.txt", "installed"]
_LOCKS: tuple[Kind, ...] = ("uv.lock", "requirements.lock", "requirements.txt")


class Environment(msgspec.Struct, frozen=True):
    """Libraries and interpreter. ``text`` is the lock itself; ``kind`` says which file it is, or ``installed``."""

    kind: Kind
    text: bytes

    @property
    def digest(self) -> str:
        """Digest of the lock's text."""
        return digest_of(self.text)

    @property
    def key(self) -> str:
        """What enters cache keys: the lock and Python's minor version."""
        return f"{self.digest} {sys.version_info.major}.{sys.version_info.minor}"


def environment_of(folder: Path) -> Environment:
    """The project's lock file; without one, the list of what is installed."""
    for name in _LOCKS:
        file = folder / name
        if file.is_file():
            return Environment(kind=name, text=file.read_bytes())
    places = tuple(sorted({sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}))
    marks = tuple(Path(place).stat().st_mtime_ns if Path(place).is_dir() else 0 for place in places)
    return Environment(kind="installed", text=_installed(places, marks))


def git_state(folder: Path) -> tuple[str, bool]:
    """Commit of the repository that holds a folder, and whether its working tree differs from it; empty outside one."""
    if not any((place / ".git").exists() for place in (folder, *folder.parents)):
        return "", False
    commit = _git(folder, "rev-parse", "HEAD")
    return commit, bool(commit) and bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def hardware() -> dict[str, Any]:
    """Cores, memory and kind of machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cpus": len(os.sched_getaffinity(0)), "memory_bytes": pages, "machine": platform.machine()}


def python_version() -> str:
    """Python's full version."""
    return platform.python_version()


@lru_cache(maxsize=4)
def _installed(places: tuple[str, ...], marks: tuple[int, ...]) -> bytes:
    """``name==version`` of every distribution, read from the names of their folders, which is a hundred times faster."""
    found = set()
    for place in places:
        for entry in os.scandir(place) if Path(place).is_dir() else ():
            if entry.name.endswith(".dist-info"):
                found.add(entry.name.removesuffix(".dist-info").replace("-", "==", 1).lower())
    if not found:
        from importlib.metadata import distributions  # noqa: PLC0415 - a plain run needs nothing of it, and it loads forty modules

        found = {f"{d.metadata['Name']}=={d.version}".lower() for d in distributions()}
    return "\n".join(sorted(found)).encode()


def _git(folder: Path, *arguments: str) -> str:
    import subprocess  # noqa: PLC0415 - where there is a repository

    try:
        answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
