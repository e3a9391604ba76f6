"""Trees of any library as one Forest: nodes laid out level by level, so that the two children of a node lie side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rung.registry.engine import NotHeld
from rung.stats.ensembles import CATEGORICAL, COLUMN_BITS, COLUMN_MASK, MISSING_RIGHT, NODE, OUTSIDE_RIGHT, Forest

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]
_MOST_NODES = 50_000_000


@dataclass(frozen=True)
class Tree:
    """One tree: rows go left where ``x <= threshold``. ``left`` is -1 at leaves, whose ``value`` is what they add, shape (n,) or (n, k).

    ``sets``: -1, or which set of categories goes left. Missing values, and with ``outside_right`` codes beyond a set's
    words, go right.
    """

    feature: Whole
    threshold: Floats
    left: Whole
    right: Whole
    value: Floats
    missing_right: Flags
    sets: Whole
    outside_right: Flags
    output: int = 0


@dataclass
class Sets:
    """Sets of category codes as bits, in the order they are entered."""

    bounds: list[int] = field(default_factory=lambda: [0])
    words: list[NDArray[np.uint32]] = field(default_factory=list)

    def add(self, words: NDArray[np.uint32]) -> int:
        """The number of a set."""
        self.words.append(words)
        self.bounds.append(self.bounds[-1] + len(words))
        return len(self.bounds) - 2

    def whole(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Bounds and words of all sets; no bounds where there is no set."""
        if not self.words:
            return np.zeros(0, np.uint32), np.zeros(0, np.uint32)
        return np.array(self.bounds, dtype=np.uint32), np.concatenate(self.words).astype(np.uint32)


def plain(feature: Whole, threshold: Floats, left: Whole, right: Whole, value: Floats, missing_right: Flags, output: int = 0) -> Tree:
    """A tree without categories."""
    nothing = np.full(len(left), -1)
    return Tree(
        feature=np.asarray(feature, np.int64), threshold=np.asarray(threshold, np.float64), left=np.asarray(left, np.int64),
        right=np.asarray(right, np.int64), value=np.asarray(value, np.float64), missing_right=np.asarray(missing_right, np.bool_),
        sets=nothing, outside_right=nothing > 0, output=output,
    )  # fmt: skip


def forest(
    trees: Sequence[Tree], features: int, base: Floats, *, sets: Sets | None = None, checks: int = 0, link: str = "identity",
    scale: float = 1.0, divisor: float = 1.0, single: bool = False,
) -> Forest:  # fmt: skip
    """The trees as one Forest. Raises NotHeld for what it cannot hold."""
    count = sum(len(tree.left) for tree in trees)
    if not trees or count > _MOST_NODES or not 0 < features < COLUMN_MASK:
        raise NotHeld(f"It has {len(trees)} trees, {count} nodes and {features} columns.")
    width = trees[0].value.shape[1] if trees[0].value.ndim > 1 else 1
    nodes, starts, values, held = [], [0], [], 0
    for tree in trees:
        made, leaves = _laid_out(tree, features, starts[-1], held if width > 1 else None)
        nodes.append(made)
        starts.append(starts[-1] + len(made))
        if width > 1:
            values.append(leaves)
            held += len(leaves)
    bounds, bits = (sets or Sets()).whole()
    return Forest(
        features=features, outputs=len(base), base=np.asarray(base, np.float64), starts=np.array(starts, np.uint32),
        column=np.array([tree.output for tree in trees], np.uint32), nodes=np.concatenate(nodes),
        values=np.concatenate(values).ravel() if values else np.zeros(0), bounds=bounds, bits=bits, width=width, checks=checks, link=link,
        scale=scale, divisor=divisor, single=single,
    )  # fmt: skip


def _laid_out(tree: Tree, features: int, start: int, held: int | None) -> tuple[NDArray[np.void], Floats]:
    """The nodes that a walk can reach, and the values of their leaves where these are rows."""
    order, child = _levels(tree.left, tree.right)
    leaf = tree.left[order] < 0
    made = np.zeros(len(order), dtype=NODE)
    categorical = ~leaf & (tree.sets[order] >= 0)
    flags = (
        (tree.missing_right[order] & ~leaf) * MISSING_RIGHT
        + categorical * CATEGORICAL
        + (tree.outside_right[order] & categorical) * OUTSIDE_RIGHT
    )
    asked = np.where(leaf, features, tree.feature[order])
    if (asked[~leaf] < 0).any() or (asked[~leaf] >= features).any():
        raise NotHeld("A tree asks for a column that is not there.")
    made["word"] = asked | (flags.astype(np.int64) << COLUMN_BITS)
    made["child"] = start + np.where(leaf, np.arange(len(order)), child)
    made["value"] = np.where(categorical, tree.sets[order], tree.threshold[order])
    if held is None:
        made["value"][leaf] = tree.value[order][leaf]
        return made, np.zeros((0, 1))
    rows = tree.value[order][leaf]
    made["value"][leaf] = held + np.arange(len(rows))
    return made, rows


def _levels(left: Whole, right: Whole) -> tuple[Whole, Whole]:
    """Old places in the new order, and the new place of the left child of each, by new place."""
    order: list[Whole] = []
    child: list[Whole] = []
    here, met = np.zeros(1, dtype=np.int64), 1
    while len(here):
        if met > len(left):
            raise NotHeld("The nodes of a tree are no tree.")
        inner = left[here] >= 0
        places = np.full(len(here), -1)
        places[inner] = met + 2 * np.arange(int(inner.sum()))
        order.append(here)
        child.append(places)
        here = np.stack([left[here[inner]], right[here[inner]]], axis=1).ravel()
        met += len(here)
        if len(here) and (here.min() < 0 or here.max() >= len(left)):
            raise NotHeld("A tree points outside of itself.")
    return np.concatenate(order), np.concatenate(child)
