"""Admission: a step begins only when this machine has free what it asks for. GPUs are given out by number."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from math import ceil
from pathlib import Path

import msgspec

from rung.core.settings import EngineSettings
from rung.pipelines.records import StepOptions

_GB = 10**9


class Machine(msgspec.Struct, frozen=True):
    """What there is to give: cores, bytes of memory, GPUs by number."""

    cpus: float
    memory_bytes: int
    gpus: tuple[str, ...] = ()


class Grant(msgspec.Struct, frozen=True):
    """What an attempt has been given until it ends."""

    executor: str = ""
    cpus: float = 0.0
    memory_bytes: int = 0
    gpus: dict[str, float] = msgspec.field(default_factory=dict)
    draws: bool = False


class Admission:
    """Gives out the slots of executors and the resources of the machine; shared by all runs of a worker."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._lock = threading.Lock()
        self._slots: dict[str, int] = {}
        self._cpus = machine.cpus
        self._memory = machine.memory_bytes
        self._gpus = dict.fromkeys(machine.gpus, 1.0)
        self._drawing = False

    def refusal(self, step: str, options: StepOptions) -> str:
        """Why a step can never begin here; empty when it can."""
        wishes = (
            ("cpus", options.cpus or 0, self.machine.cpus, "engine.cpus"),
            ("GB of memory", (options.memory_bytes or 0) / _GB, self.machine.memory_bytes / _GB, "engine.memory_gb"),
            ("gpus", options.gpus or 0, float(len(self.machine.gpus)), "engine.gpus"),
        )
        for what, wish, have, setting in wishes:
            if wish > have:
                return f"Step {step!r} asks for {wish:g} {what}, and this worker has {have:g} ({setting})."
        return ""

    def take(self, executor: str, slots: int, options: StepOptions, *, local: bool, draws: bool = False) -> Grant | None:
        """What an attempt needs, or None while that is not free; of those that draw random numbers in this process one runs at a time."""
        with self._lock:
            if self._slots.get(executor, 0) >= slots or (draws and self._drawing):
                return None
            cpus, memory = (options.cpus or 0.0, options.memory_bytes or 0) if local else (0.0, 0)
            gpus = self._free_gpus(options.gpus or 0.0) if local else {}
            if gpus is None or cpus > self._cpus + 1e-9 or memory > self._memory:
                return None
            self._slots[executor] = self._slots.get(executor, 0) + 1
            self._cpus -= cpus
            self._memory -= memory
            for name, share in gpus.items():
                self._gpus[name] -= share
            self._drawing |= draws
            return Grant(executor=executor, cpus=cpus, memory_bytes=memory, gpus=gpus, draws=draws)

    def give(self, grant: Grant) -> None:
        """Take back what an attempt had."""
        with self._lock:
            self._slots[grant.executor] -= 1
            self._drawing &= not grant.draws
            self._cpus += grant.cpus
            self._memory += grant.memory_bytes
            for name, share in grant.gpus.items():
                self._gpus[name] += share

    def _free_gpus(self, wish: float) -> dict[str, float] | None:
        """GPUs for a wish: whole ones, or a share of one for less than 1; None when there are not enough."""
        if wish <= 0:
            return {}
        share = min(wish, 1.0)
        count = 1 if wish < 1 else ceil(wish)
        # a share goes where others share already, so that whole GPUs stay whole
        free = sorted((left, name) for name, left in self._gpus.items() if left + 1e-9 >= share)
        return {name: share for _, name in free[:count]} if len(free) >= count else None


def machine_of(settings: EngineSettings) -> Machine:
    """What the settings let a worker give out; what they leave at 0 is asked of the machine."""
    memory = int(settings.memory_gb * _GB) or _memory()
    gpus = tuple(str(number) for number in range(settings.gpus)) or _gpus()
    return Machine(cpus=settings.cpus or float(len(os.sched_getaffinity(0))), memory_bytes=memory, gpus=gpus)


def _memory() -> int:
    """Bytes of memory, of the control group where that is less."""
    held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
    except OSError:
        return held
    return min(held, int(limit)) if limit.isdigit() else held


def _gpus() -> tuple[str, ...]:
    """The GPUs this process may see, as CUDA numbers or names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return _all_gpus()
    return tuple(part.strip() for part in named.split(",") if part.strip() and part.strip() != "-1")


@lru_cache(maxsize=1)
def _all_gpus() -> tuple[str, ...]:
    if not Path("/proc/driver/nvidia").is_dir():
        return ()
    import subprocess  # noqa: PLC0415 - where there is a GPU

    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(answer.stdout.split()) if answer.returncode == 0 else ()
