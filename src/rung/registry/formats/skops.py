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

import numpy as np
import polars as pl
from threadpoolctl import ThreadpoolController

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import FORMATS, Scorer, only_file

FILE = "model.skops"
_FEW_ROWS = 2000
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
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Invalid for a damaged file, a type that is not trusted, or an estimator of another task."""
        return scorer(read_estimator(only_file(files, FILE)), task)


def read_estimator(data: bytes) -> Any:
    """The estimator of a skops file. Raises Invalid for a damaged file or a type that is not trusted."""
    from skops.io import loads  # noqa: PLC0415 - a second that those who serve nothing never pay

    return loads(data, trusted=_trusted(data))


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
            found = np.asarray(ask(frame if by_name else _numbers(frame)), dtype=np.float64)
        return found[:, 1] if task == "binary" else found.ravel() if task == "regression" else found

    return score


def _threads(rows: int) -> AbstractContextManager[object]:
    """One OpenMP thread for few rows: waking the others costs boosted trees more, a tree at a time, than they save."""
    return _controller().limit(limits=1, user_api="openmp") if rows < _FEW_ROWS else nullcontext()


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through the loaded libraries, hence once; scikit-learn is loaded by now


def _trusted(data: bytes) -> list[str]:
    from zipfile import BadZipFile  # noqa: PLC0415 - with skops below

    from skops.io import get_untrusted_types  # noqa: PLC0415 - see read_estimator

    try:
        named = get_untrusted_types(data=data)
    except (BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise Invalid(f"The file is no skops model: {error}.", code="registry.unreadable_model", hint="Register it anew.") from None
    strangers = sorted(set(named) - TRUSTED)
    if strangers:
        raise Invalid(
            f"The model's file names types that are not trusted: {', '.join(strangers)}.",
            code="registry.untrusted_types",
            hint="Use scikit-learn's own classes; functions and classes of a project cannot be loaded safely.",
        )
    return sorted(named)


def _numbers(frame: pl.DataFrame) -> np.ndarray:
    return frame.cast(dict.fromkeys(frame.columns, pl.Float64)).to_numpy()
