"""Sweeps in several processes: side by side, killed and gone on with, interrupted, against a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

import rung
from rung.client.client import Client
from rung.client.spool import run_folders
from rung.client.syncing import send_folder
from rung.client.transports import HttpTransport
from rung.core.errors import Conflict, Invalid
from tests.servers import RunningServer, running_server, stop, wait_until

SCRIPT = """
import json, os, sys, time
import rung

def objective(trial):
    began = time.time()
    with open("began.jsonl", "a") as out:
        out.write(json.dumps({"number": trial.number, "x": trial["x"], "pid": os.getpid()}) + "\\n")
    while trial.number >= %(hold)d and not os.path.exists("go"):
        time.sleep(0.02)
    for step in range(%(steps)d):
        trial.report(trial["x"] ** 2 + 1 / (step + 1), step)
        time.sleep(%(pause)s)
    with open("ended.jsonl", "a") as out:
        out.write(json.dumps({"number": trial.number, "x": trial["x"], "began": began, "ended": time.time(), "pid": os.getpid()}) + "\\n")
    return trial["x"] ** 2

if __name__ == "__main__":
    sweep = rung.tune(objective, {"x": rung.Float(-5, 5)}, trials=%(trials)d, workers=%(workers)d, seed=1, name="sweep", pruner="none",
                      resume=True, listener=lambda row: print(row.number, row.state, flush=True))
    print(json.dumps({"id": sweep.id, "states": [row.state for row in sweep.rows]}))
