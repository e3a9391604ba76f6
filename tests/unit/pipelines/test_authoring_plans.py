"""Branches, maps, alternatives and sub-pipelines: what a trace makes of them, and what a pipeline called plainly answers."""

from __future__ import annotations

from typing import Any

import pytest

from rung.core.errors import Invalid
from rung.pipelines.authoring import Step, pipeline, step
from rung.pipelines.branching import either, otherwise, unmapped, when
from rung.pipelines.records import Condition
from rung.pipelines.tracing import trace, tracer


@step
def load(n: int = 3) -> list[int]:
    return list(range(n))


@step
def score(values: list[int]) -> dict[str, float]:
    return {"auc": len(values) / 10}


@step
def double(x: int, by: int = 2) -> int:
    return x * by


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def say(text: str) -> str:
    return text


@step
def pair(x: int) -> tuple[int, str]:
    return x, str(x)


# --- branches


@pipeline
def judged(n: int = 3, least: float = 0.5) -> Any:
    found = score(load(n))
    with when(found["auc"] > least) as good:
        yes = say("good")
    with otherwise(good):
        no = say("bad")
    return either(yes, no)


def test_a_branch_is_a_condition_of_its_steps() -> None:
    specs = trace(judged, {"least": 0.7}).specs()
    better = Condition(operator=">", source="score", path=("auc",), value=0.7)
    assert [spec.conditions for spec in specs] == [(), (), (better,), (Condition(operator="not", parts=(better,)),)]
    assert [spec.needs for spec in specs[2:]] == [("score",), ("score",)]


def test_a_pipeline_called_plainly_takes_the_branch_that_its_values_say() -> None:
    assert judged(n=9) == "good"
    assert judged(n=1) == "bad"
    assert judged(1, least=0.05) == "good"


def test_branches_nest() -> None:
    ran: list[str] = []

    @step
    def mark(name: str) -> None:
        ran.append(name)

    @pipeline
    def nested(n: int) -> None:
        found = score(load(n))
        with when(found["auc"] > 0.3):
            mark("outer")
            with when(found["auc"] > 0.7) as high:
                mark("inner")
            with otherwise(high):
                mark("between")

    assert [spec.conditions[0].value for spec in trace(nested, {"n": 1}).specs()[2:]] == [0.3, 0.3, 0.3]
    expected = {1: [], 5: ["outer", "between"], 9: ["outer", "inner"]}
    for n, names in expected.items():
        ran.clear()
        nested(n)
        assert ran == names


def test_what_takes_from_a_skipped_step_is_skipped_too() -> None:
    @pipeline
    def chain(n: int = 1) -> Any:
        with when(score(load(n))["auc"] > 0.5):
            first = say("x")
        return say(first), load(1)

    assert chain() == (None, [0])
    assert chain(9) == ("x", [0])


@pytest.mark.parametrize(
    ("make", "value", "wanted"),
    [
        (lambda h: h < 3, 2, True), (lambda h: h < 3, 3, False), (lambda h: h <= 3, 3, True), (lambda h: h >= 3, 2, False),
        (lambda h: h > 1, 2, True), (lambda h: h.equals("a"), "a", True), (lambda h: ~h.equals("a"), "a", False),
        (lambda h: h.is_in(["a", "b"]), "b", True), (lambda h: h.is_in({1, 2}), 3, False), (lambda h: h, [], False), (lambda h: h, [0], True),
        (lambda h: ~h, 0, True), (lambda h: (h > 1) & (h < 5), 3, True), (lambda h: (h > 1) & (h < 5), 5, False),
        (lambda h: (h < 1) | (h > 5), 7, True), (lambda h: (h > 1) & True, 2, True), (lambda h: False | (h > 1), 2, True),
        (lambda h: ~~(h > 1), 2, True), (lambda h: h > 0.5, float("nan"), False), (lambda h: True, 1, True), (lambda h: False, 1, False),
    ],
)  # fmt: skip
def test_conditions_hold_of_the_values_they_say(make: Any, value: Any, wanted: bool) -> None:
    @step
    def give() -> Any:
        return value

    @pipeline
    def branch() -> Any:
        with when(make(give())):
            return say("yes")

    assert branch() == ("yes" if wanted else None)


def test_two_outputs_are_compared_with_each_other() -> None:
    @pipeline
    def compare(a: int, b: int) -> Any:
        first, second = score(load(a)), score(load(b))
        with when(first["auc"] > second["auc"]):
            return say("first")

    assert [compare(2, 1), compare(1, 2)] == ["first", None]
    (condition,) = trace(compare, {"a": 1, "b": 2}).specs()[-1].conditions
    right = Condition(operator="true", source="score-2", path=("auc",))
    assert condition == Condition(operator=">", source="score", path=("auc",), parts=(right,))


