"""The engine on a real home: caching, retries, failures, resuming, triggers, reproduction."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

import rung
from rung.app.local import LocalTransport, local_transport
from rung.app.opening import open_platform
from rung.client.client import Client
from rung.core.clock import FixedClock, SystemClock
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.events import SUBSCRIBERS, on
from rung.core.settings import Settings, load_settings
from rung.data.records import DatasetRef
from rung.engine.loop import Engine
from rung.governance.records import PrincipalCreated
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.project import forget_modules
from rung.pipelines.records import GetPipelineRun, RunPipeline
from rung.pipelines.triggering import AddTrigger, ListTriggerFires
from rung.storage.queue import QueueStore

_calls: list[str] = []
_fail_until = {"count": 0}

PROJECT = """
import time
from pathlib import Path
import rung
from rung import pipeline, step
from helpers import rate

@step
def load(n: int) -> list[int]:
    with Path({marks!r}).open("a") as file:
        file.write("load\\n")
    print("loaded", n)
    return list(range(n))

@step
def total(values: list[int]) -> float:
    with Path({marks!r}).open("a") as file:
        file.write("total\\n")
    rung.log_metric("total", sum(values))
    return sum(values) * rate()

@pipeline
def train(n: int = 10):
    return total(load(n))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project folder with one pipeline."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "rung.toml").write_text('project = "default"\n')
    (place / "pipelines.py").write_text(PROJECT.format(marks=str(tmp_path / "marks")))
    (place / "helpers.py").write_text("def rate():\n    return 2.0\n")
    forget_modules(place)
    for name in ("pipelines", "helpers"):
        sys.modules.pop(name, None)
    yield place
    for name in ("pipelines", "helpers"):
        sys.modules.pop(name, None)
    while str(place) in sys.path:
        sys.path.remove(str(place))


@pytest.fixture
def project(folder: Path) -> Iterator[Client]:
    """A client of the project's embedded platform."""
    transport = local_transport(load_settings(folder, environ={}))
    yield Client(transport)
    transport.close()


def _statuses(client: Client, run: str) -> dict[str, str]:
    return {item.key: item.status for item in client.pipelines.get(run).steps}


def test_a_second_run_is_cached_and_says_so(project: Client, tmp_path: Path) -> None:
    first, second = project.pipelines.run("train"), project.pipelines.run("train")
    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert _statuses(project, second.id) == {"load": "cached", "total": "cached"}
    assert project.pipelines.output(second.id) == 90.0
    assert (tmp_path / "marks").read_text().split() == ["load", "total"]


def test_an_edited_helper_runs_only_what_calls_it(project: Client, folder: Path) -> None:
    project.pipelines.run("train")
    (folder / "helpers.py").write_text("def rate():\n    # another rate\n    return 3.0\n")
    run = project.pipelines.run("train")
    detail = project.pipelines.get(run.id)
    assert _statuses(project, run.id) == {"load": "cached", "total": "succeeded"}
    assert "helpers.py:rate changed" in detail.steps[1].reason
    assert project.pipelines.output(run.id) == 135.0


def test_equal_content_upstream_leaves_downstream_cached(project: Client, folder: Path) -> None:
    project.pipelines.run("train")
    text = (folder / "pipelines.py").read_text()
    (folder / "pipelines.py").write_text(text.replace("list(range(n))", "[*range(n)]"))
    assert _statuses(project, project.pipelines.run("train").id) == {"load": "succeeded", "total": "cached"}


def test_without_the_cache_every_step_runs(project: Client) -> None:
    project.pipelines.run("train")
    run = project.pipelines.run("train", use_cache=False)
    assert _statuses(project, run.id) == {"load": "succeeded", "total": "succeeded"}
    assert "without the cache" in project.pipelines.get(run.id).steps[0].reason


def test_a_run_opens_one_tracking_run_that_its_steps_log_to(project: Client) -> None:
    run = project.pipelines.run("train", {"n": 5})
    tracked = project.tracking.get(str(run.run_id))
    assert (tracked.status, tracked.params, tracked.metrics["total"]) == ("succeeded", {"n": 5}, 10.0)
    assert tracked.context.lock == run.lock


