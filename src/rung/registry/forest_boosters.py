"""LightGBM's text and XGBoost's UBJSON or JSON as forests, without these libraries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.registry import program as p
from rung.registry.boosters import check_xgboost
from rung.registry.engine import Model, NotHeld
from rung.registry.forests import Sets, Tree, forest
from rung.registry.format import only_file
from rung.registry.lightgbm_text import CATEGORIES, checked_lightgbm, lightgbm_head
from rung.registry.translating import Core, booster_program
from rung.registry.ubjson import read_ubjson
from rung.stats.ensembles import REFUSE_INFINITE, ROUND_TO_SINGLE

_DEFAULT_LEFT, _BY_NAN, _BY_ZERO = 2, 2, 1
_SIGMOIDS = frozenset({"binary", "cross_entropy", "multiclassova"})
_EXPS = frozenset({"poisson", "gamma", "tweedie"})
_PLAIN = frozenset({"regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"})
_XGBOOST_LINKS = {
    "binary:logistic": "sigmoid_single", "reg:logistic": "sigmoid_single", "multi:softprob": "softmax_single", "multi:softmax": "softmax_single",
    "count:poisson": "exp_single", "reg:gamma": "exp_single", "reg:tweedie": "exp_single", "reg:squarederror": "identity",
    "reg:absoluteerror": "identity", "reg:pseudohubererror": "identity", "reg:quantileerror": "identity", "reg:squaredlogerror": "identity",
}  # fmt: skip
_LOG_LINKS, _LOGIT_LINKS = frozenset({"count:poisson", "reg:gamma", "reg:tweedie"}), frozenset({"binary:logistic", "reg:logistic"})


def lightgbm_program(model: Model, engine: str) -> p.Program:
    """The program of a LightGBM text. Raises NotHeld."""
    text = only_file(model.files, "model.txt").decode("utf-8", "replace")
    core, names, texts = lightgbm_core(text, model)
    return booster_program(model, core, names, texts, engine)


def lightgbm_core(text: str, model: Model) -> tuple[Core, list[str], dict[int, list[Any]]]:
    """The forest of a LightGBM text, its columns, and the categories of those fitted on texts. Raises NotHeld."""
    try:
        text = checked_lightgbm(text)
    except Invalid as error:
        raise NotHeld(error.message) from None
    head = lightgbm_head(text)
    names = head["feature_names"].split(" ")
    outputs = int(head.get("num_tree_per_iteration", "1"))
    if outputs != (len(model.classes) if model.task == "multiclass" else 1):
        raise NotHeld(f"It adds up {outputs} outputs.")
    sets, trees = Sets(), []
    blocks = text[text.index("\nTree=") + 1 : text.index("\nend of trees")].split("\n\n")
    for number, block in enumerate(block for block in blocks if block.strip()):
        lines = dict(line.partition("=")[::2] for line in block.strip().splitlines())
        trees.append(_lightgbm_tree(lines, sets, number % outputs))
    link, scale = _lightgbm_link(head.get("objective", ""), model)
    divisor = len(trees) / outputs if "average_output" in head else 1.0
    made = forest(trees, len(names), np.zeros(outputs), sets=sets, link=link, scale=scale, divisor=divisor)
    return Core(made), names, _lightgbm_texts(text, head)


def _lightgbm_link(objective: str, model: Model) -> tuple[str, float]:
    name, *settings = objective.split(" ")
    told = dict(item.partition(":")[::2] for item in settings)
    if name in _SIGMOIDS:
        return "sigmoid", float(told.get("sigmoid", "1"))
    if name == "multiclass":
        return "softmax", 1.0
    if name in _EXPS:
        return "exp", 1.0
    if name == "cross_entropy_lambda":
        return "log1p_exp", 1.0
    if name in _PLAIN and model.task == "regression":
        return ("signed_square" if "sqrt" in settings else "identity"), 1.0
    raise NotHeld(f"LightGBM's objective {name!r} is not translated.")


def _lightgbm_tree(lines: Mapping[str, str], sets: Sets, output: int) -> Tree:
    if lines.get("is_linear", "0") != "0":
        raise NotHeld("Linear trees are not translated.")
    values = np.array(lines["leaf_value"].split(), dtype=np.float64)
    leaves, splits = len(values), len(values) - 1
    count = splits + leaves
    nothing = np.zeros(count, dtype=bool)
    feature, threshold = np.zeros(count, dtype=np.int64), np.zeros(count)
    left, right = np.full(count, -1), np.full(count, -1)
    value, missing, chosen = np.concatenate([np.zeros(splits), values]), nothing.copy(), np.full(count, -1)
    if splits:
        feature[:splits] = np.array(lines["split_feature"].split(), dtype=np.int64)
        threshold[:splits] = np.array(lines["threshold"].split(), dtype=np.float64)
        for side, name in ((left, "left_child"), (right, "right_child")):
            child = np.array(lines[name].split(), dtype=np.int64)
            side[:splits] = np.where(child < 0, splits + ~child, child)
        kinds = np.array(lines["decision_type"].split(), dtype=np.int64)
        by = kinds >> 2 & 3
        if (by == _BY_ZERO).any():
            raise NotHeld("Zero as a missing value is not translated.")
        categorical = kinds & 1 == 1
        # without NaN at the fit a missing value is 0 for LightGBM; a missing category goes right
        missing[:splits] = np.where(by == _BY_NAN, kinds & _DEFAULT_LEFT == 0, ~(threshold[:splits] >= 0.0))
        missing[:splits] |= categorical
        _lightgbm_sets(lines, sets, categorical, threshold[:splits], chosen)
    return Tree(feature, threshold, left, right, value, missing, chosen, nothing | True, output)


def _lightgbm_sets(
    lines: Mapping[str, str], sets: Sets, categorical: NDArray[np.bool_], threshold: NDArray[np.float64], chosen: Any
) -> None:
    if not categorical.any():
        return
    bounds = np.array(lines["cat_boundaries"].split(), dtype=np.int64)
    words = np.array(lines["cat_threshold"].split(), dtype=np.uint32)
    for place in np.flatnonzero(categorical):
        which = int(threshold[place])
        chosen[place] = sets.add(words[bounds[which] : bounds[which + 1]])


def _lightgbm_texts(text: str, head: Mapping[str, str]) -> dict[int, list[Any]]:
    start = text.rfind(f"\n{CATEGORIES}")
    held = json.loads(text[start + 1 + len(CATEGORIES) :].splitlines()[0]) if start >= 0 else None
    infos = head.get("feature_infos", "").split(" ")
    places = [place for place, info in enumerate(infos) if info not in {"none", ""} and not info.startswith("[")]
    if held and len(places) != len(held):
        raise NotHeld("It does not say which columns its categories are of.")
    return dict(zip(places, held or [], strict=False))


def xgboost_program(model: Model, engine: str) -> p.Program:
    """The program of an XGBoost file. Raises NotHeld."""
    core, names, texts = xgboost_core(only_file(model.files, "model.ubj", "model.json"), model)
    return booster_program(model, core, names or [item.name for item in model.inputs], texts, engine)


def xgboost_core(data: bytes, model: Model) -> tuple[Core, list[str], dict[int, list[Any]]]:
    """The forest of an XGBoost file, its columns' names if it has them, and the categories it was fitted on. Raises NotHeld."""
    try:
        check_xgboost(data)
    except Invalid as error:
        raise NotHeld(error.message) from None
    found = json.loads(data) if data[1:2] in {b'"', b" ", b"\n", b"\t", b"\r"} else read_ubjson(data)
    learner = found.get("Model", found)["learner"]
    params, booster = learner["learner_model_param"], learner["gradient_booster"]
    objective = learner["objective"]["name"]
    if objective not in _XGBOOST_LINKS:
        raise NotHeld(f"XGBoost's objective {objective!r} is not translated.")
    drops = [1.0] * 10**6
    if booster["name"] == "dart":
        drops, booster = [float(weight) for weight in booster["weight_drop"]], booster["gbtree"]
    if booster["name"] != "gbtree":
        raise NotHeld(f"A booster of {booster['name']!r} is not translated.")
    held, groups = booster["model"]["trees"], np.asarray(booster["model"]["tree_info"], dtype=np.int64).tolist()
    rounds = _rounds(learner, booster["model"], len(held))
    sets = Sets()
    trees = [_xgboost_tree(tree, sets, group, drop) for tree, group, drop in zip(held[:rounds], groups, drops, strict=False)]
    outputs = len(model.classes) if model.task == "multiclass" else 1
    base = _margins(str(params.get("base_score", "5E-1")), objective, outputs)
    if max(groups, default=0) >= outputs:
        raise NotHeld(f"It adds up {max(groups) + 1} outputs.")
    made = forest(
        trees, int(params["num_feature"]), base, sets=sets, checks=ROUND_TO_SINGLE | REFUSE_INFINITE, link=_XGBOOST_LINKS[objective], single=True
    )  # fmt: skip
    return (
        Core(made),
        [str(name) for name in learner.get("feature_names", ())],
        _xgboost_texts(booster["model"], int(params["num_feature"])),
    )


