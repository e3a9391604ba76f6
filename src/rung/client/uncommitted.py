"""The difference between a run's code and its commit, as a patch: what makes a run of a dirty tree readable later."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

PATH = "code/uncommitted.patch"
_LARGEST = 1 << 20
_GIT_S = 30.0
# Files that hold secrets by their name stay out even when somebody has committed them.
_SECRET = (
    ".env*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_*",
    "*secret*",
    "*credential*",
    "*password*",
    "*.token",
    ".netrc",
    ".pypirc",
)


@lru_cache(maxsize=8)
def uncommitted(folder: Path) -> bytes:
    """Changes of files that git knows, against the commit; only their outline when they are over a megabyte."""
    patch = _diff(folder)
    if len(patch) > _LARGEST:
        return f"# The difference has {len(patch)} bytes; this is its outline.\n".encode() + _diff(folder, "--stat")[:_LARGEST]
    return patch


def _diff(folder: Path, *how: str) -> bytes:
    outside = [f":(exclude,top,icase,glob)**/{name}" for name in _SECRET]
    command = ["git", "-C", str(folder), "diff", "HEAD", *how, "--no-ext-diff", "--no-textconv", "--no-color", "--", ":(top)", *outside]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):  # no git here, or a hanging file system: the run goes on without
        return b""
    return b"" if done.returncode else done.stdout
