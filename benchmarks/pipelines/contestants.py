"""Who runs the twenty steps, and how: whole commands in folders of their own, their CPU seconds told by the kernel."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent / "peers"
PEERS = {
    "Metaflow": ("metaflow", "metaflow==2.19.39"),
    "ZenML": ("zenml", "zenml[local]==0.98.0"),
    "Dagster": ("dagster", "dagster==1.13.29"),
    "KFP local": ("kfp", "kfp==2.17.0"),
}
_RUNG = [sys.executable, "-m", "rung.cli.entry"]
_QUIET = {
    "METAFLOW_USER": "bench", "USERNAME": "bench", "ZENML_ANALYTICS_OPT_IN": "false", "ZENML_LOGGING_VERBOSITY": "ERROR",
    "DO_NOT_TRACK": "1", "DAGSTER_DISABLE_TELEMETRY": "1", "AUTO_OPEN_DASHBOARD": "false",
}  # fmt: skip


@dataclass
class Contestant:
    """A command that runs the twenty steps; a ``seeded`` one is told a seed, which its cache knows nothing of unless it was told before.

    ``resident`` is a process that works for it.
    """

    name: str
    arguments: list[str]
    environ: dict[str, str]
    folder: Path
    seeded: bool = False
    resident: int | None = None
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    cached_cpu_s: list[float] = field(default_factory=list)
    cached_wall_s: list[float] = field(default_factory=list)

    def run(self, seed: int) -> tuple[float, float]:
        """CPU and wall seconds of one run of the command, those of a resident process included."""
        arguments = [*self.arguments, "--seed", str(seed)] if self.seeded else self.arguments
        before, resident, begun = resource.getrusage(resource.RUSAGE_CHILDREN), _cpu_of(self.resident), time.perf_counter()
        done = subprocess.run(arguments, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{self.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return used + _cpu_of(self.resident) - resident, wall


def peer(name: str, folder: Path, venvs: Path) -> Contestant:
    """A peer in its own virtual environment, which is made when it is missing."""
    short, wish = PEERS[name]
    python = venvs / short / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venvs / short)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wish], check=True)
        subprocess.run([str(python), "-m", "compileall", "-q", str(venvs / short / "lib")], check=False)
    place = folder / short
    place.mkdir(parents=True)
    file = shutil.copy(HERE / f"{short}_flow.py", place)
    environ = {key: value for key, value in _clean().items() if key != "PYTHONPATH"} | _QUIET | {
        "PATH": f"{python.parent}:{os.environ['PATH']}", "HOME": str(place), "DAGSTER_HOME": str(place), "ZENML_CONFIG_PATH": str(place / "zen"),
    }  # fmt: skip
    return Contestant(name, [str(python), str(file), *(["run"] if short == "metaflow" else [])], environ, place)


def ours(name: str, folder: Path, pipeline: str, *, warm: bool) -> Contestant:
    """Rung's command line in a project of its own: as it comes, or without the warm process that commands start by themselves."""
    place = folder / name.replace(" ", "-").replace(",", "").replace("=", "-")
    place.mkdir(parents=True)
    shutil.copy(HERE / "rung_flow.py", place / "pipelines.py")
    (place / "rung.toml").write_text('home = "home"\n')
    (place / "run").mkdir(mode=0o700)
    environ = _clean() | {"XDG_RUNTIME_DIR": str(place / "run")} | ({} if warm else {"RUNG_WARM": "0"})
    return Contestant(name, [*_RUNG, "run", pipeline], environ, place, seeded=True)


def settle(one: Contestant) -> None:
    """Two commands that are not measured; then find the warm process which they have started, so that its CPU is counted too."""
    for _ in range(2):
        subprocess.run([*_RUNG, "--version"], cwd=one.folder, env=one.environ, check=True, capture_output=True)
    for _ in range(600):
        told = subprocess.run([*_RUNG, "warm", "status", "--json"], cwd=one.folder, env=one.environ, check=True, capture_output=True)
        one.resident = json.loads(told.stdout)["pid"]
        if one.resident is not None:
            return
        time.sleep(0.1)
    raise SystemExit(f"{one.name}: no warm process has started by itself within a minute.")


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("RUNG_", "PYTHONDONTWRITE"))}


def _cpu_of(pid: int | None) -> float:
    """CPU seconds of a process and of its children that have ended."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return sum(int(part) for part in fields[11:15]) / os.sysconf("SC_CLK_TCK")
