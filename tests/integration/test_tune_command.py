"""``rung tune``: functions and commands from the command line, status, show, stop, resume, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rung.client.client import Client
from tests.servers import wait_until

FUNCTION = "def objective(trial):\n    return trial['x'] ** 2\n"
LOGS = """
import argparse, sys, time, rung
given = argparse.ArgumentParser()
given.add_argument("--x", type=float)
given.add_argument("--kind", default="")
given = given.parse_args()
with rung.start_run(params={"x": given.x, "more": 1}, tags={"from": "script"}):
    for epoch in range(3):
        rung.log_metric("loss", given.x + 1 / (epoch + 1), step=epoch)
print("done", given.kind)
"""
LOGS_SLOWLY = """
import sys, time, rung
x = float(sys.argv[1])
for epoch in range(40):
    rung.log_metric("loss", x, step=epoch)
    time.sleep(0.0 if x < 3 else 2.0)
"""


@pytest.fixture(autouse=True)
def _own_home(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNG_HOME", str(home))
    monkeypatch.chdir(tmp_path)


def rung(*words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "rung.cli.main", *words], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def test_a_function_of_a_file_is_tuned_shown_and_gone_on_with(tmp_path: Path, client: Client) -> None:
    (tmp_path / "train.py").write_text(FUNCTION)
    made = json.loads(rung("tune", "train.py:objective", "-p", "x=float:-2:2", "-n", "3", "--seed", "1", "--name", "first", "--json"))
    assert made["status"] == "succeeded"
    assert made["trials"] == {"succeeded": 3}
    assert made["best"][0]["values"][0] == pytest.approx(made["best"][0]["params"]["x"] ** 2)
    assert client.tracking.get(made["id"]).tags["rung.kind"] == "sweep"
    more = json.loads(rung("tune", "resume", made["run"], "-n", "5", "-w", "2", "--json"))
    assert (more["id"], more["trials"]) == (made["id"], {"succeeded": 5})
    assert [item["run"] for item in json.loads(rung("tune", "status", "--json"))] == [made["run"]]
    shown = rung("tune", "show", made["run"])
    assert "5 succeeded" in shown
    assert "best: trial" in shown
    assert len(json.loads(rung("tune", "show", made["run"], "--json"))["rows"]) == 5


def test_a_space_comes_from_yaml_and_from_options(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "def objective(trial):\n    assert set(trial) == {'x', 'n', 'k'}, dict(trial)\n    return trial['x']\n"
    )
    (tmp_path / "space.yaml").write_text("x: {float: [1e-4, 1e-1], log: true}\nk: [a, b]\nn: int:1:4\n")
    made = json.loads(rung("tune", "train.py:objective", "--space", "space.yaml", "-p", "n=int:8:16:8", "-n", "4", "--json"))
    assert made["trials"] == {"succeeded": 4}
    assert all(row["params"]["n"] in {8, 16} and 1e-4 <= row["params"]["x"] <= 0.1 for row in made["rows"])


def test_a_script_logs_to_the_run_of_its_trial(tmp_path: Path, client: Client) -> None:
    (tmp_path / "train.py").write_text(LOGS)
    made = json.loads(
        rung("tune", "-p", "x=float:0:1", "-p", "kind=choice:a,b", "-m", "loss", "-n", "2", "--json", "--", "train.py", "--x", "{x}", "--kind", "{kind}")
    )  # fmt: skip
    assert made["trials"] == {"succeeded": 2}, made["rows"]
    for row in made["rows"]:
        run = client.tracking.get(row["run"])
        assert row["values"] == [run.metrics["loss"]] == [pytest.approx(float(run.params["x"]) + 1 / 3)]
        assert (run.params["more"], run.tags["from"], run.status) == (1, "script", "succeeded")
        assert len(client.tracking.history(run.id, "loss").points) == 3
        assert client.tracking.read_artifact(run.id, "logs/output.txt").decode() == f"done {run.params['kind']}\n"
    assert len(client.tracking.search(limit=100).items) == 3  # the sweep and its trials, and none of the script's own


def test_a_command_that_only_prints_its_metric_is_tuned_with_options_appended(tmp_path: Path, client: Client) -> None:
    (tmp_path / "print.sh").write_text('for step in 0 1 2; do echo "epoch $step, loss: 1e-$step, $*"; done\n')
    made = json.loads(
        rung("tune", "-p", "lr=choice:0.5", "-p", "flag=choice:true", "-m", "loss", "-n", "1", "--json", "--", "sh", "print.sh")
    )
    run = client.tracking.get(made["rows"][0]["run"])
    assert made["rows"][0]["values"] == [0.01]
    assert [point.value for point in client.tracking.history(run.id, "loss").points] == [1, 0.1, 0.01]
    assert b"--lr=0.5 --flag=true" in client.tracking.read_artifact(run.id, "logs/output.txt")


def test_a_command_that_falls_behind_is_ended_and_pruned(tmp_path: Path, client: Client) -> None:
    (tmp_path / "train.py").write_text(LOGS_SLOWLY)
    points = "x=choice:1,2,1.5,1.2,1.1,9"
    made = json.loads(
        rung("tune", "-p", points, "-m", "loss", "--sampler", "grid", "--pruner", "median", "--json", "--", "train.py", "{x}")
    )
    states = {row["params"]["x"]: row["state"] for row in made["rows"]}
    assert states == {1: "succeeded", 2: "succeeded", 1.5: "succeeded", 1.2: "succeeded", 1.1: "succeeded", 9: "pruned"}


def test_a_command_that_fails_fails_its_trial_with_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "fail.sh").write_text("echo working; echo out of memory >&2; exit 3\n")
    told = rung("tune", "-p", "x=int:1:3", "-n", "2", "--failures", "2", "--", "sh", "fail.sh", code=1)
    assert "exit code 3: out of memory" in told
    assert "2 trials of the sweep failed in a row" in told


def test_an_interrupted_command_line_ends_with_130_and_leaves_no_process(tmp_path: Path, client: Client) -> None:
    (tmp_path / "wait.sh").write_text("echo $$ > pid; sleep 300\n")
    words = [sys.executable, "-m", "rung.cli.main", "tune", "-p", "x=int:1:3", "--", "sh", "wait.sh"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    pid = tmp_path / "pid"
    wait_until(lambda: pid.exists() and bool(pid.read_text().strip()), 60, lambda: "no command began", None)
    time.sleep(1.0)  # the tuner knows its command by now, which the command itself cannot tell
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "rung tune resume" in err
    assert not psutil.pid_exists(int(pid.read_text()))
    sweep = client.tracking.search("tags.rung.kind = 'sweep'").items[0]
    assert sweep.status == "cancelled"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["train.py:objective"], 2, "There is no space"),
        (["train.py:objective", "-p", "x"], 2, "names no param"),
        (["train.py:objective", "-p", "x=flot:1:2"], 2, "is no range"),
        (["train.py:objective", "-p", "x=float:2:1"], 2, "ends below where it begins"),
        (["train.py:objective", "-p", "x=float:0:1:log"], 2, "begins at 0"),
        (["train.py:objective", "-p", "x=int:1:2.5"], 2, "no whole number"),
        (["train.py:nothing", "-p", "x=int:1:2"], 2, "It has objective"),
        (["absent.py:objective", "-p", "x=int:1:2"], 2, "no file absent.py"),
        (["train.py:objective", "-p", "x=int:1:2", "--sampler", "guess"], 2, "no sampler 'guess'"),
        (["train.py:objective", "-p", "x=int:1:2", "--trials", "0"], 2, "trials"),
        (["show", "default:99"], 4, "no run"),
        (["stop", "default:99"], 4, "no run"),
        (["resume", "default:99"], 4, "no run"),
    ],
)
def test_mistakes_are_told_with_their_exit_code(words: list[str], code: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(FUNCTION)
    assert told in rung("tune", *words, code=code)


def test_what_an_objective_prints_is_no_part_of_the_answer(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("def objective(trial):\n    print('noise')\n    return trial['x']\n")
    for workers in ("1", "2"):
        made = json.loads(rung("tune", "train.py:objective", "-p", "x=int:1:3", "-n", "3", "-w", workers, "--json"))
        assert made["trials"] == {"succeeded": 3}
