"""Rows of doubles straight to a model's own library: only where it answers to the bit what it answers to a frame."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, StackingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_info

from rung.core.errors import Invalid
from rung.registry import matrices
from rung.registry.format import RowsScorer
from rung.registry.formats.skops import scorer, without_names
from rung.registry.matching import signature_of
from rung.registry.openmp import OneThread
from rung.registry.records import Field
from rung.registry.shortcuts import shortcut

ROWS = pl.DataFrame(np.random.default_rng(1).normal(size=(200, 4)), schema=list("abcd"))
TRUTH = (ROWS["a"] + 0.3 * ROWS["b"] > 0).to_numpy().astype(int)
FIELDS = signature_of(ROWS, ()).inputs
CHOSEN = make_column_transformer((StandardScaler(), ["a", "c"]), (PolynomialFeatures(2), ["b"]), remainder="passthrough")
MODELS = {
    "boosted": HistGradientBoostingClassifier(max_iter=5),
    "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
    "columns": make_pipeline(CHOSEN, KNeighborsClassifier()),
    "calibrated": CalibratedClassifierCV(SVC(), method="isotonic", cv=2),
    "stacked": StackingClassifier([("a", KNeighborsClassifier()), ("b", make_pipeline(StandardScaler(), LogisticRegression()))], cv=2),
    "distances": KNeighborsRegressor(),
}


@pytest.mark.parametrize("kind", [pl.Float64, pl.Float32])
@pytest.mark.parametrize("name", MODELS)
def test_one_fitted_on_named_columns_takes_a_matrix_without_complaint(name: str, kind: Any) -> None:
    frame = ROWS.cast(kind)
    score = scorer(MODELS[name].fit(frame, TRUTH), "regression" if name == "distances" else "binary")
    ask = matrices.proved(score, signature_of(frame, ()).inputs, None)
    assert ask is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for height in (1, 2, 50):
            rows = frame.head(height)
            assert np.array_equal(ask(np.ascontiguousarray(rows.cast(pl.Float64).to_numpy())), score(rows))


def test_names_are_forgotten_by_a_copy_only() -> None:
    model = make_pipeline(CHOSEN, KNeighborsClassifier()).fit(ROWS, TRUTH)
    copy = without_names(model)
    assert not hasattr(copy, "feature_names_in_")
    assert list(model.feature_names_in_) == ROWS.columns
    assert copy.steps[1][1] is model.steps[1][1]
    plain = KNeighborsClassifier().fit(ROWS.to_numpy(), TRUTH)
    assert without_names(plain) is plain


def test_whole_numbers_truth_values_and_nulls_are_tried_too() -> None:
    chance = np.random.default_rng(3)
    frame = pl.DataFrame(
        {"n": chance.integers(0, 9, 200), "flag": chance.random(200) < 0.5, "x": ROWS["a"], "y": ROWS["b"].cast(pl.Float32)}
    )
    fields = signature_of(frame, (), frozenset({"x"})).inputs
    score = scorer(HistGradientBoostingClassifier(max_iter=5).fit(frame.to_numpy(), TRUTH), "binary")
    ask = matrices.proved(score, fields, None)
    assert ask is not None
    held = np.array([[3.0, 1.0, np.nan, 0.1]])
    assert np.array_equal(ask(held), score(matrices.frame_of(held, fields)))


def test_one_that_answers_a_matrix_otherwise_is_asked_with_frames() -> None:
    def by_frame(frame: pl.DataFrame) -> np.ndarray:
        return frame["a"].to_numpy().astype(np.float64)

    assert matrices.proved(by_frame, FIELDS, None) is None
    assert matrices.proved(RowsScorer(by_frame, lambda rows: rows[:, 0] + 1e-12), FIELDS, None) is None
    assert matrices.proved(RowsScorer(by_frame, lambda rows: rows[:, 0].astype(np.float32)), FIELDS, None) is None
    assert matrices.proved(RowsScorer(by_frame, lambda rows: rows[:, 0]), FIELDS, None) is not None


def test_a_difference_in_rows_of_the_example_only_is_found() -> None:
    def by_frame(frame: pl.DataFrame) -> np.ndarray:
        return (frame["a"] > 1000).to_numpy().astype(np.float64)

    odd = RowsScorer(by_frame, lambda rows: np.zeros(len(rows)))
    example = io.BytesIO()
    ROWS.with_columns(a=pl.lit(2000.0)).write_parquet(example)
    assert matrices.proved(odd, FIELDS, None) is not None
    assert matrices.proved(odd, FIELDS, example.getvalue()) is None


def test_one_that_refuses_all_rows_proves_nothing() -> None:
    def refused(rows: Any) -> np.ndarray:
        raise ValueError("never")

    assert matrices.proved(RowsScorer(refused, refused), FIELDS, None) is None
    assert matrices.measured_us(refused, 4, 77.0) == 77.0
    with pytest.raises(Invalid, match="m:1 cannot score these rows: never"):
        matrices.refusing(refused, "m", 1)(np.zeros((1, 4)))


def test_a_matrix_becomes_a_frame_of_the_signature() -> None:
    fields = (Field(name="n", dtype="Int64", nullable=True), Field(name="flag", dtype="Boolean"), Field(name="x", dtype="Float32"))
    found = matrices.frame_of(np.array([[1.0, 0.0, 0.5], [np.nan, 1.0, 2.0]]), fields)
    assert found.dtypes == [pl.Int64, pl.Boolean, pl.Float32]
    assert found.rows() == [(1, False, 0.5), (None, True, 2.0)]


def test_one_thread_is_for_the_call_alone() -> None:
    def counts(_: object) -> list[int]:
        return [held["num_threads"] for held in threadpool_info() if held["user_api"] == "openmp"]

    LinearRegression().fit(ROWS.to_numpy(), TRUTH)
    before, alone = counts(None), OneThread()
    assert before
    assert alone(counts, None) == [1] * len(before)
    assert counts(None) == before


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "counts"])
def test_the_shorter_way_of_boosted_trees_answers_to_the_bit(kind: str) -> None:
    truth = {"binary": TRUTH, "multiclass": np.arange(200) % 3, "regression": ROWS["a"].to_numpy() ** 3, "counts": np.arange(200) % 5}[kind]
    holed = ROWS.with_columns(pl.when(pl.col("b") > 1).then(None).otherwise(pl.col("b")).alias("b"))
    classes = kind in {"binary", "multiclass"}
    loss = {"loss": "poisson"} if kind == "counts" else {}
    made = HistGradientBoostingClassifier(max_iter=20) if classes else HistGradientBoostingRegressor(max_iter=20, **loss)
    score = scorer(made.fit(holed, truth), "regression" if not classes else "binary" if kind == "binary" else "multiclass")
    assert isinstance(score, RowsScorer)
    assert score.shorter is not None
    rows = np.ascontiguousarray(holed.to_numpy())
    for height in (1, 2, 200):
        assert np.array_equal(score.shorter(rows[:height]), score(holed.head(height)))
    ask = matrices.proved(score, signature_of(holed, ()).inputs, None)
    assert ask is not None
    assert np.array_equal(ask(rows), score(holed))


def test_a_shorter_way_that_answers_otherwise_is_not_taken() -> None:
    def by_frame(frame: pl.DataFrame) -> np.ndarray:
        return frame["a"].to_numpy().astype(np.float64)

    taken = []

    def longer(rows: np.ndarray) -> np.ndarray:
        taken.append(len(rows))
        return rows[:, 0]

    ask = matrices.proved(RowsScorer(by_frame, longer, lambda rows: np.nextafter(rows[:, 0], 9)), FIELDS, None)
    assert ask is not None
    taken.clear()
    assert ask(np.ones((3, 4))).tolist() == [1.0, 1.0, 1.0]
    assert taken == [3]


def test_an_estimator_whose_parts_are_not_as_known_has_no_shorter_way() -> None:
    model = HistGradientBoostingClassifier(max_iter=2).fit(ROWS.to_numpy(), TRUTH)
    assert shortcut(model, "predict") is None
    assert shortcut(KNeighborsClassifier().fit(ROWS.to_numpy(), TRUTH), "predict_proba") is None
    del model._bin_mapper
    assert shortcut(model, "predict_proba") is None
