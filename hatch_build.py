"""Builds the compiled part of Rung with whatever C compiler there is; without one, Rung runs on NumPy and says so."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "src/rung/stats/_kernel.abi3.so"


def compiled(root: Path) -> bool:
    """Whether the kernel was built into the source tree; one that is there already and newer than its sources stays."""
    sources = sorted((root / "native").glob("*.[ch]"))
    target = root / TARGET
    if target.exists() and all(target.stat().st_mtime >= source.stat().st_mtime for source in sources):
        return True
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-O3", "-fno-math-errno", "-ffp-contract=off", "-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}"]
    flags += ["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else []
    made = target.with_suffix(f".{os.getpid()}")
    try:
        subprocess.run(
            [*compiler, *flags, str(root / "native" / "kernel.c"), "-o", str(made), "-lm"], check=True, capture_output=True, text=True
        )
        made.replace(target)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Rung is built without its compiled part: {getattr(error, 'stderr', '') or error}")  # noqa: T201 - pip shows it
        made.unlink(missing_ok=True)
        target.unlink(missing_ok=True)  # an old one would answer for sources it was not made from
        return False
    return True


class Kernel(BuildHookInterface[Any]):
    """Compiles before a wheel is packed, an editable one too. RUNG_PURE=1 leaves it out."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled module and the tag of wheels for one platform, or nothing."""
        root = Path(self.root)
        if os.environ.get("RUNG_PURE") or not compiled(root):
            return
        build_data["pure_python"] = False
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{tag}"
        build_data["artifacts"].append(TARGET)
