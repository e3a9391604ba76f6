"""What every model format holds to, and what the skops format takes and refuses."""

from __future__ import annotations

import io
import pickle
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from rung.core.errors import Invalid, NotFound
from rung.registry.format import FORMATS, format_for
from rung.registry.packing import pack

RNG = np.random.default_rng(3)
N = 400
FRAME = pl.DataFrame(
    {
        "carrier": RNG.choice(["UA", "AA", "B6"], N),
        "distance": RNG.normal(1000, 300, N),
        "hour": RNG.integers(0, 24, N),
        "wind": np.where(RNG.random(N) < 0.1, np.nan, RNG.normal(size=N)),
    }
).with_columns(pl.col("wind").fill_nan(None))
LATE = ((FRAME["distance"].to_numpy() - 1000) / 300 + FRAME["hour"].to_numpy() / 8 + RNG.normal(size=N)) > 1.5
NUMBERS = FRAME.select("distance", "hour")


def boosted() -> Pipeline:
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("carrier", encode, ["carrier"])], remainder="passthrough", verbose_feature_names_out=False)
    return Pipeline(
        [("columns", columns), ("trees", HistGradientBoostingClassifier(categorical_features=[0], max_iter=20, random_state=0))]
    )


CLASSIFIERS = {
    "boosted trees with categories": (boosted(), FRAME),
    "boosted trees on categories by type": (
        HistGradientBoostingClassifier(max_iter=10),
        FRAME.with_columns(pl.col("carrier").cast(pl.Categorical)),
    ),
    "one-hot and logistic": (
        make_pipeline(
            ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), ["carrier"])], remainder="drop"), LogisticRegression()
        ),
        FRAME,
    ),
    "forest": (RandomForestClassifier(20), NUMBERS),
    "calibrated": (CalibratedClassifierCV(LogisticRegression()), NUMBERS),
    "neighbours": (KNeighborsClassifier(), NUMBERS),
    "neural network": (make_pipeline(StandardScaler(), MLPClassifier((5,), max_iter=20, random_state=0)), NUMBERS),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_scores_bit_for_bit_alike_after_skops(name: str) -> None:
    estimator, frame = CLASSIFIERS[name]
    estimator.fit(frame, LATE)
    packed = pack(estimator, frame)
    scores = FORMATS.get("skops").load(packed.files, "binary")(frame)
    assert np.array_equal(scores, estimator.predict_proba(frame)[:, 1])
    assert (packed.format, packed.task, packed.classes) == ("skops", "binary", (False, True))


@pytest.mark.parametrize("estimator", [LinearRegression(), GradientBoostingRegressor(n_estimators=5)])
def test_a_regression_answers_values(estimator: LinearRegression) -> None:
    values = FRAME["distance"].to_numpy() * 2
    estimator.fit(NUMBERS, values)
    packed = pack(estimator, NUMBERS)
    assert packed.task == "regression"
    assert np.array_equal(FORMATS.get("skops").load(packed.files, "regression")(NUMBERS), estimator.predict(NUMBERS))


def test_several_classes_are_answered_as_a_matrix_in_the_order_of_the_classes() -> None:
    estimator = RandomForestClassifier(5, random_state=0).fit(NUMBERS, FRAME["carrier"].to_numpy())
    packed = pack(estimator, NUMBERS)
    assert packed.classes == ("AA", "B6", "UA")
    assert [field.name for field in packed.signature.outputs] == ["score_AA", "score_B6", "score_UA"]
    assert FORMATS.get("skops").load(packed.files, packed.task)(NUMBERS).shape == (N, 3)


def test_an_estimator_fitted_on_plain_numbers_is_given_plain_numbers() -> None:
    estimator = LogisticRegression().fit(NUMBERS.to_numpy(), LATE)
    assert np.array_equal(
        FORMATS.get("skops").load(pack(estimator, NUMBERS).files, "binary")(NUMBERS), estimator.predict_proba(NUMBERS.to_numpy())[:, 1]
    )


def test_lightgbm_is_kept_as_its_own_text() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    estimator = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(NUMBERS.to_numpy(), LATE)
    packed = pack(estimator, NUMBERS)
    assert (packed.format, list(packed.files)) == ("lightgbm", ["model.txt"])
    assert np.array_equal(FORMATS.get("lightgbm").load(packed.files, "binary")(NUMBERS), estimator.predict_proba(NUMBERS.to_numpy())[:, 1])


def test_an_estimator_that_does_not_tell_its_task_is_asked_for_it() -> None:
    from sklearn.cluster import KMeans

    with pytest.raises(Invalid, match="neither classes nor values"):
        pack(KMeans(2, n_init=1).fit(NUMBERS), NUMBERS)


def test_equal_estimators_give_equal_bytes() -> None:
    first, second = (boosted().fit(FRAME, LATE) for _ in range(2))
    assert FORMATS.get("skops").save(first) == FORMATS.get("skops").save(second)


def test_columns_are_nullable_where_the_model_takes_a_null() -> None:
    tree = pack(boosted().fit(FRAME, LATE), FRAME).signature
    linear = pack(LogisticRegression().fit(NUMBERS, LATE), NUMBERS).signature
    assert [field.nullable for field in tree.inputs] == [True, True, True, True]
    assert [field.nullable for field in linear.inputs] == [False, False]


def own_function(values: pl.DataFrame) -> pl.DataFrame:
    return values


def test_a_function_of_the_project_is_refused_by_name() -> None:
    estimator = make_pipeline(FunctionTransformer(own_function), LogisticRegression()).fit(NUMBERS, LATE)
    with pytest.raises(Invalid, match="own_function"):
        pack(estimator, NUMBERS)


def test_an_estimator_without_probabilities_is_refused() -> None:
    from sklearn.svm import LinearSVC

    with pytest.raises(Invalid, match="predict_proba"):
        pack(LinearSVC().fit(NUMBERS, LATE), NUMBERS)


class Marker:
    """Pickled, it would leave a file behind when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def disguised(path: Path, how: str) -> bytes:
    pickled = pickle.dumps(Marker(path))
    if how == "pickle":
        return pickled
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json" if how == "as schema" else "model.pkl", pickled)
        if how == "joblib node":
            node = '{"__class__": "Marker", "__module__": "tests", "__loader__": "ReduceNode", "content": "model.pkl", "__id__": 1}'
            archive.writestr("schema.json", node)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["pickle", "in a zip", "as schema", "joblib node"])
@pytest.mark.parametrize("name", FORMATS.names())
def test_no_format_runs_code_from_a_file(name: str, how: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    file = {"skops": "model.skops", "lightgbm": "model.txt", "xgboost": "model.ubj", "onnx": "model.onnx"}.get(name, "model")
    with pytest.raises((Invalid, NotFound)):
        FORMATS.get(name).load({file: disguised(marker, how)}, "binary")
    assert not marker.exists()


def test_files_of_another_name_and_estimators_of_no_format_are_refused() -> None:
    with pytest.raises(Invalid, match=r"model\.skops"):
        FORMATS.get("skops").load({"model.pkl": b""}, "binary")
    with pytest.raises(Invalid, match="dict"):
        format_for({})


def test_the_list_of_trusted_types_names_only_what_exists() -> None:
    from importlib import import_module

    from rung.registry.trusted import TRUSTED

    for name in TRUSTED:
        module, _, attribute = name.rpartition(".")
        if find_spec(module.partition(".")[0]) is not None:
            assert hasattr(import_module(module), attribute), name
