"""Writes locks/<name>.lock for foreign libraries whose pins clash with ours: what they need and requirements.lock has not, or has otherwise.

Such a library is installed into a folder of its own (``.peers/<name>``), which a test puts in front of the environment's packages.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = {"kfp": ("kfp",), "ml-metadata": ("ml-metadata",)}
_BLOCK = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) \\\n((?:    .*\n?)+)", re.MULTILINE)
_OPTIONS = ("--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet", "--python-version", "3.11")


def blocks(text: str) -> dict[str, tuple[str, str]]:
    """Version and whole entry of every package of a lock."""
    return {found[1]: (found[2], found[0].rstrip("\n") + "\n") for found in _BLOCK.finditer(text)}


def main() -> int:
    """Resolve each library alone, and keep what differs from the lock of the project."""
    ours = blocks((ROOT / "requirements.lock").read_text("utf-8"))
    for name, wanted in PEERS.items():
        with tempfile.TemporaryDirectory() as folder:
            wish, lock = Path(folder, "wish.in"), Path(folder, "wish.lock")
            # one command line is shared with ours, so its library must be of one version
            wish.write_text("\n".join([*wanted, f"click=={ours['click'][0]}"]) + "\n", "utf-8")
            subprocess.run(["uv", "pip", "compile", str(wish), *_OPTIONS, "-o", str(lock)], check=True)
            theirs = blocks(lock.read_text("utf-8"))
        kept = [entry for package, (version, entry) in theirs.items() if ours.get(package, ("",))[0] != version]
        (ROOT / "locks" / f"{name}.lock").write_text("".join(kept), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