def test_what_a_step_prints_is_its_log(project: Client) -> None:
    run = project.pipelines.run("train", {"n": 3})
    chunk = project.pipelines.log(run.id, "load")
    assert (chunk.text, chunk.finished) == ("loaded 3\n", True)


def test_wrong_parameters_and_names_are_refused(project: Client) -> None:
    with pytest.raises(Invalid, match="no parameter 'm'"):
        project.pipelines.run("train", {"m": 1})
    with pytest.raises(NotFound, match="no pipeline 'trane'"):
        project.pipelines.run("trane")
    with pytest.raises(Invalid, match="Parameter 'n' of pipeline 'train' is 'many', which is no int"):
        project.pipelines.run("train", {"n": "many"})
    assert project.pipelines.run("train", {"n": "4"}).params == {"n": 4}


def test_a_broken_module_is_one_clear_message(project: Client, folder: Path) -> None:
    (folder / "pipelines.py").write_text("def broken(:\n")
    with pytest.raises(Invalid, match="Module 'pipelines' cannot be imported"):
        project.pipelines.run("train")


@step
def flaky(limit: int) -> int:
    _fail_until["count"] += 1
    if _fail_until["count"] <= limit:
        raise ValueError(f"not yet, {_fail_until['count']}")
    return _fail_until["count"]


@step(retries=2)
def stubborn(limit: int) -> int:
    return flaky(limit)


@step
def mark(name: str, waits: object = None) -> str:
    _calls.append(name)
    return name


def test_a_failing_step_fails_the_run_and_names_itself(client: Client) -> None:
    @pipeline
    def failing() -> object:
        return mark("after", flaky(100))

    _fail_until["count"] = 0
    run = client.pipelines.run(failing)
    assert (run.status, run.failed_step) == ("failed", "flaky")
    assert "ValueError: not yet, 1" in run.error
    assert _statuses(client, run.id) == {"flaky": "failed", "mark": "skipped"}
    assert "Traceback" in client.pipelines.log(run.id, "flaky").text


def test_retries_are_attempts_with_their_own_error(client: Client) -> None:
    @pipeline
    def retried() -> int:
        return stubborn(2)

    _fail_until["count"] = 0
    run = client.pipelines.run(retried)
    attempts = client.pipelines.get(run.id).attempts
    assert [attempt.status for attempt in attempts] == ["failed", "failed", "succeeded"]
    assert (run.status, client.pipelines.output(run.id)) == ("succeeded", 3)


def test_a_resumed_run_does_not_repeat_what_is_finished(client: Client) -> None:
    @step(cache=False)
    def once() -> str:
        _calls.append("once")
        return "x"

    @pipeline
    def resumed() -> object:
        return (
            mark(
                "second",
                stubborn(
                    4,
                ),
            )
            if once() is None
            else mark("last", [once(), flaky(1)])
        )

    _calls.clear()
    _fail_until["count"] = 0
    run = client.pipelines.run(resumed)
    assert run.status == "failed"
    again = client.pipelines.resume(run.id)
    assert (again.status, again.resumed, again.id) == ("succeeded", 1, run.id)
    assert _calls.count("once") == 2  # two calls of the step in the plan, each run once
    with pytest.raises(Conflict, match="succeeded already"):
        client.pipelines.resume(run.id)


def test_an_output_that_cannot_be_kept_is_one_clear_message(client: Client) -> None:
    @step
    def secret() -> object:
        return lambda: 1

    @pipeline
    def hidden() -> object:
        return secret()

    run = client.pipelines.run(hidden)
    assert "output 'output' of step 'secret' is a builtins.function" in run.error


def test_independent_steps_run_side_by_side(client: Client) -> None:
    both_there = threading.Barrier(2)

    @step
    def meet(name: str) -> str:
        both_there.wait(timeout=30)  # alone it would wait in vain
        return name

    @pipeline
    def two() -> object:
        return [meet("a"), meet("b")]

    assert client.pipelines.run(two).status == "succeeded"


def test_the_seed_reaches_the_generators(client: Client) -> None:
    @step(cache=False)
    def draw() -> float:
        import random

        return random.random()

    @pipeline
    def lottery() -> float:
        return draw()

    first, second, third = (client.pipelines.output(client.pipelines.run(lottery, seed=seed).id) for seed in (1, 1, 2))
    assert first == second != third


