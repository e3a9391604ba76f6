"""Model folders that MLflow's own client wrote, read by us without running them, beside what mlflow.pyfunc answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.models import infer_signature
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from rung.core.digests import digest_of
from rung.registry.format import FORMATS
from rung.registry.mlmodel import FolderFile, MlflowModel, interpret
from rung.registry.predictor import Predictor
from rung.registry.trusted import TRUSTED
from rung.registry.unpickling import unpickled

RNG = np.random.default_rng(0)
N = 200
FLIGHTS = pd.DataFrame({"hour": RNG.integers(0, 24, N), "wind": RNG.normal(size=N), "origin": RNG.choice(["JFK", "LGA"], N)})
LATE = (FLIGHTS["hour"] + FLIGHTS["wind"] * 3 > 12).astype(int)
MINUTES = FLIGHTS["wind"] * 2
NUMBERS = FLIGHTS[["hour", "wind"]]
SOME = {"pip_requirements": ["scikit-learn==1.9.1", "skops>=0.16"]}  # given, or each save would look for them in a process of its own


class Folder:
    """A model folder and its reading by us."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, FolderFile] = {}
        self.blobs: dict[str, bytes] = {}
        for file in sorted(path.rglob("*")):
            if file.is_file():
                self.put(str(file.relative_to(path)), file.read_bytes())
        self.read_as = interpret(self.files, self.blobs.__getitem__)

    def put(self, path: str, data: bytes) -> None:
        digest = digest_of(data)
        self.blobs[digest] = data
        self.files[path] = FolderFile(digest=digest, size_bytes=len(data))

    def predictor(self) -> Predictor:
        told = self.read_as
        assert told.unservable == ""
        assert told.task is not None
        assert told.signature is not None
        assert told.format is not None
        files = {file.path: self.blobs[file.digest] for file in told.files}
        return Predictor(
            model="late", number=1, digest="", signature=told.signature, task=told.task, classes=told.classes, threshold=None,
            scorer=FORMATS.get(told.format).load(files, told.task),
        )  # fmt: skip

    def pyfunc(self, rows: pd.DataFrame) -> np.ndarray:
        """What MLflow itself answers for the rows: labels of classifiers, values of the rest."""
        return np.asarray(mlflow.pyfunc.load_model(str(self.path)).predict(rows))


Save = Callable[[Callable[[Path], Any]], Folder]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def saved(write: Callable[[Path], Any]) -> Folder:
        write(tmp_path / "model")
        return Folder(tmp_path / "model")

    return saved


def columns(told: MlflowModel) -> list[tuple[str, str, bool]]:
    assert told.signature is not None
    return [(field.name, field.dtype, field.nullable) for field in told.signature.inputs]


def test_a_classifier_with_a_signature_answers_as_pyfunc_does(save: Save) -> None:
    model = LogisticRegression().fit(NUMBERS, LATE)
    signature = infer_signature(NUMBERS, model.predict(NUMBERS))
    folder = save(lambda path: mlflow.sklearn.save_model(model, path, signature=signature, input_example=NUMBERS.head(3), **SOME))
    told = folder.read_as
    assert (told.flavors, told.format, told.task, told.classes) == (("python_function", "sklearn"), "skops", "binary", (0, 1))
    assert columns(told) == [("hour", "Int64", False), ("wind", "Float64", False)]
    assert (told.libraries["scikit-learn"], len(told.uuid)) == ("1.9.1", 32)
    assert told.example is not None
    assert pl.read_parquet(BytesIO(told.example)).equals(pl.from_pandas(NUMBERS.head(3)))
    scores = folder.predictor().predict_scores(pl.from_pandas(NUMBERS))
    assert np.array_equal(scores, model.predict_proba(NUMBERS)[:, 1])
    # MLflow answers labels, we answer P(positive): the labels are those at the threshold of a half
    assert np.array_equal(scores > 0.5, folder.pyfunc(NUMBERS) == 1)


