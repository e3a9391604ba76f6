"""The fluent functions."""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

import rung
from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.client.current import join_run
from rung.core.errors import Conflict, Invalid, NotFound, Unavailable
from rung.core.ids import new_id
from rung.pipelines.context import StepContext, current_step


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_everything_logged_in_the_block_has_arrived_after_it(client: Client) -> None:
    with rung.start_run("flights", params={"depth": 3}, client=client) as run:
        for step in range(2500):
            rung.log_metric("loss", 1 / (step + 1), step=step)
        rung.set_tag("stage", "try")
        rung.log_artifact(b"x", "a.txt")
    found = client.tracking.get(run.id)
    assert found.status == "succeeded"
    assert client.tracking.history(run.id, "loss").total == 2500
    assert found.tags["stage"] == "try"


def test_a_block_that_raises_fails_its_run_and_says_why(client: Client) -> None:
    def attempt() -> None:
        with rung.start_run("flights", client=client):
            rung.log_metric("loss", 1.0)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        attempt()
    found = client.tracking.get("flights:1")
    assert (found.status, found.error, found.metrics) == ("failed", "ValueError: boom", {"loss": 1.0})


def test_ctrl_c_cancels_the_run(client: Client) -> None:
    with pytest.raises(KeyboardInterrupt), rung.start_run("flights", client=client):
        raise KeyboardInterrupt
    assert client.tracking.get("flights:1").status == "cancelled"


def test_leaving_by_exit_zero_is_success_and_by_another_code_failure(client: Client) -> None:
    for code, status in ((0, "succeeded"), (3, "failed")):
        with pytest.raises(SystemExit), rung.start_run("flights", client=client) as run:
            sys.exit(code)
        assert client.tracking.get(run.id).status == status


def test_a_run_inside_another_is_its_child(client: Client) -> None:
    with rung.start_run(client=client) as outer:
        with rung.start_run("inner") as inner:
            rung.log_param("a", 1)
        rung.log_param("b", 2)
    assert client.tracking.get(inner.id).parent == outer.id
    assert client.tracking.get(inner.id).params == {"a": 1}
    assert client.tracking.get(outer.id).params == {"b": 2}


def test_without_a_block_a_run_is_open_until_it_is_ended(client: Client) -> None:
    run = rung.start_run("flights", client=client)
    rung.log_metric("loss", 0.5)
    assert rung.active_run() is run
    assert rung.end_run().status == "succeeded"
    assert rung.active_run() is None
    assert client.tracking.get(run.id).metrics == {"loss": 0.5}
    with pytest.raises(Conflict, match="No run is open"):
        rung.end_run()


def test_logging_to_an_ended_run_names_it_and_says_how_to_go_on(client: Client) -> None:
    with rung.start_run("flights", client=client) as run:
        run.log_metric("loss", 1.0)
    with pytest.raises(Conflict, match=rf"{run.id} has ended here.*run_id="):
        run.log_metric("loss", 0.5)
    with pytest.raises(Conflict, match="has ended"):
        run.log_params({"a": 1})


def test_a_run_goes_on_by_number_and_by_id(client: Client) -> None:
    with rung.start_run("flights", client=client) as first:
        rung.log_metric("loss", 1.0, step=0)
    with rung.start_run(resume="flights:1", client=client, params={"more": 1}) as again:
        assert client.tracking.get(first.id).status == "running"
        rung.log_metric("loss", 0.5, step=1)
    assert again.id == first.id
    found = client.tracking.get(first.id)
    assert (found.status, found.metrics, found.params) == ("succeeded", {"loss": 0.5}, {"more": 1})
    with pytest.raises(NotFound):
        rung.start_run(resume="flights:9", client=client)
    with pytest.raises(Invalid, match="Both"):
        rung.start_run(resume="flights:1", run_id=first.id, client=client)


def test_a_job_with_an_id_of_its_own_opens_its_run_once_and_goes_on_with_it(client: Client) -> None:
    run_id = new_id()
    for step in range(2):
        with rung.start_run("jobs", run_id=run_id, client=client):
            rung.log_metric("loss", 1.0, step=step)
    assert client.tracking.history(run_id, "loss").total == 2
    assert client.tracking.get("jobs:1").id == run_id


