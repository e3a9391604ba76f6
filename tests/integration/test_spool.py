"""Logging through the death of clients and servers: every point whose call returned is there once."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rung.client.client import Client, connect
from rung.core.ids import new_id
from tests.servers import RunningServer, _ready, wait_until

TRAINING = """
import mmap, os, struct, sys
import rung

run_id, name, counter = sys.argv[1:]
file = open(counter, "r+b")
done = mmap.mmap(file.fileno(), 8)
run = rung.start_run("crashes", run_id=run_id)
print("open", flush=True)
for step in range(10_000_000):
    rung.log_metric(name, step * 0.5, step)
    struct.pack_into("<q", done, 0, step + 1)
"""


def counted(path: Path) -> int:
    return int(struct.unpack("<q", path.read_bytes())[0])


def environment(server: RunningServer, spool: Path) -> dict[str, str]:
    return {**os.environ, "RUNG_URL": server.url, "RUNG_TOKEN": server.token, "RUNG_SPOOL": str(spool)}


def all_steps(client: Client, run: str, key: str) -> list[int]:
    return [point.step for point in client.tracking.history(run, key, limit=1_000_000).points]


def test_a_training_killed_again_and_again_loses_nothing_and_doubles_nothing(fresh_server: RunningServer, tmp_path: Path) -> None:
    script, spool, run_id = tmp_path / "training.py", tmp_path / "spool", new_id()
    script.write_text(TRAINING)
    chance = random.Random(7)
    counters = []
    for number in range(5):
        counter = tmp_path / f"counter{number}"
        counter.write_bytes(bytes(8))
        counters.append(counter)
        process = subprocess.Popen(
            [sys.executable, str(script), run_id, f"p{number}", str(counter)], env=environment(fresh_server, spool), cwd=tmp_path,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        time.sleep(chance.uniform(0.05, 0.9))
        process.kill()
        process.wait()
        process.stdout.close()
    assert list(spool.iterdir())
    for expected in ("sent", ""):
        done = subprocess.run(
            [sys.executable, "-m", "rung.cli.main", "sync", "--json"], env=environment(fresh_server, spool), cwd=tmp_path, check=True,
            capture_output=True,
        )  # fmt: skip
        assert [item["outcome"] for item in json.loads(done.stdout)] == ([expected] if expected else [])
    with connect(fresh_server.url, fresh_server.token) as client:
        for number, counter in enumerate(counters):
            logged = counted(counter)
            steps = all_steps(client, run_id, f"p{number}") if logged else []
            # The call that the kill interrupted may have kept its point or not.
            assert len(steps) in {logged, logged + 1}
            assert steps == list(range(len(steps)))
    assert sum(counted(counter) for counter in counters) > 1000


def test_a_server_killed_and_started_again_while_a_client_logs_gets_all_of_it_once(
    fresh_server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import rung

    monkeypatch.setenv("RUNG_SPOOL", str(tmp_path / "spool"))
    processes = [fresh_server.process]
    client = connect(fresh_server.url, fresh_server.token)
    step = 0
    try:
        with rung.start_run("restarts", client=client) as run:
            for _ in range(3):
                for _ in range(3000):
                    rung.log_metric("loss", 0.5, step)
                    step += 1
                time.sleep(0.15)
                processes[-1].send_signal(signal.SIGKILL)
                processes[-1].wait()
                for _ in range(3000):
                    rung.log_metric("loss", 0.5, step)
                    step += 1
                rung.set_tag("while", "away")
                rung.log_artifact(b"kept", f"away/{step}.txt")
                processes.append(
                    subprocess.Popen(fresh_server.process.args, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
                wait_until(lambda: _ready(fresh_server.url), 180, lambda: "the server did not come back", processes[-1])
        assert all_steps(client, run.id, "loss") == list(range(step))
        found = client.tracking.get(run.id)
        assert (found.status, found.tags["while"]) == ("succeeded", "away")
        kept = {item.path for item in client.tracking.artifacts(run.id)} - {
            "code/uncommitted.patch"
        }  # of this checkout, where there is any
        assert kept == {f"away/{n}.txt" for n in (6000, 12000, 18000)}
        assert client.tracking.read_artifact(run.id, "away/6000.txt") == b"kept"
        assert capsys.readouterr().err.count("stays in") <= 3
        assert not (tmp_path / "spool" / run.id).exists()
    finally:
        client.close()
        for process in processes[1:]:
            process.kill()
            process.wait()


def test_a_run_that_ends_while_the_server_is_away_waits_in_the_spool_and_is_sent_later(fresh_server: RunningServer, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    program = """
import os, signal, sys, rung
import rung.client.active, rung.client.outbox
run = rung.start_run("away")
rung.log_metric("before", 1.0)
run.flush()
os.kill(int(sys.argv[1]), signal.SIGKILL)
rung.log_metric("after", 2.0)
run.finish(patience_s=1.0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(fresh_server.process.pid)], env=environment(fresh_server, spool), cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "rung sync" in done.stderr
    fresh_server.process.wait()
    again = subprocess.Popen(fresh_server.process.args, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _ready(fresh_server.url), 180, lambda: "the server did not come back", again)
        subprocess.run([sys.executable, "-m", "rung.cli.main", "sync"], env=environment(fresh_server, spool), cwd=tmp_path, check=True)
        with connect(fresh_server.url, fresh_server.token) as client:
            found = client.tracking.get("away:1")
        assert (found.status, found.metrics) == ("succeeded", {"before": 1.0, "after": 2.0})
    finally:
        again.kill()
        again.wait()


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", "succeeded"),
        ("raise ValueError('boom')", "failed"),
        ("sys.exit(3)", "succeeded"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", "cancelled"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(5)", "cancelled"),
    ],
)
def test_a_run_without_a_block_ends_as_its_process_ends(client: Client, home: Path, tmp_path: Path, ending: str, status: str) -> None:
    program = f"import os, signal, sys, time, rung\nrung.start_run('endings')\nrung.log_metric('x', 1.0)\n{ending}\n"
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "RUNG_HOME": str(home)},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    found = client.tracking.get("endings:1")
    assert (found.status, found.metrics) == (status, {"x": 1.0})


