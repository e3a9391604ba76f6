"""How busy the machine is while a run is open: ``system/…`` metrics, read by a thread and logged like any other metric.

Rates are means since the reading before. What cannot be read here (no GPU, no disk counters) is left out. The step is the
whole seconds since the run started, so a run that is gone on with continues its curves.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from rung.client.active import ActiveRun
from rung.client.current import current_run
from rung.core.clock import SystemClock
from rung.core.errors import Conflict, Invalid

PREFIX = "system/"
EVERY_S = 10.0
SHORTEST_S = 0.1
SHORTEST_LAST_S = 1.0
_GPU_TOOL_S = 5.0
_LAST_S = 2.0
_MIB = 1 << 20
_COLUMNS = 5  # of a GPU, besides its index
_clock = SystemClock()
_watched: dict[str, Watch] = {}


class Machine:
    """Reads CPU, memory, disk, network and GPUs; the first reading has no rates yet."""

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - loaded only where system metrics are asked for

        self._psutil = psutil
        self._process = psutil.Process()
        self._gpus = gpu_reader()
        self._at = 0.0
        self._busy: dict[int, float] = {}
        self._counters: dict[str, float] = {}
        psutil.cpu_percent(None)
        self.read()

    def read(self) -> dict[str, float]:
        """What is measured now, by its metric's name without the prefix."""
        memory = self._psutil.virtual_memory()
        found = {
            "cpu_percent": float(self._psutil.cpu_percent(None)),
            "memory_percent": float(memory.percent),
            "memory_used_mib": (memory.total - memory.available) / _MIB,
        }
        worked, held, processes = self._processes()
        found |= {"process_memory_mib": held / _MIB, "process_count": float(processes)}
        counters = self._traffic()
        now = time.monotonic()
        passed = now - self._at
        if self._at and passed > 0:
            # CPU seconds a second, so 100 is one core's whole work, as `top` shows it
            found["process_cpu_percent"] = 100 * worked / passed
            # A counter falls when a device went away: no rate, rather than a wrong one.
            found |= {
                name: (value - self._counters[name]) / passed
                for name, value in counters.items()
                if value >= self._counters.get(name, float("inf"))
            }
        self._at, self._counters = now, counters
        return found | self._gpus()

    def _processes(self) -> tuple[float, float, int]:
        """CPU seconds since the reading before, resident bytes and number: of this process and those below it."""
        busy: dict[int, float] = {}
        held = 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                times = process.cpu_times()
                held += process.memory_info().rss
            except self._psutil.Error:
                continue  # it has ended meanwhile
            busy[process.pid] = times.user + times.system
        # One by one: what an ended process had worked must not be taken off the others' work.
        worked = sum(max(0.0, now - self._busy.get(pid, 0.0)) for pid, now in busy.items())
        self._busy = busy
        return worked, held, len(busy)

    def _traffic(self) -> dict[str, float]:
        found: dict[str, float] = {}
        disk = self._psutil.disk_io_counters()
        if disk is not None:
            found |= {"disk_read_mib_per_s": disk.read_bytes / _MIB, "disk_written_mib_per_s": disk.write_bytes / _MIB}
        network = self._psutil.net_io_counters()
        if network is not None:
            found |= {
                "network_received_mib_per_s": network.bytes_recv / _MIB,
                "network_sent_mib_per_s": network.bytes_sent / _MIB,
            }
        return found


