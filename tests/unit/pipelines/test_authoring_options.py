"""What ``@step`` and ``@pipeline`` may be told, and that each refusal names the value and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from rung.core.errors import Invalid
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.records import StepOptions


def work(x: int = 1) -> int:
    return x


class Flaky(Exception):
    """Raised by things that may work the next time."""


def test_every_option_arrives_in_the_record() -> None:
    made = step(
        retries=3, backoff="2s", backoff_factor=3, backoff_most="1m", jitter=0.25, retry_on=(TimeoutError, Flaky, "httpx.HTTPError"), timeout="30m",
        cpus=2, gpus=0.5, memory="2GiB", resources={"tpu": 1}, cache=True, ttl="7d", executor="pool", environment="locks/gpu.txt", secrets=["db"],
        run="always", concurrency_group="gpu", concurrency_limit=2, priority=-5, tolerance=1e-6, files=["data/*.csv"], variables=["LANG"],
    )(work)  # fmt: skip
    assert made.options == StepOptions(
        retries=3, backoff_s=2.0, backoff_factor=3.0, backoff_most_s=60.0, jitter=0.25,
        retry_on=("TimeoutError", f"{__name__}.Flaky", "httpx.HTTPError"), timeout_s=1800.0, cpus=2.0, gpus=0.5, memory_bytes=2**31,
        resources={"tpu": 1.0}, cache=True, ttl_s=604800.0, isolated=True, executor="pool", environment="locks/gpu.txt", secrets=("db",), run="always",
        concurrency_group="gpu", concurrency_limit=2, priority=-5, tolerance=1e-6, files=("data/*.csv",), variables=("LANG",),
    )  # fmt: skip


def test_a_step_without_options_has_the_defaults() -> None:
    assert step(work).options == StepOptions()
    assert step()(work).options == StepOptions()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("retries", -1, "retries=-1 is not a whole number from 0 to 100"),
        ("retries", True, "retries=True is not"),
        ("retries", "3", "retries='3' is not"),
        ("retries", 101, "retries=101 is not"),
        ("backoff", "soon", "backoff='soon' is not a length of time"),
        ("backoff", None, "backoff=None is not a length of time"),
        ("backoff_factor", 0.5, "backoff_factor=0.5 is not a number from 1 to 100"),
        ("jitter", 2, "jitter=2 is not a number from 0 to 1"),
        ("jitter", float("nan"), "jitter=nan is not"),
        ("retry_on", int, "is not an exception"),
        ("retry_on", "not a name", "is not an exception"),
        ("retry_on", [3], "is not an exception"),
        ("timeout", 0, "timeout=0 is not a length of time"),
        ("timeout", -5, "timeout=-5 is not a length of time"),
        ("timeout", float("inf"), "timeout=inf is not"),
        ("cpus", 0, "cpus=0 is not a number above 0"),
        ("gpus", "one", "gpus='one' is not a number above 0"),
        ("memory", "much", "memory='much' is not an amount of memory"),
        ("memory", 0, "memory=0 is not an amount of memory"),
        ("resources", ["tpu"], "is not a table of amounts"),
        ("resources", {"tpu": -1}, "is not a number above 0"),
        ("cache", 1, "cache=1 is not True or False"),
        ("ttl", "0s", "ttl='0s' is not a length of time"),
        ("executor", "no such!", "executor='no such!' is not a name"),
        ("environment", "/etc/passwd", "is not a file of the project"),
        ("environment", "../other/lock", "is not a file of the project"),
        ("secrets", "db", "secrets='db' is not a list of names"),
        ("secrets", [3], "is not a name"),
        ("run", "sometimes", "run='sometimes' is not a rule"),
        ("concurrency_limit", 0, "concurrency_limit=0 is not a whole number from 1"),
        ("priority", 1000, "priority=1000 is not a whole number from -100 to 100"),
        ("tolerance", -1, "tolerance=-1 is not a number from 0 on"),
        ("files", "x.csv", "files='x.csv' is not a list of patterns"),
        ("retrys", 3, "there is no option 'retrys'"),
        ("after", "publish", "after='publish' is not a list of steps"),
        ("after", [3], "after holds 3, no step"),
        ("salt", 2, "salt=2 is not a text"),
        ("name", "a b", "'a b' cannot name a step"),
    ],
)
def test_a_wrong_option_is_refused_by_name_and_value_with_a_remedy(option: str, value: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        step(**{option: value})(work)  # type: ignore[call-overload]
    assert said in caught.value.message
    assert caught.value.hint


def test_a_lifetime_of_what_is_not_cached_is_refused() -> None:
    with pytest.raises(Invalid, match="has a ttl but is not cached"):
        step(cache=False, ttl="1d")(work)


def test_an_unknown_option_is_told_the_nearest_one() -> None:
    with pytest.raises(Invalid) as caught:
        step(backoff_s=3)(work)  # type: ignore[call-overload]
    assert str(caught.value.hint).startswith("Did you mean 'backoff'? Options: after, backoff, ")
    assert "salt" in str(caught.value.hint)


def test_steps_for_every_ending_are_not_cached_unless_they_say_so() -> None:
    asked = [step(run="always")(work), step(run="on_failure")(work), step(run="always", cache=True)(work), step(run="on_success")(work)]
    assert [made.options.cache for made in asked] == [False, False, True, True]


def test_limits_and_environments_ask_for_a_process_of_their_own() -> None:
    asked = [
        step(timeout=1)(work),
        step(memory="1GB")(work),
        step(environment="a.lock")(work),
        step(isolated=True)(work),
        step(cpus=1)(work),
    ]
    assert [made.options.isolated for made in asked] == [True, True, True, True, False]


def test_a_step_may_be_named_by_itself_in_after() -> None:
    first = step(work)
    assert step(name="later", after=[first, "other"])(work).after == ("work", "other")


def test_pipelines_have_rules_of_their_own() -> None:
    made = pipeline(name="nightly", on_failure="continue", concurrency_group="gpu", concurrency_limit=2, priority=10)(work)
    assert (made.name, made.on_failure, made.concurrency_group, made.concurrency_limit, made.priority) == (
        "nightly",
        "continue",
        "gpu",
        2,
        10,
    )
    with pytest.raises(Invalid, match="on_failure='ignore' is not a rule"):
        pipeline(on_failure="ignore")(work)  # type: ignore[call-overload]
    with pytest.raises(Invalid, match="concurrency_limit=0 is not a whole number"):
        pipeline(concurrency_limit=0)(work)


def _generator() -> Any:
    yield 1


async def _coroutine() -> int:
    return 1


async def _async_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (_generator, "not the generator _generator"),
        (_coroutine, "not the async _coroutine"),
        (_async_generator, "not the async _async_generator"),
        (lambda: 1, "not a lambda"),
        (len, "not <built-in function len>"),
        (int, "not <class 'int'>"),
        (step(work), "which is decorated already"),
        (3, "not 3"),
    ],
)
def test_only_plain_functions_are_steps_and_pipelines(thing: Any, said: str) -> None:
    for decorator in (step, pipeline):
        with pytest.raises(Invalid, match="takes a plain function") as caught:
            decorator(thing)
        assert said in caught.value.message
        assert caught.value.hint


def test_parameters_without_a_name_of_their_own_are_refused() -> None:
    def many(*values: int) -> int:
        return sum(values)

    def any_(**values: int) -> int:
        return len(values)

    def first(x: int, /) -> int:
        return x

    for function, named in ((many, r"'\*values'"), (any_, r"'\*\*values'"), (first, "'x'")):
        with pytest.raises(Invalid, match=f"parameter {named} that has no name"):
            step(function)


def test_methods_are_no_steps() -> None:
    with pytest.raises(Invalid, match="is a method"):

        class Work:
            @step
            def run(self) -> int:
                return 1