def test_in_a_step_the_steps_run_is_the_current_one(client: Client, transport: LocalTransport) -> None:
    run = client.tracking.start()
    step = StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=0, run_id=run.id, transport=transport)
    token = current_step.set(step)
    try:
        rung.log_metric("auc", 0.7)
        rung.log_metrics({"a": 1, "b": 2}, step=3)
    finally:
        current_step.reset(token)
    assert client.tracking.get(run.id).metrics == {"auc": 0.7, "a": 1.0, "b": 2.0}


def test_without_a_run_logging_says_how_to_open_one() -> None:
    with pytest.raises(Conflict, match="start_run"):
        rung.log_metric("auc", 0.7)


def test_threads_of_a_pool_log_to_the_only_open_run(client: Client) -> None:
    with rung.start_run("flights", client=client) as run, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda step: rung.log_metric(f"m{step % 3}", float(step), step=step), range(3000)))
    assert sum(client.tracking.history(run.id, f"m{i}", limit=10_000).total for i in range(3)) == 3000


def test_a_thread_beside_two_runs_must_say_which(client: Client) -> None:
    failures: list[str] = []

    def work() -> None:
        try:
            rung.log_metric("x", 1.0)
        except Conflict as error:
            failures.append(str(error))

    with rung.start_run("a", client=client), rung.start_run("b"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "2 runs are open" in failures[0]


def test_tasks_each_have_their_own_run(client: Client) -> None:
    async def trial(number: int) -> str:
        with rung.start_run("async", client=client) as run:
            await asyncio.sleep(0.01)
            rung.log_metric("number", float(number))
            await asyncio.sleep(0.01)
        return run.id

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*[trial(number) for number in range(5)])

    for number, run in enumerate(asyncio.run(all_of_them())):
        assert client.tracking.get(run).metrics == {"number": float(number)}


def test_a_forked_child_logs_to_its_parents_run(client: Client) -> None:
    with rung.start_run("fork", client=client) as run:
        rung.log_metric("parent", 1.0)
        for number in range(3):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    for step in range(100):
                        rung.log_metric(f"child{number}", float(step), step=step)
                    rung.log_params({f"p{number}": number})
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
    found = client.tracking.get(run.id)
    assert found.metrics == {"parent": 1.0, "child0": 99.0, "child1": 99.0, "child2": 99.0}
    assert found.params == {"p0": 0, "p1": 1, "p2": 2}
    assert [client.tracking.history(run.id, f"child{number}").total for number in range(3)] == [100] * 3


def test_a_run_travels_to_another_process_by_its_id(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import rung.client.current as module

    monkeypatch.setattr(module, "_client", lambda: client)
    with rung.start_run("ranks", client=client) as run:
        rung.log_metric("rank0", 0.0)
        other = pickle.loads(pickle.dumps(run))
        with other:
            rung.log_metric("rank1", 1.0)
        assert client.tracking.get(run.id).status == "running"
        with join_run(run.id) as third:
            third.log_metric("rank2", 2.0)
    assert client.tracking.get(run.id).metrics == {"rank0": 0.0, "rank1": 1.0, "rank2": 2.0}


class ZeroDimensional:
    """As PyTorch's tensors are."""

    shape = ()

    def item(self) -> float:
        return 0.25


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (True, 1.0), (3, 3.0), (2**70, float(2**70)), (Decimal("0.5"), 0.5), (np.float32(0.5), 0.5), (np.int64(7), 7.0), (np.bool_(True), 1.0),
        (np.array(2.5), 2.5), (ZeroDimensional(), 0.25), (math.inf, math.inf), (-0.0, -0.0),
    ],
)  # fmt: skip
def test_whatever_is_one_number_may_be_logged(client: Client, value: object, kept: float) -> None:
    with rung.start_run(client=client) as run:
        rung.log_metric("x", value)  # type: ignore[arg-type]
    assert client.tracking.get(run.id).metrics == {"x": kept}


