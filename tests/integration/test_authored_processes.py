"""Checkpoints, secrets and logs of steps in processes of their own, through retries and kills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.pipelines.project import forget_modules

PROJECT = """
import os
import signal
import rung
from rung import pipeline, step


@step(isolated=True, retries=5, backoff=0)
def survive(rounds: int) -> list[int]:
    context = rung.context()
    context.log.info("attempt %d", context.attempt)
    state = context.checkpoint.latest([])
    context.checkpoint.save([*state, len(state)])
    if len(state) + 1 < rounds:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.checkpoint.latest()


@step(isolated=True, retries=3, backoff=0)
def each(x: int) -> int:
    context = rung.context()
    seen = context.checkpoint.latest(0)
    context.checkpoint.save(seen + 1)
    if seen < x:
        raise RuntimeError("again")
    return seen * 10


@step(isolated=True, secrets=["db"], cache=False)
def login() -> int:
    print("with", rung.secret("db"))
    return len(rung.secret("db"))


@step(isolated=True, cache=False)
def snoop() -> str:
    return rung.secret("db")


@pipeline
def persistent(rounds: int = 3):
    return survive(rounds)


@pipeline
def items():
    return each.map([0, 1, 2])


@pipeline
def guarded():
    return login()


@pipeline
def curious():
    return snoop()
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A project whose steps run in processes of their own."""
    (tmp_path / "rung.toml").write_text('[secrets]\ndb = "env:DB_PASSWORD"\n')
    (tmp_path / "pipelines.py").write_text(PROJECT)
    monkeypatch.setenv("DB_PASSWORD", "hunter22")
    opened = Client(local_transport(load_settings(tmp_path)))
    yield opened
    opened.close()
    forget_modules(tmp_path)


def test_a_state_survives_the_kill_of_its_process(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = client.pipelines.run("persistent")
    assert run.status == "succeeded", run.error
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert client.pipelines.output(run.id) == [0, 1, 2]
    assert list((tmp_path / "temporary").iterdir()) == []  # values that are no files leave nothing
    assert [attempt.status for attempt in client.pipelines.get(run.id).attempts] == ["lost", "lost", "succeeded"]
    assert "attempt 3" in client.pipelines.log(run.id, "survive").text


def test_each_item_of_a_map_goes_on_from_its_own_state(client: Client) -> None:
    run = client.pipelines.run("items")
    assert run.status == "succeeded", run.error
    assert client.pipelines.output(run.id) == [0, 10, 20]


def test_a_secret_reaches_a_process_and_not_its_log(client: Client) -> None:
    run = client.pipelines.run("guarded")
    assert (run.status, run.error, client.pipelines.output(run.id)) == ("succeeded", "", 8)
    assert client.pipelines.log(run.id, "login").text.strip() == "with ********"


def test_a_process_gets_no_secret_that_its_step_does_not_declare(client: Client) -> None:
    run = client.pipelines.run("curious")
    assert "Step 'snoop' asks for the secret 'db' without saying so" in run.error


def test_no_secret_lies_anywhere_in_the_home(client: Client, tmp_path: Path) -> None:
    assert client.pipelines.run("guarded").status == "succeeded"
    client.close()
    held = [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter22" in path.read_bytes()]
    assert held == []
