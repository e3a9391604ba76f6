"""Spaces: from Python, texts and YAML; what is refused and how."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rung.client.tuning.objectives import called
from rung.client.tuning.space import Choice, Float, Int, described, grid_of, parsed, space_of, values_of
from rung.core.errors import Invalid


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("lr=float:1e-4:0.1:log", Float(1e-4, 0.1, log=True)),
        ("lr=float:0:1:0.25", Float(0, 1, step=0.25)),
        ("lr=float:0:1:step=0.25", Float(0, 1, step=0.25)),
        ("n=int:2:10", Int(2, 10)),
        ("n=int:2:10:2", Int(2, 10, step=2)),
        ("n=int:1:1024:log", Int(1, 1024, log=True)),
        ("n=int:-5:-1", Int(-5, -1)),
        ("k=choice:a,b", Choice("a", "b")),
        ("k=choice:1,0.5,true,null,x y", Choice(1, 0.5, True, None, "x y")),
        ("k=choice:a=b,c:d", Choice("a=b", "c:d")),
    ],
)
def test_a_param_is_read_from_a_text(text: str, wanted: Any) -> None:
    assert parsed(text) == (text.partition("=")[0], wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr", "names no param"),
        ("=int:1:2", "names no param"),
        ("lr=", "is no range"),
        ("lr=float", "low and a high"),
        ("lr=float:1", "low and a high"),
        ("lr=float:1:2:3:4", "low and a high"),
        ("lr=float:a:b", "'a' is no number"),
        ("lr=float:nan:1", "no finite number"),
        ("lr=float:2:1", "ends below where it begins"),
        ("lr=float:0:1:log", "begins at 0"),
        ("lr=float:1:2:0.5:log", "both log and step"),
        ("lr=float:0:1:-1", "step -1"),
        ("lr=float:0:1:2", "wider than the range"),
        ("n=int:1.5:3", "no whole number"),
        ("n=int:1:8:2:log", "both log and step"),
        ("k=choice", "names no option"),
        ("k=choice:a,a", "'a' twice"),
    ],
)
def test_a_bad_param_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as told:
        parsed(text)
    assert told.value.code == "tuning.bad_space"
    assert told.value.hint


def test_yaml_says_the_same() -> None:
    text = """
    lr: {float: [1e-4, 1e-1], log: true}
    depth: {int: [2, 10], step: 2}
    kind: [linear, tree]
    booster: {choice: [gbdt, dart]}
    rate: float:0.1:0.9
    """
    assert space_of(yaml.safe_load(text)) == {
        "lr": Float(1e-4, 0.1, log=True), "depth": Int(2, 10, step=2), "kind": Choice("linear", "tree"),
        "booster": Choice("gbdt", "dart"), "rate": Float(0.1, 0.9),
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{}, [], None, {"x": 3}, {"x": None}, {"x": {}}, {"x": {"int": 3}}, {"x": {"int": [1]}}, {"x": {"int": [1, 2], "float": [1, 2]}},
              {"x": {"int": [1, 2], "steps": 1}}, {"x": []}, {"": Int(1, 2)}, {1: Int(1, 2)}]
)  # fmt: skip
def test_what_is_no_space_is_refused(wrong: Any) -> None:
    with pytest.raises(Invalid):
        space_of(wrong)


def test_a_space_survives_being_written_and_read() -> None:
    space = {
        "a": Int(1, 9, log=True),
        "b": Float(0, 1, step=0.1),
        "c": Choice(1, "1", None),
        "d": Float(1e-9, 1, log=True),
        "e": Int(0, 6, step=3),
    }
    assert space_of(described(space)) == space


def test_options_that_python_takes_for_one_are_told_apart() -> None:
    choice = Choice(1, True, 1.0, "1")
    assert len(set(choice.labels)) == 4
    assert [choice.option(label) for label in choice.labels] == [1, True, 1.0, "1"]
    assert type(choice.option(choice.labels[1])) is bool


def test_options_may_be_lists_and_functions() -> None:
    space = {"layers": Choice((64,), (64, 64)), "how": Choice(len, sum)}
    assert values_of(space, {"layers": "[64, 64]", "how": "sum"}) == {"layers": (64, 64), "how": sum}


def test_a_grid_has_every_point_with_the_last_param_changing_first() -> None:
    assert grid_of({"n": Int(1, 5, step=2), "k": Choice("a", "b")}) == [{"n": n, "k": k} for n in (1, 3, 5) for k in ("a", "b")]
    assert grid_of({"x": Float(0, 0.3, step=0.1)}) == [{"x": pytest.approx(value)} for value in (0, 0.1, 0.2, 0.3)]


def test_a_grid_without_end_is_refused() -> None:
    with pytest.raises(Invalid, match=r"Param 'x': Float\(0, 1\) has no step"):
        grid_of({"x": Float(0, 1)})
    with pytest.raises(Invalid, match="1,000,000 points"):
        grid_of({"a": Int(1, 1000), "b": Int(1, 1000)})


@given(st.integers(-50, 50), st.integers(0, 50), st.integers(1, 7))
def test_a_grid_of_whole_numbers_stays_within_its_ends(low: int, width: int, step: int) -> None:
    if step > width > 0 and step != 1:
        with pytest.raises(Invalid):
            Int(low, low + width, step=step)
        return
    values = list(Int(low, low + width, step=step).grid())
    assert values[0] == low
    assert all(low <= value <= low + width for value in values)
    assert len(values) == width // step + 1


def test_objectives_take_the_trial_or_params_by_name() -> None:
    trial: dict[str, Any] = {"lr": 0.1, "depth": 3}
    assert called(lambda trial: trial["lr"], trial) == 0.1
    assert called(lambda lr, depth: (lr, depth), trial) == (0.1, 3)
    assert called(lambda depth, *, trial: (depth, trial is not None), trial) == (3, True)
    assert called(lambda lr, epochs=5: (lr, epochs), trial) == (0.1, 5)
    assert called(functools.partial(lambda rows, depth: (rows, depth), 7), trial) == (7, 3)
    assert called(len, trial) == 2
    with pytest.raises(Invalid, match="needs epochs, which the space does not have"):
        called(lambda lr, epochs: lr, trial)
    with pytest.raises(Invalid, match="needs a, b"):
        called(lambda a, b: a, trial)