def test_a_queued_run_is_taken_by_a_worker(project: Client, folder: Path) -> None:
    project.pipelines.register()
    queued = project.pipelines.run("train", wait=False)
    assert queued.status == "queued"
    engine = Engine(project.transport.platform)  # type: ignore[attr-defined]
    engine.run_until_idle()
    engine.stop()
    assert project.pipelines.get(queued.id).run.status == "succeeded"


def test_a_queued_run_can_be_cancelled(project: Client) -> None:
    project.pipelines.register()
    queued = project.pipelines.run("train", wait=False)
    assert project.pipelines.cancel(queued.id).status == "cancelled"
    with pytest.raises(Conflict, match="cancelled already"):
        project.pipelines.cancel(queued.id)


def test_a_run_of_a_dead_worker_is_taken_up_by_another(project: Client) -> None:
    project.pipelines.register()
    queued = project.pipelines.run("train", wait=False)
    platform = project.transport.platform  # type: ignore[attr-defined]
    dead = "|".join([*Engine(platform).owner.split("|")[:2], "1", "0"])
    now = platform.clock.now()
    claimed = platform.database.write(lambda c: QueueStore(c).claim("pipelines", owner=dead, lease=timedelta(hours=1)))
    assert claimed.subject == queued.id
    engine = Engine(platform)
    engine.run_until_idle()
    engine.stop()
    assert project.pipelines.get(queued.id).run.status == "succeeded"
    assert not platform.database.write(lambda c: QueueStore(c).finish(claimed, now=now))  # the dead one's fence is old


def test_the_same_dedup_word_answers_the_same_run(project: Client) -> None:
    project.pipelines.register()
    wish = RunPipeline(pipeline="train", dedup="decision 7")
    assert project.transport.call(wish).id == project.transport.call(wish).id


def test_a_new_dataset_version_starts_what_waits_for_it_once(project: Client) -> None:
    project.pipelines.register()
    project.triggers.add("on-flights", "train", dataset="flights", cooldown="1h")
    facts = {"dataset": "flights:1", "name": "flights", "number": 1}
    first, again = (project.triggers.call("dataset", "flights", "flights:1", facts) for _ in range(2))
    assert first == again
    assert first[0].outcome == "fired"
    later = project.triggers.call("dataset", "flights", "flights:2", {**facts, "dataset": "flights:2", "number": 2})
    assert (later[0].outcome, later[0].reason[:17]) == ("held_back", "It cools down unt")
    assert project.triggers.call("dataset", "other", "other:1", {"dataset": "other:1", "name": "other", "number": 1}) == ()


def test_a_schedule_fires_once_per_fire_time_however_often_it_is_asked(folder: Path) -> None:
    clock = FixedClock(SystemClock().now())
    platform, first = open_platform(load_settings(folder, environ={}), clock)
    transport = LocalTransport(platform, token=first.secret if first else "")
    engine = Engine(platform)
    engine.register()
    transport.call(AddTrigger(name="hourly", pipeline="train", kind="schedule", options={"cron": "0 * * * *", "catch_up": "all"}))
    clock.advance(timedelta(hours=2))
    engine.tick()
    engine.tick()
    fires = transport.call(ListTriggerFires(name="hourly"))
    engine.run_until_idle()
    runs = [transport.call(GetPipelineRun(id=str(fire.pipeline_run))).run for fire in fires]
    engine.stop()
    transport.close()
    assert len(fires) == 2
    assert {run.status for run in runs} == {"succeeded"}
    assert {run.cause.kind for run in runs} == {"schedule"}


def test_a_run_is_reproduced_from_its_own_code(project: Client, folder: Path) -> None:
    run = project.pipelines.run("train")
    (folder / "helpers.py").write_text("def rate():\n    return 5.0\n")  # what changed since must not matter
    found = project.pipelines.reproduce(run.id)
    assert (found.likeness, found.first_diverging_step) == ("identical", "")
    assert {c.step for c in found.comparisons} == {"load", "total"}
    assert project.pipelines.reproductions(run.id) == (found,)


