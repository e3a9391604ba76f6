"""A warm process runs commands as their own process would: streams, folder, environment, signals and exit status."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import is_alive

ROOT = Path(__file__).parents[2]
PIPELINES = """
import os, sys, time
from rung import pipeline, step

@step(cache=False)
def tell() -> dict:
    print("to the log")
    return {"folder": os.getcwd(), "word": os.environ.get("WORD", ""), "pid": os.getpid(), "parent": os.getppid()}

@step(cache=False)
def rest() -> int:
    open("resting", "w").write(str(os.getpid()))
    time.sleep(60)
    return 1

@pipeline
def telling():
    return tell()

@pipeline
def resting():
    return rest()
"""


def rung(*words: str, folder: Path, env: dict[str, str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rung.cli.entry", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "rung.toml").write_text('home = "home"\n')
    (tmp_path / "project" / "pipelines.py").write_text(PIPELINES)
    return tmp_path / "project"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "run").mkdir(mode=0o700)
    held = {key: value for key, value in os.environ.items() if not key.startswith("RUNG_")}
    return {**held, "XDG_RUNTIME_DIR": str(tmp_path / "run")}


@pytest.fixture
def warm(project: Path, env: dict[str, str]) -> Iterator[int]:
    done = rung("warm", "start", "--idle", "5m", "--json", folder=project, env=env)
    assert done.returncode == 0, done.stderr
    pid = json.loads(done.stdout)["pid"]
    yield pid
    with pytest.MonkeyPatch.context():
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return
    wait_for(lambda: not alive(pid))


def alive(pid: int) -> bool:
    return is_alive(pid)


def wait_for(what: object, timeout_s: float = 120.0) -> None:
    until = time.monotonic() + timeout_s
    while not what():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def told(project: Path, env: dict[str, str]) -> dict[str, object]:
    done = rung("run", "telling", "--json", folder=project, env=env)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    artifact = (run.get("run") or run)["outputs"][0]
    import base64

    answer: dict[str, object] = json.loads(base64.b64decode(artifact["inline"]))
    return answer


def test_a_command_runs_in_a_child_of_the_warm_process_with_folder_and_environment_of_its_caller(
    project: Path, env: dict[str, str], warm: int
) -> None:
    answer = told(project, {**env, "WORD": "sesame"})
    assert answer["parent"] == warm
    assert answer["folder"] == str(project)
    assert answer["word"] == "sesame"


def test_without_a_warm_process_and_when_told_so_a_command_runs_by_itself(project: Path, env: dict[str, str], warm: int) -> None:
    assert told(project, {**env, "RUNG_WARM": "0"})["parent"] != warm


def test_exit_status_and_standard_error_come_back(project: Path, env: dict[str, str], warm: int) -> None:
    done = rung("run", "nothing-like-it", folder=project, env=env)
    cold = rung("run", "nothing-like-it", folder=project, env={**env, "RUNG_WARM": "0"})
    assert (done.returncode, done.stdout, done.stderr) == (cold.returncode, cold.stdout, cold.stderr)
    assert done.returncode == 4


def test_a_changed_pipeline_is_seen_at_once(project: Path, env: dict[str, str], warm: int) -> None:
    told(project, env)
    file = project / "pipelines.py"
    file.write_text(file.read_text().replace('"word": os.environ.get("WORD", "")', '"word": "another"'))
    assert told(project, env)["word"] == "another"


def test_a_signal_reaches_the_command_as_it_reaches_a_process_of_its_own(project: Path, env: dict[str, str], warm: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "rung.cli.entry", "run", "resting"], cwd=project, env=env, stderr=subprocess.DEVNULL)
    wait_for((project / "resting").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 130  # as without a warm process: the run is cancelled and said to be
    assert alive(warm)


def test_a_command_whose_caller_is_killed_ends_too(project: Path, env: dict[str, str], warm: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "rung.cli.entry", "run", "resting"], cwd=project, env=env, stderr=subprocess.DEVNULL)
    wait_for(lambda: (project / "resting").exists() and (project / "resting").read_text() != "")
    running = int((project / "resting").read_text())
    process.kill()
    process.wait()
    wait_for(lambda: not alive(running))


def test_a_killed_warm_process_takes_its_commands_along_and_is_not_missed(project: Path, env: dict[str, str], warm: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "rung.cli.entry", "run", "resting"], cwd=project, env=env, stderr=subprocess.DEVNULL)
    wait_for(lambda: (project / "resting").exists() and (project / "resting").read_text() != "")
    running = int((project / "resting").read_text())
    os.kill(warm, signal.SIGKILL)
    assert process.wait(timeout=120) == 1
    wait_for(lambda: not alive(running))
    assert told(project, env)["parent"] != warm


def test_a_folder_that_others_can_enter_is_not_trusted(project: Path, env: dict[str, str], warm: int, tmp_path: Path) -> None:
    (tmp_path / "run" / "rung").chmod(0o755)
    try:
        assert told(project, env)["parent"] != warm
    finally:
        (tmp_path / "run" / "rung").chmod(0o700)


def test_another_interpreter_setting_is_another_warm_process(project: Path, env: dict[str, str], warm: int) -> None:
    assert told(project, {**env, "PYTHONHASHSEED": "7"})["parent"] != warm


def test_a_changed_rung_is_noticed(project: Path, env: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src" / "rung", tmp_path / "src" / "rung", ignore=shutil.ignore_patterns("__pycache__", "static"))
    env = {**env, "PYTHONPATH": str(tmp_path / "src")}
    started = json.loads(rung("warm", "start", "--idle", "5m", "--json", folder=project, env=env).stdout)
    assert told(project, env)["parent"] == started["pid"]
    os.utime(tmp_path / "src" / "rung" / "core" / "ids.py", ns=(time.time_ns(), time.time_ns() + 10**9))
    assert told(project, env)["parent"] != started["pid"]
    wait_for(lambda: not alive(started["pid"]))


def test_it_ends_when_idle_and_says_so(project: Path, env: dict[str, str]) -> None:
    started = json.loads(rung("warm", "start", "--idle", "10s", "--json", folder=project, env=env).stdout)
    assert started["warm"] is True
    wait_for(lambda: not alive(started["pid"]))
    assert json.loads(rung("warm", "status", "--json", folder=project, env=env).stdout)["warm"] is False
    assert rung("warm", "stop", folder=project, env=env).returncode == 1


def test_the_umask_of_the_caller_holds(project: Path, env: dict[str, str], warm: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f"umask 027; {sys.executable} -m rung.cli.entry run telling"],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [path for path in (project / "home").rglob("*") if path.stat().st_mode & 0o007]
