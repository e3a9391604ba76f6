"""Every estimator of scikit-learn through a skops file of ours: what may be loaded, what may not, and why."""

from __future__ import annotations

import inspect
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse
import scipy.stats
from sklearn.base import is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401 - they add estimators to the list
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2, f_classif, f_regression, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor, kernels
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, LogisticRegressionCV, Ridge, SGDClassifier, SGDRegressor
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, RepeatedStratifiedKFold, ShuffleSplit, TimeSeriesSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, PowerTransformer, StandardScaler, TargetEncoder
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

from rung.core.errors import Invalid
from rung.registry.formats.skops import Skops, read_estimator

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(0)
X = np.abs(RNG.normal(size=(60, 4))) + 0.1
CLASSES = (X[:, 0] + X[:, 1] > 1.8).astype(int)
THREE = RNG.integers(0, 3, 60)
VALUES = X[:, 0] * 2 + X[:, 1] + 0.5
TEXTS = ["late from Newark", "early at Kennedy", "late at Kennedy"] * 20
NAMED = pl.DataFrame(X, schema=["a", "b", "c", "d"]).with_columns(d=pl.Series(RNG.choice(["x", "y"], 60)))

# skops has no way to write it; a search over SciPy's distributions would need types that run a text of the file
UNWRITABLE = {"Birch"}
# what wants another input than a matrix and a label, or cannot be fitted on this one
SPECIAL: dict[str, tuple[Any, Any]] = {
    "CountVectorizer": (TEXTS, None),
    "TfidfVectorizer": (TEXTS, None),
    "HashingVectorizer": (TEXTS, None),
    "DictVectorizer": ([{"a": 1, "b": 2}] * 5, None),
    "FeatureHasher": ([{"a": 1, "b": 2}] * 5, None),
    "IsotonicRegression": (X[:, 0], VALUES),
    "KernelCenterer": (X @ X.T, None),
    "LabelBinarizer": (CLASSES, ...),
    "LabelEncoder": (CLASSES, ...),
    "MultiLabelBinarizer": ([[1, 2], [1]], ...),
    "PatchExtractor": (RNG.normal(size=(3, 8, 8)), None),
}
TWO_LABELS = {"MultiOutputClassifier", "ClassifierChain"}
TWO_VALUES = {
    "MultiOutputRegressor", "RegressorChain", "MultiTaskLasso", "MultiTaskElasticNet", "MultiTaskLassoCV", "MultiTaskElasticNetCV",
    "CCA", "PLSCanonical", "PLSSVD",
}  # fmt: skip


def made(name: str, kind: Any) -> Any:
    """An estimator with small settings where it has large ones, and with those it cannot do without."""
    asked = inspect.signature(kind).parameters
    regressor = name.endswith("Regressor")
    chosen: dict[str, Any] = {"n_estimators": 3} if "n_estimators" in asked else {}
    if "estimators" in asked:
        trees = DecisionTreeRegressor(max_depth=2) if regressor else DecisionTreeClassifier(max_depth=2)
        chosen["estimators"] = [("a", Ridge() if regressor else LogisticRegression()), ("b", trees)]
    elif "estimator" in asked and (asked["estimator"].default is inspect.Parameter.empty or name == "SelfTrainingClassifier"):
        chosen["estimator"] = Ridge() if regressor or name == "RegressorChain" else LogisticRegression()
    chosen |= {
        "GridSearchCV": {"param_grid": {"C": [0.1, 1]}},
        "HalvingGridSearchCV": {"param_grid": {"C": [0.1, 1]}},
        "RandomizedSearchCV": {"param_distributions": {"C": [0.1, 1]}, "n_iter": 2},
        "HalvingRandomSearchCV": {"param_distributions": {"C": [0.1, 1]}},
        "SparseCoder": {"dictionary": np.eye(4)},
        "ColumnTransformer": {"transformers": [("a", StandardScaler(), [0, 1])]},
        "FeatureUnion": {"transformer_list": [("a", StandardScaler())]},
        "Pipeline": {"steps": [("a", StandardScaler()), ("b", LogisticRegression())]},
        "FrozenEstimator": {"estimator": LogisticRegression().fit(X, CLASSES)},
        "GaussianRandomProjection": {"n_components": 2},
        "SparseRandomProjection": {"n_components": 2},
    }.get(name, {})
    return kind(**chosen)