def test_a_run_that_depends_on_the_clock_is_different_where_it_diverges(project: Client, folder: Path) -> None:
    text = (folder / "pipelines.py").read_text()
    (folder / "pipelines.py").write_text(text.replace("return sum(values) * rate()", "return time.time() % 1000"))
    found = project.pipelines.reproduce(project.pipelines.run("train").id)
    assert (found.likeness, found.first_diverging_step) == ("different", "total")


def test_a_failed_run_cannot_be_reproduced(client: Client) -> None:
    @pipeline
    def failing() -> object:
        return flaky(100)

    _fail_until["count"] = 0
    with pytest.raises(Conflict, match="only a succeeded one"):
        client.pipelines.reproduce(client.pipelines.run(failing).id)


def test_a_moved_project_keeps_its_cache(project: Client, folder: Path, tmp_path: Path) -> None:
    project.pipelines.run("train")
    project.close()
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    forget_modules(folder.resolve())
    sys.path.remove(str(folder.resolve()))
    with Client(local_transport(load_settings(moved, environ={}))) as again:
        assert _statuses(again, again.pipelines.run("train").id) == {"load": "cached", "total": "cached"}
    sys.path.remove(str(moved.resolve()))
    forget_modules(moved.resolve())


def test_a_reproduction_traces_the_plan_of_the_snapshot_too(project: Client, folder: Path) -> None:
    run = project.pipelines.run("train")
    text = (folder / "pipelines.py").read_text()
    (folder / "pipelines.py").write_text(text.replace("return total(load(n))", "return total(load(n + 1))"))
    project.pipelines.register()
    found = project.pipelines.reproduce(run.id)
    assert (found.likeness, found.changes) == ("identical", ())
    assert project.pipelines.output(project.pipelines.run("train").id) == 110.0  # the project's own modules are back


def test_steps_run_for_their_side_effects_are_not_repeated(project: Client, folder: Path, tmp_path: Path) -> None:
    text = (folder / "pipelines.py").read_text()
    (folder / "pipelines.py").write_text(text.replace("@step\ndef load", "@step(cache=False)\ndef load"))
    found = project.pipelines.reproduce(project.pipelines.run("train").id)
    assert (found.likeness, [c.step for c in found.comparisons]) == ("identical", ["total"])
    assert found.not_repeated == ("load",)
    assert (tmp_path / "marks").read_text().split() == ["load", "total", "total"]


def test_runs_work_the_same_on_each_database(any_settings: Settings) -> None:
    @pipeline
    def both() -> object:
        return [mark("a"), mark("b")]

    with Client(local_transport(any_settings)) as client:
        first, second = client.pipelines.run(both), client.pipelines.run(both)
        assert (first.status, first.number, second.number) == ("succeeded", 1, 2)
        assert set(_statuses(client, second.id).values()) == {"cached"}


def test_an_event_whose_subscriber_fails_is_delivered_again(client: Client) -> None:
    platform = client.transport.platform  # type: ignore[attr-defined]
    heard: list[str] = []

    @on(PrincipalCreated)
    def listen(event: PrincipalCreated, transport: object) -> None:
        heard.append(event.principal)
        if len(heard) == 1:
            raise ValueError("not now")

    engine = Engine(platform)
    try:
        client.governance.create_principal("ada")
        engine.tick()
        assert heard == ["ada"]
        time.sleep(0.6)
        engine.tick()
        engine.tick()
    finally:
        SUBSCRIBERS[PrincipalCreated].remove(listen)
        engine.stop()
    assert heard == ["ada", "ada"]


def test_a_dataset_parameter_is_pinned_to_the_newest_version_at_the_start(client: Client) -> None:
    @step
    def count(data: DatasetRef) -> int:
        return int(rung.connect().data.frame(data.dataset, data.number).height)

    def counting(data: DatasetRef) -> int:
        return count(data)

    counting.__annotations__["data"] = DatasetRef
    client.data.add("flights", pl.DataFrame({"x": [1, 2, 3]}))
    run = client.pipelines.run(pipeline(counting), {"data": "flights"})
    assert (run.params, run.error, client.pipelines.output(run.id)) == ({"data": "flights:1"}, "", 3)
    assert ("dataset_version", "flights:1") in {(n.kind, n.id) for n in client.governance.trace("pipeline_run", run.id).nodes}
    with pytest.raises(NotFound):
        client.pipelines.run("counting", {"data": "nothing"})