class Watch:
    """The thread that logs a run's system metrics until the run is closed."""

    def __init__(self, run: ActiveRun, every_s: float) -> None:
        self.run = run
        self.every_s = every_s
        self.cost_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rung-system", daemon=True)

    def start(self) -> None:
        """Begin to measure."""
        _watched[self.run.id] = self
        self.run.at_end.append(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """Measure no more; the thread is gone when this returns."""
        _watched.pop(self.run.id, None)
        self._stopped.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_LAST_S)

    def _work(self) -> None:
        try:
            self._measure()
        except Conflict:
            return  # the run was closed between two readings
        except Exception as error:  # drivers fail in their own ways; a failed reading ends the measuring, never the training
            sys.stderr.write(f"rung: system metrics of run {self.run.id} stop: {type(error).__name__}: {error}\n")
        finally:
            if _watched.get(self.run.id) is self:
                _watched.pop(self.run.id, None)  # whoever stops it takes it out too

    def _measure(self) -> None:
        began = time.thread_time()
        machine = Machine()
        started = self.run.known.started_at if self.run.known else _clock.now()
        last = time.monotonic()
        stopping = False
        while not stopping:
            stopping = self._stopped.wait(self.every_s)
            if stopping and time.monotonic() - last < min(SHORTEST_LAST_S, self.every_s):
                return  # too little time for another mean
            if self._is_over():
                return
            step = max(0, int((_clock.now() - started).total_seconds()))
            values = machine.read()
            self.run.log_metrics({PREFIX + name: value for name, value in values.items()}, step)
            self.cost_s = time.thread_time() - began
            last = time.monotonic()

    def _is_over(self) -> bool:
        """Whether a run that somebody else closes, such as a step's, has ended."""
        return not self.run.buffered and self.run.client.tracking.get(self.run.id).status != "running"


def log_system_metrics(every_s: float = EVERY_S, run: ActiveRun | None = None) -> None:
    """Log how busy this machine is to the current run, or to the one given, until it is closed.

    Args:
        every_s: seconds between two readings. A reading costs about a millisecond.

    Raises:
        Invalid: less than a tenth of a second between readings. Conflict: no run is open here.
    """
    if not every_s >= SHORTEST_S:
        raise Invalid(f"System metrics every {every_s} s.", code="tracking.bad_interval", hint=f"Give at least {SHORTEST_S} seconds.")
    run = run or current_run()
    held = _watched.get(run.id)
    if held is not None:
        if held.every_s == every_s:
            return
        held.stop()
    Watch(run, every_s).start()


def gpu_reader() -> Callable[[], dict[str, float]]:
    """What reads the GPUs here: NVIDIA's library where it is installed, else its tool, else nothing."""
    try:
        import pynvml  # noqa: PLC0415 - an optional dependency
    except ImportError:
        tool = shutil.which("nvidia-smi")
        return (lambda: _by_tool(tool)) if tool else dict
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return dict
    return lambda: _by_library(pynvml, handles)


def _by_library(pynvml: Any, handles: list[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for index, handle in enumerate(handles):
        try:
            used = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found |= _gpu(index, used, memory.used / _MIB, memory.total / _MIB)
            found[f"gpu_{index}_celsius"] = float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
            found[f"gpu_{index}_watts"] = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
        except pynvml.NVMLError:
            continue  # this GPU does not tell, as parts of one do not
    return found


def _by_tool(tool: str) -> dict[str, float]:
    command = [
        tool,
        "--query-gpu=index,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw",
        "--format=csv,noheader,nounits",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GPU_TOOL_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parsed_gpus(done.stdout) if done.returncode == 0 else {}


def parsed_gpus(text: str) -> dict[str, float]:
    """What the tool printed, a line a GPU: index, use in percent, memory used and in all in MiB, degrees, watts.

    What a GPU does not tell, ``[N/A]``, is left out.

    >>> parsed_gpus("0, 50, 1024, 4096, 61, [N/A]")
    {'gpu_0_percent': 50.0, 'gpu_0_memory_mib': 1024.0, 'gpu_0_memory_percent': 25.0, 'gpu_0_celsius': 61.0}
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        index, *values = [part.strip() for part in line.split(",")]
        if not index.isdigit() or len(values) != _COLUMNS:
            continue
        used, held, total, celsius, watts = (_number(value) for value in values)
        found |= _gpu(int(index), used, held, total)
        found |= {f"gpu_{index}_{name}": value for name, value in (("celsius", celsius), ("watts", watts)) if value is not None}
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _gpu(index: int, used: float | None, held_mib: float | None, total_mib: float | None) -> dict[str, float]:
    share = 100 * held_mib / total_mib if held_mib is not None and total_mib else None
    values = {"percent": used, "memory_mib": held_mib, "memory_percent": share}
    return {f"gpu_{index}_{name}": value for name, value in values.items() if value is not None}
