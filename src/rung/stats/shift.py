"""Did P(y | x) change, did only the base rate, did P(x)? Cross-fitted answers over contiguous blocks of time.

Rows of one day share weather, queues and strikes, so random folds would let a correction recognise the day and take its
luck for a change of the world. Folds are therefore stretches of time, and standard errors are over days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.stats.outcomes import auc, confusion, row_losses
from rung.stats.samples import Floats

FOLDS = 5
_CLIP = 1e-4
_ITERATIONS = 20
_MOST_ROWS = 15_000
_NEWTON_STEPS = 20
_FEWEST_DAYS = 3
_ENOUGH_PER_CLASS = 10
_BINS = 64

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ConceptChange:
    """How much better scores become when corrected by what recent labels say; gains are on stretches of time held out.

    ``t`` is the mean log-loss gain per row, after an intercept correction, over its standard error between days.
    """

    t: float
    gain: float
    gain_low: float
    gain_high: float
    auc_served: float
    auc_corrected: float
    rows: int
    days: int
    served: dict[str, int]
    corrected: dict[str, int]
    drivers: tuple[int, ...]


@dataclass(frozen=True)
class PriorChange:
    """The shift of the log-odds that makes mean score and base rate agree, and its z between days."""

    shift: float
    z: float
    base_rate: float
    mean_score: float


@dataclass(frozen=True)
class DomainChange:
    """How well a classifier tells current rows from reference rows on held-out stretches, and by which columns."""

    auc: float
    z: float
    drivers: tuple[int, ...]


def logits(scores: Floats) -> Floats:
    """Log-odds of probabilities, clipped away from 0 and 1."""
    p = np.clip(scores, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p / (1 - p)), dtype=np.float64)


def sigmoid(x: Floats) -> Floats:
    """Probabilities of log-odds."""
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float64)


def intercept(labels: Floats, offset: Floats) -> float:
    """The c that solves sum(y - sigmoid(offset + c)) = 0, by Newton."""
    c = 0.0
    for _ in range(_NEWTON_STEPS):
        p = sigmoid(offset + c)
        step = float((labels - p).sum() / max((p * (1 - p)).sum(), 1e-9))
        c += float(np.clip(step, -2, 2))
        if abs(step) < 1e-9:  # noqa: PLR2004 - converged
            break
    return c


def prior_change(labels: Floats, scores: Floats, days: Ints) -> PriorChange:
    """The intercept's shift, with z from residuals summed by day."""
    offset = logits(scores)
    c = intercept(labels, offset)
    p = sigmoid(offset + c)
    residuals = _by_day(labels - p, days)
    information = float((p * (1 - p)).sum())
    error = float(np.sqrt((residuals**2).sum())) / max(information, 1e-9)
    return PriorChange(shift=c, z=c / error if error > 0 else 0.0, base_rate=float(labels.mean()), mean_score=float(scores.mean()))


