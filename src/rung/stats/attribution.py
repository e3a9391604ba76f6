"""Attribution: what each column of a row contributed to its score, against background rows; contributions add up to the difference.

All of it are Shapley values of the game "columns of the row, the others from a background row", averaged over background
rows: exact for trees and affine maps, exact by enumeration for few columns, else over sampled orders of the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from rung.stats.ensembles import CATEGORICAL, COLUMN_BITS, COLUMN_MASK, MISSING_RIGHT, ROUND_TO_SINGLE, Affine, Forest

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Mixed = Callable[[NDArray[np.intp]], Floats]
_MOST_ENTRIES = 3_000_000
_FLAT = 1e-12


@dataclass(frozen=True)
class Paths:
    """The ways to the leaves of a forest of one output: one group for each leaf and column that is asked on its way.

    ``node`` and ``right`` say which turn each entry takes; ``starts`` where groups begin; ``leaf``, ``column`` of each group;
    ``value`` of each leaf, in units of the sum.
    """

    forest: Forest
    node: NDArray[np.int64]
    right: Bools
    starts: NDArray[np.int64]
    leaf: NDArray[np.int64]
    column: NDArray[np.int64]
    value: Floats


def paths(forest: Forest) -> Paths | None:
    """The ways to its leaves; None for one of several outputs, or with more turns than are worth keeping."""
    if forest.outputs != 1:
        return None
    nodes = forest.nodes
    features, child = (nodes["word"] & COLUMN_MASK).astype(np.int64), nodes["child"].astype(np.int64)
    turns: list[tuple[int, int, int, bool]] = []
    values: list[float] = []
    for root in forest.starts[:-1].astype(np.int64).tolist():
        waiting: list[tuple[int, tuple[tuple[int, bool], ...]]] = [(root, ())]
        while waiting:
            place, way = waiting.pop()
            if features[place] == forest.features:
                turns += [(len(values), int(features[node]), node, right) for node, right in way]
                values.append(float(nodes["value"][place]))
                if len(turns) > _MOST_ENTRIES:
                    return None
                continue
            left = int(child[place])
            waiting += [(left, (*way, (place, False))), (left + 1, (*way, (place, True)))]
    value = np.array(values)
    if forest.width > 1:
        value = forest.values.reshape(-1, forest.width)[value.astype(np.int64), 0]
    turns.sort()
    if not turns:
        nothing = np.empty(0, dtype=np.int64)
        return Paths(forest, nothing, np.empty(0, dtype=np.bool_), nothing, nothing, nothing, value / forest.divisor)
    leaf, column, node, right = (np.array(part) for part in zip(*turns, strict=True))
    begins = np.flatnonzero(np.r_[True, (leaf[1:] != leaf[:-1]) | (column[1:] != column[:-1])])
    return Paths(forest, node, right.astype(np.bool_), begins, leaf[begins], column[begins], value / forest.divisor)


def forest_shares(held: Paths, rows: Floats, background: Floats) -> Floats:
    """Contributions to the sum, shape (rows, background, features), of each row against each background row.

    For a leaf whose turns a columns of the row alone satisfy, b of the background row alone, and the rest both, the game is
    its value where all of the a and none of the b are the row's; its Shapley values are (a-1)! b! / (a+b)! of it for each
    of the a, and -a! (b-1)! / (a+b)! for each of the b.

    Source: Lundberg et al. 2020, "From local explanations to global understanding", interventional TreeSHAP.
    """
    forest = held.forest
    ours, theirs = _turned(forest, rows), _turned(forest, background)
    found = np.zeros((len(rows), len(background), forest.features))
    if not held.starts.size:
        return found
    leaves = len(held.value)
    satisfied = [np.logical_and.reduceat(side[:, held.node] == held.right, held.starts, axis=1) for side in (ours, theirs)]
    weights = _weights(int(np.bincount(held.leaf, minlength=1).max(initial=1)))
    for i, own in enumerate(satisfied[0]):
        for j, other in enumerate(satisfied[1]):
            first, second = own & ~other, other & ~own
            dead = np.bincount(held.leaf[~(own | other)], minlength=leaves) > 0
            a, b = np.bincount(held.leaf[first], minlength=leaves), np.bincount(held.leaf[second], minlength=leaves)
            value = np.where(dead, 0.0, held.value)
            gained = value[held.leaf[first]] * weights[0][a[held.leaf[first]], b[held.leaf[first]]]
            lost = value[held.leaf[second]] * weights[1][a[held.leaf[second]], b[held.leaf[second]]]
            found[i, j] = np.bincount(held.column[first], gained, forest.features) - np.bincount(held.column[second], lost, forest.features)
    return found


def affine_shares(model: Affine, rows: Floats, background: Floats) -> Floats:
    """Contributions to the sum of an affine map of one output, shape (rows, background, features): weight times difference."""
    return np.asarray(model.weights[0] * (rows[:, None, :] - background[None, :, :]), dtype=np.float64)


def on_scores(shares: Floats, scores: Floats, background: Floats) -> Floats:
    """Contributions to the sum as contributions to the score behind a link, averaged over the background rows.

    Each row and background row keep their proportions: all contributions are stretched by one factor, the slope between
    both on the link, so that they add up to the difference of the scores.

    Args:
        shares: (rows, background, features). scores: (rows,). background: (background,), scores of the background rows.
    """
    sums = shares.sum(axis=2)
    gone = scores[:, None] - background[None, :]
    flat = np.abs(sums) < _FLAT
    slope = np.where(flat, 0.0, gone / np.where(flat, 1.0, sums))
    return np.asarray((shares * slope[:, :, None]).mean(axis=1), dtype=np.float64)


def enumerated(mixed: Mixed, columns: int, background: int) -> Floats:
    """Exact contributions by asking the score of every mixture: 2**columns for each background row.

    Args:
        mixed: scores of mixtures: an array of shape (mixtures, columns) with -1 where the row's own value stands, else the
            place of the background row whose value does.

    Returns:
        Contributions of the columns, shape (columns,).
    """
    subsets = np.arange(2**columns)
    held = (subsets[:, None] >> np.arange(columns)) & 1 == 1
    asked = np.concatenate([np.where(held, -1, place) for place in range(background)])
    worth = mixed(asked).reshape(background, -1).mean(axis=0)
    sizes = held.sum(axis=1)
    weights = np.array([factorial(size) * factorial(columns - size - 1) / factorial(columns) for size in range(columns)])
    found = np.empty(columns)
    for column in range(columns):
        without = subsets[~held[:, column]]
        found[column] = float(np.sum(weights[sizes[without]] * (worth[without | (1 << column)] - worth[without])))
    return found


def sampled(mixed: Mixed, columns: int, background: int, orders: int = 16, seed: int = 0) -> Floats:
    """Contributions over sampled orders of the columns, each walked forwards and backwards from every so many background rows.

    They add up to the difference between the score of the row and the mean score of the background rows, which are all
    walked from equally often.

    Source: Castro, Gómez & Tejada 2009, sampling of the Shapley value; pairs of opposite orders as in Mitchell et al. 2022.
    """
    generator = np.random.default_rng(seed)
    walks = max(1, -(-2 * orders // background)) * background
    asked = np.empty((walks, columns + 1, columns), dtype=np.intp)
    taken = []
    order = np.arange(columns)
    for walk in range(walks):
        order = order[::-1] if walk % 2 else generator.permutation(columns)
        taken.append(order)
        steps = np.tile(np.full(columns, walk % background, dtype=np.intp), (columns + 1, 1))
        for step, column in enumerate(order):
            steps[step + 1 :, column] = -1
        asked[walk] = steps
    worth = mixed(asked.reshape(-1, columns)).reshape(walks, columns + 1)
    found = np.zeros(columns)
    for order, gained in zip(taken, np.diff(worth, axis=1), strict=True):
        found[order] += gained
    return found / walks


def _turned(forest: Forest, rows: Floats) -> Bools:
    """Whether each row would go right at each node, shape (rows, nodes)."""
    with np.errstate(over="ignore"):
        taken = rows.astype(np.float32).astype(np.float64) if forest.checks & ROUND_TO_SINGLE else rows
    wide = np.concatenate([taken, np.full((len(rows), 1), np.nan)], axis=1)
    word = forest.nodes["word"]
    x = wide[:, word & COLUMN_MASK]
    missing = np.isnan(x)
    right = (x > forest.nodes["value"]) | (missing & ((word >> COLUMN_BITS) & MISSING_RIGHT != 0))
    if ((word >> COLUMN_BITS) & CATEGORICAL).any():
        right = forest._right(np.broadcast_to(forest.nodes, x.shape), x, missing, right)  # noqa: SLF001 - one rule of routing, told once
    return np.asarray(right, dtype=np.bool_)


def _weights(most: int) -> tuple[Floats, Floats]:
    """Shapley weights by (a, b), each up to ``most``: of what the row alone satisfies, and of what the background row alone does."""
    counts = range(most + 1)
    facts = [float(factorial(n)) for n in range(2 * most + 1)]
    first = np.array([[facts[a - 1] * facts[b] / facts[a + b] if a else 0.0 for b in counts] for a in counts])
    second = np.array([[facts[a] * facts[b - 1] / facts[a + b] if b else 0.0 for b in counts] for a in counts])
    return first, second
