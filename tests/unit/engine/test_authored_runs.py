"""What pipelines are written with, on the real engine: branches, maps, sub-pipelines, metrics, checkpoints and secrets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

import rung
from rung.app.local import LocalTransport, local_transport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.pipelines.artifacts import Dataset, Metrics, Model, Report
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.branching import either, otherwise, unmapped, when
from rung.pipelines.checkpointing import LatestCheckpoint

_seen: list[Any] = []


@step
def load(n: int) -> list[int]:
    return list(range(n))


@step
def score(values: list[int]) -> tuple[Metrics, Report]:
    return Metrics(auc=len(values) / 10, rows=len(values)), Report("Found", f"{len(values)} rows")


@step
def say(text: str) -> str:
    return text


@step
def scaled(x: int, by: int) -> Metrics:
    return Metrics(loss=x * by)


@step
def total(parts: list[Metrics]) -> float:
    return sum(part["loss"] for part in parts)


@step
def lie() -> Metrics:
    return {"auc": 1.0}  # type: ignore[return-value]


@step(retries=2, backoff=0)
def patient(rounds: int) -> list[int]:
    found = rung.context()
    found.log.info("attempt %d of %s with %s", found.attempt, found.step, found.params)
    state: list[int] = found.checkpoint.latest([])
    _seen.append(list(state))
    state.append(len(state))
    found.checkpoint.save(state)
    if len(state) < rounds:
        raise RuntimeError("not yet")
    return state


@step(secrets=["db"], cache=False)
def login() -> int:
    print("the password is", rung.secret("db"))
    return len(rung.secret("db"))


@step(secrets=["db"])
def careless() -> None:
    raise RuntimeError(f"cannot log in as {rung.secret('db')}")


@pipeline
def leaking() -> Any:
    return careless()


@pipeline
def inner(n: int) -> Any:
    return score(load(n))


@pipeline
def judged(n: int = 3) -> Any:
    found, _ = inner(n)
    with when(found["auc"] > 0.5) as good:
        yes = say("good")
    with otherwise(good):
        no = say("bad")
    return either(yes, no)


@pipeline
def wide(n: int = 4) -> Any:
    return total(scaled.map(x=load(n), by=unmapped(3)))


@pipeline
def wrong() -> Any:
    return lie()


@pipeline
def persistent(rounds: int = 3) -> Any:
    return patient(rounds)


@pipeline
def guarded() -> Any:
    return login()


def test_a_run_takes_the_branch_that_a_plain_call_takes(client: Client) -> None:
    for n in (2, 8):
        run = client.pipelines.run(judged, {"n": n})
        assert run.status == "succeeded", run.error
        assert client.pipelines.output(run.id) == judged(n)
    detail = client.pipelines.get(run.id)
    assert [(held.key, held.status) for held in detail.steps] == [
        ("load", "succeeded"), ("score", "succeeded"), ("say", "succeeded"), ("say-2", "skipped"),
    ]  # fmt: skip
    assert [spec.within for spec in detail.run.steps] == ["inner", "inner", "", ""]


def test_metrics_that_a_step_answers_are_logged_also_when_they_are_cached(client: Client) -> None:
    for _ in range(2):
        run = client.pipelines.run(judged, {"n": 2})
        assert client.tracking.get(str(run.run_id)).metrics == {"auc": 0.2, "rows": 2.0}


def test_metrics_of_a_map_are_a_curve_over_its_items(client: Client) -> None:
    for _ in range(2):
        run = client.pipelines.run(wide)
        assert (run.status, client.pipelines.output(run.id), wide()) == ("succeeded", 18.0, 18.0)
        points = client.tracking.history(str(run.run_id), "loss").points
        assert [(point.step, point.value) for point in points] == [(0, 0.0), (1, 3.0), (2, 6.0), (3, 9.0)]


def test_a_wrong_type_fails_the_step_by_name(client: Client) -> None:
    run = client.pipelines.run(wrong)
    assert run.status == "failed"
    assert "Output 'output' of step 'lie' is annotated as Metrics, but got dict" in run.error


def test_a_state_survives_retries_and_is_forgotten_with_success(client: Client, transport: LocalTransport) -> None:
    _seen.clear()
    run = client.pipelines.run(persistent)
    assert run.status == "succeeded", run.error
    assert _seen == [[], [0], [0, 1]]
    assert client.pipelines.output(run.id) == [0, 1, 2]
    assert "attempt 3 of patient with {}" in client.pipelines.log(run.id, "patient").text
    assert transport.call(LatestCheckpoint(pipeline_run=run.id, step="patient", seed=0)).checkpoint is None


def _project(folder: Path) -> Client:
    (folder / "rung.toml").write_text('[secrets]\ndb = "env:DB_PASSWORD"\n')
    return Client(local_transport(load_settings(folder)))


def test_a_secret_reaches_the_step_that_declares_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "hunter22")
    client = _project(tmp_path)
    run = client.pipelines.run(guarded)
    assert (run.status, run.error) == ("succeeded", "")
    assert client.pipelines.output(run.id) == 8
    assert client.pipelines.log(run.id, "login").text == "the password is ********\n"
    client.close()


def test_errors_and_tracebacks_do_not_show_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "hunter22")
    client = _project(tmp_path)
    run = client.pipelines.run(leaking)
    assert "cannot log in as ********" in run.error
    log = client.pipelines.log(run.id, "careless").text
    assert "RuntimeError: cannot log in as ********" in log
    assert "hunter22" not in f"{client.pipelines.get(run.id)}{log}"
    client.close()


def test_a_missing_secret_fails_the_run_before_any_step_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = _project(tmp_path)
    with caplog.at_level(logging.WARNING):
        run = client.pipelines.run(guarded)
    assert run.status == "failed"
    assert "Step 'login' needs the secret 'db', but the environment variable DB_PASSWORD is not set" in run.error
    assert client.pipelines.get(run.id).attempts == ()
    client.close()


def test_artifacts_of_steps_are_taken_by_the_registry_and_as_datasets(client: Client) -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]})
    model = Model(LinearRegression().fit(frame.select("x"), frame["y"]))
    version = client.registry.register("line", model, example=Dataset(frame), label="y")
    assert (version.number, [field.name for field in version.signature.inputs]) == (1, ["x"])
    assert client.data.add("rows", Dataset(frame)).rows == 3
