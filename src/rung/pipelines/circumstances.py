"""What a run is made with besides code and lock: machine, switches, what is installed, and the digests of what it reads.

Everything here is only recorded. A reproduction reads it back to set what can be set and to name what is another now.
"""

from __future__ import annotations

import locale
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from rung.core.digests import digest_of, digest_of_file
from rung.core.errors import NotFound
from rung.data.store import DataStore
from rung.pipelines.environment import hardware as plain_hardware
from rung.pipelines.installed import manifest, named_files
from rung.pipelines.records import PipelineRun, StepSpec
from rung.storage.scope import Scope

# Each of these can change a number: order of hashing and of summation, kernels chosen, dates and sorting of texts.
THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLIS_NUM_THREADS", "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS", "OMP_DYNAMIC", "MKL_DYNAMIC",
)  # fmt: skip
SWITCHES = (
    "PYTHONHASHSEED", *THREADS, "MKL_CBWR", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "TF_DETERMINISTIC_OPS", "XLA_FLAGS", "SOURCE_DATE_EPOCH", "TZ", "LANG", "LC_ALL",
    "PYTHONUTF8", "PYTHONOPTIMIZE",
)  # fmt: skip
# Those that are no environment variables are recorded under names with a dot.
TIMEZONE, LOCALE, HASHING, TORCH = "time.zone", "locale.numbers", "python.hashing", "torch.deterministic"
_ISA = re.compile(r"^(sse\w*|ssse3|avx\w*|fma\w*|f16c|bmi\d|amx\w*|neon|asimd\w*|sve\w*|popcnt)$")
_DATASET = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}:\d{1,9}$")
_LONGEST_PATH = 1000
_NO_PATH = re.compile(r"[\n\0]|/{2}|^\s|\s$")
_MOST_FILES = 1000


class Circumstances(msgspec.Struct, frozen=True):
    """What was found. ``inputs`` maps ``dataset NAME:NUMBER``, ``file PATH`` and ``package PATH`` to digests."""

    hardware: dict[str, Any]
    switches: dict[str, str]
    packages: bytes
    inputs: dict[str, str] = msgspec.field(default_factory=dict)


def recorded(scope: Scope, folder: Path, run: PipelineRun, specs: Iterable[StepSpec]) -> Circumstances:
    """The circumstances of a run whose code lies in a folder, now."""
    held = tuple(specs)
    locks = {"uv.lock", "requirements.lock", "requirements.txt", *(spec.options.environment for spec in held)}
    values = [*run.params.values(), *(value for spec in held for value in spec.arguments.values())]
    inputs = {f"file {name}": digest_of_file(file)[0] for name, file in sorted(input_files(folder, values, held).items())}
    for name in sorted(lock for lock in locks if lock):
        inputs |= {f"package {file}": _digest_or_gone(file) for file in named_files(folder / name)}
    if named := [value for value in values if isinstance(value, str) and _DATASET.match(value)]:
        inputs |= scope.read(lambda s: dataset_digests(s, named))
    return Circumstances(
        hardware=hardware(),
        switches=switches(os.environ, scope.settings.engine.recorded_variables),
        packages=manifest(scope.home / "installed"),
        inputs=inputs,
    )


def input_files(folder: Path, values: Iterable[Any], specs: Iterable[StepSpec]) -> dict[str, Path]:
    """Files that a run reads by name: arguments that are paths of files, and those that its steps declare."""
    found: dict[str, Path] = {}
    for value in values:
        if isinstance(value, str) and 0 < len(value) < _LONGEST_PATH and not _NO_PATH.search(value) and (file := found_file(folder, value)):
            found[value] = file
    for pattern in (pattern for spec in specs for pattern in spec.options.files):
        for file in sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]:
            if file.is_file() and len(found) < _MOST_FILES:
                found[str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)] = file
    return found


def found_file(folder: Path, name: str) -> Path | None:
    """A file by its name in the project's folder or, where steps run in this process, in the working folder."""
    return next((file for file in (folder / name, Path.cwd() / name) if file.is_file()), None)


def dataset_digests(scope: Scope, names: Iterable[str]) -> dict[str, str]:
    """Content digests of dataset versions, ``name:number`` each; a text that only looks like one is left out."""
    found = {}
    store = DataStore(scope.connection, scope.project)
    for value in names:
        name, _, number = value.partition(":")
        with suppress(NotFound):
            found[f"dataset {value}"] = store.version(name, int(number)).digest
    return found


@lru_cache(maxsize=1)
def hardware() -> dict[str, Any]:
    """Cores, memory, processor with its vector instructions, accelerators with their driver, and the system."""
    name, flags = _processor()
    cards, driver = _gpus()
    found = {
        **plain_hardware(), "platform": _system(), "processor": name, "isa": " ".join(sorted(f for f in flags if _ISA.match(f))),
        "cpu_flags": digest_of(" ".join(sorted(flags)).encode())[7:23] if flags else "",
    }  # fmt: skip
    return {**found, "gpus": cards, "gpu_driver": driver} if cards or driver else found


def switches(environ: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """Environment variables that can change a number, those a project wants recorded besides, and the process's own settings."""
    found = {name: environ[name][:1000] for name in (*SWITCHES, *more) if name in environ}
    found[TIMEZONE] = time.tzname[0]
    found[LOCALE] = ".".join(part for part in locale.getlocale(locale.LC_NUMERIC) if part) or "C"
    found[HASHING] = "random" if sys.flags.hash_randomization and "PYTHONHASHSEED" not in environ else "fixed"
    if torch := sys.modules.get("torch"):
        found[TORCH] = str(torch.are_deterministic_algorithms_enabled()).lower()
    return found


def variables(recorded: Mapping[str, str]) -> dict[str, str]:
    """The environment variables among recorded switches."""
    return {name: value for name, value in recorded.items() if "." not in name}


def _digest_or_gone(file: Path) -> str:
    return digest_of_file(file)[0] if file.is_file() else "missing"


def _system() -> str:
    """As :func:`platform.platform` says it, which starts a program to learn what this system's name does not hold."""
    if sys.platform != "linux":
        return platform.platform()
    held = os.uname()
    return f"{held.sysname}-{held.release}-{held.machine}-with-{''.join(platform.libc_ver())}"


def _processor() -> tuple[str, tuple[str, ...]]:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8").partition("\n\n")[0]
    except OSError:
        return platform.processor(), ()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    return fields.get("model name") or platform.processor(), tuple((fields.get("flags") or fields.get("Features") or "").split())


def _gpus() -> tuple[list[str], str]:
    """Names of NVIDIA cards and the version of their driver, as the kernel tells them."""
    root = Path("/proc/driver/nvidia")
    cards = []
    for file in sorted(root.glob("gpus/*/information")):
        model = next((line.partition(":")[2].strip() for line in file.read_text("utf-8").splitlines() if line.startswith("Model")), "")
        cards.append(model or file.parent.name)
    try:
        first = (root / "version").read_text("utf-8").partition("\n")[0]
    except OSError:
        return cards, ""
    version = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", first)
    return cards, version[1] if version else first[:100]
