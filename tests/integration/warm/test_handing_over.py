"""A warm process runs commands as their own process would: streams, folder, environment, signals and exit status."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from rung import connect
from tests.integration.warm.commands import ROOT, rung, told, wait_for
from tests.processes import is_alive


def test_a_command_runs_in_a_child_of_the_warm_process_with_folder_and_environment_of_its_caller(
    project: Path, env: dict[str, str], warm: int
) -> None:
    temporary = str(project.parent / "run")
    answer = told(project, {**env, "WORD": "sesame", "TMPDIR": temporary})
    assert answer["parent"] == warm
    assert answer["folder"] == str(project)
    assert answer["word"] == "sesame"
    assert answer["temporary"] == temporary
    assert answer["name"] == told(project, {**env, "RUNG_WARM": "0"})["name"]


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
    assert is_alive(warm)


def test_a_command_whose_caller_is_killed_ends_too(project: Path, env: dict[str, str], warm: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "rung.cli.entry", "run", "resting"], cwd=project, env=env, stderr=subprocess.DEVNULL)
    wait_for(lambda: (project / "resting").exists() and (project / "resting").read_text() != "")
    running = int((project / "resting").read_text())
    process.kill()
    process.wait()
    wait_for(lambda: not is_alive(running))
    with connect(folder=project) as client:
        (run,) = client.pipelines.runs("resting").items
        assert run.status == "running", "it was killed, not cancelled: the next worker takes it up"


def test_a_killed_warm_process_takes_its_commands_along_and_is_not_missed(project: Path, env: dict[str, str], warm: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "rung.cli.entry", "run", "resting"], cwd=project, env=env, stderr=subprocess.DEVNULL)
    wait_for(lambda: (project / "resting").exists() and (project / "resting").read_text() != "")
    running = int((project / "resting").read_text())
    os.kill(warm, signal.SIGKILL)
    assert process.wait(timeout=120) == 1
    wait_for(lambda: not is_alive(running))
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
    wait_for(lambda: not is_alive(started["pid"]))


def test_it_ends_when_idle_and_says_so(project: Path, env: dict[str, str]) -> None:
    started = json.loads(rung("warm", "start", "--idle", "10s", "--json", folder=project, env=env).stdout)
    assert started["warm"] is True
    wait_for(lambda: not is_alive(started["pid"]))
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


def test_hangups_that_nohup_ignores_are_ignored(project: Path, env: dict[str, str], warm: int) -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "rung.cli.entry", "run", "resting"],
        cwd=project,
        env=env,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    running = _resting(project)
    process.send_signal(signal.SIGHUP)
    os.kill(running, signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    assert is_alive(running)
    process.terminate()
    assert process.wait(timeout=120) == 130


def test_a_command_that_the_kernel_kills_ends_its_caller_as_well(project: Path, env: dict[str, str], warm: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rung.cli.entry", "run", "resting"], cwd=project, env=env, stderr=subprocess.PIPE, text=True
    )
    os.kill(_resting(project), signal.SIGKILL)
    assert process.communicate(timeout=120)[1].count("Traceback") == 0
    assert process.returncode == -signal.SIGKILL
    assert is_alive(warm)


def test_a_command_stops_and_goes_on_with_its_caller(project: Path, env: dict[str, str], warm: int) -> None:
    process = subprocess.Popen([sys.executable, "-m", "rung.cli.entry", "run", "resting"], cwd=project, env=env, stderr=subprocess.DEVNULL)
    running = _resting(project)
    process.send_signal(signal.SIGTSTP)
    wait_for(lambda: _state(running) == "T" and _state(process.pid) == "T")
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: _state(running) != "T" and _state(process.pid) != "T")
    process.terminate()
    assert process.wait(timeout=120) == 130


def test_a_stopped_warm_process_is_waited_for_once_and_does_not_run_the_command_later(
    project: Path, env: dict[str, str], warm: int
) -> None:
    os.kill(warm, signal.SIGSTOP)
    try:
        assert told(project, env)["parent"] != warm
        assert list((Path(env["XDG_RUNTIME_DIR"]) / "rung").glob("*.sock")) == []
        assert told(project, env)["parent"] != warm
    finally:
        os.kill(warm, signal.SIGCONT)
    wait_for(lambda: not is_alive(warm))
    assert len(json.loads(rung("runs", "list", "--json", folder=project, env=env).stdout)["items"]) == 2


def test_another_limit_is_another_warm_process(project: Path, env: dict[str, str], warm: int) -> None:
    assert told(project, env)["parent"] == warm
    assert told(project, env, before="ulimit -n 512; exec ")["parent"] != warm
    assert told(project, env, before="exec nice -n 5 ")["parent"] != warm


def test_a_command_under_a_tracer_runs_by_itself(project: Path, env: dict[str, str], warm: int) -> None:
    script = "import sys; sys.settrace(lambda *_: None); sys.argv = ['rung', 'warm', 'status']; from rung.cli.entry import main; main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "being traced" in done.stderr


def test_a_closed_stream_and_a_folder_that_is_gone_are_as_ever(project: Path, env: dict[str, str], warm: int) -> None:
    for line in ("{} --version <&-", "mkdir gone; cd gone; rmdir ../gone; {} --version"):
        for switch in ("", "RUNG_WARM=0 "):
            words = ["sh", "-c", line.format(f"{switch}{sys.executable} -m rung.cli.entry")]
            done = subprocess.run(words, cwd=project, env=env, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), line


@pytest.mark.parametrize("switch", ["0", "1"])
def test_what_steps_have_left_open_is_in_its_files(project: Path, env: dict[str, str], warm: int, switch: str) -> None:
    assert rung("run", "leaving", folder=project, env={**env, "RUNG_WARM": switch}).returncode == 0
    assert (project / "left.txt").read_text() == "text"
    assert gzip.decompress((project / "left.gz").read_bytes()) == b"packed"
    assert zipfile.ZipFile(project / "left.zip").read("inner") == b"archived"
    assert (project / "left.bin").read_bytes() == b"bytes"


@pytest.mark.parametrize("switch", ["0", "1"])
def test_output_that_cannot_be_written_is_no_success(project: Path, env: dict[str, str], warm: int, switch: str) -> None:
    done = rung("run", "telling", "--json", folder=project, env={**env, "RUNG_WARM": switch}, after=" > /dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_one_that_is_there_stays_for_as_long_as_is_asked(project: Path, env: dict[str, str], warm: int) -> None:
    again = json.loads(rung("warm", "start", "--idle", "1s", "--json", folder=project, env=env).stdout)
    assert again["pid"] == warm
    wait_for(lambda: not is_alive(warm))


def _resting(project: Path) -> int:
    wait_for(lambda: (project / "resting").exists() and (project / "resting").read_text() != "")
    return int((project / "resting").read_text())


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
