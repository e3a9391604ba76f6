"""Files of XGBoost, looked through before its own parser sees them.

It follows the child, column and category numbers of a tree without a look at the bounds: one wrong number ends the
process, or reads foreign memory. So every number that points somewhere is compared with what is there, first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.registry.format import unreadable
from rung.registry.ubjson import read_ubjson

_NO_PARENT = 2**31 - 1
FAULTS = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


def check_xgboost(data: bytes) -> None:
    """Raise Invalid for bytes that are no XGBoost model in UBJSON or JSON, or whose trees point outside of themselves."""
    try:
        found = _document(data)
        learner = found.get("Model", found)["learner"]
    except FAULTS as error:
        raise unreadable("The file is no XGBoost model in UBJSON or JSON", error) from None
    try:
        _check_learner(learner)
    except FAULTS:
        raise unreadable("A tree of the XGBoost model points outside of itself") from None


def _document(data: bytes) -> dict[str, Any]:
    # XGBoost tells the two apart by the same second byte: a quote or white space begins JSON
    found = json.loads(data) if data[1:2] in {b'"', b" ", b"\n", b"\t", b"\r"} else read_ubjson(data)
    if not data.startswith(b"{") or not isinstance(found, dict):
        raise ValueError("no mapping")
    return found


def _check_learner(learner: Mapping[str, Any]) -> None:
    params = learner["learner_model_param"]
    features, groups = int(params["num_feature"]), max(int(params.get("num_class", 0)), int(params.get("num_target", 1)), 1)
    for name in ("feature_names", "feature_types"):
        must(len(learner.get(name, ())) in {0, features})
    booster = learner["gradient_booster"]
    if booster["name"] == "gblinear":
        must(len(booster["model"]["weights"]) == (features + 1) * groups)
        return
    if booster["name"] == "dart":
        must(len(booster["weight_drop"]) == len(booster["gbtree"]["model"]["trees"]))
        booster = booster["gbtree"]
    must(booster["name"] == "gbtree")
    model = booster["model"]
    trees = model["trees"]
    must(int(model["gbtree_model_param"]["num_trees"]) == len(trees) == len(model["tree_info"]))
    must(within(_integers(model["tree_info"]), groups))
    if "iteration_indptr" in model:
        must(_segments(_integers(model["iteration_indptr"]), len(trees)))
    _check_categories(model.get("cats"), features)
    for tree in trees:
        _check_xgboost_tree(tree, features)


def _check_xgboost_tree(tree: Mapping[str, Any], features: int) -> None:
    a_leaf = int(tree["tree_param"].get("size_leaf_vector", 0))
    must(a_leaf >= 0)
    if a_leaf > 1:
        raise Invalid("Trees with several values a leaf are not read.", code="registry.unreadable_model", hint="Fit one tree a value.")
    nodes = int(tree["tree_param"]["num_nodes"])
    left, right, chosen = (_integers(tree[name]) for name in ("left_children", "right_children", "split_indices"))
    lengths = {len(tree[name]) for name in ("split_conditions", "default_left", "base_weights", "sum_hessian", "loss_changes", "parents")}
    must(nodes >= 1 and lengths == {nodes} and len(left) == len(right) == len(chosen) == nodes)
    must(int(tree["tree_param"]["num_feature"]) == features)
    must(bool(((left == -1) == (right == -1)).all()))
    must(walk_ends(left, right))
    parents, inner = _integers(tree["parents"]), np.flatnonzero(left != -1)
    must(bool(((parents[left[inner]] == inner) & (parents[right[inner]] == inner)).all()))
    must(bool((((parents >= -1) & (parents < nodes)) | (parents == _NO_PARENT)).all()) and int(parents[0]) in {-1, _NO_PARENT})
    must(within(chosen[left != -1], features))
    kinds = _integers(tree["split_type"]) if "split_type" in tree else np.zeros(nodes, dtype=np.int64)
    must(len(kinds) == nodes and within(kinds, 2))
    held = [_integers(tree[f"categories{part}"]) for part in ("_nodes", "_segments", "_sizes", "")] if "categories" in tree else []
    if held:
        places, starts, sizes, values = held
        must(len(places) == len(starts) == len(sizes) and within(places, nodes) and bool((np.diff(places) > 0).all()))
        must(within(starts, len(values) + 1) and bool((sizes >= 0).all()) and within(starts + sizes, len(values) + 1))
        must(within(values, 1 << 24))
    must(set(np.flatnonzero((kinds == 1) & (left != -1)).tolist()) <= set(held[0].tolist() if held else ()))


def _check_categories(cats: Any, features: int) -> None:
    """The categories of the fit: each column's texts lie within their bytes, and each column has its segment."""
    if not cats or not len(cats.get("enc", ())):
        return
    for values in cats["enc"]:
        if "offsets" in values and len(values["offsets"]):
            must(_segments(_integers(values["offsets"]), len(values["values"])))
    segments, order = _integers(cats["feature_segments"]), _integers(cats["sorted_idx"])
    must(len(segments) == features + 1 and _segments(segments, len(order)))
    for start, end in pairwise(segments.tolist()):
        must(within(order[start:end], end - start))


def walk_ends(left: NDArray[np.int64], right: NDArray[np.int64]) -> bool:
    """Whether a walk from the root meets nodes that exist, none of them twice; -1 ends it."""
    here, met = np.zeros(1, dtype=np.int64), 0
    while len(here):
        met += len(here)
        if met > len(left) or not within(here, len(left)):
            return False
        below = np.concatenate([left[here], right[here]])
        here = below[below != -1]
    return True


def _segments(bounds: NDArray[np.int64], end: int) -> bool:
    return len(bounds) > 0 and bounds[0] == 0 and bounds[-1] == end and bool((np.diff(bounds) >= 0).all())


def within(values: NDArray[Any], end: int) -> bool:
    return bool(((values >= 0) & (values < end)).all())


def _integers(values: Any) -> NDArray[np.int64]:
    found = np.asarray(values)
    if found.size and found.dtype.kind not in "iub":
        raise ValueError("no integers")
    return found.astype(np.int64).reshape(-1)


def must(held: bool) -> None:  # noqa: FBT001 - one claim, as in an assertion
    if not held:
        raise ValueError
