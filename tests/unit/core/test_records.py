"""Records and their checks."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import pytest

from rung.core.errors import ERRORS, Invalid, NotFound, rebuilt
from rung.core.records import AnyFloat, Id, Name, Number, Record, checked, decoded, replaced
from rung.core.requests import Effect, Request, answer_type


class Point(Record):
    """A measured value."""

    step: Number
    value: AnyFloat
    weight: float = 1.0


class Ask(Request[Point]):
    """A question."""

    operation = "test.ask"
    permission = "test:read"
    effect: ClassVar[Effect] = "read"
    name: Name
    points: tuple[Point, ...] = ()


def test_a_record_is_built_by_keyword_and_cannot_be_changed() -> None:
    point = Point(step=1, value=2.0)
    with pytest.raises(AttributeError):
        point.step = 2  # type: ignore[misc]
    assert replaced(point, step=2).step == 2


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(Invalid, match="colour"):
        decoded({"step": 1, "value": 1.0, "colour": "red"}, Point)


def test_a_wrong_type_that_construction_let_through_is_found() -> None:
    with pytest.raises(Invalid, match=r"int.*name"):
        checked(Ask(name=5), Ask)  # type: ignore[arg-type]


def test_a_number_too_large_for_its_column_is_refused() -> None:
    with pytest.raises(Invalid, match="step"):
        checked(Point(step=2**70, value=1.0), Point)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_plain_float_is_finite_and_an_open_one_need_not_be(value: float) -> None:
    assert repr(checked(Point(step=1, value=value), Point).value) == repr(value)
    with pytest.raises(Invalid, match="weight"):
        checked(Point(step=1, value=1.0, weight=value), Point)


def test_nested_open_floats_keep_their_freedom() -> None:
    asked = checked(Ask(name="a", points=(Point(step=1, value=float("inf")),)), Ask)
    assert asked.points[0].value == float("inf")


def test_the_answer_type_is_read_from_the_base() -> None:
    assert answer_type(Ask) is Point


def test_every_error_survives_the_wire() -> None:
    for kind in ERRORS:
        error = rebuilt(kind, "No such thing.", code="test.code", hint="Look elsewhere.")
        assert (error.kind, error.message, error.code, error.hint) == (kind, "No such thing.", "test.code", "Look elsewhere.")


def test_an_error_of_a_newer_server_is_unavailable() -> None:
    assert rebuilt("too_hot", "Too hot.", code="x").kind == "unavailable"
    assert isinstance(rebuilt("not_found", "Gone.", code="x"), NotFound)


_MANY_THREADS = """
import sys, threading, types
from rung.core.records import Record, decoded

sys.setswitchinterval(1e-6)
for number in range(60):
    module = types.ModuleType(f"fresh{number}")
    sys.modules[module.__name__] = module
    inner = "\\n".join(f"class Inner{i}(Record):\\n    text: str = ''\\n    counts: dict[str, int] = {{}}" for i in range(8))
    outer = "class Outer(Record):\\n" + "\\n".join(f"    field{i}: tuple[Inner{i}, ...] = ()" for i in range(8))
    exec("from __future__ import annotations\\nfrom rung.core.records import Record\\n" + inner + "\\n" + outer, module.__dict__)
    plain = {f"field{i}": [{"text": "a", "counts": {"b": 1}}] for i in range(8)}
    together = threading.Barrier(4)

    def look() -> None:
        together.wait()
        assert decoded(plain, module.Outer).field7[0].counts == {"b": 1}

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("whole")
"""


def test_threads_may_decode_a_record_for_the_first_time_at_once() -> None:
    # In a process of its own: without the care taken, it ends with a segmentation fault.
    done = subprocess.run([sys.executable, "-c", _MANY_THREADS], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


class Asked(Record):
    """What a caller sends."""

    id: Id
    many: tuple[int, ...] = ()
    token: Name = "x"


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"id": "x"}, "Asked: Expected an id of 32 hex digits, not 'x' - at `$.id`."),
        ({"id": 5}, "Asked: Expected `str`, got `int` 5 - at `$.id`."),
        ({"id": "0" * 32, "many": [1, "two"]}, "Asked: Expected `int`, got `str` 'two' - at `$.many[1]`."),
        ({"id": "y" * 500}, f"Asked: Expected an id of 32 hex digits, not '{'y' * 59}… - at `$.id`."),
        ({}, "Asked: Object missing required field `id`."),
    ],
)
def test_a_value_that_is_refused_is_named(plain: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        decoded(plain, Asked)
    assert caught.value.message == said


def test_a_value_that_may_be_a_secret_is_not() -> None:
    with pytest.raises(Invalid) as caught:
        decoded({"id": "0" * 32, "token": "hush hush"}, Asked)
    assert "hush" not in str(caught.value)
