"""What a step asks of itself: log, progress, parameters, checkpoints and secrets, in a run and outside of one."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import rung
from rung.app.local import LocalTransport
from rung.core.clock import SystemClock
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.settings import Settings, explained_settings, load_settings
from rung.pipelines.authoring import step
from rung.pipelines.checkpoint_store import CheckpointStore
from rung.pipelines.checkpointing import LatestCheckpoint, SaveCheckpoint
from rung.pipelines.context import StepContext, current_step
from rung.pipelines.records import Artifact, Cause, PipelineRun
from rung.pipelines.secrets import MASK, Mask, masked, secret_value, secret_values
from rung.pipelines.store import PipelineStore
from rung.storage.scope import Scope


@step(secrets=["db"])
def patient(rounds: int = 3) -> list[int]:
    found = rung.context()
    state = found.checkpoint.latest([])
    for number in range(len(state), rounds):
        state.append(number)
        found.checkpoint.save(state)
        found.progress(number + 1, rounds)
    return state


# --- outside of a run


def test_outside_of_a_run_everything_works_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert patient() == [0, 1, 2]
    assert [record.message for record in caplog.records] == ["1 of 3 (33%)", "3 of 3 (100%)"]
    found = rung.context()
    assert (found.pipeline_run, found.step, found.attempt, found.seed, found.params) == ("", "", 1, 0, {})
    assert found.checkpoint.latest() is None


def test_a_checkpoint_in_memory_is_a_copy() -> None:
    found, state = rung.context(), [1]
    found.checkpoint.save(state)
    state.append(2)
    assert found.checkpoint.latest() == [1]


def test_metrics_without_a_run_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        rung.context().log_metric("auc", 0.5, step=2)
    assert caplog.records[0].message == "metrics at 2: auc=0.5"


def test_progress_without_an_end_tells_what_is_done(caplog: pytest.LogCaptureFixture) -> None:
    found = rung.context()
    with caplog.at_level(logging.INFO):
        found.progress(5, note="reading")
        found.progress(6)
    assert [record.message for record in caplog.records] == ["5: reading"]


# --- in a run


@pytest.fixture
def running(transport: LocalTransport) -> StepContext:
    """The context of a step of a run that has begun."""
    return StepContext(
        pipeline="p", pipeline_run=_queued(transport), step="patient", attempt=1, seed=7, run_id=None, transport=transport, params_text='{"rows": 3}',
        secrets=("db",),
    )  # fmt: skip


def _queued(transport: LocalTransport) -> str:
    """A run in the table, as if it had begun."""
    run = PipelineRun(
        id=new_id(), number=1, pipeline="p", status="running", params={}, cause=Cause(), seed=0, use_cache=True,
        created_at=SystemClock().now(), created_by="t",
    )  # fmt: skip
    _write(transport, lambda scope: PipelineStore(scope.connection, scope.project).add_run(run))
    return run.id


def _write(transport: LocalTransport, change: object) -> object:
    return transport.platform.scope(transport.platform.service("default")).write(change)  # type: ignore[arg-type]


def test_a_state_survives_its_attempt(running: StepContext) -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    assert running.checkpoint.latest("none") == "none"
    running.checkpoint.save({"epoch": 1, "rows": frame})
    running.checkpoint.save({"epoch": 2, "rows": frame})
    later = replace(running, attempt=2)
    found = later.checkpoint.latest()
    assert (found["epoch"], found["rows"].equals(frame)) == (2, True)


def test_steps_and_items_of_a_map_have_checkpoints_of_their_own(running: StepContext) -> None:
    running.checkpoint.save(1)
    assert replace(running, step="other").checkpoint.latest() is None
    assert replace(running, seed=8).checkpoint.latest() is None
    assert running.checkpoint.latest() == 1


def test_an_attempt_that_was_given_up_may_save_no_more(running: StepContext) -> None:
    replace(running, attempt=2).checkpoint.save("new")
    with pytest.raises(Conflict, match="Attempt 1 at step 'patient' may save no checkpoint any more: attempt 2 has saved one"):
        running.checkpoint.save("old")
    assert running.checkpoint.latest() == "new"


def test_a_run_that_has_ended_takes_no_checkpoint(running: StepContext, transport: LocalTransport) -> None:
    running.checkpoint.save(1)

    def end(scope: Scope) -> None:
        PipelineStore(scope.connection, scope.project).update_run(running.pipeline_run, status="succeeded")
        CheckpointStore(scope.connection, scope.project).forget(running.pipeline_run)

    _write(transport, end)
    with pytest.raises(Conflict, match="the run has succeeded"):
        running.checkpoint.save(2)
    assert running.checkpoint.latest() is None


def test_what_cannot_be_kept_is_no_state(running: StepContext) -> None:
    with pytest.raises(Invalid, match=r"checkpoint of step 'patient' is a builtins\.object"):
        running.checkpoint.save(object())


def test_a_checkpoint_of_an_unknown_run_is_refused(transport: LocalTransport) -> None:
    state = Artifact(name="state", kind="json", digest="blake3:" + "0" * 64, size_bytes=1)
    with pytest.raises(NotFound):
        transport.call(SaveCheckpoint(pipeline_run="0" * 32, step="s", seed=0, attempt=1, state=state))
    assert transport.call(LatestCheckpoint(pipeline_run="0" * 32, step="s", seed=0)).checkpoint is None


def test_the_context_knows_its_parameters(running: StepContext) -> None:
    token = current_step.set(running)
    try:
        assert rung.context() is running
        assert rung.context().params == {"rows": 3}
    finally:
        current_step.reset(token)


def test_a_process_of_its_own_connects_when_it_needs_to(running: StepContext) -> None:
    token = current_step.set(replace(running, transport=None))
    try:
        found = rung.context()
        assert found.connect is not None
        assert rung.context() is found
    finally:
        current_step.reset(token)
    with pytest.raises(Conflict, match="cannot reach the platform"):
        replace(running, transport=None).reach()


# --- secrets


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project with secrets."""
    (tmp_path / "rung.toml").write_text(
        '[secrets]\ndb = "env:DB_PASSWORD"\nkey = "file:key.txt"\ngone = "env:NOT_SET"\nraw = "hunter22"\nodd = "vault:x"\nempty = "env:EMPTY"\n'
        'far = "file:none.txt"\nbinary = "file:binary"\n'
    )
    (tmp_path / "key.txt").write_text("line one\nline two\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("DB_PASSWORD", "hunter22")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.chdir(tmp_path)
    return load_settings(tmp_path)


def test_secrets_are_read_where_they_lie(project: Settings) -> None:
    assert secret_values(["db", "key", "db"], project) == {"db": "hunter22", "key": "line one\nline two"}
    assert rung.secret("db") == "hunter22"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "Step 'train' needs the secret 'nobody', which rung.toml does not name"),
        ("gone", "but the environment variable NOT_SET is not set"),
        ("raw", "what rung.toml says of it is no reference"),
        ("odd", "there is no secret_sources member 'vault'"),
        ("empty", "but it is empty at env:EMPTY"),
        ("far", "none.txt cannot be read: No such file or directory"),
        ("binary", "cannot be read: it is no text"),
    ],
)
def test_a_missing_secret_is_named_with_a_remedy_and_never_shown(project: Settings, name: str, said: str) -> None:
    with pytest.raises((NotFound, Invalid)) as caught:
        secret_value(name, project, step="train")
    assert said in caught.value.message
    assert "train" in caught.value.message
    assert caught.value.hint
    assert "hunter22" not in str(caught.value)


def test_a_step_asks_only_for_secrets_it_declared(project: Settings, running: StepContext) -> None:
    assert running.secret("db") == "hunter22"
    with pytest.raises(Invalid, match="asks for the secret 'key' without saying so") as caught:
        running.secret("key")
    assert caught.value.hint == "Declare it: @step(secrets=['key'])."
    given = replace(running, secret_values={"key": "handed"})
    assert given.secret("key") == "handed"
    assert "handed" not in repr(given)


def test_secrets_are_blotted_out_of_texts() -> None:
    values = ["p@ss word/1", "line one\nline two", "abc"]
    text = 'GET /?p=p%40ss%20word%2F1 "p@ss word/1" line two, line one\\nline two cEBzcyB3b3JkLzE= abc'
    found = masked(text, values)
    assert found == f'GET /?p={MASK} "{MASK}" {MASK}, {MASK} {MASK}= abc'
    assert Mask()("nothing to hide") == "nothing to hide"


def test_where_secrets_lie_is_no_setting_to_list(project: Settings) -> None:
    assert not [value for value in explained_settings(Path.cwd(), environ=os.environ)[1] if "secret" in value.name]