def test_rows_of_texts_and_numbers_go_through_a_pipeline_as_they_came(save: Save) -> None:
    parts = [("o", OneHotEncoder(), ["origin"]), ("s", StandardScaler(), ["hour", "wind"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(FLIGHTS, LATE)
    folder = save(lambda path: mlflow.sklearn.save_model(model, path, signature=infer_signature(FLIGHTS, LATE), **SOME))
    assert columns(folder.read_as) == [("hour", "Int64", False), ("wind", "Float64", False), ("origin", "String", False)]
    rows = pl.DataFrame({"wind": [0.5, -1.0], "hour": [20, 3], "origin": ["JFK", "LGA"]})
    expected = model.predict_proba(rows.select("hour", "wind", "origin").to_pandas())[:, 1]
    assert np.allclose(folder.predictor().predict_scores(rows), expected)


def test_without_signature_and_example_the_model_itself_tells_its_columns(save: Save) -> None:
    parts = [("o", OneHotEncoder(handle_unknown="ignore"), ["origin"]), ("s", StandardScaler(), ["hour", "wind"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(FLIGHTS, LATE)
    folder = save(lambda path: mlflow.sklearn.save_model(model, path, **SOME))
    assert [(name, kind) for name, kind, _ in columns(folder.read_as)] == [("hour", "Float64"), ("wind", "Float64"), ("origin", "String")]
    assert np.allclose(folder.predictor().predict_scores(pl.from_pandas(FLIGHTS)), model.predict_proba(FLIGHTS)[:, 1])


def test_a_model_fitted_on_plain_numbers_has_numbered_columns(save: Save) -> None:
    model = RandomForestClassifier(5, random_state=0).fit(NUMBERS.to_numpy(), FLIGHTS["origin"])
    trusted = {"skops_trusted_types": sorted(TRUSTED)}
    folder = save(lambda path: mlflow.sklearn.save_model(model, path, input_example=NUMBERS.to_numpy()[:2], **trusted, **SOME))
    assert (folder.read_as.task, folder.read_as.classes) == ("binary", ("JFK", "LGA"))
    assert [(name, kind) for name, kind, _ in columns(folder.read_as)] == [("f0", "Float64"), ("f1", "Float64")]
    rows = pl.DataFrame(NUMBERS.to_numpy(), schema=["f0", "f1"])
    assert np.array_equal(folder.predictor().predict_scores(rows), model.predict_proba(NUMBERS.to_numpy())[:, 1])


def test_boosted_regression_takes_nulls_and_answers_the_same_values_as_pyfunc(save: Save) -> None:
    model = HistGradientBoostingRegressor(max_iter=5).fit(NUMBERS, MINUTES)
    trusted = {"skops_trusted_types": sorted(TRUSTED)}
    folder = save(lambda path: mlflow.sklearn.save_model(model, path, input_example=NUMBERS.head(2), **trusted, **SOME))
    assert columns(folder.read_as) == [("hour", "Int64", True), ("wind", "Float64", True)]
    emptied = NUMBERS.assign(wind=np.where(NUMBERS["wind"] > 1, np.nan, NUMBERS["wind"]))
    assert np.array_equal(folder.predictor().predict_scores(pl.from_pandas(emptied)), folder.pyfunc(emptied))


def test_a_pipeline_that_reads_texts_is_given_a_column_of_texts(save: Save) -> None:
    texts = ["late from Newark", "early at Kennedy", "late at Kennedy"] * 10
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1] * 10)
    folder = save(lambda path: mlflow.sklearn.save_model(model, path, signature=infer_signature(texts, [1]), **SOME))
    rows = pl.DataFrame({columns(folder.read_as)[0][0]: texts[:3]})
    assert np.allclose(folder.predictor().predict_scores(rows), model.predict_proba(texts[:3])[:, 1])


@pytest.mark.parametrize("form", ["classifier", "booster"])
def test_lightgbm_is_read_in_both_forms(save: Save, form: str) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(NUMBERS, LATE)
    written = model if form == "classifier" else model.booster_
    folder = save(lambda path: mlflow.lightgbm.save_model(written, path, input_example=NUMBERS.head(2), **SOME))
    assert (folder.read_as.format, folder.read_as.task) == ({"classifier": "skops", "booster": "lightgbm"}[form], "binary")
    scores = folder.predictor().predict_scores(pl.from_pandas(NUMBERS))
    assert np.allclose(scores, model.predict_proba(NUMBERS)[:, 1], atol=1e-12)
    answered = folder.pyfunc(NUMBERS)  # labels of the classifier, probabilities of the booster
    assert np.allclose(answered, scores > 0.5 if form == "classifier" else scores)


@pytest.mark.parametrize("form", ["classifier", "booster", "json"])
def test_xgboost_is_read_in_each_form(save: Save, form: str) -> None:
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=5).fit(NUMBERS, LATE)
    written = model if form == "classifier" else model.get_booster()
    ending = "json" if form == "json" else "ubj"
    folder = save(lambda path: mlflow.xgboost.save_model(written, path, model_format=ending, input_example=NUMBERS.head(2), **SOME))
    assert (folder.read_as.format, [file.path for file in folder.read_as.files]) == ("xgboost", [f"model.{ending}"])
    scores = folder.predictor().predict_scores(pl.from_pandas(NUMBERS))
    assert np.allclose(scores, model.predict_proba(NUMBERS)[:, 1], atol=1e-7)
    assert np.allclose(folder.pyfunc(NUMBERS), scores > 0.5 if form == "classifier" else scores)


def test_rounds_after_an_early_stop_do_not_count(save: Save) -> None:
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=2, learning_rate=0.9)
    model.fit(NUMBERS[:100], LATE[:100], eval_set=[(NUMBERS[100:], LATE[100:])], verbose=False)
    assert model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    folder = save(lambda path: mlflow.xgboost.save_model(model, path, **SOME))
    assert np.allclose(folder.predictor().predict_scores(pl.from_pandas(NUMBERS)), model.predict_proba(NUMBERS)[:, 1], atol=1e-7)


def test_onnx_is_read(save: Save) -> None:
    convert = pytest.importorskip("skl2onnx").to_onnx
    rows = NUMBERS.to_numpy(dtype=np.float32)
    model = LogisticRegression().fit(rows, LATE)
    folder = save(lambda path: mlflow.onnx.save_model(convert(model, rows[:1]), path, input_example=rows[:2], **SOME))
    assert (folder.read_as.format, folder.read_as.task, folder.read_as.classes) == ("onnx", "binary", (0, 1))
    scores = folder.predictor().predict_scores(pl.DataFrame(rows, schema=["f0", "f1"]))
    assert np.allclose(scores, model.predict_proba(rows)[:, 1], atol=1e-6)


def as_pickle(path: Path, form: str = "pickle") -> None:
    mlflow.sklearn.save_model(LogisticRegression().fit(NUMBERS, LATE), path, serialization_format=form, **SOME)


def as_cloudpickle(path: Path) -> None:
    as_pickle(path, "cloudpickle")


def as_pyfunc(path: Path) -> None:
    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame) -> pd.DataFrame:
            return model_input

    mlflow.pyfunc.save_model(path, python_model=Echo(), **SOME)


def as_clusters(path: Path) -> None:
    mlflow.sklearn.save_model(KMeans(2, n_init=1).fit(NUMBERS), path, **SOME)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (as_pickle, "is a pickle"),
        (as_cloudpickle, "serialization_format='skops'"),
        (as_pyfunc, "Python function"),
        (as_clusters, "neither classes nor values"),
    ],
)
def test_what_cannot_be_served_says_why_and_keeps_what_is_known(save: Save, write: Callable[[Path], None], reason: str) -> None:
    told = save(write).read_as
    assert reason in told.unservable
    assert told.libraries["scikit-learn"] == "1.9.1"
    assert told.flavors


