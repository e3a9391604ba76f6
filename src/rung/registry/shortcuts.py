"""Around what scikit-learn does anew with every call: the same numbers from the same compiled code, called with what stays the same.

Each reaches into a library's private parts, so nothing depends on one: it is None where a part is missing, and ``matrices``
compares what it answers, to the bit, with what the estimator itself does before it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BOOSTED = {"HistGradientBoostingClassifier": "predict_proba", "HistGradientBoostingRegressor": "predict"}
_MISSING = (AttributeError, ImportError, TypeError, ValueError, IndexError)


def shortcut(estimator: Any, method: str) -> Callable[[Floats], Any] | None:
    """What answers as an estimator's method does; None where there is no shorter way."""
    kind = type(estimator)
    if _BOOSTED.get(kind.__name__) != method or not kind.__module__.startswith("sklearn."):
        return None
    try:
        return _boosted(estimator, method)
    except _MISSING:
        return None


def _boosted(estimator: Any, method: str) -> Callable[[Floats], Any] | None:
    """Histogram boosting: half of a row's time goes into checks of the row and calls around a hundred trees."""
    from sklearn.ensemble._hist_gradient_boosting._predictor import _predict_from_raw_data as walk  # noqa: PLC0415 - loaded by now
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads as threads  # noqa: PLC0415 - see above

    if estimator._preprocessor is not None:  # noqa: SLF001 - categories are put in order first
        return None
    # NumPy describes an array anew to every call, about a microsecond a tree; a memoryview keeps what was said once
    known, places = (part.data for part in estimator._bin_mapper.make_known_categories_bitsets())  # noqa: SLF001
    rounds = [[(tree.nodes.data, tree.raw_left_cat_bitsets.data) for tree in trees] for trees in estimator._predictors]  # noqa: SLF001
    start, width = estimator._baseline_prediction, estimator.n_trees_per_iteration_  # noqa: SLF001
    finish = estimator._loss.predict_proba if method == "predict_proba" else estimator._loss.link.inverse  # noqa: SLF001

    def ask(rows: Floats) -> Any:
        raw = np.zeros((len(rows), width), dtype=start.dtype, order="F")
        raw += start
        columns, found, count = [raw[:, place] for place in range(width)], np.empty(len(rows), dtype=np.float64), threads()
        given, into = rows.data, found.data
        for trees in rounds:
            for column, (nodes, categories) in zip(columns, trees, strict=True):
                walk(nodes, given, categories, known, places, count, into)
                column += found
        return finish(raw if method == "predict_proba" else raw.ravel())

    return ask
