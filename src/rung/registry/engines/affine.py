"""Linear models: scalers, encoders and decompositions before them folded into one affine map, and the link behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from rung.registry.engine import ENGINES, Model, NotHeld
from rung.registry.program import Program
from rung.registry.translating import EVERY, Core, Translate, translated
from rung.stats.ensembles import REFUSE_INFINITE, REFUSE_NAN, Affine

_CHECKS = REFUSE_NAN | REFUSE_INFINITE
_EXP = frozenset({"PoissonRegressor", "GammaRegressor"})


@ENGINES.member("affine")
class AffineEngine:
    """One product, one sum and a link, whatever was scaled before."""

    rank = 20
    automatic = True
    tolerance = 1e-9

    @staticmethod
    def compile(model: Model) -> Program:
        """The program. Raises NotHeld."""
        if model.format != "skops":
            raise NotHeld
        return translated(model, _KNOWN, "affine")


def _affine(estimator: Any, link: str) -> Core:
    weights = np.atleast_2d(np.ascontiguousarray(estimator.coef_, dtype=np.float64))
    base = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64).reshape(-1), (len(weights),)).copy()
    if weights.dtype.kind != "f" or len(weights) != len(base):
        raise NotHeld("Its weights are of another shape.")
    return Core(Affine(weights=weights, base=base, checks=_CHECKS, link=link))


def _regression(estimator: Any, model: Model) -> Core:
    held = _affine(estimator, "exp" if type(estimator).__name__ in _EXP else "identity")
    if held.model.outputs != 1:
        raise NotHeld("Several values at once are not translated.")
    return held


def _tweedie(estimator: Any, model: Model) -> Core:
    link = estimator.link
    exponential = link == "log" or (link == "auto" and estimator.power > 0)
    return _affine(estimator, "exp" if exponential else "identity")


def _logistic(estimator: Any, model: Model) -> Core:
    """Logistic regression; older ones of several classes may be one against the rest."""
    if model.task == "binary":
        return _affine(estimator, "sigmoid")
    several = getattr(estimator, "multi_class", "multinomial") != "ovr" and getattr(estimator, "solver", "") != "liblinear"
    return _affine(estimator, "softmax" if several else "sigmoids_to_one")


def _gradient_descent(estimator: Any, model: Model) -> Core:
    if estimator.loss != "log_loss":
        raise NotHeld(f"The loss {estimator.loss!r} is not translated.")
    return _affine(estimator, "sigmoid" if model.task == "binary" else "sigmoids_to_one")


def _decision(estimator: Any, model: Model) -> Core:
    """A decision without probabilities, of which something around makes some."""
    if model.task != "binary":
        raise NotHeld("Decisions of several classes are not translated.")
    return _affine(estimator, "identity")


def _discriminant(estimator: Any, model: Model) -> Core:
    return _affine(estimator, "sigmoid" if model.task == "binary" else "softmax")


_KNOWN: dict[str, Translate] = {
    **dict.fromkeys(
        (
            "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "Lars", "LarsCV", "LassoLars", "LassoLarsCV",
            "BayesianRidge", "ARDRegression", "HuberRegressor", "TheilSenRegressor", "QuantileRegressor", "SGDRegressor", "LinearSVR",
            "OrthogonalMatchingPursuit", "PassiveAggressiveRegressor", "PoissonRegressor", "GammaRegressor",
        ),
        _regression,
    ),
    "TweedieRegressor": _tweedie, "LogisticRegression": _logistic, "LogisticRegressionCV": _logistic, "SGDClassifier": _gradient_descent,
    "LinearDiscriminantAnalysis": _discriminant, "LinearSVC": _decision, "RidgeClassifier": _decision, "Perceptron": _decision,
}  # fmt: skip
EVERY.update(_KNOWN)