def fitted(name: str, kind: Any) -> Any:
    estimator = made(name, kind)
    if name in SPECIAL:
        given, label = SPECIAL[name]
        return estimator.fit(given) if label is ... else estimator.fit(given, label)
    if name in TWO_LABELS:
        return estimator.fit(X, np.c_[CLASSES, 1 - CLASSES])
    if name in TWO_VALUES:
        return estimator.fit(X, np.c_[VALUES, VALUES**2])
    try:
        values = is_regressor(estimator)
    except AttributeError:
        values = False  # a Pipeline's parts, still without a tag
    return estimator.fit(X, VALUES if values else CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), all_estimators(), ids=lambda item: item if isinstance(item, str) else "")
def test_every_estimator_of_scikit_learn_is_written_and_read_again(name: str, kind: Any) -> None:
    estimator = fitted(name, kind)
    if name in UNWRITABLE:
        with pytest.raises(Invalid, match="cannot be written"):
            Skops.save(estimator)
        return
    assert type(read_estimator(Skops.save(estimator)["model.skops"])) is kind


def variants() -> Iterator[tuple[str, Callable[[], Any]]]:  # noqa: PLR0912, PLR0915 - a list, long because much is tried
    """Estimators with settings that put other types into the file."""
    for loss in ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "huber", "epsilon_insensitive"):
        yield f"SGDClassifier {loss}", lambda loss=loss: SGDClassifier(loss=loss).fit(X, CLASSES)
    yield "SGDRegressor", lambda: SGDRegressor(loss="squared_epsilon_insensitive").fit(X, VALUES)
    for loss in ("log_loss", "exponential"):
        yield f"GradientBoosting {loss}", lambda loss=loss: GradientBoostingClassifier(loss=loss, n_estimators=3).fit(X, CLASSES)
    yield "GradientBoosting of three", lambda: GradientBoostingClassifier(n_estimators=3, init="zero").fit(X, THREE)
    for loss in ("absolute_error", "huber", "quantile"):
        yield f"GradientBoosting {loss}", lambda loss=loss: GradientBoostingRegressor(loss=loss, n_estimators=3).fit(X, VALUES)
    for loss in ("squared_error", "absolute_error", "gamma", "poisson"):
        yield f"HistGradientBoosting {loss}", lambda loss=loss: HistGradientBoostingRegressor(loss=loss, max_iter=3).fit(X, VALUES)
    yield "HistGradientBoosting of three", lambda: HistGradientBoostingClassifier(max_iter=3, early_stopping=True).fit(X, THREE)
    by_type = NAMED.with_columns(pl.col("d").cast(pl.Categorical))
    yield "HistGradientBoosting on categories", lambda: HistGradientBoostingClassifier(max_iter=3).fit(by_type, CLASSES)
    for way in ("ball_tree", "kd_tree", "brute"):
        for metric in ("euclidean", "manhattan", "chebyshev", "minkowski"):
            yield (
                f"neighbours {way} {metric}",
                lambda way=way, metric=metric: KNeighborsClassifier(algorithm=way, metric=metric, p=3).fit(X, CLASSES),
            )
    for metric in ("hamming", "canberra", "braycurtis"):
        yield f"neighbours {metric}", lambda metric=metric: KNeighborsClassifier(algorithm="ball_tree", metric=metric).fit(X, CLASSES)
    scaled = {"metric": "seuclidean", "metric_params": {"V": np.ones(4)}}
    yield "neighbours scaled", lambda: KNeighborsClassifier(algorithm="ball_tree", **scaled).fit(X, CLASSES)
    weighted = {"metric": "minkowski", "p": 3, "metric_params": {"w": np.ones(4)}}
    yield "neighbours weighted", lambda: KNeighborsClassifier(algorithm="ball_tree", **weighted).fit(X, CLASSES)
    yield "neighbours sparse", lambda: KNeighborsClassifier().fit(scipy.sparse.csr_array(X), CLASSES)
    for solver in ("sgd", "adam", "lbfgs"):
        yield f"MLP {solver}", lambda solver=solver: MLPClassifier((3,), solver=solver, max_iter=5).fit(X, THREE)
    yield "MLP of values", lambda: MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, early_stopping=True).fit(X, VALUES)
    of = (
        kernels.Matern(), kernels.RationalQuadratic(), kernels.DotProduct(), kernels.WhiteKernel() + kernels.RBF(),
        kernels.ConstantKernel() * kernels.RBF(), kernels.RBF() ** 2, kernels.PairwiseKernel(), kernels.ExpSineSquared(),
    )  # fmt: skip
    for kernel in of:
        yield f"Gaussian process {kernel}", lambda kernel=kernel: GaussianProcessRegressor(kernel, alpha=100.0).fit(X, VALUES)
    yield "Gaussian process of classes", lambda: GaussianProcessClassifier().fit(X, THREE)
    for score in (f_classif, f_regression, chi2, mutual_info_classif):
        yield f"SelectKBest {score.__name__}", lambda score=score: SelectKBest(score, k=2).fit(X, CLASSES)
    for method in ("sigmoid", "isotonic", "temperature"):
        for ensemble in (True, False):
            yield (
                f"calibrated {method} {ensemble}",
                lambda method=method, ensemble=ensemble: CalibratedClassifierCV(GaussianNB(), method=method, ensemble=ensemble).fit(
                    X, CLASSES
                ),
            )
    yield "calibrated vectors", lambda: CalibratedClassifierCV(LinearSVC()).fit(X, CLASSES)
    for function in (np.log1p, np.sqrt, np.exp, np.abs, np.square, np.sin, np.log10, np.nan_to_num):
        yield f"FunctionTransformer {function.__name__}", lambda function=function: FunctionTransformer(function).fit(X)
    by_log = {"func": np.log1p, "inverse_func": np.expm1}
    yield "target by logarithm", lambda: TransformedTargetRegressor(LinearRegression(), **by_log).fit(X, VALUES)
    yield "target by power", lambda: TransformedTargetRegressor(LinearRegression(), transformer=PowerTransformer()).fit(X, VALUES)
    for scoring in get_scorer_names():
        search = GridSearchCV(LogisticRegression(), {"C": [0.1]}, scoring=scoring, cv=KFold(2))
        yield f"search by {scoring}", lambda search=search: search.fit(X, CLASSES)
    for folds in (TimeSeriesSplit(3), ShuffleSplit(2), RepeatedStratifiedKFold(n_splits=2, n_repeats=1)):
        search = GridSearchCV(LogisticRegression(), {"C": [0.1]}, scoring=["f1", "accuracy"], refit="f1", cv=folds)
        yield f"search over {type(folds).__name__}", lambda search=search: search.fit(X, CLASSES)
    for kernel in ("linear", "poly", "rbf", "sigmoid"):
        yield f"SVC {kernel}", lambda kernel=kernel: SVC(kernel=kernel).fit(X, THREE)
    yield "SVC with probabilities", lambda: SVC(probability=True).fit(X, THREE)
    yield "NuSVC", lambda: NuSVC(nu=0.1).fit(X, CLASSES)
    yield "SVR", lambda: SVR().fit(X, VALUES)
    yield "SVC sparse", lambda: SVC().fit(scipy.sparse.csr_matrix(X), THREE)
    yield "LogisticRegressionCV", lambda: LogisticRegressionCV(scoring="roc_auc", cv=3).fit(X, CLASSES)
    for strategy in ("mean", "median", "most_frequent", "constant"):
        yield f"SimpleImputer {strategy}", lambda strategy=strategy: SimpleImputer(strategy=strategy, add_indicator=True).fit(X)
    yield "IterativeImputer", lambda: IterativeImputer(RandomForestRegressor(3), max_iter=2).fit(X)
    yield (
        "words",
        lambda: (
            make_pipeline(TfidfVectorizer(ngram_range=(1, 2), stop_words="english"), GaussianNB())
            and make_pipeline(TfidfVectorizer(dtype=np.float32), LogisticRegression()).fit(TEXTS, [0, 1, 1] * 20)
        ),
    )
    columns = [("n", StandardScaler(), ["a", "b"]), ("t", OneHotEncoder(handle_unknown="ignore"), ["d"])]
    yield "columns", lambda: make_pipeline(ColumnTransformer(columns, remainder="passthrough"), LogisticRegression()).fit(NAMED, CLASSES)
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.int64)
    chosen = [("t", ordinal, ["d"]), ("n", StandardScaler(), make_column_selector("a|b"))]
    pandas = NAMED.to_pandas()
    yield "columns by selector", lambda: make_pipeline(ColumnTransformer(chosen), RandomForestClassifier(3)).fit(pandas, CLASSES)
    yield "TargetEncoder", lambda: TargetEncoder().fit(NAMED.select("d"), CLASSES)
    yield "random state", lambda: DecisionTreeClassifier(random_state=np.random.RandomState(0)).fit(X, CLASSES)
    yield "labels as texts", lambda: RandomForestClassifier(3).fit(X, np.where(CLASSES, "a", "b").astype(object))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fit"), list(variants()), ids=lambda item: item if isinstance(item, str) else "")