def test_the_next_process_of_a_spool_sends_what_a_killed_one_left(fresh_server: RunningServer, tmp_path: Path) -> None:
    spool, run_id = tmp_path / "spool", new_id()
    killed = f"""
import os, signal, rung, rung.client.outbox as outbox
outbox.GATHER_S = 60  # nothing leaves before the end
rung.start_run("left", run_id={run_id!r})
for step in range(1000):
    rung.log_metric("loss", 0.5, step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    following = """
import sys, time, pathlib, rung
with rung.start_run("next"):
    folder, deadline = pathlib.Path(sys.argv[1]), time.monotonic() + 120
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
"""
    inside = environment(fresh_server, spool)
    subprocess.run([sys.executable, "-c", killed], env=inside, cwd=tmp_path, check=False, timeout=180)
    assert (spool / run_id).is_dir()
    assert (spool.stat().st_mode & 0o777, (spool / run_id).stat().st_mode & 0o777) == (0o700, 0o700)
    subprocess.run([sys.executable, "-c", following, str(spool / run_id)], env=inside, cwd=tmp_path, check=True, timeout=180)
    assert not (spool / run_id).exists()
    with connect(fresh_server.url, fresh_server.token) as client:
        assert all_steps(client, run_id, "loss") == list(range(1000))


def test_forks_and_processes_log_to_one_run_side_by_side(fresh_server: RunningServer, tmp_path: Path) -> None:
    program = """
import multiprocessing, os, rung

def by_fork(number):
    for step in range(500):
        rung.log_metric(f"fork{number}", float(step), step)
    rung.log_param(f"fork{number}", number)

def by_spawn(run, number):
    with run:
        for step in range(500):
            rung.log_metric(f"spawn{number}", float(step), step)

if __name__ == "__main__":
    with rung.start_run("ranks") as run:
        forking, spawning = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")
        children = [forking.Process(target=by_fork, args=(n,)) for n in range(3)]
        children += [spawning.Process(target=by_spawn, args=(run, n)) for n in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0] * 5
"""
    (tmp_path / "ranks.py").write_text(program)
    spool = tmp_path / "spool"
    inside = environment(fresh_server, spool)
    subprocess.run([sys.executable, "ranks.py"], env=inside, cwd=tmp_path, check=True, timeout=120)
    # who is not answered for five seconds leaves what it has for the next; here that is this command
    subprocess.run([sys.executable, "-m", "rung.cli.main", "sync"], env=inside, cwd=tmp_path, check=True, timeout=120)
    with connect(fresh_server.url, fresh_server.token) as client:
        found = client.tracking.get("ranks:1")
        assert found.status == "succeeded"
        assert found.params == {f"fork{n}": n for n in range(3)}
        for key in [f"fork{n}" for n in range(3)] + [f"spawn{n}" for n in range(2)]:
            assert all_steps(client, found.id, key) == list(range(500))
    assert list(spool.iterdir()) == []
