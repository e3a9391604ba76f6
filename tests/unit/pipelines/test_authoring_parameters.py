"""Parameters have types, defaults, units and bounds, wherever their values come from."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import pytest

from rung.core.errors import Invalid
from rung.data.records import DatasetRef
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.describing import described, typed_params
from rung.pipelines.parameters import Param, param_specs, refuse_outside
from rung.pipelines.records import ParamSpec
from rung.pipelines.tracing import trace


class Kind(enum.Enum):
    TREE = "tree"
    LINE = "line"


@step
def use(value: Any) -> Any:
    return value


@pipeline(on_failure="continue", priority=3)
def fit(
    rate: Annotated[float, Param(ge=0, le=1, doc="share kept of each step")],
    rows: Annotated[int, Param(ge=1)] = 100,
    far: Annotated[float | None, Param(le=500, unit="km")] = None,
    method: Literal["fast", "exact"] = "fast",
    kind: Kind = Kind.TREE,
    rates: Annotated[list[float], Param(ge=0)] = [0.1],  # noqa: B006 - never changed
    day: date = date(2013, 1, 1),
    data: DatasetRef | None = None,
) -> Any:
    """Fit something."""
    return [use(rate), use(rows), use(far), use(method), use(kind), use(rates), use(day), use(data)]


def test_what_a_parameter_is_comes_from_its_annotation() -> None:
    specs = {spec.name: spec for spec in param_specs(fit.function)}
    assert specs["rate"] == ParamSpec(name="rate", type="float", required=True, doc="share kept of each step", minimum=0.0, maximum=1.0)
    assert specs["rows"] == ParamSpec(name="rows", type="int", required=False, default=100, minimum=1.0)
    assert specs["far"] == ParamSpec(name="far", type="float | None", required=False, unit="km", maximum=500.0)
    assert (specs["method"].choices, specs["kind"].choices, specs["kind"].default) == (("fast", "exact"), ("tree", "line"), "tree")
    assert specs["day"].default == "2013-01-01"


def test_texts_become_what_the_parameters_are() -> None:
    given = {"rate": "0.5", "rows": "7", "far": "10", "kind": "line", "rates": "[0.2, 1]", "day": "2013-02-03", "data": "flights:3"}
    assert typed_params(fit, given) == {
        "rate": 0.5, "rows": 7, "far": 10.0, "kind": Kind.LINE, "rates": [0.2, 1.0], "day": date(2013, 2, 3),
        "data": DatasetRef(dataset="flights", number=3),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": 1.5}, "Parameter 'rate' of pipeline 'fit' is 1.5, not at least 0 and at most 1"),
        ({"rate": -0.1}, "is -0.1, not at least 0 and at most 1"),
        ({"rate": float("nan")}, "is nan, not at least 0 and at most 1"),
        ({"rate": "high"}, "Parameter 'rate' of pipeline 'fit' is 'high': Expected `float"),
        ({"rate": 0.5, "rows": 0}, "is 0, not at least 1"),
        ({"rate": 0.5, "rows": 1.5}, "Expected `int`"),
        ({"rate": 0.5, "far": 501}, "is 501.0 km, not at most 500 km"),
        ({"rate": 0.5, "method": "slow"}, "'slow'"),
        ({"rate": 0.5, "kind": "forest"}, "'forest'"),
        ({"rate": 0.5, "rates": [0.1, -1]}, "is -1.0, not at least 0"),
        ({"rate": 0.5, "rate_": 1}, "has no parameter 'rate_'"),
        ({}, "needs a value for rate"),
        ({"rate": 0.5, "data": "flights"}, "dataset"),
    ],
)
def test_a_wrong_value_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        typed_params(fit, given)
    assert said in caught.value.message
    assert caught.value.hint


def test_a_plain_call_keeps_to_the_bounds_too() -> None:
    with pytest.raises(Invalid, match=r"is 1\.5, not at least 0 and at most 1"):
        fit(1.5)
    with pytest.raises(Invalid, match="not at most 500 km"):
        fit(0.5, far=1000.0)
    assert fit(0.5)[:3] == [0.5, 100, None]


def test_an_output_may_be_given_to_a_bounded_parameter_of_a_pipeline_in_a_pipeline() -> None:
    @pipeline
    def around() -> Any:
        return fit(use(0.25))

    assert around()[0] == 0.25


def test_a_default_out_of_bounds_is_refused_where_it_stands() -> None:
    with pytest.raises(Invalid, match=r"Parameter 'share' of pipeline 'wrong' is 2\.0, not at most 1"):

        @pipeline
        def wrong(share: Annotated[float, Param(le=1)] = 2.0) -> None: ...


@pytest.mark.parametrize("bounds", [{"ge": 2, "le": 1}, {"ge": "0"}, {"le": float("nan")}, {"ge": True}, {"unit": 3}])
def test_bounds_that_make_no_sense_are_refused(bounds: Any) -> None:
    with pytest.raises(Invalid):
        Param(**bounds)


def test_a_value_that_is_no_number_is_outside_bounds() -> None:
    with pytest.raises(Invalid, match="'x', which is no number"):
        refuse_outside("p", ParamSpec(name="a", type="", required=True, minimum=0.0), "x")


def test_a_pipeline_tells_its_parameters_plan_and_rules() -> None:
    info = described(fit, code="", now=datetime(2026, 1, 1, tzinfo=UTC))
    assert (info.on_failure, info.priority, info.doc, info.steps) == ("continue", 3, "Fit something.", ())
    assert len(trace(fit, {"rate": 1.0}).specs()) == 8


def test_annotations_for_type_checkers_only_leave_values_as_they_come() -> None:
    @pipeline
    def loose(frame: NoSuchName, n: int = 3) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return use(n)

    assert typed_params(loose, {"frame": "x", "n": "4"}) == {"frame": "x", "n": 4}
    assert [spec.type for spec in param_specs(loose.function)] == ["NoSuchName", "int"]
