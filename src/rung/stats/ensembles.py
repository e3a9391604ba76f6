"""Scoring of tree ensembles and affine maps: flat arrays in, scores out, in C where that was built, else in NumPy with equal results.

A tree's nodes lie one behind the other, the two children of a node side by side and behind it. Rows go left where
``x <= value``; a leaf asks for the column after the last, which always holds NaN, and is its own left child.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rung.stats import kernel

Floats = NDArray[np.float64]
NODE: Final = np.dtype([("value", "<f8"), ("child", "<u4"), ("word", "<u4")])
COLUMN_BITS, COLUMN_MASK = 24, 0xFFFFFF
MISSING_RIGHT, CATEGORICAL, OUTSIDE_RIGHT = 1, 2, 4
REFUSE_NAN, REFUSE_INFINITE, ROUND_TO_SINGLE = 1, 2, 4
LINKS = (
    "identity", "sigmoid", "softmax", "exp", "sigmoids_to_one", "sigmoid_single", "softmax_single", "exp_single", "log1p_exp", "signed_square",
)  # fmt: skip
_LANES = 200_000
_MOST_OUTPUTS = 100_000
_MOST_CHECKS = 7
_LARGEST_CODE = 2.0**31


@dataclass(frozen=True)
class Forest:
    """Trees that add up. ``width`` 1: a leaf holds what it adds to its tree's output; else it names a row of ``values``.

    Categorical nodes name a set of ``bits``, whose members go left; ``bounds`` are where sets begin, in words of 32 bits.
    A row starts at ``base``; sums are divided by ``divisor``; ``single`` rounds each sum to single precision, as XGBoost does.
    """

    features: int
    outputs: int
    base: Floats
    starts: NDArray[np.uint32]
    column: NDArray[np.uint32]
    nodes: NDArray[Any]
    values: Floats
    bounds: NDArray[np.uint32]
    bits: NDArray[np.uint32]
    width: int = 1
    checks: int = 0
    link: str = "identity"
    scale: float = 1.0
    divisor: float = 1.0
    single: bool = False

    def compiled(self) -> Any:
        """The model of the C part. Raises ValueError when something points outside of itself."""
        held = kernel.KERNEL
        if held is None:
            raise ValueError("The compiled part of Rung was not built.")
        return held.forest(
            self.features, self.outputs, self.width, self.checks, LINKS.index(self.link), self.single, self.scale, self.divisor, self.base,
            self.starts, self.column, self.nodes, self.values, self.bounds, self.bits,
        )  # fmt: skip

    def check(self) -> None:
        """Raise ValueError when something points outside of itself: the rules of native/model.h, told again in NumPy."""
        nodes, starts = self.nodes, self.starts.astype(np.int64)
        features, flags = nodes["word"] & COLUMN_MASK, nodes["word"] >> COLUMN_BITS
        child, value, leaves = nodes["child"].astype(np.int64), nodes["value"], features == self.features
        places = np.arange(len(nodes))
        _must(0 < self.features < COLUMN_MASK and 0 < self.outputs <= _MOST_OUTPUTS and 0 <= self.checks <= _MOST_CHECKS)
        _must(self.width in {1, self.outputs} and self.base.shape == (self.outputs,) and len(nodes) > 0)
        _must(len(starts) > 1 and starts[0] == 0 and starts[-1] == len(nodes) and bool((np.diff(starts) > 0).all()))
        _must(len(self.column) == len(starts) - 1 and bool((self.column < self.outputs).all()))
        _must(bool((features <= self.features).all()) and bool((flags <= _MOST_CHECKS).all()))
        ends = np.repeat(starts[1:], np.diff(starts))
        _must(bool((child[leaves] == places[leaves]).all()) and not flags[leaves].any())
        inner = ~leaves
        _must(bool((child[inner] > places[inner]).all()) and bool((child[inner] + 1 < ends[inner]).all()))
        if self.width > 1:
            _must(_whole(value[leaves], len(self.values) // self.width))
        sets = inner & ((flags & CATEGORICAL) != 0)
        _must(_whole(value[sets], max(0, len(self.bounds) - 1)))
        if len(self.bounds) > 1:
            bounds = self.bounds.astype(np.int64)
            _must(bounds[0] == 0 and bounds[-1] == len(self.bits) and bool((np.diff(bounds) >= 0).all()))

    def score(self, rows: Floats) -> Floats:
        """Scores of shape (n, outputs), in NumPy. Raises ValueError for rows it does not take."""
        taken = _taken(rows, self.checks)
        wide = np.concatenate([taken, np.full((len(taken), 1), np.nan)], axis=1)
        block = max(1, _LANES // len(self.column))
        with np.errstate(all="ignore"):
            parts = [self._summed(wide[start : start + block]) for start in range(0, len(wide), block)]
            return linked(np.concatenate(parts) / self.divisor, self.link, self.scale) if parts else np.zeros((0, self.outputs))

    def _summed(self, rows: Floats) -> Floats:
        nodes = self.nodes
        lines = np.arange(len(rows))[:, None]
        here = np.broadcast_to(self.starts[:-1].astype(np.int64), (len(rows), len(self.column)))
        while True:
            held = nodes[here]
            word = held["word"]
            x = rows[lines, word & COLUMN_MASK]
            missing = np.isnan(x)
            right = (x > held["value"]) | (missing & ((word >> COLUMN_BITS) & MISSING_RIGHT != 0))
            if len(self.bounds) > 1:
                right = self._right(held, x, missing, right)
            further = held["child"].astype(np.int64) + right
            if (further == here).all():
                break
            here = further
        leaves = nodes["value"][here]
        sums = np.empty((len(rows), self.outputs))
        kind = np.float32 if self.single else np.float64
        for output in range(self.outputs):
            chosen = (
                leaves[:, self.column == output]
                if self.width == 1
                else self.values.reshape(-1, self.width)[leaves.astype(np.int64), output]
            )
            started = np.concatenate([np.full((len(rows), 1), self.base[output]), chosen], axis=1).astype(kind)
            sums[:, output] = started.cumsum(axis=1, dtype=kind)[:, -1]  # one after the other, as the C part adds
        return sums

    def _right(self, held: NDArray[Any], x: Floats, missing: NDArray[np.bool_], right: NDArray[np.bool_]) -> NDArray[np.bool_]:
        flags = held["word"] >> COLUMN_BITS
        categorical = (flags & CATEGORICAL) != 0
        sets = np.where(categorical, held["value"], 0).astype(np.int64)
        coded = (x > -1.0) & (x < _LARGEST_CODE)
        code = np.where(coded, x, 0).astype(np.int64)
        size = (self.bounds[sets + 1].astype(np.int64) - self.bounds[sets]) * 32
        inside = coded & (code < size)
        words = self.bits[np.where(inside, self.bounds[sets] + (code >> 5), 0)] if len(self.bits) else np.zeros_like(code)
        member = (words >> (code & 31).astype(np.uint32)) & 1 != 0
        found = np.where(inside, ~member, (flags & OUTSIDE_RIGHT) != 0)
        found = np.where(missing, (flags & MISSING_RIGHT) != 0, found)
        return np.where(categorical, found, right)


@dataclass(frozen=True)
class Affine:
    """``link(rows @ weights.T + base)``; ``weights`` of shape (outputs, features)."""

    weights: Floats
    base: Floats
    checks: int = 0
    link: str = "identity"
    scale: float = 1.0

    @property
    def features(self) -> int:
        """Number of columns of a row."""
        return int(self.weights.shape[1])

    @property
    def outputs(self) -> int:
        """Number of scores of a row."""
        return int(self.weights.shape[0])

    def check(self) -> None:
        """Raise ValueError for parts that do not fit each other."""
        _must(self.weights.ndim == 2 and self.base.shape == (self.outputs,) and 0 < self.features < COLUMN_MASK)  # noqa: PLR2004 - a matrix
        _must(0 < self.outputs <= _MOST_OUTPUTS and 0 <= self.checks <= _MOST_CHECKS)

    def compiled(self) -> Any:
        """The model of the C part."""
        held = kernel.KERNEL
        if held is None:
            raise ValueError("The compiled part of Rung was not built.")
        return held.affine(self.features, self.outputs, self.checks, LINKS.index(self.link), self.scale, self.base, self.weights)

    def score(self, rows: Floats) -> Floats:
        """Scores of shape (n, outputs), in NumPy. Raises ValueError for rows it does not take."""
        with np.errstate(all="ignore"):
            return linked(_taken(rows, self.checks) @ self.weights.T + self.base, self.link, self.scale)


def scorer(model: Forest | Affine) -> Callable[[Floats], Floats]:
    """What scores rows of shape (n, features), C-contiguous, to (n,) for one output, else (n, outputs). Threads may share it.

    Raises:
        ValueError: something in the model points outside of itself; of the scorer: rows that the model does not take.
    """
    model.check()
    outputs, held = model.outputs, kernel.KERNEL
    if held is None:
        return (lambda rows: model.score(rows)[:, 0]) if outputs == 1 else model.score
    compiled, ask, empty = model.compiled(), held.score, np.empty
    if outputs == 1:
        return Alone(compiled, model.features, ask)

    def several(rows: Floats) -> Floats:
        out = empty((len(rows), outputs))
        ask(compiled, rows, out)
        return out

    return several


class Alone:
    """Scores rows of shape (n, features) to (n,) with one compiled model, which may be asked for without rows, too."""

    __slots__ = ("_ask", "compiled", "features")

    def __init__(self, compiled: Any, features: int, ask: Callable[[Any, Floats, Floats], None]) -> None:
        self.compiled, self.features, self._ask = compiled, features, ask

    def __call__(self, rows: Floats) -> Floats:
        """The scores. Raises ValueError for rows that the model does not take."""
        out = np.empty(len(rows))
        self._ask(self.compiled, rows, out)
        return out


def linked(sums: Floats, link: str, scale: float = 1.0) -> Floats:
    """What a model answers for its sums of shape (n, outputs)."""
    single = link.endswith("_single")
    if single:
        sums = sums.astype(np.float32).astype(np.float64)
    if link == "sigmoid":
        return _sigmoid(scale * sums)
    if link == "sigmoids_to_one":
        found = _sigmoid(sums)
        return np.asarray(found / found.sum(axis=1, keepdims=True))
    if link == "softmax":
        powers = np.exp(sums - sums.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if link == "exp":
        return np.exp(sums)
    if link == "log1p_exp":
        return np.log1p(np.exp(sums))
    if link == "signed_square":
        return np.copysign(sums * sums, sums)
    return _linked_single(sums, link) if single else sums


def _linked_single(sums: Floats, link: str) -> Floats:
    """In single precision: powers are worked out in double precision and rounded, which is what the C library comes to."""
    one = np.float32(1)
    if link == "exp_single":
        return np.exp(sums).astype(np.float32).astype(np.float64)
    if link == "sigmoid_single":
        powers = np.exp(np.minimum(-sums, np.float32(88.7))).astype(np.float32)
        return np.asarray(one / (powers + one), dtype=np.float64)
    powers = np.exp((sums - sums.max(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)).astype(np.float32)
    whole = powers.astype(np.float64).sum(axis=1, keepdims=True).astype(np.float32)
    return np.asarray(powers / whole, dtype=np.float64)


def _sigmoid(sums: Floats) -> Floats:
    powers = np.exp(-np.abs(sums))
    return np.asarray(np.where(sums < 0, powers, 1.0) / (1.0 + powers))


def _taken(rows: Floats, checks: int) -> Floats:
    with np.errstate(over="ignore"):
        taken = rows.astype(np.float32).astype(np.float64) if checks & ROUND_TO_SINGLE else rows
    if checks & REFUSE_NAN and np.isnan(taken).any():
        raise ValueError("Input contains NaN, which the model does not take.")
    if checks & REFUSE_INFINITE and np.isinf(taken).any():
        raise ValueError("Input contains infinity or a value too large for the model.")
    return taken


def _whole(values: Floats, end: int) -> bool:
    return bool(((values >= 0) & (values < end) & (values == np.floor(values))).all())


def _must(held: bool) -> None:  # noqa: FBT001 - one claim, as in an assertion
    if not held:
        raise ValueError("The model is not whole: something in it points outside of itself.")
