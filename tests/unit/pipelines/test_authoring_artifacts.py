"""Artifact types say what a step hands on; what is not of the annotated type is refused."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Protocol, TypedDict, TypeVar

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression

from rung.core.errors import Invalid
from rung.core.references import DatasetUse
from rung.pipelines.artifacts import Dataset, File, Metrics, Model, Report
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.materialisers import compare, load, materialise
from rung.pipelines.outputs import fault_of, refuse_wrong_type

T = TypeVar("T")
Kilometres = NewType("Kilometres", float)


class Colour(enum.Enum):
    RED = 1


class Row(TypedDict):
    x: int


class Talks(Protocol):
    def talk(self) -> str: ...


def back(value: Any, scratch: Path) -> Any:
    kind, payload = materialise(value, where="output 'x' of step 's'")
    return load(kind, payload, scratch)


def line(slope: float = 2.0) -> LinearRegression:
    return LinearRegression().fit(np.array([[0.0], [1.0], [2.0]]), np.array([0.0, slope, 2 * slope]))


# --- what they are


def test_metrics_are_numbers_by_name() -> None:
    found = Metrics({"auc": 0.5}, loss=np.float32(0.25), rows=3)
    assert found == {"auc": 0.5, "loss": 0.25, "rows": 3.0}
    assert {type(value) for value in found.values()} == {float}
    found["f1"] = 1
    assert found["f1"] == 1.0


@pytest.mark.parametrize("values", [{"auc": "high"}, {"auc": None}, {"": 1.0}, {3: 1.0}, {"auc": True}, [1.0], {"auc": [1]}])
def test_what_is_no_number_is_no_metric(values: Any) -> None:
    with pytest.raises(Invalid) as caught:
        Metrics(values)
    assert caught.value.hint


@pytest.mark.parametrize(
    "make",
    [
        lambda: Report("", "x"), lambda: Report("t", 3), lambda: Report("t", "x", "pdf"), lambda: Dataset([1]), lambda: Dataset(pl.Series([1])),  # type: ignore[arg-type]
        lambda: Dataset(pl.DataFrame({"a": [1]}), name=3), lambda: Model(None), lambda: Model("path"), lambda: Model(LinearRegression),  # type: ignore[arg-type]
        lambda: Model(line(), metrics={"auc": "x"}),  # type: ignore[dict-item]
    ],
)  # fmt: skip
def test_artifacts_refuse_what_they_are_not(make: Any) -> None:
    with pytest.raises(Invalid) as caught:
        make()
    assert caught.value.code == "pipelines.bad_artifact"


@pytest.mark.parametrize(
    "frame",
    [pl.DataFrame({"a": [1, 2]}), pl.LazyFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2]}), pa.table({"a": [1, 2]})],
)
def test_a_dataset_holds_any_frame(frame: Any, tmp_path: Path) -> None:
    found = back(Dataset(frame, name="flights", version=DatasetUse(dataset="flights", number=3)), tmp_path)
    assert type(found.frame) is type(frame)
    assert (found.name, found.version.number, found.columns, len(found)) == ("flights", 3, ["a"], 2)
    assert found.polars["a"].to_list() == [1, 2]


def test_a_model_comes_back_with_its_name_and_metrics(tmp_path: Path) -> None:
    found = back(Model(line(), name="line", metrics={"r2": 1.0}), tmp_path)
    assert (found.name, found.metrics) == ("line", {"r2": 1.0})
    assert found.predict(np.array([[3.0]])) == pytest.approx([6.0])


def test_metrics_and_reports_come_back_equal(tmp_path: Path) -> None:
    for value in (Metrics(a=1.5, b=math.inf), Report("Findings", "# 90 %\n\nünï", "markdown"), Report("Page", "<p>x</p>", "html")):
        found = back(value, tmp_path)
        assert found == value
        assert type(found) is type(value)
    assert math.isnan(back(Metrics(a=math.nan), tmp_path)["a"])


def test_equal_metrics_have_equal_bytes() -> None:
    kinds = [materialise(value, where="x") for value in (Metrics(a=1, b=2), Metrics(b=2, a=1))]
    assert kinds[0] == kinds[1]
    assert kinds[0][0] == "metrics"


def test_a_file_keeps_its_name_and_is_a_fresh_copy(tmp_path: Path) -> None:
    written = tmp_path / "plot.png"
    written.write_bytes(b"\x89PNG")
    kind, payload = materialise(File(written, media_type="image/png"), where="x")
    found = load(kind, payload, tmp_path / "scratch")
    assert isinstance(found, File)
    assert (found.name, found.media_type, found.read_bytes(), found.path != written) == ("plot.png", "image/png", b"\x89PNG", True)
    with open(found, "rb") as file:
        assert file.read() == b"\x89PNG"
    with pytest.raises(Invalid, match="is no file"):
        materialise(File(tmp_path / "none"), where="x")


def test_artifacts_are_compared_by_what_they_hold(tmp_path: Path) -> None:
    pairs = [
        (Metrics(a=1.0), Metrics(a=1.0 + 1e-12), "equivalent"), (Metrics(a=1.0), Metrics(a=2.0), "different"),
        (Report("a", "x"), Report("a", "y"), "different"),
        (Dataset(pl.DataFrame({"a": [1.0]})), Dataset(pl.DataFrame({"a": [1.0 + 1e-12]})), "equivalent"),
        (Dataset(pl.DataFrame({"a": [1.0]})), Dataset(pl.DataFrame({"a": [2.0]})), "different"),
        (Dataset(pl.DataFrame({"a": [1.0]})), Dataset(pd.DataFrame({"a": [1.0]})), "different"),
        (Model(line(), metrics={"r2": 1.0}), Model(line(), metrics={"r2": 0.5}), "different"),
        (Model(line()), Model(line(3.0)), "different"), (Model(line(), name="a"), Model(line(), name="b"), "identical"),
    ]  # fmt: skip
    for original, repeated, likeness in pairs:
        kind, first = materialise(original, where="x")
        _, second = materialise(repeated, where="x")
        assert compare(kind, first, second, tolerance=1e-9, scratch=tmp_path).likeness == likeness, original


def test_a_list_of_artifacts_is_kept_part_by_part(tmp_path: Path) -> None:
    found = back([Metrics(a=1), Report("t", "x"), {"m": Model(line())}], tmp_path)
    assert [type(part) for part in found] == [Metrics, Report, dict]
    assert isinstance(found[2]["m"], Model)


# --- the type of what is returned


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1, int), (True, int), (1, float), (np.float32(1), float), (np.int64(1), float), (np.int64(1), int), (np.bool_(1), bool), (1.5, complex),
        (None, None), (None, int | None), ("a", int | str), ([1, 2], list[int]), ([1, 2], list[float]), ({"a": 1}, dict[str, float]),
        ((1, "a"), tuple[int, str]), ((1, 2, 3), tuple[int, ...]), ({1}, set[int]), ("fast", Literal["fast", "exact"]), (1, Any), (1, object),
        (1, T), (1.0, Kilometres), (1.0, Annotated[float, "doc"]), ({"x": 1}, Row), (object(), Talks), (Colour.RED, Colour),
        ([1], Sequence[int]), ([1], Iterable[int]), (len, type(len)), (int, type[int]), (Metrics(a=1), dict[str, float]), (Metrics(a=1), Metrics),
        (pl.DataFrame({"a": [1]}), pl.DataFrame), ([], list[int]), (1, "NoSuchType"),
    ],
)  # fmt: skip
def test_what_an_annotation_says_passes(value: Any, wanted: Any) -> None:
    assert fault_of(value, wanted) == ""


@pytest.mark.parametrize(
    ("value", "wanted", "fault"),
    [
        ("a", int, "str"), (1.5, int, "float"), (None, int, "NoneType"), (1, str, "int"), (0, None, "int"), (1.5, int | str, "float"),
        ([1, "a"], list[int], "str as item 1"), ({"a": "b"}, dict[str, float], "str as the value of 'a'"), ({1: 1.0}, dict[str, float], "int as a key"),
        ((1, 2), tuple[int, str], "int as item 1"), ((1,), tuple[int, str], "a tuple of 1"), ("slow", Literal["fast"], "'slow'"),
        (pl.LazyFrame({"a": [1]}), pl.DataFrame, "polars.lazyframe.frame.LazyFrame"), ({"a": 1}, Metrics, "dict"), ([[1], ["a"]], list[list[int]], "str as item 0 as item 1"),
        ([1], Row, "list"), ("RED", Colour, "str"), (np.float64(1), int, "numpy.float64"), (1, list[int], "int"), ((1, "a"), tuple[int, ...], "str as item 1"),
    ],
)  # fmt: skip
def test_what_an_annotation_does_not_say_is_named(value: Any, wanted: Any, fault: str) -> None:
    assert fault_of(value, wanted) == fault


def both(x: int) -> tuple[int, Metrics]: ...  # type: ignore[empty-body]


def score() -> Metrics: ...  # type: ignore[empty-body]


def test_a_wrong_output_names_step_output_expected_and_got() -> None:
    with pytest.raises(Invalid) as caught:
        refuse_wrong_type("fit", both, ("output_0", "output_1"), (1, {"auc": 1.0}))
    assert caught.value.message == "Output 'output_1' of step 'fit' is annotated as Metrics, but got dict."
    assert caught.value.hint == "Return Metrics(…), or change the annotation."
    with pytest.raises(Invalid, match="'fit' is annotated to return 2 values, but returned a tuple of 3"):
        refuse_wrong_type("fit", both, ("output_0", "output_1"), (1, 2, 3))
    assert refuse_wrong_type("fit", score, ("output",), Metrics(a=1)) == {"a": 1.0}


def test_annotations_that_cannot_be_resolved_are_let_be() -> None:
    def loose() -> NoSuchName: ...  # type: ignore[name-defined]  # noqa: F821

    def bare(): ...  # type: ignore[no-untyped-def]

    assert refuse_wrong_type("s", loose, ("output",), 1) == 1
    assert refuse_wrong_type("s", bare, ("output",), 1) == 1


def test_a_pipeline_called_plainly_refuses_wrong_types_too() -> None:
    @step
    def lie() -> Metrics:
        return {"auc": 1.0}  # type: ignore[return-value]

    @pipeline
    def one() -> Any:
        return lie()

    with pytest.raises(Invalid, match="Output 'output' of step 'lie' is annotated as Metrics, but got dict"):
        one()
    assert lie() == {"auc": 1.0}


def test_boosters_come_back_and_are_stable(tmp_path: Path) -> None:
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = (x[:, 0] > 0).astype(int)
    light = lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, y), 5)
    found = back(Model(light), tmp_path)
    assert np.array_equal(found.predict(x), light.predict(x))
    assert materialise(found.estimator, where="x") == materialise(light, where="x")
    extreme = xgboost.train({}, xgboost.DMatrix(x, y), 5)
    again = back(extreme, tmp_path)
    assert np.array_equal(again.predict(xgboost.DMatrix(x)), extreme.predict(xgboost.DMatrix(x)))
    assert materialise(again, where="x") == materialise(extreme, where="x")
    other = lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, 1 - y), 5)
    kind, first = materialise(light, where="x")
    assert compare(kind, first, materialise(other, where="x")[1], tolerance=1e-9, scratch=tmp_path).likeness == "different"
