"""Real models on real data, each with rows of its inputs and the engine that must serve it ("native": none may)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, RobustScaler, StandardScaler, TargetEncoder
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

CATEGORIES, NUMBERS = ["carrier", "origin"], ["dep", "dist", "month", "wind"]


def _named(data: Any) -> tuple[pl.DataFrame, np.ndarray]:
    names = [str(name).replace(" ", "_").replace("/", "_") for name in data.feature_names]
    return pl.DataFrame(data.data, schema=names), data.target


TUMOURS, WINES, DIABETES = _named(load_breast_cancer()), _named(load_wine()), _named(load_diabetes())


def _with_gaps() -> tuple[pl.DataFrame, np.ndarray]:
    frame, target = TUMOURS
    chance = np.random.default_rng(0)
    gaps = [
        pl.when(pl.Series(chance.random(frame.height) < 0.1)).then(None).otherwise(pl.col(name)).alias(name) for name in frame.columns[:10]
    ]
    constant = pl.lit(3.0).alias("constant")
    return frame.with_columns([*gaps, constant]), target


def _flights() -> tuple[pl.DataFrame, np.ndarray]:
    chance, n = np.random.default_rng(1), 2000
    frame = pl.DataFrame(
        {
            "carrier": chance.choice(["AA", "UA", "DL", "B6", "HA"], n), "origin": chance.choice(["JFK", "LGA", "EWR"], n),
            "dep": chance.integers(0, 2400, n), "dist": chance.normal(800, 300, n).round(0), "month": chance.integers(1, 13, n),
            "wind": np.where(chance.random(n) < 0.1, np.nan, chance.normal(10, 5, n)),
        }
    ).with_columns(pl.col("wind").fill_nan(None))  # fmt: skip
    late = (frame["dep"].to_numpy() > 1500) ^ (chance.random(n) < 0.2) ^ np.isin(frame["carrier"].to_numpy(), ["AA", "HA"])
    return frame, late.astype(int)


GAPS, FLIGHTS = _with_gaps(), _flights()
_CODES = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
_CODES_OR_NAN = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)


def _columns(encoder: Any, numbers: Any = "passthrough", categories: list[str] = CATEGORIES) -> ColumnTransformer:
    return ColumnTransformer([("texts", encoder, categories), ("numbers", numbers, [name for name in NUMBERS if name not in categories])])


_SCALED = make_pipeline(SimpleImputer(), StandardScaler())
# name: estimator, (rows, target), engine
SKLEARN: dict[str, tuple[Any, Any, str]] = {
    "hist_binary": (HistGradientBoostingClassifier(max_iter=30), TUMOURS, "trees"),
    "hist_gaps": (HistGradientBoostingClassifier(max_iter=30), GAPS, "trees"),
    "hist_multiclass": (HistGradientBoostingClassifier(max_iter=15), WINES, "trees"),
    "hist_regression": (HistGradientBoostingRegressor(max_iter=30), DIABETES, "trees"),
    "hist_poisson": (HistGradientBoostingRegressor(loss="poisson", max_iter=20), DIABETES, "trees"),
    "hist_gamma": (HistGradientBoostingRegressor(loss="gamma", max_iter=20), DIABETES, "trees"),
    "forest": (RandomForestClassifier(20, random_state=0), TUMOURS, "trees"),
    "forest_gaps": (RandomForestClassifier(20, random_state=0), GAPS, "trees"),
    "forest_multiclass": (RandomForestClassifier(20, random_state=0), WINES, "trees"),
    "forest_deep": (RandomForestRegressor(10, random_state=0), DIABETES, "trees"),
    "extra": (ExtraTreesClassifier(10, random_state=0), TUMOURS, "trees"),
    "extra_regression": (ExtraTreesRegressor(10, random_state=0), DIABETES, "trees"),
    "boosting": (GradientBoostingClassifier(n_estimators=20), TUMOURS, "trees"),
    "boosting_exponential": (GradientBoostingClassifier(loss="exponential", n_estimators=20), TUMOURS, "trees"),
    "boosting_multiclass": (GradientBoostingClassifier(n_estimators=10), WINES, "trees"),
    "boosting_huber": (GradientBoostingRegressor(loss="huber", n_estimators=20), DIABETES, "trees"),
    "one_tree": (DecisionTreeClassifier(random_state=0), GAPS, "trees"),
    "one_tree_regression": (DecisionTreeRegressor(random_state=0), DIABETES, "trees"),
    "stump": (DecisionTreeClassifier(max_depth=1), TUMOURS, "trees"),
    "search": (GridSearchCV(HistGradientBoostingClassifier(max_iter=5), {"max_depth": [3]}, cv=2), TUMOURS, "trees"),
    "scaled_hist": (make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=10)), TUMOURS, "trees"),
    "logistic": (make_pipeline(StandardScaler(), LogisticRegression()), TUMOURS, "affine"),
    "logistic_gaps": (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), LogisticRegression()), GAPS, "affine"),
    "logistic_multiclass": (make_pipeline(StandardScaler(), LogisticRegression()), WINES, "affine"),
    "logistic_pca": (make_pipeline(StandardScaler(), PCA(5, whiten=True), LogisticRegression()), TUMOURS, "affine"),
    "logistic_union": (make_pipeline(make_union(StandardScaler(), PCA(3)), MinMaxScaler(), LogisticRegression()), TUMOURS, "affine"),
    "logistic_clipped": (make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), TUMOURS, "affine"),
    "logistic_chosen": (make_pipeline(StandardScaler(), SelectKBest(k=5), LogisticRegression()), TUMOURS, "affine"),
    "descent": (make_pipeline(RobustScaler(), SGDClassifier(loss="log_loss", random_state=0)), TUMOURS, "affine"),
    "calibrated_svc": (CalibratedClassifierCV(make_pipeline(StandardScaler(), LinearSVC()), cv=3), TUMOURS, "affine"),
    "calibrated_forest": (CalibratedClassifierCV(RandomForestClassifier(10, random_state=0), cv=2), TUMOURS, "trees"),
    "discriminant": (LinearDiscriminantAnalysis(), WINES, "affine"),
    "ridge": (make_pipeline(StandardScaler(), Ridge()), DIABETES, "affine"),
    "lasso": (Lasso(), DIABETES, "affine"),
    "poisson": (PoissonRegressor(), DIABETES, "affine"),
    "perceptron": (make_pipeline(StandardScaler(), MLPClassifier((16, 8), max_iter=30, random_state=0)), TUMOURS, "mlp"),
    "perceptron_tanh": (make_pipeline(StandardScaler(), MLPClassifier((9,), activation="tanh", max_iter=30, random_state=0)), WINES, "mlp"),
    "perceptron_regression": (make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(9,), max_iter=30, random_state=0)), DIABETES, "mlp"),
    "vote": (
        VotingClassifier([("line", make_pipeline(StandardScaler(), LogisticRegression())), ("forest", RandomForestClassifier(10, random_state=0))], voting="soft", weights=[2, 1]),
        TUMOURS, "average",
    ),
    "flights_hist": (make_pipeline(_columns(_CODES), HistGradientBoostingClassifier(max_iter=20)), FLIGHTS, "trees"),
    "flights_categories": (make_pipeline(_columns(_CODES_OR_NAN), HistGradientBoostingClassifier(max_iter=20, categorical_features=[0, 1])), FLIGHTS, "trees"),
    "flights_target": (make_pipeline(_columns(TargetEncoder(random_state=0)), HistGradientBoostingClassifier(max_iter=20)), FLIGHTS, "trees"),
    "flights_one_hot": (make_pipeline(_columns(OneHotEncoder(handle_unknown="ignore"), _SCALED), LogisticRegression(max_iter=500)), FLIGHTS, "affine"),
    "flights_one_hot_strict": (make_pipeline(_columns(OneHotEncoder(drop="first"), _SCALED), LogisticRegression(max_iter=500)), FLIGHTS, "affine"),
    "flights_one_hot_rare": (
        make_pipeline(_columns(OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3), _SCALED), LogisticRegression(max_iter=500)),
        FLIGHTS, "affine",
    ),
    "flights_coded_numbers": (make_pipeline(_columns(_CODES, categories=[*CATEGORIES, "month"]), HistGradientBoostingClassifier(max_iter=10)), FLIGHTS, "trees"),
    "neighbours": (KNeighborsClassifier(), TUMOURS, "native"),
}  # fmt: skip


def lightgbm_models() -> dict[str, Callable[[], Any]]:
    """LightGBM's models by name."""
    import lightgbm as lgb

    held = {"verbose": -1, "n_estimators": 20}
    frame = FLIGHTS[0].select("carrier", "origin", "dep", "dist")
    coded = frame.to_pandas().astype({"carrier": "category", "origin": "category"})
    return {
        "binary": lambda: (lgb.LGBMClassifier(**held).fit(TUMOURS[0].to_pandas(), TUMOURS[1]), TUMOURS[0]),
        "gaps": lambda: (lgb.LGBMClassifier(**held).fit(GAPS[0].to_pandas(), GAPS[1]), GAPS[0]),
        "multiclass": lambda: (lgb.LGBMClassifier(**held).fit(WINES[0].to_pandas(), WINES[1]), WINES[0]),
        "one_against_all": lambda: (lgb.LGBMClassifier(objective="multiclassova", **held).fit(WINES[0].to_pandas(), WINES[1]), WINES[0]),
        "poisson": lambda: (lgb.LGBMRegressor(objective="poisson", **held).fit(DIABETES[0].to_pandas(), DIABETES[1]), DIABETES[0]),
        "forest": lambda: (
            lgb.LGBMClassifier(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, **held).fit(TUMOURS[0].to_pandas(), TUMOURS[1]), TUMOURS[0],
        ),
        "categories": lambda: (lgb.LGBMClassifier(min_data_per_group=5, cat_smooth=1, **held).fit(coded, FLIGHTS[1]), frame),
    }  # fmt: skip


