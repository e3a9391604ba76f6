"""Trees and forests of scikit-learn, LightGBM and XGBoost over flat arrays, walked by one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.registry.engine import ENGINES, Model, NotHeld
from rung.registry.forest_boosters import lightgbm_core, lightgbm_program, xgboost_core, xgboost_program
from rung.registry.forests import Sets, Tree, forest, plain
from rung.registry.program import Program
from rung.registry.translating import EVERY, Core, Translate, translated
from rung.stats.ensembles import REFUSE_INFINITE, REFUSE_NAN, ROUND_TO_SINGLE

_EXP = frozenset({"poisson", "gamma", "HalfPoissonLoss", "HalfGammaLoss", "HalfTweedieLoss"})


@ENGINES.member("trees")
class Trees:
    """Decision trees, forests, gradient boosting; also behind encoders, scalers and imputers."""

    rank = 10
    automatic = True
    tolerance = 1e-9

    @staticmethod
    def compile(model: Model) -> Program:
        """The program. Raises NotHeld."""
        if model.format == "lightgbm":
            return lightgbm_program(model, "trees")
        if model.format == "xgboost":
            return xgboost_program(model, "trees")
        if model.format != "skops":
            raise NotHeld(f"No engine reads the format {model.format!r}.")
        return translated(model, _KNOWN, "trees")


def _one_value(values: NDArray[np.float64], model: Model) -> NDArray[np.float64]:
    """What a leaf adds: P(positive), P(class) as a row, or a value."""
    if values.ndim != 3 or values.shape[1] != 1:  # noqa: PLR2004 - nodes, outputs, classes
        raise NotHeld("Trees of several values at once are not translated.")
    held = values[:, 0, :]
    if model.task == "binary":
        return held[:, 1]
    return held if model.task == "multiclass" else held[:, 0]


def _plain_trees(held: Sequence[Any], model: Model, missing: bool) -> list[Tree]:  # noqa: FBT001 - one claim
    found = []
    for one in held:
        tree = one.tree_
        right = np.asarray(tree.missing_go_to_left) == 0 if missing else np.ones(tree.node_count, dtype=bool)
        value = _one_value(tree.value, model)
        found.append(plain(tree.feature, tree.threshold, tree.children_left, tree.children_right, value, right))
    return found


def _checks(estimator: Any) -> int:
    """What scikit-learn's trees refuse: numbers beyond single precision, and NaN where they cannot route it."""
    tree = estimator
    allows = bool(tree._support_missing_values(np.zeros((1, 1))))  # noqa: SLF001 - what its own check asks
    return ROUND_TO_SINGLE | REFUSE_INFINITE | (0 if allows else REFUSE_NAN)


def _single_tree(estimator: Any, model: Model) -> Core:
    trees = _plain_trees([estimator], model, missing=True)
    return Core(forest(trees, estimator.n_features_in_, _zeros(model), checks=_checks(estimator)))


def _forest(estimator: Any, model: Model) -> Core:
    held = estimator.estimators_
    trees = _plain_trees(held, model, missing=True)
    return Core(forest(trees, estimator.n_features_in_, _zeros(model), checks=_checks(held[0]), divisor=float(len(held))))


def _zeros(model: Model) -> NDArray[np.float64]:
    return np.zeros(len(model.classes) if model.task == "multiclass" else 1)


def _gradient_boosting(estimator: Any, model: Model) -> Core:
    width = estimator.n_features_in_
    start = estimator._raw_predict_init(np.zeros((1, width), dtype=np.float32))[0]  # noqa: SLF001 - where a row starts
    if estimator.init_ != "zero" and type(estimator.init_).__name__ not in {"DummyClassifier", "DummyRegressor"}:
        raise NotHeld("Gradient boosting that starts from another estimator is not translated.")
    trees = []
    for stage in estimator.estimators_:
        for output, one in enumerate(stage):
            tree = one.tree_
            value = estimator.learning_rate * tree.value[:, 0, 0]
            nothing = np.ones(tree.node_count, dtype=bool)
            trees.append(plain(tree.feature, tree.threshold, tree.children_left, tree.children_right, value, nothing, output))
    link = "identity"
    if model.task == "binary":
        link = "sigmoid"
    elif model.task == "multiclass":
        link = "softmax"
    scale = 2.0 if type(estimator._loss).__name__ == "ExponentialLoss" else 1.0  # noqa: SLF001 - of half log odds
    checks = ROUND_TO_SINGLE | REFUSE_INFINITE | REFUSE_NAN
    return Core(forest(trees, width, np.asarray(start, np.float64), checks=checks, link=link, scale=scale))


def _histogram(estimator: Any, model: Model) -> Core:
    sets, trees = Sets(), []
    for stage in estimator._predictors:  # noqa: SLF001 - its trees
        trees += [_histogram_tree(one, sets, output) for output, one in enumerate(stage)]
    loss = type(estimator._loss).__name__  # noqa: SLF001 - which link answers
    link = "exp" if loss in _EXP else "sigmoid" if model.task == "binary" else "softmax" if model.task == "multiclass" else "identity"
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001 - where a row starts
    made = forest(trees, estimator.n_features_in_, base, sets=sets, link=link)
    return Core(made)


def _histogram_tree(predictor: Any, sets: Sets, output: int) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"] != 0
    categorical = ~leaf & (nodes["is_categorical"] != 0)
    chosen = np.full(len(nodes), -1, dtype=np.int64)
    for place in np.flatnonzero(categorical):
        chosen[place] = sets.add(np.asarray(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][place]], dtype=np.uint32))
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64), threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)), right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        value=nodes["value"].astype(np.float64), missing_right=nodes["missing_go_to_left"] == 0, sets=chosen,
        outside_right=np.ones(len(nodes), dtype=bool), output=output,
    )  # fmt: skip


def _lightgbm(estimator: Any, model: Model) -> Core:
    if model.task != "regression" and list(estimator.classes_) != sorted(estimator.classes_):
        raise NotHeld("Classes in another order are not translated.")
    return lightgbm_core(estimator.booster_.model_to_string(), model)[0]


def _xgboost(estimator: Any, model: Model) -> Core:
    return xgboost_core(bytes(estimator.get_booster().save_raw("ubj")), model)[0]


_KNOWN: dict[str, Translate] = {
    "HistGradientBoostingClassifier": _histogram, "HistGradientBoostingRegressor": _histogram, "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest, "ExtraTreesClassifier": _forest, "ExtraTreesRegressor": _forest,
    "GradientBoostingClassifier": _gradient_boosting, "GradientBoostingRegressor": _gradient_boosting,
    "DecisionTreeClassifier": _single_tree, "DecisionTreeRegressor": _single_tree, "ExtraTreeClassifier": _single_tree,
    "ExtraTreeRegressor": _single_tree, "LGBMClassifier": _lightgbm, "LGBMRegressor": _lightgbm, "XGBClassifier": _xgboost,
    "XGBRegressor": _xgboost,
}  # fmt: skip
EVERY.update(_KNOWN)
