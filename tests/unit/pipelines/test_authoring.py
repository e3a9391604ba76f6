"""Steps are functions; pipelines are traced from their calls."""

from __future__ import annotations

import pytest

from rung.core.errors import Invalid
from rung.pipelines.authoring import pipeline, seconds, size_in_bytes, step
from rung.pipelines.tracing import refuse_cycles, trace


@step
def load(n: int) -> list[int]:
    return list(range(n))


@step
def ends(values: list[int]) -> tuple[int, int]:
    return values[0], values[-1]


@step
def add(a: int, b: int) -> int:
    return a + b


def test_a_step_outside_a_pipeline_is_its_function() -> None:
    assert load(3) == [0, 1, 2]


def test_a_pipeline_called_plainly_runs_its_steps() -> None:
    @pipeline
    def total(n: int = 4) -> int:
        first, last = ends(load(n))
        return add(first, last)

    assert total() == 3


def test_a_trace_has_a_node_for_each_call_and_an_edge_for_each_input() -> None:
    @pipeline
    def total(n: int = 4) -> int:
        first, last = ends(load(n))
        return add(first, add(last, last))

    specs = trace(total, {"n": 4}).specs()
    assert [spec.key for spec in specs] == ["load", "ends", "add", "add-2"]
    assert specs[2].inputs == {"a": ("ends.1",), "b": ("ends.1",)}
    assert specs[3].needs == ("ends", "add")


def test_handles_inside_containers_are_found() -> None:
    @step
    def merge(parts: dict[str, list[int]]) -> int:
        return 0

    @pipeline
    def both() -> int:
        return merge({"a": load(1), "b": load(2)})

    assert trace(both, {}).specs()[-1].needs == ("load", "load-2")


def test_a_value_cannot_be_asked_for_while_tracing() -> None:
    @pipeline
    def branch() -> int:
        return 1 if load(2) else 2

    with pytest.raises(Invalid, match="truth of the output of step 'load'"):
        trace(branch, {})


def test_an_output_of_unknown_length_cannot_be_unpacked() -> None:
    @pipeline
    def wrong() -> int:
        a, b = load(2)
        return add(a, b)

    with pytest.raises(Invalid, match="cannot be unpacked"):
        trace(wrong, {})


def test_a_wrong_call_names_the_step() -> None:
    @pipeline
    def wrong() -> int:
        return add(1)  # type: ignore[call-arg]

    with pytest.raises(Invalid, match="Step 'add' cannot be called like that"):
        trace(wrong, {})


def test_declared_order_that_forms_a_cycle_is_refused_with_the_cycle_named() -> None:
    @step(after=["publish"])
    def check() -> int:
        return 1

    @step
    def publish(x: int) -> int:
        return x

    @pipeline
    def release() -> int:
        return publish(check())

    with pytest.raises(Invalid, match="check -> publish -> check"):
        trace(release, {})


def test_order_asked_for_by_handles_may_not_form_a_cycle() -> None:
    @pipeline
    def circle() -> object:
        a, b = load(1), load(2)
        a.after(b)  # type: ignore[attr-defined]  # a handle while tracing
        return b.after(a)  # type: ignore[attr-defined]

    with pytest.raises(Invalid, match="load -> load-2 -> load"):
        trace(circle, {})


def test_a_diamond_is_no_cycle() -> None:
    refuse_cycles({"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": ()})


def test_an_order_after_a_step_that_is_not_there_is_refused() -> None:
    @step(after=["nobody"])
    def lonely() -> int:
        return 1

    @pipeline
    def one() -> int:
        return lonely()

    with pytest.raises(Invalid, match="'nobody', which is not in the pipeline"):
        trace(one, {})


def test_lengths_of_time_and_memory_are_read() -> None:
    assert (seconds("30m"), seconds(5), size_in_bytes("1.5KiB"), size_in_bytes("2MB")) == (1800.0, 5.0, 1536, 2_000_000)
    with pytest.raises(Invalid, match="not a length of time"):
        seconds("soon")


def test_only_plain_functions_are_steps() -> None:
    with pytest.raises(Invalid, match="plain function"):

        @step
        async def later() -> int:
            return 1
