"""Forests over many rows: the compiled part and NumPy come to the same bits, whatever way the compiled part takes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rung.stats import kernel
from rung.stats.ensembles import COLUMN_BITS, MISSING_RIGHT, NODE, REFUSE_NAN, Forest, scorer

pytestmark = pytest.mark.skipif(kernel.KERNEL is None, reason="the compiled part was not built")
FEATURES = 5
HEIGHTS = (1, 7, 31, 32, 33, 64, 200)


def tree(chance: np.random.Generator, leaves: int, start: int, rows: int) -> list[tuple[float, int, int]]:
    """Nodes of a tree of random form, at ``start`` of the forest; its leaves name one of ``rows`` rows of values, or hold a number."""
    nodes = [(0.0, start, FEATURES)]
    for _ in range(leaves - 1):
        ends = [place for place, node in enumerate(nodes) if node[2] == FEATURES]
        place, flag = int(chance.choice(ends)), int(chance.integers(2)) * MISSING_RIGHT
        nodes[place] = (round(float(chance.normal()), 1), start + len(nodes), int(chance.integers(FEATURES)) | flag << COLUMN_BITS)
        nodes += [(0.0, start + len(nodes) + more, FEATURES) for more in range(2)]
    return [
        (float(chance.integers(rows)) if rows else float(np.float32(chance.normal())), *node[1:]) if node[2] == FEATURES else node
        for node in nodes
    ]


def forest(
    chance: np.random.Generator, sizes: list[int], *, outputs: int = 1, rows: int = 0, single: bool = False, checks: int = 0
) -> Forest:
    nodes: list[tuple[float, int, int]] = []
    starts = [0]
    for size in sizes:
        nodes += tree(chance, size, len(nodes), rows)
        starts.append(len(nodes))
    empty = np.empty(0, np.uint32)
    return Forest(
        features=FEATURES, outputs=outputs, base=chance.normal(size=outputs).astype(np.float32).astype(np.float64), starts=np.array(starts, np.uint32),
        column=np.array([number % outputs for number in range(len(sizes))], np.uint32), nodes=np.array(nodes, NODE),
        values=chance.normal(size=rows * outputs), bounds=empty, bits=empty, width=outputs if rows else 1, single=single, checks=checks,
    )  # fmt: skip


def table(chance: np.random.Generator, height: int, *, missing: bool) -> NDArray[np.float64]:
    found = chance.normal(size=(height, FEATURES)).round(1)  # so that many are equal to a bound
    if missing:
        found[chance.random(found.shape) < 0.2] = np.nan
        found[0, 0] = np.inf
    return found


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    ("sizes", "outputs", "rows", "single"),
    [
        ([31] * 20, 1, 0, False), ([1, 2, 64, 63, 1], 1, 0, False), ([64] * 3 + [65], 1, 0, False), ([8] * 9, 3, 0, False),
        ([16] * 5, 3, 10, False), ([20] * 10, 1, 0, True), ([200], 1, 0, False),
    ],
)  # fmt: skip
def test_every_way_comes_to_the_same_bits(sizes: list[int], outputs: int, rows: int, single: bool, missing: bool) -> None:
    chance = np.random.default_rng(len(sizes) + outputs)
    model = forest(chance, sizes, outputs=outputs, rows=rows, single=single)
    score = scorer(model)
    for height in HEIGHTS:
        given = table(chance, height, missing=missing)
        assert score(given).tobytes() == model.score(given).tobytes()


def test_rows_that_a_model_does_not_take_are_refused_wherever_they_stand() -> None:
    chance = np.random.default_rng(2)
    model = forest(chance, [31] * 4, checks=REFUSE_NAN)
    for place in (0, 31, 32, 90, 99):
        given = table(chance, 100, missing=False)
        assert np.isfinite(scorer(model)(given)).all()
        given[place, 1] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            scorer(model)(given)


def test_trees_whose_nodes_share_children_are_walked_and_made_ready_without_end() -> None:
    # each node's two children are the next two nodes, so that there are more paths than anybody can count
    inner = [(0.0, place + 1, 0) for place in range(100)]
    model = Forest(
        features=1, outputs=1, base=np.zeros(1), starts=np.array([0, 102], np.uint32), column=np.zeros(1, np.uint32),
        nodes=np.array([*inner, (1.0, 100, 1), (2.0, 101, 1)], NODE), values=np.empty(0), bounds=np.empty(0, np.uint32), bits=np.empty(0, np.uint32),
    )  # fmt: skip
    given = np.linspace(-1, 1, 64).reshape(-1, 1)
    assert scorer(model)(given).tobytes() == model.score(given).tobytes()
