"""scikit-learn estimators as skops files, loaded against an exact list of reviewed types.

Each name on the list was read: it is data, a tree, a numeric routine or a wrapper whose callable must itself be on
the list. There are no prefixes, so a new type in a file is refused until it was read too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any
from zipfile import BadZipFile

import numpy as np
import polars as pl
from threadpoolctl import ThreadpoolController

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import FORMATS, Scorer, Traits, check_task, columns_f, numbers, only_file, plain_class, unreadable
from rung.registry.records import Field
from rung.registry.trees import check_trees

FILE = "model.skops"
_FEW_ROWS = 2000
_TWO = 2
_DAMAGED = (
    BadZipFile,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    ImportError,
    NotImplementedError,
    RecursionError,
    OSError,
    EOFError,
)
TRUSTED = frozenset(
    {
        "collections.OrderedDict",
        "functools.partial",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "numpy.mean",
        "scipy.interpolate._bsplines.BSpline",
        "scipy.sparse._csr.csr_matrix",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfGammaLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfPoissonLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn._loss.loss.PinballLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    }
)


@FORMATS.member("skops")
class Skops:
    """Anything with scikit-learn's protocol that skops can write, as one deflated archive."""

    rank = 50
    libraries = ("scikit-learn", "skops", "numpy")
    endings = (".skops",)

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it is an instance of scikit-learn's base class, where that is loaded."""
        base = sys.modules.get("sklearn.base")
        return base is not None and isinstance(estimator, base.BaseEstimator)

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """The archive, without time stamps and addresses. Raises Invalid, naming what is not trusted."""
        from rung.pipelines.materialisers.estimator import Estimator  # noqa: PLC0415 - loads skops and scikit-learn

        data = Estimator.dump(estimator).data
        content = data if isinstance(data, bytes) else data.read_bytes()
        _trusted(content)
        return {FILE: content}

    @staticmethod
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """A skops file, as it is."""
        return {FILE: data}

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """What the estimator says of itself."""
        return traits_of(read_estimator(only_file(files, FILE)))

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Invalid for a damaged file, a type that is not trusted, or an estimator of another task."""
        estimator = read_estimator(only_file(files, FILE))
        check_task(traits_of(estimator), task)
        return scorer(estimator, task)


def read_estimator(data: bytes) -> Any:
    """The estimator of a skops file. Raises Invalid for a damaged file or a type that is not trusted."""
    from skops.io import loads  # noqa: PLC0415 - a second that those who serve nothing never pay
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415 - see above

    named = _trusted(data)
    try:
        estimator = loads(data, trusted=named)
    except UntrustedTypesFoundException as error:
        raise unreadable("The model's file hides types", error) from None
    except _DAMAGED as error:
        raise unreadable("The skops file cannot be read", error) from None
    check_trees(estimator)
    return estimator


def traits_of(estimator: Any) -> Traits:
    """Task, classes and inputs of a fitted estimator of scikit-learn's protocol."""
    from sklearn.base import is_classifier, is_regressor  # noqa: PLC0415 - loaded with the estimator

    inputs = _inputs(estimator)
    if is_regressor(estimator):
        return Traits(task="regression", inputs=inputs)
    name = type(getattr(estimator, "_final_estimator", estimator)).__name__
    classes = getattr(estimator, "classes_", None)
    if not is_classifier(estimator) or classes is None:
        return Traits(inputs=inputs, reason=f"A {name} predicts neither classes nor values.")
    if isinstance(classes, list) or np.asarray(classes).ndim != 1:
        return Traits(inputs=inputs, reason=f"The {name} predicts several labels at once, not one.")
    if not hasattr(estimator, "predict_proba"):
        return Traits(inputs=inputs, reason=f"A {name} answers labels without probabilities; wrap it in CalibratedClassifierCV.")
    known = tuple(plain_class(value) for value in np.asarray(classes).tolist())
    if len(known) < _TWO:
        return Traits(inputs=inputs, reason=f"The {name} knows one class only, {known[0] if known else None!r}.")
    return Traits(task="binary" if len(known) == _TWO else "multiclass", classes=known, inputs=inputs)


def _inputs(estimator: Any) -> tuple[Field, ...]:
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return tuple(Field(name=str(name), dtype="Float64") for name in names)
    return columns_f(int(getattr(estimator, "n_features_in_", 0)))


def scorer(estimator: Any, task: Task) -> Scorer:
    """How an estimator scores frames. It is given frames if it was fitted on named columns, else plain numbers."""
    method = "predict" if task == "regression" else "predict_proba"
    if not hasattr(estimator, method):
        raise Invalid(
            f"{type(estimator).__name__} has no {method}, which a {task} model needs.",
            code="registry.no_scores",
            hint="Wrap it, for example in CalibratedClassifierCV, or choose another estimator.",
        )
    by_name = hasattr(estimator, "feature_names_in_")
    ask = getattr(estimator, method)

    def score(frame: pl.DataFrame) -> np.ndarray:
        with _threads(frame.height):
            found = np.asarray(ask(frame if by_name else numbers(frame)), dtype=np.float64)
        return found[:, 1] if task == "binary" else found.ravel() if task == "regression" else found

    return score


def _threads(rows: int) -> AbstractContextManager[object]:
    """One OpenMP thread for few rows: waking the others costs boosted trees more, a tree at a time, than they save."""
    return _controller().limit(limits=1, user_api="openmp") if rows < _FEW_ROWS else nullcontext()


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through the loaded libraries, hence once; scikit-learn is loaded by now


def _trusted(data: bytes) -> list[str]:
    from skops.io import get_untrusted_types  # noqa: PLC0415 - see read_estimator

    try:
        named = get_untrusted_types(data=data)
    except _DAMAGED as error:
        raise unreadable("The file is no skops model", error) from None
    strangers = sorted(set(named) - TRUSTED)
    if strangers:
        raise Invalid(
            f"The model's file names types that are not trusted: {', '.join(strangers)}.",
            code="registry.untrusted_types",
            hint="Use scikit-learn's own classes; functions and classes of a project cannot be loaded safely.",
        )
    return sorted(named)
