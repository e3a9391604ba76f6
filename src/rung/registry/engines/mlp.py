"""Multi-layer perceptrons of scikit-learn as products in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from rung.registry import program as p
from rung.registry.engine import ENGINES, Model, NotHeld
from rung.registry.program import Program
from rung.registry.translating import EVERY, Core, Translate, translated
from rung.stats.ensembles import Affine

_LINKS = {"logistic": "sigmoid", "softmax": "softmax", "identity": "identity", "exp": "exp"}


@ENGINES.member("mlp")
class Mlp:
    """Layer after layer, the last one with its link."""

    rank = 30
    automatic = True
    tolerance = 1e-9

    @staticmethod
    def compile(model: Model) -> Program:
        """The program. Raises NotHeld."""
        if model.format != "skops":
            raise NotHeld
        return translated(model, _KNOWN, "mlp")


def _layers(estimator: Any, model: Model) -> Core:
    weights = [np.ascontiguousarray(item, dtype=np.float64) for item in estimator.coefs_]
    shifts = [np.ascontiguousarray(item, dtype=np.float64) for item in estimator.intercepts_]
    if any(np.asarray(item).dtype != np.float64 for item in estimator.coefs_):
        raise NotHeld("Layers of single precision are not translated.")
    steps: list[p.Step] = [p.Refuse()]
    for held, shift in zip(weights[:-1], shifts[:-1], strict=True):
        steps += [p.Product(held), p.Shift("add", shift)]
        if estimator.activation != "identity":
            steps.append(p.Activate(estimator.activation))
    last = Affine(weights=np.ascontiguousarray(weights[-1].T), base=shifts[-1], link=_LINKS[estimator.out_activation_])
    return Core(last, tuple(steps))


_KNOWN: dict[str, Translate] = {"MLPClassifier": _layers, "MLPRegressor": _layers}
EVERY.update(_KNOWN)