@pytest.mark.parametrize("thing", [None, "yes", 0.8, [True], object, score])
def test_what_is_no_condition_is_refused(thing: Any) -> None:
    @pipeline
    def wrong() -> None:
        with when(thing):
            load()

    with pytest.raises(Invalid, match="is no condition"):
        trace(wrong, {})


def test_a_condition_that_cannot_be_judged_names_itself() -> None:
    @pipeline
    def wrong() -> Any:
        with when(load(1) > 3):
            return say("x")

    with pytest.raises(Invalid, match=r"load > 3 cannot be judged: list with int"):
        wrong()


def test_branches_belong_into_pipelines() -> None:
    for use in (lambda: when(True), lambda: otherwise(None), lambda: either(1, 2)):  # type: ignore[arg-type]
        with pytest.raises(Invalid, match="works while a pipeline is traced"):
            use()


def test_otherwise_takes_a_branch() -> None:
    @pipeline
    def wrong() -> None:
        with otherwise(load() > 3):  # type: ignore[operator, arg-type]
            load()

    with pytest.raises(Invalid, match="otherwise takes a branch"):
        trace(wrong, {})


def test_a_branch_that_raises_is_left_behind() -> None:
    @pipeline
    def caught() -> Any:
        try:
            with when(load().equals([])):  # type: ignore[attr-defined]
                raise KeyError
        except KeyError:
            pass
        return say("free")

    assert trace(caught, {}).nodes["say"].conditions == ()


@pytest.mark.parametrize(
    "use",
    [
        lambda h: h == 1, lambda h: h != 1, lambda h: h in [1], lambda h: 1 in h, lambda h: f"{h}", str, bool, int, float, len, list, abs,
        lambda h: h + 1, lambda h: 1 - h, lambda h: -h, lambda h: h.mean(), lambda h: h[1:2], lambda h: h[None], range,
        lambda h: 0 < h < 3, lambda h: (h > 1) and (h < 3), lambda h: not (h > 1), lambda h: h > (h < 1), "%d".__mod__, lambda h: h[0.5],
        lambda h: h.is_in("ab"), lambda h: h.is_in([h]), lambda h: load({h: 1}), lambda h: load({h}), lambda h: load(h > 1),
        lambda h: load([h > 1]), lambda h: load(unmapped(h)), lambda h: h.after(3), lambda h: either(3), lambda h: either(h, "x"),
        lambda h: h.after,
    ],
)  # fmt: skip
def test_what_needs_a_value_is_refused_with_a_hint(use: Any) -> None:
    @pipeline
    def wrong() -> None:
        if callable(found := use(load())):
            found(None)

    with pytest.raises(Invalid) as caught:
        trace(wrong, {})
    assert caught.value.hint


def test_handles_still_work_as_keys() -> None:
    @pipeline
    def held() -> Any:
        a, b = load(1), load(2)
        names = {a: "a", b: "b"}
        assert names[a] == "a"
        assert a in [a]
        assert len({a, b}) == 2
        return a

    assert held() == [0]


# --- alternatives


def test_either_goes_on_with_a_part_of_what_was_chosen() -> None:
    @pipeline
    def parts(n: int = 1) -> Any:
        with when(score(load(n))["auc"] > 0.5) as good:
            a = pair(1)
        with otherwise(good):
            b = pair(2)
        number, text = either(a, b)
        return double(number), say(text), either(a, b)[0]

    assert parts(9) == (2, "1", 1)
    assert parts(1) == (4, "2", 2)
    assert trace(parts, {}).specs()[-1].inputs == {"text": ("pair.1|pair-2.1",)}


def test_either_may_be_compared() -> None:
    @pipeline
    def compare(n: int = 1) -> Any:
        with when(score(load(n))["auc"] > 0.5) as good:
            a = double(1)
        with otherwise(good):
            b = double(5)
        with when(either(a, b) > 5):
            return say("big")

    assert [compare(9), compare(1)] == [None, "big"]


def test_either_of_nothing_but_skipped_steps_skips() -> None:
    @pipeline
    def nothing() -> Any:
        with when(False):
            a, b = load(1), load(2)
        return total(either(a, b))

    assert nothing() is None


def test_either_of_nothing_is_refused() -> None:
    @pipeline
    def wrong() -> Any:
        return either()  # type: ignore[call-arg]

    with pytest.raises(TypeError):
        wrong()


# --- maps


def test_a_map_is_one_node_that_answers_a_list() -> None:
    @pipeline
    def wide(n: int = 4) -> int:
        return total(double.map(load(n), by=3))

    first, mapped, last = trace(wide, {}).specs()
    assert (mapped.kind, mapped.over, mapped.inputs, mapped.arguments, mapped.outputs) == (
        "map", ("x",), {"x": ("load",)}, {"by": 3}, ("output",),
    )  # fmt: skip
    assert (first.kind, last.needs) == ("step", ("double",))
    assert wide() == 18