@pytest.mark.parametrize("value", ["0.5", None, [1.0], np.array([0.5]), np.zeros((2, 2)), {"a": 1}, 1j, 10**400, "x" * 10_000])
def test_what_is_no_number_is_refused_by_key_and_value(client: Client, value: object) -> None:
    with rung.start_run(client=client) as run:
        with pytest.raises(Invalid, match="'train/loss'") as caught:
            rung.log_metric("train/loss", value)  # type: ignore[arg-type]
        assert len(caught.value.message) < 300
    assert client.tracking.get(run.id).metrics == {}


def test_of_ten_thousand_metrics_with_a_bad_one_none_is_kept_and_it_is_named(client: Client) -> None:
    values: dict[str, object] = {f"m{i}": float(i) for i in range(10_000)}
    values["m4711"] = "seven"
    with rung.start_run(client=client) as run, pytest.raises(Invalid, match="'m4711' is no number but a str 'seven'"):
        rung.log_metrics(values)  # type: ignore[arg-type]
    assert client.tracking.get(run.id).metrics == {}


@pytest.mark.parametrize("key", ["", "x" * 251, "a\0b", "\ud800", 3, None, b"loss"])
def test_a_key_that_cannot_be_kept_is_refused(client: Client, key: object) -> None:
    with rung.start_run(client=client), pytest.raises(Invalid, match="key"):
        rung.log_metric(key, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, "1", 1.5, None])
def test_a_step_that_cannot_be_kept_is_refused(client: Client, step: object) -> None:
    with rung.start_run(client=client) as run:
        with pytest.raises(Invalid, match="Step"):
            rung.log_metric("x", 1.0, step=step)  # type: ignore[arg-type]
        rung.log_metric("x", 1.0, step=np.int32(3))  # type: ignore[arg-type]
    assert [point.step for point in client.tracking.history(run.id, "x").points] == [3]


def test_params_of_other_types_are_written_as_text(client: Client) -> None:
    given = {
        "list": [1, "a"], "dict": {"a": 1}, "path": Path("a/b"), "nan": math.nan, "numpy": np.int64(3), "decimal": Decimal("0.1"),
        "big": 2**80, "none": None, "flag": np.bool_(False),
    }  # fmt: skip
    with rung.start_run(client=client, params=given) as run:
        pass
    assert client.tracking.get(run.id).params == {
        "list": '[1, "a"]', "dict": '{"a": 1}', "path": "a/b", "nan": "nan", "numpy": 3, "decimal": "0.1", "big": str(2**80), "none": None,
        "flag": False,
    }  # fmt: skip


def test_a_long_param_is_refused_with_the_way_out(client: Client) -> None:
    with rung.start_run(client=client), pytest.raises(Invalid, match=r"has 8001 characters.*log_dict"):
        rung.log_param("config", "x" * 8001)


def test_a_param_written_twice_with_another_value_is_a_conflict_at_once(client: Client) -> None:
    with rung.start_run(client=client, params={"depth": 3}), pytest.raises(Conflict, match="'depth'"):
        rung.log_param("depth", 4)


def test_a_run_whose_metrics_were_refused_says_so_at_its_end_and_keeps_them(client: Client, home: Path) -> None:
    run = rung.start_run("flights", client=client)
    client.tracking.delete(run.id)
    rung.log_metric("loss", 1.0)
    with pytest.raises(Conflict, match="deleted"):
        rung.end_run()
    assert list((home / "spool" / run.id).glob("*.journal"))


def test_what_is_printed_is_kept_when_asked_for(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    with rung.start_run(client=client, capture_output=True) as run:
        print("to the artifact")
        print("and this", file=sys.stderr)
    print("not this")
    assert client.tracking.read_artifact(run.id, "logs/output.txt") == b"to the artifact\nand this\n"
    assert "to the artifact" in capsys.readouterr().out


def test_an_offline_run_has_no_client(client: Client, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_HOME", str(home))
    with rung.start_run(offline=True) as run, pytest.raises(Unavailable, match="offline"):
        _ = run.client
