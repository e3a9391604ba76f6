"""What every model format holds to, and what the skops format takes and refuses."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from rung.core.errors import Denied, Invalid, NotFound, Unavailable
from rung.core.references import Task
from rung.registry.format import FORMATS, format_for
from rung.registry.matching import UNSCORABLE
from rung.registry.packing import pack
from rung.registry.predictor import Predictor

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


@dataclass(frozen=True)
class Example:
    """A fitted estimator, rows of it, and what its own library answers for them."""

    estimator: Any
    frame: pl.DataFrame
    task: Task
    expected: np.ndarray
    takes_null: bool


THREE = np.searchsorted([800, 1200], FRAME["distance"].to_numpy())
MATRIX = NUMBERS.to_numpy().astype(np.float32)


def with_skops(task: Task) -> Example:
    model = (
        HistGradientBoostingRegressor(max_iter=5, random_state=0)
        if task == "regression"
        else HistGradientBoostingClassifier(max_iter=5, random_state=0)
    )
    return answered(model, FRAME.drop("carrier"), task, takes_null=True)


def with_lightgbm(task: Task) -> Example:
    lightgbm = pytest.importorskip("lightgbm")
    kind = lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier
    return answered(kind(n_estimators=5, verbose=-1, num_threads=1), FRAME.drop("carrier").to_pandas(), task, takes_null=True)


def with_xgboost(task: Task) -> Example:
    xgboost = pytest.importorskip("xgboost")
    kind = xgboost.XGBRegressor if task == "regression" else xgboost.XGBClassifier
    return answered(kind(n_estimators=5, n_jobs=1), FRAME.drop("carrier").to_pandas(), task, takes_null=True)


def with_onnx(task: Task) -> Example:
    convert = pytest.importorskip("skl2onnx").to_onnx
    model = LinearRegression() if task == "regression" else LogisticRegression(max_iter=500)
    model.fit(MATRIX, truth(task))
    made = convert(model, MATRIX[:1], options=None if task == "regression" else {"zipmap": task == "binary"})
    return Example(made, NUMBERS, task, scored(model, MATRIX, task), takes_null=False)


def truth(task: Task) -> np.ndarray:
    return {"binary": LATE.astype(int), "multiclass": THREE, "regression": FRAME["distance"].to_numpy() * 2}[task]


def scored(model: Any, rows: Any, task: Task) -> np.ndarray:
    if task == "regression":
        return model.predict(rows)
    found = model.predict_proba(rows)
    return found[:, 1] if task == "binary" else found


def answered(model: Any, rows: Any, task: Task, *, takes_null: bool) -> Example:
    model.fit(rows, truth(task))
    frame = rows if isinstance(rows, pl.DataFrame) else pl.from_pandas(rows)
    return Example(model, frame, task, scored(model, rows, task), takes_null)


EXAMPLES = {"skops": with_skops, "lightgbm": with_lightgbm, "xgboost": with_xgboost, "onnx": with_onnx}
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
# held by suites of their own: torch is no dependency, the others run code that their file brings, in a process apart
APART = {"torch", "torch_program", "python", "pyfunc"}
each_format = pytest.mark.parametrize("name", sorted(EXAMPLES))


def test_every_format_has_an_example_here() -> None:
    assert set(EXAMPLES) | APART == set(FORMATS.names())


@each_format
@pytest.mark.parametrize("task", TASKS)
def test_a_model_answers_as_its_own_library_after_a_round_trip(name: str, task: Task) -> None:
    example = EXAMPLES[name](task)
    packed = pack(example.estimator, example.frame)
    assert (packed.format, packed.task) == (name, task)
    loaded = FORMATS.get(name).load(packed.files, task)
    assert np.allclose(loaded(example.frame), example.expected, rtol=1e-5, atol=1e-6)
    assert loaded(example.frame).dtype == np.float64
    assert np.allclose(loaded(example.frame.head(1)), example.expected[:1], rtol=1e-5, atol=1e-6)


@each_format
def test_equal_models_give_equal_bytes(name: str) -> None:
    first, second = (FORMATS.get(name).save(EXAMPLES[name]("binary").estimator) for _ in range(2))
    assert first == second
    assert set(first) == set(pack(EXAMPLES[name]("binary").estimator, EXAMPLES[name]("binary").frame).files)


@each_format
@pytest.mark.parametrize("task", TASKS)
def test_the_files_alone_tell_task_classes_and_number_of_inputs(name: str, task: Task) -> None:
    example = EXAMPLES[name](task)
    traits = FORMATS.get(name).traits(FORMATS.get(name).save(example.estimator))
    assert (traits.task, len(traits.inputs)) == (task, example.frame.width)
    assert traits.classes == {"binary": (0, 1), "multiclass": (0, 1, 2), "regression": ()}[task]


@each_format
def test_a_model_of_another_task_is_refused(name: str) -> None:
    files = FORMATS.get(name).save(EXAMPLES[name]("multiclass").estimator)
    for task in ("binary", "regression"):
        with pytest.raises(Invalid, match="multiclass"):
            FORMATS.get(name).load(files, task)


@each_format
def test_nulls_are_taken_where_the_model_takes_them_and_refused_elsewhere(name: str) -> None:
    example = EXAMPLES[name]("regression")
    packed = pack(example.estimator, example.frame.head(50))
    assert all(field.nullable for field in packed.signature.inputs) == example.takes_null
    predictor = Predictor(
        model="late", number=1, digest="", signature=packed.signature, task="regression", classes=(), threshold=None,
        scorer=FORMATS.get(name).load(packed.files, "regression"),
    )  # fmt: skip
    emptied = example.frame.head(2).with_columns(distance=pl.lit(None, dtype=pl.Float64))
    if example.takes_null:
        assert np.isfinite(predictor.predict_scores(emptied)).all()
    else:
        with pytest.raises(Invalid, match="distance has 2 nulls"):
            predictor.predict_scores(emptied)


@each_format
def test_columns_are_found_by_name_and_their_number_is_checked(name: str) -> None:
    example = EXAMPLES[name]("regression")
    loaded = FORMATS.get(name).load(FORMATS.get(name).save(example.estimator), "regression")
    if FORMATS.get(name).traits(FORMATS.get(name).save(example.estimator)).inputs[0].name == example.frame.columns[0] and name != "skops":
        assert np.allclose(loaded(example.frame.select(reversed(example.frame.columns))), example.expected, rtol=1e-5)
    with pytest.raises((Invalid, ValueError)):
        loaded(example.frame.drop("hour"))


@each_format
def test_a_file_of_another_tool_is_kept_as_it_is(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]("regression")
    kind = FORMATS.get(name)
    (content,) = kind.save(example.estimator).values()
    for ending in kind.endings:
        if ending != ".json":
            (tmp_path / f"model{ending}").write_bytes(content)
            packed = pack(tmp_path / f"model{ending}", example.frame)
            assert list(packed.files.values()) == [content]
            assert (packed.format, packed.task) == (name, "regression")


def damaged(data: bytes, seed: int) -> bytes:
    """The bytes with a few changed, taken out or cut off."""
    random = Random(seed)
    place = random.randrange(len(data))
    if seed % 4 == 0:
        return data[:place]
    if seed % 4 == 1:
        return data[:place] + data[place + random.choice([1, 4, 8]) :]
    changed = bytearray(data)
    for _ in range(random.choice([1, 3, 9])):
        changed[random.randrange(len(data))] = random.choice([0, 45, 57, 128, 255])
    return bytes(changed)


@each_format
def test_a_damaged_file_is_refused_or_answers_and_never_ends_the_process(name: str) -> None:
    example = EXAMPLES[name]("binary")
    kind = FORMATS.get(name)
    ((path, data),) = kind.save(example.estimator).items()
    refused = 0
    for seed in range(60):
        try:
            kind.load({path: damaged(data, seed)}, "binary")(example.frame)
        except (Invalid, *UNSCORABLE) as error:
            refused += isinstance(error, Invalid)
    assert refused > 30


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

    with pytest.raises(Invalid, match="without probabilities"):
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
    with pytest.raises((Invalid, NotFound, Denied, Unavailable)):
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