def test_a_map_over_several_lists_takes_one_item_of_each() -> None:
    @pipeline
    def wide() -> Any:
        return (
            double.map([1, 2], [10, 100]), double.map(x=[1, 2], by=unmapped(5)), double.map(x=range(3), by=(1, 2, 3), batch=2), double.map([]),
            pair.map([7])[0][1],
        )  # fmt: skip

    assert wide() == ([10, 200], [5, 10], [0, 2, 6], [], "7")
    assert trace(wide, {}).nodes["double-3"].batch == 2


def test_a_map_outside_a_pipeline_calls_the_function_for_each_item() -> None:
    assert double.map([1, 2, 3]) == [2, 4, 6]
    assert double.map(x=[1, 2], by=unmapped(10)) == [10, 20]
    assert pair.map([1]) == [(1, "1")]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        (({"a": 1},), {}, "cannot be mapped over x={'a': 1}, a dict"),
        (("abc",), {}, "cannot be mapped over x='abc', a str"),
        ((3,), {}, "cannot be mapped over x=3, a int"),
        ((None,), {}, "a NoneType"),
        (({1, 2},), {}, "a set"),
        ((iter([1]),), {}, "a list_iterator"),
        (([1, 2], [1]), {}, "lists of different length: x has 2, by has 1"),
        ((), {"x": [1, 2], "by": 3}, "cannot be mapped over by=3"),
        ((), {"x": [1, 2], "by": [1]}, "lists of different length"),
        ((), {}, "mapped over nothing"),
        ((), {"x": unmapped(1)}, "mapped over nothing"),
        (([1], [1], [1]), {}, "takes 2 arguments, not 3"),
        (([1],), {"x": [1]}, "is given 'x' twice"),
        (([1],), {"batch": -1}, "batch=-1 is not a number of items"),
        (([1],), {"batch": "many"}, "batch='many' is not"),
    ],
)
def test_a_map_over_what_is_no_list_is_refused(args: Any, kwargs: Any, said: str, inside: bool) -> None:
    @pipeline
    def wrong() -> Any:
        return double.map(*args, **kwargs)

    with pytest.raises(Invalid) as caught:
        trace(wrong, {}) if inside else double.map(*args, **kwargs)
    assert said in caught.value.message
    assert caught.value.hint


def test_an_output_that_is_no_list_is_refused_when_it_is_there() -> None:
    @pipeline
    def wrong() -> Any:
        return double.map(say("abc"))

    with pytest.raises(Invalid, match="cannot be mapped over x='abc', a str"):
        wrong()


def test_an_unknown_argument_of_a_map_names_the_step() -> None:
    @pipeline
    def wrong() -> Any:
        return double.map([1], nothing=3)

    with pytest.raises(Invalid, match="Step 'double' cannot be called like that"):
        trace(wrong, {})


# --- endings


class Broken(Exception):
    """What the steps below raise."""


def endings(ran: list[str], on_failure: Any) -> Any:
    @step
    def mark(name: str, *, fails: bool = False) -> str:
        ran.append(name)
        if fails:
            raise Broken(name)
        return name

    @step(run="always")
    def clean(what: str | None = None) -> None:
        ran.append(f"clean {what}")

    @step(run="on_failure")
    def alarm() -> None:
        ran.append("alarm")

    @pipeline(on_failure=on_failure)
    def nightly(fails: bool) -> Any:
        first = mark("first", fails=fails)
        mark(first)
        other = mark("other")
        clean(first)
        alarm()
        return other

    return nightly


def test_always_steps_run_after_success_and_on_failure_steps_do_not() -> None:
    ran: list[str] = []
    assert endings(ran, "stop")(False) == "other"
    assert ran == ["first", "first", "other", "clean first"]


def test_after_a_failure_a_pipeline_stops_and_still_cleans_up() -> None:
    ran: list[str] = []
    with pytest.raises(Broken, match="first"):
        endings(ran, "stop")(True)
    assert ran == ["first", "clean None", "alarm"]


def test_a_pipeline_that_continues_runs_what_does_not_need_the_failed_step() -> None:
    ran: list[str] = []
    with pytest.raises(Broken, match="first"):
        endings(ran, "continue")(True)
    assert ran == ["first", "other", "clean None", "alarm"]


def test_an_alternative_takes_the_place_of_a_failed_step_where_a_pipeline_continues() -> None:
    ran: list[str] = []

    @step
    def main() -> str:
        raise Broken("main")

    @step
    def use(value: str) -> None:
        ran.append(value)

    @pipeline(on_failure="continue")
    def fallback() -> None:
        use(either(main(), say("spare")))

    with pytest.raises(Broken, match="main"):
        fallback()
    assert ran == ["spare"]