def test_settings_put_only_reviewed_types_into_the_file(name: str, fit: Callable[[], Any]) -> None:
    estimator = fit()
    assert type(read_estimator(Skops.save(estimator)["model.skops"])) is type(estimator)


def test_a_search_over_scipy_distributions_is_refused_with_the_remedy() -> None:
    # scipy.stats.rv_generic builds methods by exec from a text in its state: whoever writes the file writes the code
    search = RandomizedSearchCV(LogisticRegression(), {"C": scipy.stats.loguniform(0.1, 1)}, n_iter=2, cv=2).fit(X, CLASSES)
    with pytest.raises(Invalid, match="best_estimator_"):
        Skops.save(search)
    assert Skops.save(search.best_estimator_)


def tampered(data: bytes, change: Callable[[np.ndarray], np.ndarray | None], fields: tuple[str, ...]) -> bytes:
    """The archive with its structured arrays that hold the fields changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    changed = 0
    for name, content in parts.items():
        if not name.endswith(".npy"):
            continue
        array = np.load(io.BytesIO(content), allow_pickle=False)
        if array.dtype.names and set(fields) <= set(array.dtype.names):
            buffer = io.BytesIO()
            array = array.copy()
            change(array)
            np.save(buffer, array)
            parts[name], changed = buffer.getvalue(), changed + 1
    assert changed
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return target.getvalue()


def put(field: str, value: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[field][0] = value

    return change


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**6), ("right_child", -7), ("left_child", 0), ("feature", 99), ("feature", -9)]
)
def test_a_tree_that_points_outside_of_itself_is_refused(field: str, value: int) -> None:
    data = Skops.save(DecisionTreeClassifier().fit(X, CLASSES))["model.skops"]
    with pytest.raises(Invalid, match="outside of itself"):
        read_estimator(tampered(data, put(field, value), ("left_child",)))


@pytest.mark.parametrize(("field", "value"), [("left", 10**6), ("right", 0), ("feature_idx", 99), ("bitset_idx", 9), ("is_categorical", 1)])
def test_boosted_trees_that_point_outside_of_themselves_are_refused(field: str, value: int) -> None:
    categories = np.c_[RNG.integers(0, 6, 60), X[:, 0]]
    labels = np.isin(categories[:, 0], [1, 4])
    model = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=3, categorical_features=[0] if field == "bitset_idx" else None)
    data = Skops.save(model.fit(categories, labels))["model.skops"]
    with pytest.raises(Invalid, match="outside of itself"):
        read_estimator(tampered(data, put(field, value), ("feature_idx",)))


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", json.dumps({}))
        with archive.open("1.npy", "w") as file:
            for _ in range(300):
                file.write(bytes(1 << 20))
    with pytest.raises(Invalid, match="unpacks to"):
        read_estimator(buffer.getvalue())