def autologged(tmp_path: Path, model: Any, **options: Any) -> Path:
    """The folder of the model that ``mlflow.sklearn.autolog`` wrote for a fit."""
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        mlflow.create_experiment("late", artifact_location=(tmp_path / "files").as_uri())
        mlflow.set_experiment("late")
        mlflow.sklearn.autolog(silent=True, extra_tags={"by": "test"}, **options)
        with mlflow.start_run() as run:
            model.fit(NUMBERS, LATE)
        found = mlflow.search_logged_models(output_format="list", filter_string=f"source_run_id = '{run.info.run_id}'")
    finally:
        mlflow.sklearn.autolog(disable=True)
        mlflow.set_tracking_uri(None)  # what it was told outweighs the variables that others set
        mlflow.clear_active_model()
    return Path(found[0].artifact_location.removeprefix("file://"))


def test_what_autolog_writes_is_a_pickle_that_a_confined_process_turns_into_skops(tmp_path: Path) -> None:
    model = RandomForestClassifier(5, random_state=0)
    folder = Folder(autologged(tmp_path, model))
    assert "registry.allow_pickles" in folder.read_as.unservable
    told = interpret(folder.files, folder.blobs.__getitem__, partial(unpickled, scratch=tmp_path / "scratch"))
    assert (told.unservable, told.format, told.task, told.classes) == ("", "skops", "binary", (0, 1))
    assert told.run_id
    assert told.logged_model.startswith("m-")
    assert columns(told) == [("hour", "Int64", True), ("wind", "Float64", True)]
    loaded = FORMATS.get("skops").load(told.made, "binary")
    assert np.array_equal(loaded(pl.from_pandas(NUMBERS)), model.predict_proba(NUMBERS)[:, 1])
    assert [(file.path, file.digest) for file in told.files] == [("model.skops", digest_of(told.made["model.skops"]))]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_autolog_writes_as_skops_can_be_served_as_it_is(tmp_path: Path) -> None:
    model = LogisticRegression()
    folder = Folder(autologged(tmp_path, model, serialization_format="skops"))
    assert columns(folder.read_as) == [("hour", "Int64", False), ("wind", "Float64", False)]
    assert np.array_equal(folder.predictor().predict_scores(pl.from_pandas(NUMBERS)), model.predict_proba(NUMBERS)[:, 1])