def test_a_step_that_only_waits_for_a_skipped_one_runs() -> None:
    @step(after=["say"])
    def last() -> str:
        return "ran"

    @pipeline
    def wait() -> Any:
        with when(False):
            say("x")
        return last()

    assert wait() == "ran"


def test_a_step_that_exits_ends_the_call() -> None:
    @step
    def leave() -> None:
        raise SystemExit(3)

    @pipeline
    def gone() -> None:
        leave()

    with pytest.raises(SystemExit):
        gone()
    assert tracer() is None


# --- sub-pipelines


@pipeline
def inner(n: int = 2) -> Any:
    return total(load(n))


@pipeline
def outer(n: int = 3) -> Any:
    return double(inner(n)), double(inner())


def test_a_pipeline_in_a_pipeline_adds_its_steps_within_it() -> None:
    specs = trace(outer, {}).specs()
    assert [(spec.key, spec.within) for spec in specs] == [
        ("load", "inner"), ("total", "inner"), ("double", ""), ("load-2", "inner-2"), ("total-2", "inner-2"), ("double-2", ""),
    ]  # fmt: skip
    assert outer() == (6, 2)


def test_a_pipeline_may_take_outputs_and_stand_in_a_branch() -> None:
    @pipeline
    def inside(values: Any) -> Any:
        return double(total(values))

    @pipeline
    def around() -> Any:
        with when(load(2)):
            return inside(load(4))

    specs = trace(around, {}).specs()
    assert [(spec.within, bool(spec.conditions)) for spec in specs] == [("", False), ("", True), ("inside", True), ("inside", True)]
    assert around() == 12


def test_a_pipeline_that_calls_itself_is_refused_by_the_way_it_went() -> None:
    @pipeline
    def ping() -> Any:
        return pong()

    @pipeline
    def pong() -> Any:
        return ping()

    with pytest.raises(Invalid, match="'ping' calls itself: ping -> pong -> ping"):
        ping()
    assert tracer() is None


def test_a_step_may_call_steps_and_pipelines_as_functions() -> None:
    @step
    def compose() -> int:
        return double(4) + inner(3)  # type: ignore[no-any-return]

    @pipeline
    def one() -> Any:
        return compose()

    assert [spec.key for spec in trace(one, {}).specs()] == ["compose"]
    assert one() == 11


def test_an_output_of_another_call_is_refused() -> None:
    kept: list[Any] = []

    @pipeline
    def keep() -> None:
        kept.append(load())

    @pipeline
    def use() -> Any:
        return total(kept[0])

    keep()
    with pytest.raises(Invalid, match="comes from another call of a pipeline"):
        use()


def test_wrong_parameters_name_the_pipeline_and_its_parameters() -> None:
    with pytest.raises(Invalid, match="Pipeline 'inner'") as caught:
        inner(m=3)  # type: ignore[call-arg]
    assert "n" in str(caught.value.hint)


# --- plans


def test_literal_arguments_that_are_plain_json_are_told() -> None:
    @step
    def take(a: int, b: Any, c: Any, d: Any, e: Any = 5) -> None: ...

    @pipeline
    def told() -> None:
        take(1, {"x": [1.5, None, "t"]}, (1, 2), float("nan"))
        take(2, load(), ["x"] * 100_000, 2**70)

    specs = trace(told, {}).specs()
    assert specs[0].arguments == {"a": 1, "b": {"x": [1.5, None, "t"]}, "e": 5}
    assert (specs[2].arguments, specs[2].inputs) == ({"a": 2, "e": 5}, {"b": ("load",)})


def test_names_of_steps_never_collide() -> None:
    second: Step[..., Any] = step(name="load-2")(lambda_free)

    @pipeline
    def named() -> Any:
        return [load(1), second(), load(2), load(3)]

    assert list(trace(named, {}).nodes) == ["load", "load-2", "load-3", "load-4"]


def lambda_free() -> int:
    return 1


def test_a_value_that_holds_itself_is_refused() -> None:
    @step
    def take(a: Any) -> None: ...

    @pipeline
    def wrong() -> None:
        held: list[Any] = []
        held.append(held)
        take(held)

    with pytest.raises(Invalid, match="nested too deeply or holds itself"):
        trace(wrong, {})


def test_five_thousand_steps_make_a_plan_and_run() -> None:
    @pipeline
    def long() -> Any:
        value = double(1, by=1)
        for _ in range(4999):
            value = double(value, by=1)
        return value

    @pipeline
    def broad() -> Any:
        return total([double(i) for i in range(4999)])

    assert len(trace(long, {}).specs()) == 5000
    assert long() == 1
    assert len(trace(broad, {}).specs()[-1].needs) == 4999
    assert broad() == 4999 * 4998