def concept_change(features: Floats, labels: Floats, scores: Floats, days: Ints, *, threshold: float) -> ConceptChange | None:
    """Boost a correction from the served score on some stretches of time, measure it on the others; None with too little to tell.

    Args:
        features: shape (n, k), rows in time order, NaN where unknown.
        labels: shape (n,), 0 or 1. scores: shape (n,), the served probabilities. days: shape (n,), the day of each row.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - heavy, and only a diagnosis needs it
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn

    positives = int(labels.sum())
    if min(positives, labels.size - positives) < _ENOUGH_PER_CLASS * FOLDS or np.unique(days).size < _FEWEST_DAYS:
        return None
    every = max(1, -(-labels.size // _MOST_ROWS))
    features, labels, scores, days = _coarse(features[::every]), labels[::every], scores[::every], days[::every]
    offset = logits(scores)
    fold = _time_folds(days)
    base, corrected = np.empty_like(offset), np.empty_like(offset)
    weight_of_column = np.zeros(features.shape[1])
    for k in range(int(fold.max()) + 1):
        inside, held = fold != k, fold == k
        c = intercept(labels[inside], offset[inside])
        p = sigmoid(offset[inside] + c)
        weight = np.maximum(p * (1 - p), 1e-3)
        model = HistGradientBoostingRegressor(
            max_iter=_ITERATIONS, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=100, l2_regularization=10.0, random_state=0
        )
        with threadpool_limits(1):  # small fits: a second thread mostly waits, and burns the processor meanwhile
            model.fit(features[inside], (labels[inside] - p) / weight, sample_weight=weight)
            base[held] = offset[held] + c
            corrected[held] = base[held] + model.predict(features[held])
            weight_of_column += _moves(model, features[held])
    gains = row_losses("log_loss", labels, sigmoid(base)) - row_losses("log_loss", labels, sigmoid(corrected))
    error = _clustered_error(gains, days)
    gain = float(gains.mean())
    before, after = auc(labels, scores), auc(labels, corrected)
    return ConceptChange(
        t=gain / error if error > 0 else 0.0,
        gain=gain,
        gain_low=gain - 1.96 * error,
        gain_high=gain + 1.96 * error,
        auc_served=before.value if before else 0.5,
        auc_corrected=after.value if after else 0.5,
        rows=labels.size,
        days=int(np.unique(days).size),
        served=confusion(labels, scores, threshold),
        corrected=confusion(labels, sigmoid(corrected), threshold),
        drivers=tuple(int(i) for i in np.argsort(-weight_of_column)[:5]),
    )


def domain_change(reference: Floats, current: Floats) -> DomainChange | None:
    """Cross-fitted classifier between two sets of rows, both in time order; folds are stretches of each. None below 200 rows a side."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - see concept_change
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - see concept_change

    if min(len(reference), len(current)) < 200:  # noqa: PLR2004 - 40 a fold
        return None
    reference, current = _thin(reference, 5000), _thin(current, 5000)
    features = _coarse(np.vstack([reference, current]))
    side = np.concatenate([np.zeros(len(reference)), np.ones(len(current))])
    fold = np.concatenate([np.arange(len(part)) * FOLDS // len(part) for part in (reference, current)])
    scores = np.empty(side.size)
    moved = np.zeros(features.shape[1])
    for k in range(FOLDS):
        model = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=15, min_samples_leaf=40, random_state=0)
        with threadpool_limits(1):
            model.fit(features[fold != k], side[fold != k])
            scores[fold == k] = model.predict_proba(features[fold == k])[:, 1]
            if k == 0:
                moved = _moves(model, features[fold == k])
    found = auc(side, scores)
    if found is None:
        return None
    n1, n0 = len(current), len(reference)
    z = (found.value - 0.5) / float(np.sqrt((n1 + n0 + 1) / (12 * n1 * n0)))
    return DomainChange(auc=found.value, z=z, drivers=tuple(int(i) for i in np.argsort(-moved)[:5]))


def _coarse(features: Floats) -> Floats:
    """Each column as the number of its quantile bin, at most 64; scikit-learn's own weighted binning costs more than its trees."""
    coarse = np.full(features.shape, np.nan)
    for column in range(features.shape[1]):
        known = np.isfinite(features[:, column])
        values = features[known, column]
        if values.size:
            edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
            coarse[known, column] = np.searchsorted(edges, values)
    return coarse


def _moves(model: object, features: Floats) -> Floats:
    """How far predictions move when one column at a time is shuffled (mean absolute change)."""
    predict = getattr(model, "predict_proba", None)
    score = (lambda x: predict(x)[:, 1]) if predict else model.predict  # type: ignore[attr-defined]  # one of the two
    sample = _thin(features, 1000)
    usual = score(sample)
    generator = np.random.default_rng(0)
    moves = np.zeros(features.shape[1])
    for column in range(features.shape[1]):
        shuffled = sample.copy()
        shuffled[:, column] = generator.permutation(shuffled[:, column])
        moves[column] = float(np.mean(np.abs(score(shuffled) - usual)))
    return moves


def _time_folds(days: Ints) -> Ints:
    unique = np.unique(days)
    folds = min(FOLDS, unique.size)
    return np.asarray(np.searchsorted(unique, days) * folds // unique.size, dtype=np.int64)


def _by_day(values: Floats, days: Ints) -> Floats:
    _, place = np.unique(days, return_inverse=True)
    return np.asarray(np.bincount(place, weights=values), dtype=np.float64)


def _clustered_error(values: Floats, days: Ints) -> float:
    """Standard error of the mean when rows of one day go together."""
    centred = _by_day(values - values.mean(), days)
    count = centred.size
    return float(np.sqrt((centred**2).sum() * count / max(count - 1, 1))) / values.size


def _thin(values: Floats, most: int = _MOST_ROWS) -> Floats:
    return values if len(values) <= most else values[:: -(-len(values) // most)]