"""


@pytest.fixture(autouse=True)
def _own_home(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNG_HOME", str(home))
    monkeypatch.chdir(tmp_path)


def _script(folder: Path, **given: Any) -> Path:
    file = folder / "train.py"
    file.write_text(SCRIPT % {"steps": 3, "pause": 0.05, "trials": 6, "workers": 2, "hold": 10**9, **given})
    return file


def _start(script: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script)], cwd=script.parent, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _sweep(client: Client) -> Any:
    return client.tracking.search("tags.rung.kind = 'sweep'").items[0]


def module_objective(trial: rung.Trial) -> float:
    if trial["x"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if trial["x"] == 2:
        raise ValueError("two")
    return float(trial["x"])


def test_two_workers_work_at_the_same_time_in_processes_of_their_own(tmp_path: Path, client: Client) -> None:
    done = _start(_script(tmp_path, hold=0))
    wait_until(lambda: len(_lines(tmp_path / "began.jsonl")) == 2, 180, lambda: "they do not work side by side", None)
    (tmp_path / "go").touch()
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    ended = _lines(tmp_path / "ended.jsonl")
    assert len(ended) == 6
    assert len({item["pid"] for item in ended}) == 2
    assert done.pid not in {item["pid"] for item in ended}
    assert any(a["began"] < b["began"] < a["ended"] for a in ended for b in ended if a is not b)
    told = json.loads(out.splitlines()[-1])
    assert told["states"] == ["succeeded"] * 6
    for run in client.tracking.search(f"parent = '{told['id']}'").items:
        assert (run.status, run.metrics["objective"]) == ("succeeded", float(run.params["x"]) ** 2)
        assert len(client.tracking.history(run.id, "objective").points) == 4


def test_a_sweep_killed_with_kill_9_is_gone_on_with_and_no_trial_is_lost_or_made_twice(tmp_path: Path, client: Client) -> None:
    script = _script(tmp_path, pause=0.05, trials=8, hold=2)
    first = _start(script)
    wait_until(lambda: len(_lines(tmp_path / "began.jsonl")) == 4, 120, lambda: "no trial is held", None)
    workers = psutil.Process(first.pid).children()
    first.kill()
    first.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive  # workers end with their tuner
    broken_off = {item["number"] for item in _lines(tmp_path / "began.jsonl")} - {
        item["number"] for item in _lines(tmp_path / "ended.jsonl")
    }
    (tmp_path / "go").touch()
    again = _start(script)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    told = json.loads(out.splitlines()[-1])
    assert told["id"] == _sweep(client).id
    sweep = rung.get_sweep(told["id"], client=client)
    done = [row for row in sweep.rows if row.state == "succeeded"]
    assert len(done) == 8
    assert {row.state for row in sweep.rows} <= {"succeeded", "cancelled"}
    ended = _lines(tmp_path / "ended.jsonl")
    assert len({item["x"] for item in ended}) == len({row.params["x"] for row in done}) == 8  # each point, broken-off ones included
    assert sorted(row.params["x"] for row in done) == sorted({item["x"] for item in ended})
    assert len(ended) == 8  # and none that had ended was made again
    assert {row.number for row in sweep.rows if row.state == "cancelled"} == broken_off
    assert all(client.tracking.get(row.run).status in {"succeeded", "cancelled"} for row in sweep.rows)
    assert client.tracking.get(sweep.id).status == "succeeded"


def test_a_tuner_killed_in_its_only_process_is_gone_on_with(tmp_path: Path, client: Client) -> None:
    script = _script(tmp_path, pause=0.05, trials=5, workers=1, hold=2)
    first = _start(script)
    wait_until(lambda: len(_lines(tmp_path / "began.jsonl")) == 3, 120, lambda: "no trial is held", None)
    first.kill()
    first.communicate()
    (tmp_path / "go").touch()
    again = _start(script)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    sweep = rung.get_sweep(json.loads(out.splitlines()[-1])["id"], client=client)
    assert [row.state for row in sweep.rows].count("succeeded") == 5
    assert [row.state for row in sweep.rows].count("cancelled") == 1
    whole = rung.tune(lambda trial: trial["x"] ** 2, {"x": rung.Float(-5, 5)}, trials=5, seed=1, pruner="none", client=client)
    assert sorted(row.params["x"] for row in sweep.rows if row.state == "succeeded")[:3]
    assert {row.params["x"] for row in whole.rows[:3]} <= {row.params["x"] for row in sweep.rows}


def test_a_result_on_disk_counts_though_the_tuner_was_killed_before_it_took_it(tmp_path: Path, client: Client) -> None:
    def dies(trial: rung.Trial) -> float:
        return float(trial["x"])

    from rung.client.tuning import tuner

    first = rung.tune(dies, {"x": rung.Float(0, 1)}, trials=2, seed=1, client=client)
    # The third trial ends, and the tuner is gone before it enters that.
    settle = tuner.Tuner._settle
    try:
        tuner.Tuner._settle = lambda self, outcome: (
            (_ for _ in ()).throw(SystemError("gone")) if outcome.number == 2 else settle(self, outcome)
        )  # type: ignore[method-assign]
        with pytest.raises(SystemError):
            rung.tune(dies, {"x": rung.Float(0, 1)}, trials=4, resume=first.id, client=client)
    finally:
        tuner.Tuner._settle = settle  # type: ignore[method-assign]
    again = rung.tune(dies, {"x": rung.Float(0, 1)}, trials=4, resume=first.id, client=client)
    assert [row.state for row in again.rows] == ["succeeded"] * 4
    assert len(client.tracking.search(f"parent = '{first.id}'").items) == 4


def test_ctrl_c_ends_tuner_and_workers_with_their_runs_closed(tmp_path: Path, client: Client) -> None:
    script = _script(tmp_path, pause=1.0, steps=30, trials=4)
    tuner = _start(script)
    wait_until(lambda: len(_lines(tmp_path / "began.jsonl")) == 2, 180, lambda: "no trial began", None)
    workers = psutil.Process(tuner.pid).children()
    tuner.send_signal(signal.SIGINT)
    _, err = tuner.communicate(timeout=60)
    assert tuner.returncode != 0
    assert "KeyboardInterrupt" in err
    assert not psutil.wait_procs(workers, timeout=30)[1]
    sweep = _sweep(client)
    assert sweep.status == "cancelled"
    rows = rung.get_sweep(sweep.id, client=client).rows
    assert [row.state for row in rows] == ["cancelled", "cancelled"]
    assert all(client.tracking.get(row.run).status == "cancelled" for row in rows)


def test_a_worker_that_dies_fails_its_trial_only(client: Client) -> None:
    sweep = rung.tune(module_objective, {"x": rung.Int(1, 6)}, sampler="grid", workers=2, client=client)
    states = {row.params["x"]: row.state for row in sweep.rows}
    assert states == {1: "succeeded", 2: "failed", 3: "failed", 4: "succeeded", 5: "succeeded", 6: "succeeded"}
    killed = next(row for row in sweep.rows if row.params["x"] == 3)
    assert "SIGKILL" in killed.error
    assert client.tracking.get(killed.run).status == "failed"


def test_options_of_a_choice_may_be_anything_in_worker_processes(client: Client) -> None:
    def called(trial: rung.Trial) -> float:
        assert isinstance(trial["shape"], tuple)
        return float(trial["how"](trial["shape"]))

    sweep = rung.tune(called, {"how": rung.Choice(len, sum), "shape": [(1,), (2, 3)]}, sampler="grid", workers=2, client=client)
    assert sorted(row.values[0] for row in sweep.rows) == [1.0, 1.0, 2.0, 5.0]
    assert {client.tracking.get(row.run).params["how"] for row in sweep.rows} == {"len", "sum"}


def test_workers_judge_and_prune_through_the_tuner(client: Client) -> None:
    def trains(trial: rung.Trial) -> float:
        for epoch in range(12):
            rung.log_metric("objective", trial["x"], epoch)
            if trial.should_prune():
                raise rung.Pruned
        return float(trial["x"])

    sweep = rung.tune(trains, {"x": rung.Float(0, 1)}, trials=20, seed=1, workers=2, sampler="random", pruner=rung_pruner(), client=client)
    assert "pruned" in {row.state for row in sweep.rows}


def rung_pruner() -> Any:
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=3)


def test_an_objective_that_cannot_travel_is_refused(client: Client) -> None:
    import threading

    lock = threading.Lock()

    def holds(trial: rung.Trial) -> float:
        with lock:
            return 1.0

    with pytest.raises(Invalid, match="cannot be sent to another process"):
        rung.tune(holds, {"x": rung.Int(1, 9)}, trials=2, workers=2, client=client)
    assert _sweep(client).status == "failed"
    assert rung.tune(holds, {"x": rung.Int(1, 9)}, trials=2, workers=2, threads=True, client=client).status == "succeeded"


def test_a_sweep_that_goes_on_elsewhere_is_not_gone_on_with(client: Client) -> None:
    from rung.client.tuning.folder import Folder

    refused: list[str] = []

    def nested(trial: rung.Trial) -> float:
        folder = Folder(next((Path(os.environ["RUNG_HOME"]) / "spool" / ".sweeps").iterdir()))
        try:
            folder.lock(0.2)
        except Conflict as error:
            refused.append(error.code)
        return 1.0

    rung.tune(nested, {"x": rung.Int(1, 9)}, trials=1, client=client)
    assert refused == ["tuning.running"]


def test_a_sweep_on_a_server_with_two_workers(server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    transport = HttpTransport(server.url, server.token)
    client = Client(transport)
    monkeypatch.setenv("RUNG_SPOOL", str(tmp_path / "spool"))
    sweep = rung.tune(lambda trial: trial["x"] ** 2, {"x": rung.Float(-5, 5)}, trials=8, workers=2, seed=1, name="served", client=client)
    seen = rung.get_sweep(sweep.id, client=client)
    assert [row.state for row in seen.rows] == ["succeeded"] * 8
    assert seen.best.values == sweep.best.values
    assert client.tracking.get(sweep.id).tags["rung.sweep.best"] == sweep.best.run
    transport.close()


def test_a_sweep_goes_on_while_the_server_is_away(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_SPOOL", str(tmp_path / "spool"))
    with running_server(home, tmp_path) as first:
        transport = HttpTransport(first.url, first.token)

        def outlives(trial: rung.Trial) -> float:
            if trial.number == 2:
                stop(first.process)
            return float(trial["x"])

        sweep = rung.tune(outlives, {"x": rung.Int(0, 99)}, trials=5, seed=1, client=Client(transport))
        transport.close()
    assert [row.state for row in sweep.rows] == ["succeeded"] * 5
    with running_server(home, tmp_path) as second:
        transport = HttpTransport(second.url, second.token)
        client = Client(transport)
        for folder in run_folders(tmp_path / "spool"):  # the port is another one now, so the runs are sent by name
            done = send_folder(folder, folder.note(), "", transport)
            assert done.outcome == "sent", done
        seen = rung.get_sweep(sweep.id, client=client)
        assert seen.status == "succeeded"
        assert [(row.number, row.state, row.values) for row in seen.rows] == [(row.number, row.state, row.values) for row in sweep.rows]
        assert {client.tracking.get(row.run).status for row in seen.rows} == {"succeeded"}
        transport.close()
