"""Whether loaded trees stay inside themselves. scikit-learn follows their indices in C without a look at the bounds.

A file may name only reviewed types and still hold numbers no fit would give: a child past the last node, a column that
no input has. Predicting with them would read foreign memory or never end, so they are refused before the first row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.registry.format import unreadable

_PLAIN = (str, bytes, bytearray, int, float, bool, complex, type(None), np.generic)
_WIDEST = 5_000_000


def check_trees(estimator: Any) -> None:
    """Raise Invalid for an estimator that holds a tree which points outside of its nodes, its columns or its rows."""
    for part in _parts(estimator):
        kind = type(part)
        where = f"{kind.__module__}.{kind.__qualname__}"
        try:
            sound = _CHECKS[where](part) if where in _CHECKS else _fits(part)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError):
            sound = False
        if not sound:
            raise unreadable(f"A {kind.__name__} in the file points outside of itself")


def _parts(root: Any) -> Iterator[Any]:
    """Everything an estimator holds, each object once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (*_PLAIN, type)) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            waiting.extend(item.ravel().tolist() if item.dtype == object else ())
        elif isinstance(item, dict):
            waiting.extend([*item.keys(), *item.values()])
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting.extend(item)
        else:
            yield item
            waiting.extend(getattr(item, "__dict__", {}).values())
        if len(seen) > _WIDEST:
            raise unreadable("The file holds more parts than any model has")


def _forward(children: NDArray[Any], end: int, places: NDArray[Any]) -> bool:
    """Whether every child lies behind its parent and before the end: then each walk ends."""
    return bool(((children > places) & (children < end)).all())


def _within(values: NDArray[Any], end: int) -> bool:
    return bool(((values >= 0) & (values < end)).all())


def _tree(tree: Any) -> bool:
    if not 0 < tree.node_count <= tree.capacity:
        return False
    left, right = tree.children_left, tree.children_right
    inner = np.flatnonzero(left != -1)
    return (
        _forward(left[inner], tree.node_count, inner)
        and _forward(right[inner], tree.node_count, inner)
        and _within(tree.feature[inner], tree.n_features)
    )


def _boosted(booster: Any) -> bool:
    """A histogram booster: nodes, columns, and categories only where a column has them."""
    width = booster.n_features_in_
    mapper = booster._bin_mapper  # noqa: SLF001 - where scikit-learn keeps which columns are categories
    categorical = np.asarray(mapper.is_categorical_, dtype=bool) if mapper is not None else np.zeros(width, dtype=bool)
    if len(categorical) != width:
        return False
    return all(_nodes(item, categorical) for stage in booster._predictors for item in stage)  # noqa: SLF001 - its trees


def _nodes(predictor: Any, categorical: NDArray[np.bool_]) -> bool:
    nodes = predictor.nodes
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    chosen = nodes["feature_idx"][inner]
    if not len(nodes) or not _within(chosen, len(categorical)):
        return False
    sets = np.flatnonzero((nodes["is_leaf"] == 0) & (nodes["is_categorical"] != 0))
    bits = predictor.raw_left_cat_bitsets
    return (
        _forward(nodes["left"][inner].astype(np.int64), len(nodes), inner)
        and _forward(nodes["right"][inner].astype(np.int64), len(nodes), inner)
        and _within(nodes["bitset_idx"][sets], len(bits))
        and bool(categorical[nodes["feature_idx"][sets]].all())
        and bits.ndim == 2  # noqa: PLR2004 - a row of eight words a set
        and bits.shape[1] == 8  # noqa: PLR2004 - see above
    )


def _neighbours(tree: Any) -> bool:
    """A k-d or ball tree: rows and nodes it points at exist, and inner nodes have both children."""
    data, index, nodes, bounds = (np.asarray(array) for array in tree.get_arrays())
    first, last, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"] != 0
    places = np.arange(len(nodes))
    return (
        len(nodes) > 0
        and len(index) == len(data)
        and _within(index, len(data))
        and _within(last, len(data) + 1)
        and bool(((first >= 0) & (first <= last)).all())
        and bool((2 * places[~leaf] + 2 < len(nodes)).all())
        and bounds.shape[1] == len(nodes)
        and bounds.shape[2] == data.shape[1]
    )


def _fits(part: Any) -> bool:
    """Whether the trees of an estimator ask for the columns it is given."""
    held = getattr(part, "__dict__", {})
    width = held.get("n_features_in_")
    if "tree_" in held:
        return bool(held["tree_"].n_features == width)
    module = type(part).__module__
    if module in {"sklearn.ensemble._forest", "sklearn.ensemble._gb"} and "estimators_" in held:
        return all(tree.n_features_in_ == width for tree in np.ravel(np.asarray(held["estimators_"], dtype=object)))
    return True


_CHECKS = {
    "sklearn.tree._tree.Tree": _tree,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier": _boosted,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor": _boosted,
    "sklearn.neighbors._kd_tree.KDTree": _neighbours,
    "sklearn.neighbors._ball_tree.BallTree": _neighbours,
}