def xgboost_models() -> dict[str, Callable[[], Any]]:
    """XGBoost's models by name."""
    import xgboost as xgb

    frame = FLIGHTS[0].select("carrier", "origin", "dep", "dist")
    coded = frame.to_pandas().astype({"carrier": "category", "origin": "category"})
    several = {"n_estimators": 20}
    return {
        "binary": lambda: (xgb.XGBClassifier(**several).fit(TUMOURS[0].to_pandas(), TUMOURS[1]), TUMOURS[0]),
        "gaps": lambda: (xgb.XGBClassifier(**several).fit(GAPS[0].to_pandas(), GAPS[1]), GAPS[0]),
        "multiclass": lambda: (xgb.XGBClassifier(**several).fit(WINES[0].to_pandas(), WINES[1]), WINES[0]),
        "regression": lambda: (xgb.XGBRegressor(**several).fit(DIABETES[0].to_pandas(), DIABETES[1]), DIABETES[0]),
        "poisson": lambda: (xgb.XGBRegressor(objective="count:poisson", **several).fit(DIABETES[0].to_pandas(), DIABETES[1]), DIABETES[0]),
        "dart": lambda: (xgb.XGBClassifier(booster="dart", rate_drop=0.2, **several).fit(TUMOURS[0].to_pandas(), TUMOURS[1]), TUMOURS[0]),
        "categories": lambda: (xgb.XGBClassifier(enable_categorical=True, max_cat_to_onehot=1, **several).fit(coded, FLIGHTS[1]), frame),
    }


def fitted(name: str) -> tuple[Any, pl.DataFrame, str]:
    """A fitted model of scikit-learn, its rows, and the engine that must serve it."""
    estimator, (frame, target), engine = SKLEARN[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # thirty rounds of a perceptron do not converge, nor need they
        return estimator.fit(frame, target), frame, engine
