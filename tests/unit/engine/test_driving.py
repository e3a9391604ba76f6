"""The driver: maps, branches, retries, run rules, groups, admission, reruns; what is finished is never run twice."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.clock import FixedClock
from rung.core.errors import Invalid, NotFound
from rung.core.settings import Settings, load_settings
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.branching import either, otherwise, when
from rung.pipelines.records import PipelineRunDetail, StepRun

_calls: list[Any] = []
_heard: ContextVar[list[Any]] = ContextVar("heard", default=_calls)  # a plain global would enter the fingerprints of the steps
_lock = threading.Lock()


@pytest.fixture(autouse=True)
def _forget() -> None:
    _calls.clear()


def said(what: Any) -> Any:
    _heard.get().append(what)
    return what


@step
def double(x: int) -> int:
    return 2 * int(said(x))


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@step(cache=False)
def note(what: str, after: object = None) -> str:
    return str(said(what))


@step(cache=False)
def fails(message: str = "no") -> int:
    raise ValueError(message)


def _by_key(client: Client, run: str) -> dict[str, StepRun]:
    return {item.key: item for item in client.pipelines.get(run).steps}


def _statuses(client: Client, run: str) -> dict[str, str]:
    return {key: item.status for key, item in _by_key(client, run).items()}


def test_a_map_answers_the_list_of_its_results_in_order(client: Client) -> None:
    @pipeline
    def wide(n: int = 50) -> object:
        return total(double.map(list(range(n))))

    run = client.pipelines.run(wide)
    assert (run.status, run.error, client.pipelines.output(run.id)) == ("succeeded", "", 2 * sum(range(50)))
    found = _by_key(client, run.id)["double"]
    assert (found.status, found.items, found.items_done, found.items_failed) == ("succeeded", 50, 50, 0)
    items = client.pipelines.items(run.id, "double")
    assert [item.position for item in items] == list(range(50))
    assert {item.status for item in items} == {"succeeded"}


def test_a_longer_collection_runs_only_what_is_new(client: Client) -> None:
    @pipeline
    def wide(n: int = 10) -> object:
        return double.map(list(range(n)))

    client.pipelines.run(wide)
    _calls.clear()
    run = client.pipelines.run(wide, {"n": 13})
    assert sorted(_calls) == [10, 11, 12]
    found = _by_key(client, run.id)["double"]
    assert (found.items, found.items_cached) == (13, 10)
    again = client.pipelines.run(wide, {"n": 13})
    assert _statuses(client, again.id) == {"double": "cached"}
    assert client.pipelines.output(again.id) == [2 * x for x in range(13)]


def test_maps_follow_maps_item_by_item(client: Client) -> None:
    @step
    def halves(x: int) -> tuple[int, int]:
        return x // 2, x - x // 2

    @step
    def join(pair: tuple[int, int], plus: int) -> int:
        return pair[0] + pair[1] + plus

    @pipeline
    def chain() -> object:
        return join.map(pair=halves.map(double.map([1, 2, 3])), plus=[10, 20, 30])

    run = client.pipelines.run(chain)
    assert (run.error, client.pipelines.output(run.id)) == ("", [12, 24, 36])


def test_an_empty_map_is_an_empty_list(client: Client) -> None:
    @pipeline
    def nothing() -> object:
        return total(double.map([]))

    run = client.pipelines.run(nothing)
    assert (run.status, client.pipelines.output(run.id)) == ("succeeded", 0)


def test_a_failed_item_is_named_and_a_resumed_run_repeats_only_what_is_unfinished(client: Client) -> None:
    _heard.get().append("broken")

    @step(cache=False)
    def picky(x: int) -> int:
        said(x)
        if x == 3 and "broken" in _heard.get():
            raise ValueError("three")
        return x

    @pipeline
    def choosy() -> object:
        return picky.map([1, 2, 3, 4], batch=1)

    run = client.pipelines.run(choosy)
    assert run.status == "failed"
    assert "Item 2 of map 'picky'" in run.error
    assert "ValueError: three" in run.error
    _calls.remove("broken")
    done = {item.position for item in client.pipelines.items(run.id, "picky", status="succeeded")}
    before = list(_calls)
    again = client.pipelines.resume(run.id)
    assert (again.status, client.pipelines.output(again.id)) == ("succeeded", [1, 2, 3, 4])
    assert sorted(_calls[len(before) :]) == [x for place, x in enumerate([1, 2, 3, 4]) if place not in done]


def test_items_are_retried_by_themselves(client: Client) -> None:
    tries: dict[int, int] = {}

    @step(retries=2, backoff="0.01s")
    def stubborn(x: int) -> int:
        with _lock:
            tries[x] = tries.get(x, 0) + 1
        if x % 2 and tries[x] < 3:
            raise ValueError(f"not yet {x}")
        return x

    @pipeline
    def several() -> object:
        return stubborn.map([1, 2, 3, 4])

    run = client.pipelines.run(several)
    assert (run.status, run.error) == ("succeeded", "")
    assert tries == {1: 3, 2: 1, 3: 3, 4: 1}
    assert {item.position: item.attempts for item in client.pipelines.items(run.id, "stubborn")} == {0: 3, 1: 1, 2: 3, 3: 1}


def test_maps_over_no_list_and_uneven_ones_are_clear_errors(client: Client) -> None:
    @step
    def answer() -> dict[str, int]:
        return {"a": 1}

    @step
    def add(x: int, y: int) -> int:
        return x + y

    @pipeline
    def over_dict() -> object:
        return double.map(answer())

    @pipeline
    def uneven() -> object:
        return add.map(x=double.map([1, 2]), y=double.map([1, 2, 3]))

    assert "maps over 'x', which is a dict and no list" in client.pipelines.run(over_dict).error
    assert "x has 2, y has 3 items" in client.pipelines.run(uneven).error


def test_the_seed_of_an_item_depends_neither_on_its_batch_nor_on_its_place(client: Client) -> None:
    @step(cache=False)
    def draw(x: int) -> float:
        import random

        return random.random()

    @pipeline
    def lottery(start: int = 0, batch: int = 1) -> object:
        return draw.map(list(range(start, 6)), batch=batch)

    one = client.pipelines.output(client.pipelines.run(lottery).id)
    other = client.pipelines.output(client.pipelines.run(lottery, {"start": 2, "batch": 3}).id)
    assert one[2:] == other
    assert len(set(one)) == 6


def test_a_branch_that_is_not_taken_says_why(client: Client) -> None:
    @step
    def score(value: float) -> dict[str, float]:
        return {"auc": value}

    @pipeline
    def gated(value: float = 0.7) -> object:
        found = score(value)
        with when(found["auc"] > 0.8) as good:
            yes = note("deploy")
        with otherwise(good):
            no = note("report")
        return either(yes, no)

    run = client.pipelines.run(gated)
    steps = _by_key(client, run.id)
    assert {key: item.status for key, item in steps.items()} == {"score": "succeeded", "note": "skipped", "note-2": "succeeded"}
    assert "score['auc'] > 0.8 does not hold; found 0.7" in steps["note"].reason
    assert client.pipelines.output(run.id) == "report"
    assert client.pipelines.output(client.pipelines.run(gated, {"value": 0.9}).id) == "deploy"


def test_what_runs_in_any_case_runs_after_a_failure_and_gets_none_for_what_failed(client: Client) -> None:
    @step(run="always", cache=False)
    def tidy(found: object = None) -> str:
        return str(said(f"tidy {found}"))

    @step(run="on_failure", cache=False)
    def alarm() -> str:
        return str(said("alarm"))

    @pipeline
    def shaky(bad: bool = True) -> object:
        held = fails() if bad else double(1)
        later = double(held)
        tidy(held)
        alarm()
        return later

    run = client.pipelines.run(shaky)
    assert (run.status, run.failed_step) == ("failed", "fails")
    assert sorted(_calls) == ["alarm", "tidy None"]
    assert _statuses(client, run.id) == {"fails": "failed", "double": "skipped", "tidy": "succeeded", "alarm": "succeeded"}
    _calls.clear()
    good = client.pipelines.run(shaky, {"bad": False})
    assert good.status == "succeeded"
    assert "tidy 2" in _calls
    assert "alarm" not in _calls
    assert _by_key(client, good.id)["alarm"].reason == "Skipped: nothing before it failed."


def test_a_pipeline_may_go_on_with_what_does_not_need_what_failed(client: Client) -> None:
    @pipeline(on_failure="continue")
    def stout() -> object:
        first = fails()
        return [double(first), note("independent", double(5))]

    run = client.pipelines.run(stout)
    assert run.status == "failed"
    assert _statuses(client, run.id) == {"fails": "failed", "double": "skipped", "double-2": "succeeded", "note": "succeeded"}
    assert "step 'fails' has no result" in _by_key(client, run.id)["double"].reason


def test_only_failures_that_are_named_are_tried_again(client: Client) -> None:
    @step(retries=3, backoff="0.01s", retry_on=[ConnectionError])
    def reads(kind: str) -> int:
        said(kind)
        raise ConnectionResetError(kind) if kind == "network" else KeyError(kind)

    @pipeline
    def reading(kind: str) -> object:
        return reads(kind)

    client.pipelines.run(reading, {"kind": "network"})
    client.pipelines.run(reading, {"kind": "data"})
    assert _calls == ["network"] * 4 + ["data"]


def test_a_pause_before_a_retry_holds_up_nobody_else(home: Path, tmp_path: Path) -> None:
    settings = load_settings(
        tmp_path, environ={}, flags={"home": str(home), "engine.workers": "1"}
    )  # a sleeping try would hold the only place

    @step(retries=1, backoff="2s", cache=False, priority=1)
    def once_more() -> int:
        said("try")
        if _heard.get().count("try") == 1:
            raise ValueError("first")
        return 1

    @step(cache=False)
    def quick(x: int) -> int:
        said("quick")
        return x

    @pipeline
    def both() -> object:
        return [once_more(), [quick(x) for x in range(3)]]

    with Client(local_transport(settings)) as client:
        assert client.pipelines.run(both).status == "succeeded"
    assert _calls[:2] == ["try", "quick"]
    assert _calls.count("try") == 2


def test_a_cancelled_run_stops_pausing_and_still_tidies_up(client: Client) -> None:
    @step(retries=5, backoff="10m", backoff_most="10m", cache=False)
    def pausing() -> int:
        said("tried")
        raise ValueError("again")

    @step(run="always", cache=False)
    def tidy() -> str:
        return str(said("tidied"))

    @pipeline
    def slow() -> object:
        held = pausing()
        tidy()
        return double(held)

    def listen(row: StepRun) -> None:
        if row.key == "pausing" and row.status == "waiting":
            client.pipelines.cancel(row.pipeline_run)

    began = time.monotonic()
    run = client.pipelines.run(slow, listener=listen)
    assert time.monotonic() - began < 120
    assert run.status == "cancelled"
    assert _calls == ["tried", "tidied"]
    assert _statuses(client, run.id)["double"] == "cancelled"


def test_a_cancelled_map_keeps_what_it_finished(client: Client) -> None:
    @step(cache=False)
    def slow(x: int) -> int:
        time.sleep(0.05)
        return x

    @pipeline
    def long() -> object:
        return slow.map(list(range(1000)), batch=2)

    asked = threading.Event()

    def listen(row: StepRun) -> None:
        if row.items_done >= 4 and not asked.is_set():
            asked.set()
            client.pipelines.cancel(row.pipeline_run)

    run = client.pipelines.run(long, listener=listen)
    found = _by_key(client, run.id)["slow"]
    assert (run.status, found.status) == ("cancelled", "cancelled")
    assert 4 <= found.items_done < 1000
    assert len(client.pipelines.items(run.id, "slow", limit=1000)) == found.items_done


def test_a_rerun_from_a_step_takes_the_results_before_it(client: Client) -> None:
    @pipeline
    def line() -> object:
        return note("last", note("middle", note("first")))

    first = client.pipelines.run(line)
    _calls.clear()
    again = client.pipelines.rerun(first.id, "note-2")
    assert (again.status, again.rerun_of, again.rerun_from) == ("succeeded", first.id, ("note-2",))
    assert _calls == ["middle", "last"]
    taken = _by_key(client, again.id)["note"]
    assert (taken.status, taken.reason) == ("cached", "Taken from line:1.")
    assert taken.cached_from == _by_key(client, first.id)["note"].id
    with pytest.raises(Invalid, match="has no step 'nope'"):
        client.pipelines.rerun(first.id, "nope")


def test_a_step_that_can_never_fit_says_what_it_asks_for_and_what_there_is(client: Client) -> None:
    @step(cpus=4096)
    def huge() -> int:
        return 1

    @pipeline
    def vast() -> object:
        return huge()

    run = client.pipelines.run(vast)
    assert run.status == "failed"
    assert "asks for 4096 cpus, and this worker has" in run.error


def test_steps_wait_for_the_cores_they_ask_for(home: Path, tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={}, flags={"home": str(home), "engine.cpus": "2", "engine.workers": "8"})
    busy, most, pair = [0], [0], threading.Barrier(2)

    @step(cpus=1, cache=False)
    def work(x: int) -> int:
        with _lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        pair.wait(60)
        with _lock:
            busy[0] -= 1
        return x

    @pipeline
    def many() -> object:
        return [work(x) for x in range(8)]

    with Client(local_transport(settings)) as client:
        assert client.pipelines.run(many).status == "succeeded"
    assert most[0] == 2


def test_steps_of_a_group_run_one_after_the_other(any_settings: Settings) -> None:
    busy, most = [0], [0]

    @step(concurrency_group="licence", cache=False)
    def licensed(x: int) -> int:
        with _lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.03)
        with _lock:
            busy[0] -= 1
        return x

    @pipeline
    def several() -> object:
        return [licensed(x) for x in range(4)]

    with Client(local_transport(any_settings)) as client:
        run = client.pipelines.run(several)
    assert (run.status, run.error) == ("succeeded", "")
    assert most[0] == 1


def test_steps_of_higher_priority_begin_first(home: Path, tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={}, flags={"home": str(home), "engine.workers": "1"})

    @step(priority=10, cache=False)
    def urgent(x: int) -> int:
        return int(said(x))

    @step(cache=False)
    def plain(x: int) -> int:
        return int(said(x))

    @pipeline
    def mixed() -> object:
        return [plain(1), plain(2), urgent(3)]

    with Client(local_transport(settings)) as client:
        client.pipelines.run(mixed)
    assert _calls == [3, 1, 2]


def test_a_result_older_than_its_time_to_live_is_made_anew(client: Client) -> None:
    @step(ttl="1h")
    def fresh() -> int:
        said("made")
        return 1

    @pipeline
    def short() -> object:
        return fresh()

    client.pipelines.run(short)
    client.pipelines.run(short)
    platform = client.transport.platform  # type: ignore[attr-defined]
    platform.clock = FixedClock(platform.clock.now() + timedelta(hours=2))
    client.pipelines.run(short)
    assert _calls == ["made", "made"]


def test_many_steps_take_no_more_each_than_a_hundred(client: Client) -> None:
    @pipeline
    def long(n: int) -> object:
        found: Any = 0
        for _ in range(n):
            found = double(found)
        return found

    def cpu_s(n: int) -> float:
        used = time.process_time()
        run = client.pipelines.run(long, {"n": n})
        assert (run.status, len(run.steps)) == ("succeeded", n)
        return time.process_time() - used

    cpu_s(10)
    few = min(cpu_s(100) for _ in range(3)) / 100  # the least: other threads of this process count too
    many = min(cpu_s(800) for _ in range(3)) / 800
    assert many < 3 * few + 0.002


def test_an_output_of_another_type_and_a_missing_part_are_errors_of_the_step(client: Client) -> None:
    @step
    def numbers() -> list[int]:
        return [1, 2]

    @pipeline
    def beyond() -> object:
        return double(numbers()[7])

    run = client.pipelines.run(beyond)
    assert run.status == "failed"
    assert "double" in run.error


def test_an_error_with_characters_no_database_takes_still_ends_the_run(any_settings: Settings) -> None:
    @step(cache=False)
    def odd() -> int:
        raise ValueError("nul \0 and surrogate \ud800")

    @pipeline
    def strange() -> object:
        return odd()

    with Client(local_transport(any_settings)) as client:
        run = client.pipelines.run(strange)
        assert run.status == "failed"
        assert "nul" in client.pipelines.get(run.id).run.error


def _detail(client: Client, run: str) -> PipelineRunDetail:
    return client.pipelines.get(run)


def test_a_wide_map_costs_little_an_item(client: Client) -> None:
    @step
    def nothing(x: int) -> int:
        return x

    @pipeline
    def wide() -> object:
        return nothing.map(list(range(3000)))

    used = time.process_time()
    run = client.pipelines.run(wide)
    assert run.status == "succeeded"
    assert time.process_time() - used < 15.0  # measured 0.6 s; a transaction an item takes minutes
    assert len(_detail(client, run.id).attempts) < 100


def test_a_rerun_of_nothing_is_refused(client: Client) -> None:
    with pytest.raises(NotFound):
        client.pipelines.rerun("train:1", "x")
