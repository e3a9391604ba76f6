"""The text of a LightGBM booster, held against its grammar before LightGBM's own parser sees it.

That parser trusts lengths, sizes and every number that points somewhere: a damaged file ends the process. So each line
must be one LightGBM writes, of the length the tree's leaves ask for, and point at what is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rung.registry.boosters import FAULTS, must, walk_ends, within
from rung.registry.format import unreadable

_HEAD = frozenset(
    {
        "tree", "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective", "feature_names",
        "feature_infos", "monotone_constraints", "tree_sizes", "average_output",
    }
)  # fmt: skip
_A_SPLIT = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_A_SPLIT_OR_NONE = ("internal_value", "internal_weight", "internal_count")
_A_LEAF_OR_NONE = ("leaf_weight", "leaf_count")
_LINEAR = ("leaf_const", "num_features", "leaf_features", "leaf_coeff")
_CATEGORIES = ("cat_boundaries", "cat_threshold")
_TREE = frozenset(
    {
        "num_leaves", "num_cat", "leaf_value", "is_linear", "shrinkage", *_A_SPLIT, *_A_SPLIT_OR_NONE, *_A_LEAF_OR_NONE, *_LINEAR,
        *_CATEGORIES,
    }
)  # fmt: skip
_OBJECTIVE = re.compile(r"^[a-z_0-9]+( (sqrt|[a-z_]+:-?[0-9.e+-]{1,30}))*$")
_NUMBERS = re.compile(r"^[-+0-9.eE \tnaif]*$")
CATEGORIES = "pandas_categorical:"
_END = "\nend of trees\n"
_MOST_CLASSES = 100_000


def checked_lightgbm(text: str) -> str:
    """The text without what predicting does not need: importances and settings, which its parser trusts as well.

    Raises:
        Invalid: it is no LightGBM model, or a tree of it points outside of itself.
    """
    head = lightgbm_head(text)
    if not text.startswith("tree\n") or _END not in text or not {"feature_names", "max_feature_idx"} <= head.keys():
        raise unreadable("The file is no LightGBM model")
    try:
        trees, tail = _parted(text, head)
        features = len(head["feature_names"].split(" "))
        _check_head(head, features, len(trees))
        for number, block in enumerate(trees):
            _check_tree(_lines(block, number), features)
        kept = [line for line in tail.splitlines() if line.startswith(CATEGORIES)][-1:]
    except FAULTS:
        raise unreadable("The LightGBM model is damaged, or a tree of it points outside of itself") from None
    return "\n".join([text[: text.index(_END) + len(_END)], *kept, ""])


def lightgbm_head(text: str) -> dict[str, str]:
    """The names and values before the first tree."""
    return dict(line.partition("=")[::2] for line in text[: _end_of_head(text)].splitlines())


def _end_of_head(text: str) -> int:
    found = [place for place in (text.find("\nTree="), text.find(_END)) if place >= 0]
    return min(found, default=0)


def _parted(text: str, head: Mapping[str, str]) -> tuple[list[str], str]:
    """The trees, cut as ``tree_sizes`` says, and what follows them. Raises ValueError where the cuts meet no tree."""
    begin, end = _end_of_head(text) + 1, text.index(_END) + 1
    body = text[begin:end].encode()
    if "tree_sizes" not in head:
        must(not body.strip())
        return [], text[end:].partition("\n")[2]
    sizes = _whole(head["tree_sizes"])
    must(bool((sizes > 0).all()) and int(sizes.sum()) <= len(body))
    edges = np.concatenate([[0], np.cumsum(sizes)])
    trees = [body[start:stop].decode() for start, stop in pairwise(edges.tolist())]
    must(not body[edges[-1] :].strip())
    return trees, text[end:].partition("\n")[2]


def _check_head(head: Mapping[str, str], features: int, trees: int) -> None:
    must(set(head) - {""} <= _HEAD and int(head["max_feature_idx"]) == features - 1)
    must(head["version"] in {"v2", "v3", "v4"})
    classes, each = int(head["num_class"]), int(head["num_tree_per_iteration"])
    must(1 <= classes <= _MOST_CLASSES and each == classes and trees % each == 0 and int(head["label_index"]) >= 0)
    objective = head.get("objective")
    must(objective is None or bool(_OBJECTIVE.match(objective)))
    told = re.search(r" num_class:([0-9]+)", objective or "")
    must((int(told[1]) if told else 1) == classes or objective in {None, "custom", "none"})
    must(len(head.get("feature_infos", " ".join(["none"] * features)).split(" ")) == features)
    must("monotone_constraints" not in head or len(_whole(head["monotone_constraints"])) == features)


def _lines(block: str, number: int) -> dict[str, str]:
    """Names and values of a tree, each line once."""
    lines = [line for line in block.split("\n") if line]
    must(block.startswith(f"Tree={number}\n"))  # LightGBM reads from the very byte that tree_sizes names
    found = dict(line.partition("=")[::2] for line in lines[1:])
    must(len(found) == len(lines) - 1 and set(found) <= _TREE and all(_NUMBERS.match(value) for value in found.values()))
    return found


def _check_tree(tree: Mapping[str, str], features: int) -> None:
    leaves, sets = int(tree["num_leaves"]), int(tree["num_cat"])
    splits = leaves - 1
    must(leaves >= 1 and sets >= 0 and len(_real(tree["leaf_value"])) == leaves)
    must(np.isfinite(float(tree["shrinkage"])))
    for name in _A_LEAF_OR_NONE:
        must(len(_real(tree.get(name, ""))) in {0, leaves})
    for name in _A_SPLIT_OR_NONE:
        must(len(_real(tree.get(name, ""))) in {0, splits})
    if tree.get("is_linear", "0") != "0":
        _check_linear(tree, leaves, features)
    if not splits:
        return
    held = {name: _real(tree[name]) if name in {"split_gain", "threshold"} else _whole(tree[name]) for name in _A_SPLIT}
    must({len(values) for values in held.values()} == {splits})
    left, right = held["left_child"], held["right_child"]
    for child in (left, right):
        must(bool(((child < splits) & (child >= -leaves)).all()))
    must(walk_ends(np.where(left < 0, -1, left), np.where(right < 0, -1, right)))
    must(within(held["split_feature"], features) and within(held["decision_type"], 16))
    codes = held["threshold"][held["decision_type"] % 2 == 1]
    must(within(codes, sets))
    if sets:
        bounds, words = _whole(tree["cat_boundaries"]), _whole(tree["cat_threshold"])
        must(len(bounds) == sets + 1 and bounds[0] == 0 and bounds[-1] == len(words) and bool((np.diff(bounds) >= 0).all()))
        must(within(words, 1 << 32))


def _check_linear(tree: Mapping[str, str], leaves: int, features: int) -> None:
    counts = _whole(tree["num_features"])
    must(tree["is_linear"] == "1" and len(counts) == len(_real(tree["leaf_const"])) == leaves and bool((counts >= 0).all()))
    chosen = _whole(tree["leaf_features"])
    must(len(chosen) == len(_real(tree["leaf_coeff"])) == int(counts.sum()) and within(chosen, features))


def _whole(line: str) -> NDArray[np.int64]:
    return np.asarray(line.split(), dtype=np.int64)


def _real(line: str) -> NDArray[np.float64]:
    return np.asarray(line.split(), dtype=np.float64)
