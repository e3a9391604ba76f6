"""Scores of predictions met by their labels, with the standard error of the ones that alerts depend on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rung.stats.samples import Floats

Z95 = 1.959963984540054
_CLIP = 1e-6


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error."""

    value: float
    error: float

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value - Z95 * self.error

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value + Z95 * self.error


def auc(labels: Floats, scores: Floats) -> Estimate | None:
    """Area under the ROC curve with DeLong's standard error; None when one class is missing.

    Source: DeLong, DeLong and Clarke-Pearson 1988; placements by midranks, O(n log n), as in Sun and Xu 2014.
    """
    positive, negative = scores[labels > 0.5], scores[labels <= 0.5]  # noqa: PLR2004 - labels are 0 and 1
    m, n = positive.size, negative.size
    if m == 0 or n == 0:
        return None
    ranks = _midranks(np.concatenate([positive, negative]))
    first = (ranks[:m] - _midranks(positive)) / n
    second = 1 - (ranks[m:] - _midranks(negative)) / m
    variance = (float(np.var(first, ddof=1)) / m if m > 1 else 0.25) + (float(np.var(second, ddof=1)) / n if n > 1 else 0.25)
    return Estimate(float(first.mean()), float(np.sqrt(variance)))


def _midranks(values: Floats) -> Floats:
    order = np.sort(values)
    return np.asarray(
        (np.searchsorted(order, values, side="left") + np.searchsorted(order, values, side="right") + 1) / 2, dtype=np.float64
    )


def mean_estimate(losses: Floats) -> Estimate | None:
    """Mean with its standard error; None without rows."""
    if losses.size == 0:
        return None
    return Estimate(float(losses.mean()), float(losses.std(ddof=1) / np.sqrt(losses.size)) if losses.size > 1 else 0.0)


def row_losses(metric: str, labels: Floats, scores: Floats, threshold: float = 0.5) -> Floats:
    """The loss (for accuracy: the hit) of every row, of a metric that is a mean over rows."""
    if metric == "log_loss":
        p = np.clip(scores, _CLIP, 1 - _CLIP)
        return np.asarray(-(labels * np.log(p) + (1 - labels) * np.log1p(-p)), dtype=np.float64)
    if metric in {"brier", "rmse"}:
        return np.asarray((scores - labels) ** 2, dtype=np.float64)
    if metric == "accuracy":
        return np.asarray((scores >= threshold) == (labels > 0.5), dtype=np.float64)  # noqa: PLR2004 - labels are 0 and 1
    return np.asarray(np.abs(scores - labels), dtype=np.float64)


def estimate(metric: str, labels: Floats, scores: Floats, threshold: float = 0.5) -> Estimate | None:
    """A metric of predictions with its standard error; None when it cannot be told from these rows."""
    if metric == "auc":
        return auc(labels, scores)
    found = mean_estimate(row_losses(metric, labels, scores, threshold))
    if found is None or metric != "rmse":
        return found
    root = float(np.sqrt(found.value))
    return Estimate(root, found.error / (2 * root) if root > 0 else 0.0)


def confusion(labels: Floats, scores: Floats, threshold: float) -> dict[str, int]:
    """Counts tp, fp, fn, tn of scores at or above a threshold."""
    said, true = scores >= threshold, labels > 0.5  # noqa: PLR2004 - labels are 0 and 1
    return {
        "tp": int((said & true).sum()),
        "fp": int((said & ~true).sum()),
        "fn": int((~said & true).sum()),
        "tn": int((~said & ~true).sum()),
    }
