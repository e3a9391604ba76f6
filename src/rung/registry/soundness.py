"""Whether what a skops file holds stays inside itself. scikit-learn follows indices in C without a look at the bounds.

A file may name only reviewed types and still hold numbers no fit would give: a child past the last node, a column that
no input has. Predicting with them would read foreign memory or never end, so they are refused before the first row.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.registry.boosters import check_xgboost
from rung.registry.format import unreadable
from rung.registry.lightgbm_text import checked_lightgbm

_PLAIN = (str, bytes, bytearray, int, float, bool, complex, type(None), np.generic)
_WIDEST = 5_000_000
_MOST_FILES = 200_000
_SMALL = 256 << 20
_RATIO = 300


def checked_archive(data: bytes) -> bytes:
    """The archive, boosters inside without what predicting does not need.

    Raises:
        Invalid: it unpacks to far more than it is, or holds a booster that points outside of itself.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            whole = sum(info.file_size for info in infos)
            if len(set(names)) != len(names) or "schema.json" not in names or len(names) > _MOST_FILES:
                raise unreadable("The file is no skops model")
            if whole > max(_SMALL, _RATIO * len(data)):
                raise unreadable(f"The file unpacks to {whole} bytes")
            schema = json.loads(archive.read("schema.json"))
            if not isinstance(schema, dict):
                raise unreadable("The file is no skops model")
            boosters = {"".join(pair) for pair in _classes(schema)}
            for name in names if "xgboost.coreBooster" in boosters else ():
                if name.endswith(".bin"):
                    check_xgboost(archive.read(name))
            if "lightgbm.basicBooster" not in boosters:
                return data
            _shorten(schema)
            return _with_schema(archive, schema)
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RecursionError, EOFError, OSError) as error:
        raise unreadable("The file is no skops model", error) from None


def _nodes_of(schema: Any) -> Iterator[dict[str, Any]]:
    waiting = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _classes(schema: Any) -> Iterator[tuple[str, str]]:
    return ((str(node.get("__module__")), str(node.get("__class__"))) for node in _nodes_of(schema) if "__class__" in node)


def _shorten(schema: Any) -> None:
    """Put the checked text in the place of every text that LightGBM would read as a booster."""
    for node in _nodes_of(schema):
        content = node.get("content")
        if isinstance(content, str) and node.get("__loader__") == "JsonNode":
            found = json.loads(content)
            if isinstance(found, str) and "tree" in found[:100]:
                node["content"] = json.dumps(checked_lightgbm(found))


def _with_schema(archive: zipfile.ZipFile, schema: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in archive.namelist():
            target.writestr(name, json.dumps(schema) if name == "schema.json" else archive.read(name))
    return buffer.getvalue()


def check_estimator(estimator: Any) -> None:
    """Raise Invalid for an estimator that holds a part which points outside of its nodes, its columns or its rows."""
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
    """A histogram booster: nodes, columns, and categories only where a column has them. One not fitted has no trees to follow."""
    if "_predictors" not in vars(booster):
        return True
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
    """A k-d or ball tree: rows and nodes it points at exist, inner nodes have both children, its metric is of its width."""
    state = tree.__getstate__()
    data, index, nodes, bounds = (np.asarray(array) for array in state[:4])
    metric = next(item for item in state if "Distance" in type(item).__name__)
    first, last, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"] != 0
    places = np.arange(len(nodes))
    return (
        len(nodes) == state[6] > 0
        and state[4] > 0  # rows a leaf: divided by
        and len(index) == len(data)
        and _within(index, len(data))
        and _within(last, len(data) + 1)
        and bool(((first >= 0) & (first <= last)).all())
        and bool((2 * places[~leaf] + 2 < len(nodes)).all())
        and bounds.shape[1] == len(nodes)
        and bounds.shape[2] == data.shape[1]
        and _metric(metric, data.shape[1])
    )


def _metric(metric: Any, width: int) -> bool:
    weights = len(np.asarray(metric.__getstate__()[1]))
    return weights == width if type(metric).__name__.startswith("SEuclidean") else weights in {0, 1, width}


def _vectors(machine: Any) -> bool:
    """A support vector machine: as many coefficients, bounds and probabilities as pairs of classes and vectors, if it is fitted."""
    if "support_vectors_" not in vars(machine):
        return True
    vectors, weights = machine.support_vectors_, machine._dual_coef_
    classes = len(machine._n_support) if "classes_" in vars(machine) else 2  # noqa: SLF001 - one pair else
    pairs = classes * (classes - 1) // 2
    held = int(machine._n_support.sum()) == vectors.shape[0] or "classes_" not in vars(machine)  # noqa: SLF001 - see above
    sizes = [len(getattr(machine, name)) for name in ("_probA", "_probB")]
    return (
        held
        and bool((np.asarray(machine._n_support) >= 0).all())  # noqa: SLF001 - see above
        and weights.shape == (classes - 1, vectors.shape[0])
        and len(machine.support_) == vectors.shape[0]
        and len(machine._intercept_) == pairs
        and sizes[0] == sizes[1]
        and sizes[0] in {0, pairs}
        and vectors.shape[1] == machine.n_features_in_
    )


def _spline(spline: Any) -> bool:
    return bool(spline.k >= 0 and len(spline.t) == len(spline.c) + spline.k + 1)


def _sparse(matrix: Any) -> bool:
    matrix.check_format(full_check=True)  # raises ValueError for an index outside
    return True


def _fits(part: Any) -> bool:
    """Whether the trees of an estimator ask for the columns it is given."""
    held = getattr(part, "__dict__", {})
    width = held.get("n_features_in_")
    if hasattr(held.get("tree_"), "node_count"):
        return bool(held["tree_"].n_features == width)
    module = type(part).__module__
    if module in {"sklearn.ensemble._forest", "sklearn.ensemble._gb"} and "estimators_" in held:
        return all(tree.n_features_in_ == width for tree in np.ravel(np.asarray(held["estimators_"], dtype=object)))
    return True


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "sklearn.tree._tree.Tree": _tree,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier": _boosted,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor": _boosted,
    "sklearn.neighbors._kd_tree.KDTree": _neighbours,
    "sklearn.neighbors._ball_tree.BallTree": _neighbours,
    "scipy.interpolate._bsplines.BSpline": _spline,
    "scipy.sparse._csr.csr_matrix": _sparse,
    "scipy.sparse._csr.csr_array": _sparse,
    "scipy.sparse._csc.csc_matrix": _sparse,
    "scipy.sparse._csc.csc_array": _sparse,
    **dict.fromkeys((f"sklearn.svm._classes.{name}" for name in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM")), _vectors),
}
