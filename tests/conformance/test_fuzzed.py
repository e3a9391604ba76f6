"""Files changed at random, number by number: each is refused or answers, and none ends the process that reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.core.errors import Invalid
from rung.registry.format import FORMATS
from rung.registry.soundness import check_estimator
from tests.conformance.fuzzing import KINDS, LABEL, ROWS, lightgbm, xgboost_dart

ROOT = Path(__file__).parents[2]


def fuzzed(kind: str, first: int, last: int, progress: Path) -> None:
    command = [sys.executable, "-m", "tests.conformance.fuzzing", kind, str(first), str(last), str(progress)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{kind} {progress.read_text()}: {done.returncode} {done.stdout[-500:]} {done.stderr[-500:]}"


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost dart", "skops machine"])
def test_a_few_changes_of_a_file_end_nothing(kind: str, tmp_path: Path) -> None:
    fuzzed(kind, 85, 105, tmp_path / "progress")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_changes_of_a_file_end_nothing(kind: str, tmp_path: Path) -> None:
    fuzzed(kind, 0, 600, tmp_path / "progress")


def test_a_tree_cut_a_byte_off_is_refused() -> None:
    name, path, data, _ = lightgbm()
    longer = data.replace(b"split_gain=", b"split_gain=1", 1)
    with pytest.raises(Invalid, match="damaged"):
        FORMATS.get(name).load({path: longer}, "binary")


def with_tree(change: Callable[[dict[str, Any]], None]) -> bytes:
    found = json.loads(xgboost_dart()[2])
    change(found["learner"]["gradient_booster"]["gbtree"]["model"]["trees"][1])
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["parents"].__setitem__(1, -1),
        lambda tree: tree["parents"].__setitem__(1, 2**32 - 1),
        lambda tree: tree["parents"].__setitem__(0, 1),
        lambda tree: tree["tree_param"].__setitem__("size_leaf_vector", "-128"),
        lambda tree: tree["left_children"].__setitem__(0, 10**6),
        lambda tree: tree["left_children"].__setitem__(0, 0),
        lambda tree: tree["split_indices"].__setitem__(0, 3),
        lambda tree: tree["tree_param"].__setitem__("num_nodes", "2147483647"),
    ],
)
def test_a_tree_of_xgboost_that_points_outside_of_itself_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(Invalid, match="points outside"):
        FORMATS.get("xgboost").load({"model.json": with_tree(change)}, "binary")


def test_a_machine_with_more_vectors_named_than_held_is_refused() -> None:
    from sklearn.svm import SVC

    machine = SVC().fit(ROWS, LABEL)
    check_estimator(machine)
    machine.support_ = np.concatenate([machine.support_, machine.support_])
    with pytest.raises(Invalid, match="points outside"):
        check_estimator(machine)
