"""What is served equals what the library itself answers for the same rows: pipelines, boosters, categories, texts, nulls.

The library is asked with the frame it was fitted on (pandas); Rung with Polars, after the model was written and read.
Tolerance: 1e-12 where scikit-learn computes both, 1e-6 for boosters, whose files keep single precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectFromModel
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC

from rung.core.errors import Invalid
from rung.registry.format import FORMATS
from rung.registry.packing import pack
from rung.registry.predictor import Predictor

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(7)
N = 240
ROWS = pd.DataFrame(
    {
        "hour": RNG.integers(0, 24, N),
        "wind": RNG.normal(size=N),
        "distance": RNG.lognormal(6, 1, N),
        "origin": RNG.choice(["JFK", "LGA", "EWR"], N),
        "carrier": RNG.choice(["UA", "DL", "B6", "AA"], N),
        "holiday": RNG.random(N) > 0.8,
        "note": RNG.choice(["strong wind", "late aircraft", "clear sky over Newark", "wind and late"], N),
    }
)
LATE = (ROWS["hour"] / 8 + ROWS["wind"] + (ROWS["origin"] == "EWR") + RNG.normal(size=N) > 2).astype(int)
WORDS = pd.Series(np.select([LATE == 1, ROWS["wind"] > 0], ["late", "early"], "on time"))
MINUTES = ROWS["wind"] * 5 + ROWS["hour"] + 20
NUMBERS = ROWS[["hour", "wind", "distance"]]
MISSING = NUMBERS.mask(RNG.random(NUMBERS.shape) > 0.9)
COLUMNS = ["origin", "carrier"]
COARSE = ROWS[["wind", "hour", *COLUMNS]].astype(dict.fromkeys(COLUMNS, "category"))


def mixed(final: Any, encoder: Any = None) -> Any:
    parts = [
        ("c", encoder or OneHotEncoder(handle_unknown="ignore"), COLUMNS),
        ("n", StandardScaler(), ["wind", "distance"]),
        ("p", "passthrough", ["hour", "holiday"]),
    ]
    return make_pipeline(ColumnTransformer(parts), final)


EXACT: dict[str, Callable[[], tuple[Any, Any]]] = {
    "one-hot and logistic": lambda: (mixed(LogisticRegression(max_iter=500)).fit(ROWS, LATE), ROWS),
    "one-hot, dense, boosted": lambda: (
        mixed(HistGradientBoostingClassifier(max_iter=5), OneHotEncoder(sparse_output=False, min_frequency=5)).fit(ROWS, LATE), ROWS,
    ),
    "ordinal codes and a forest": lambda: (
        mixed(RandomForestClassifier(5), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)).fit(ROWS, WORDS), ROWS,
    ),
    "target encoding": lambda: (mixed(LogisticRegression(), TargetEncoder()).fit(ROWS, LATE), ROWS),
    "columns by selector": lambda: (
        make_pipeline(
            make_column_transformer(
                (OneHotEncoder(), make_column_selector(dtype_include=[object, "string"])), (StandardScaler(), make_column_selector(dtype_include=np.number))
            ),
            LogisticRegression(),
        ).fit(ROWS, LATE), ROWS,
    ),
    "frames between the steps": lambda: (mixed(LogisticRegression(), OneHotEncoder(sparse_output=False)).set_output(transform="pandas").fit(ROWS, LATE), ROWS),
    "a column of texts": lambda: (
        make_pipeline(ColumnTransformer([("t", TfidfVectorizer(), "note"), ("n", StandardScaler(), ["wind"])]), LogisticRegression()).fit(ROWS, LATE), ROWS,
    ),
    "nulls and boosted trees": lambda: (HistGradientBoostingRegressor(max_iter=5).fit(MISSING, MINUTES), MISSING),
    "nulls, filled": lambda: (make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()).fit(MISSING, LATE), MISSING),
    "nulls, by neighbours": lambda: (make_pipeline(KNNImputer(), Ridge()).fit(MISSING, MINUTES), MISSING),
    "calibrated, isotonic": lambda: (CalibratedClassifierCV(HistGradientBoostingClassifier(max_iter=5), method="isotonic", cv=2).fit(NUMBERS, LATE), NUMBERS),
    "calibrated, sigmoid, three classes": lambda: (CalibratedClassifierCV(SVC(), cv=2).fit(NUMBERS, WORDS), NUMBERS),
    "calibrated pipeline": lambda: (CalibratedClassifierCV(mixed(RandomForestClassifier(5)), cv=2).fit(ROWS, WORDS), ROWS),
    "labels as texts": lambda: (RandomForestClassifier(5).fit(NUMBERS, WORDS), NUMBERS),
    "labels as booleans": lambda: (LogisticRegression(max_iter=500).fit(NUMBERS, LATE == 1), NUMBERS),
    "stacked": lambda: (StackingClassifier([("a", RandomForestClassifier(3)), ("b", KNeighborsClassifier())], cv=2).fit(NUMBERS, WORDS), NUMBERS),
    "voting with a booster": lambda: (
        VotingClassifier([("a", LogisticRegression(max_iter=500)), ("b", lightgbm.LGBMClassifier(n_estimators=3, verbose=-1))], voting="soft").fit(NUMBERS, WORDS), NUMBERS,
    ),
    "a target in logarithms": lambda: (TransformedTargetRegressor(GradientBoostingRegressor(n_estimators=5), func=np.log1p, inverse_func=np.expm1).fit(NUMBERS, MINUTES - MINUTES.min()), NUMBERS),
    "features of functions": lambda: (make_pipeline(FunctionTransformer(np.abs), FeatureUnion([("p", PCA(2)), ("s", SplineTransformer())]), Ridge()).fit(NUMBERS, MINUTES), NUMBERS),
    "bins and chosen columns": lambda: (make_pipeline(KBinsDiscretizer(4), SelectFromModel(LogisticRegression()), LogisticRegression()).fit(NUMBERS, LATE), NUMBERS),
    "sparse rows": lambda: (LogisticRegression(max_iter=500).fit(scipy.sparse.csr_matrix(NUMBERS.to_numpy()), LATE), NUMBERS),
    "sparse rows, reduced": lambda: (make_pipeline(TruncatedSVD(2), RandomForestClassifier(3)).fit(scipy.sparse.csr_array(NUMBERS.to_numpy()), WORDS), NUMBERS),
    "categories of pandas": lambda: (HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(COARSE, LATE), COARSE),
}  # fmt: skip


def library(model: Any, rows: pd.DataFrame) -> np.ndarray:
    given = rows if hasattr(model, "feature_names_in_") else rows.to_numpy()
    found = np.asarray(model.predict_proba(given) if hasattr(model, "predict_proba") else model.predict(given), dtype=np.float64)
    return found[:, 1] if found.ndim == 2 and found.shape[1] == 2 else found


def served(model: Any, rows: pd.DataFrame) -> Predictor:
    packed = pack(model, pl.from_pandas(rows))
    return Predictor(
        model="late", number=1, digest="", signature=packed.signature, task=packed.task, classes=packed.classes, threshold=None,
        scorer=FORMATS.get(packed.format).load(packed.files, packed.task),
    )  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_scikit_learn_answers_the_same_after_it_was_kept(name: str) -> None:
    model, rows = EXACT[name]()
    predictor = served(model, rows)
    assert np.allclose(predictor.predict_scores(pl.from_pandas(rows)), library(model, rows), rtol=1e-12, atol=1e-12)
    shuffled = pl.from_pandas(rows)[::-1].select(reversed(pl.from_pandas(rows).columns))
    assert np.allclose(predictor.predict_scores(shuffled.head(3)), library(model, rows)[::-1][:3], rtol=1e-12, atol=1e-12)


def boosted(library: str, **options: Any) -> Any:
    kinds = {
        "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1, **options),
        "xgboost": lambda: xgboost.XGBClassifier(n_estimators=5, max_depth=3, enable_categorical=True, **options),
    }
    return kinds[library]()


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
class TestBoosters:
    """Both libraries, asked with the frame they were fitted on."""

    def test_columns_of_pandas_categories_are_given_as_texts(self, name: str) -> None:
        model = boosted(name).fit(COARSE, LATE)
        predictor = served(model, COARSE)
        texts = pl.from_pandas(COARSE.astype(dict.fromkeys(COLUMNS, str)))
        expected = model.predict_proba(COARSE)[:, 1]
        assert len(set(expected)) > 5
        assert np.allclose(predictor.predict_scores(pl.from_pandas(COARSE)), expected, rtol=1e-6)
        assert np.allclose(predictor.predict_scores(texts), expected, rtol=1e-6)
        # one row alone holds one category of each: its codes must be those of the fit, not of the row
        singly = np.concatenate([predictor.predict_scores(texts[place]) for place in range(20)])
        assert np.allclose(singly, expected[:20], rtol=1e-6)

    def test_kept_as_an_estimator_it_answers_the_same(self, name: str) -> None:
        model = boosted(name).fit(COARSE, LATE)
        packed = pack(model, pl.from_pandas(COARSE), format="skops")
        scorer = FORMATS.get("skops").load(packed.files, packed.task)
        texts = pl.from_pandas(COARSE.astype(dict.fromkeys(COLUMNS, str)))
        expected = model.predict_proba(COARSE)[:, 1]
        assert np.allclose(scorer(texts), expected, rtol=1e-6)
        assert np.allclose(np.concatenate([scorer(texts[place]) for place in range(5)]), expected[:5], rtol=1e-6)

    def test_a_category_never_met_is_a_missing_value(self, name: str) -> None:
        model = boosted(name).fit(COARSE, LATE)
        strange = pl.from_pandas(COARSE.astype(dict.fromkeys(COLUMNS, str)).assign(origin="SFO"))
        without = COARSE.assign(origin=pd.Categorical([None] * N, categories=COARSE["origin"].cat.categories))
        assert np.allclose(served(model, COARSE).predict_scores(strange), model.predict_proba(without)[:, 1], rtol=1e-6)

    def test_missing_numbers_take_their_learnt_way(self, name: str) -> None:
        model = boosted(name).fit(MISSING, LATE)
        predictor = served(model, MISSING)
        assert np.allclose(predictor.predict_scores(pl.from_pandas(MISSING)), model.predict_proba(MISSING)[:, 1], rtol=1e-6)
        nulls = pl.from_pandas(MISSING).with_columns(pl.all().fill_nan(None))
        assert np.allclose(predictor.predict_scores(nulls), model.predict_proba(MISSING)[:, 1], rtol=1e-6)

    def test_several_classes_keep_their_order(self, name: str) -> None:
        codes = pd.Categorical(WORDS).codes.astype(int)
        model = boosted(name).fit(NUMBERS, codes)
        predictor = served(model, NUMBERS)
        assert predictor.classes == (0, 1, 2)
        assert np.allclose(predictor.predict_scores(pl.from_pandas(NUMBERS)), model.predict_proba(NUMBERS), rtol=1e-6)

    def test_sparse_rows_are_served_as_plain_ones(self, name: str) -> None:
        model = boosted(name).fit(scipy.sparse.csr_matrix(NUMBERS.to_numpy()), LATE)
        given = pl.from_pandas(NUMBERS)
        expected = model.predict_proba(scipy.sparse.csr_matrix(NUMBERS.to_numpy()))[:, 1]
        assert np.allclose(served(model, NUMBERS).predict_scores(given), expected, rtol=1e-6)

    def test_inside_of_a_pipeline_texts_are_its_classes(self, name: str) -> None:
        final = boosted(name)
        label = WORDS if name == "lightgbm" else LATE
        model = mixed(final, OneHotEncoder(sparse_output=False)).fit(ROWS, label)
        assert np.allclose(served(model, ROWS).predict_scores(pl.from_pandas(ROWS)), library(model, ROWS), rtol=1e-6)


def test_lightgbm_knows_its_texts_as_classes_inside_of_skops_and_as_numbers_in_its_own_file() -> None:
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(NUMBERS, WORDS)
    packed = pack(model, pl.from_pandas(NUMBERS))
    assert packed.classes == ("early", "late", "on time")
    assert np.allclose(served(model, NUMBERS).predict_scores(pl.from_pandas(NUMBERS)), model.predict_proba(NUMBERS), rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        lambda: MultiOutputRegressor(Ridge()).fit(NUMBERS, np.c_[MINUTES, MINUTES]),
        lambda: Ridge().fit(NUMBERS, np.c_[MINUTES, MINUTES]),
        lambda: MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(NUMBERS, np.c_[LATE, LATE]),
        lambda: RandomForestClassifier(3).fit(NUMBERS, np.c_[LATE, LATE]),
        lambda: xgboost.XGBRegressor(n_estimators=2).fit(NUMBERS, np.c_[MINUTES, MINUTES]),
    ],
)
def test_a_model_of_several_answers_a_row_is_refused(model: Callable[[], Any]) -> None:
    with pytest.raises(Invalid, match=r"at once, not one"):
        pack(model(), pl.from_pandas(NUMBERS))