def _rounds(learner: Mapping[str, Any], held: Mapping[str, Any], trees: int) -> int:
    """Trees up to the best round of one that stopped early, as scikit-learn's interface asks for."""
    told = learner.get("attributes", {})
    best = told.get("best_iteration") if told.get("scikit_learn") else None
    if best is None:
        return trees
    bounds = held.get("iteration_indptr")
    if bounds is None:
        raise NotHeld("It does not say which trees a round has.")
    return int(np.asarray(bounds)[min(int(best) + 1, len(bounds) - 1)])


def _margins(text: str, objective: str, outputs: int) -> NDArray[np.float64]:
    """Where a row starts: the inverse link of the file's base score, in single precision."""
    told = np.array([float(item) for item in text.strip("[]").split(",") if item], dtype=np.float32)
    if objective in _LOGIT_LINKS:
        told = -np.log((np.float32(1) / told - np.float32(1)).astype(np.float64)).astype(
            np.float32
        )  # rounded once, as the C library comes to
    elif objective in _LOG_LINKS:
        told = np.log(told.astype(np.float64)).astype(np.float32)
    return np.asarray(np.broadcast_to(told, (outputs,)), dtype=np.float64).copy()


def _xgboost_tree(tree: Mapping[str, Any], sets: Sets, group: int, drop: float) -> Tree:
    left = np.asarray(tree["left_children"], dtype=np.int64)
    conditions = np.asarray(tree["split_conditions"], dtype=np.float32)
    leaf = left == -1
    if not np.isfinite(conditions).all():
        raise NotHeld("A threshold without end is not translated.")
    kinds = np.asarray(tree.get("split_type", np.zeros(len(left))), dtype=np.int64)
    chosen = np.full(len(left), -1)
    for place, start, size in zip(
        *(np.asarray(tree[f"categories_{part}"], dtype=np.int64).tolist() for part in ("nodes", "segments", "sizes")), strict=True
    ):
        if kinds[place] == 1:
            chosen[place] = sets.add(_left_of(np.asarray(tree["categories"], dtype=np.int64)[start : start + size]))
    # x < t of single precision is x <= the number before t
    below = np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64)
    value = (conditions * np.float32(drop)).astype(np.float64)
    return Tree(
        feature=np.asarray(tree["split_indices"], dtype=np.int64), threshold=below, left=left,
        right=np.asarray(tree["right_children"], dtype=np.int64), value=np.where(leaf, value, 0.0),
        missing_right=np.asarray(tree["default_left"], dtype=np.int64) == 0, sets=chosen, outside_right=np.zeros(len(left), dtype=bool), output=group,
    )  # fmt: skip


def _left_of(right: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The set that goes left, of codes in whole words, where a file lists those that go right."""
    size = int(right.max(initial=0)) // 32 + 1
    members = np.ones(size * 32, dtype=bool)
    members[right] = False
    return np.packbits(members, bitorder="little").view(np.uint32)


def _xgboost_texts(held: Mapping[str, Any], features: int) -> dict[int, list[Any]]:
    cats = held.get("cats")
    if not cats or not len(cats.get("enc", ())):
        return {}
    found = {}
    for place, values in enumerate(cats["enc"]):
        if "offsets" in values:
            offsets, text = (
                np.asarray(values["offsets"], dtype=np.int64),
                np.asarray(values["values"], dtype=np.int64).astype(np.uint8).tobytes(),
            )
            if len(offsets):
                found[place] = [text[start:end].decode() for start, end in pairwise(offsets.tolist())]
        elif len(values.get("values", ())):
            raise NotHeld("Categories that are numbers are not translated.")
    return found
