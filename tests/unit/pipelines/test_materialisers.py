"""Values become canonical bytes and come back equal; what cannot is one clear message."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from rung.core.errors import Invalid
from rung.pipelines.materialisers import compare, load, materialise
from rung.pipelines.materialisers.estimator import Estimator

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


class Point(msgspec.Struct, frozen=True):
    x: int
    y: float


def _round_trip(value: object, scratch: Path) -> Any:
    kind, payload = materialise(value, where="output 'x' of step 's'")
    return load(kind, payload, scratch)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first value waits for what the others loaded
@given(value=_PLAIN)
def test_plain_values_come_back_equal_and_of_their_type(value: object) -> None:
    found = _round_trip(value, Path("/nowhere"))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        {1, 2, 3},
        {"$tuple": 1},
        {1: "a", (2, 3): "b"},
        Decimal("1.10"),
        datetime(2026, 1, 1, tzinfo=UTC),
        date(2026, 1, 1),
        timedelta(days=2),
        2**70,
        Point(1, 2.5),
    ],
)
def test_values_that_json_has_no_word_for_come_back_equal(value: object, tmp_path: Path) -> None:
    assert _round_trip(value, tmp_path) == value


def test_nan_comes_back(tmp_path: Path) -> None:
    assert np.isnan(_round_trip(float("nan"), tmp_path))


def test_frames_and_arrays_come_back_equal(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, None, 3], "t": [datetime(2026, 1, 1), None, None], "s": ["x", "y", None]})
    table = pd.DataFrame({"a": [1.5, 2.5]}, index=pd.Index([7, 8], name="key"))
    array = np.arange(6, dtype=">f4").reshape(2, 3)
    assert frame.equals(_round_trip(frame, tmp_path))
    pd.testing.assert_frame_equal(table, _round_trip(table, tmp_path))
    np.testing.assert_array_equal(array, _round_trip(array, tmp_path))


def test_a_container_of_frames_and_estimators_comes_back(tmp_path: Path) -> None:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    found = _round_trip({"model": model, "parts": [pl.DataFrame({"a": [1]}), 3]}, tmp_path)
    assert found["model"].coef_ == pytest.approx(model.coef_)
    assert found["parts"][0].equals(pl.DataFrame({"a": [1]}))


def test_files_and_folders_come_back_with_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.txt").write_text("hello")
    found = _round_trip(folder, tmp_path / "scratch")
    assert (found.name, (found / "inner" / "a.txt").read_text()) == ("report", "hello")
    assert _round_trip(folder / "inner" / "a.txt", tmp_path / "scratch").name == "a.txt"


def test_an_estimator_has_the_same_bytes_whether_equal_values_in_it_are_one_object_or_two() -> None:
    name, number, pair = "far away", 1234.5, (7000, "far away")
    one, two = LogisticRegression(), LogisticRegression()
    one.names_, one.numbers_, one.pairs_ = [name, name], {"a": number, "b": number}, [pair, pair]
    again = "".join(["far ", "away"])
    two.names_, two.numbers_ = [name, again], {"a": number, "b": float("1234.5")}
    two.pairs_ = [pair, (int("7000"), again)]
    assert two.names_[0] is not two.names_[1]
    assert Estimator.dump(one).data == Estimator.dump(two).data


def test_scalars_of_numpy_in_an_estimator_are_told_apart_by_their_values_only() -> None:
    one, two, other = LogisticRegression(), LogisticRegression(), LogisticRegression()
    held = np.float64(0.25)
    one.both_, two.both_, other.both_ = [held, held], [held, np.float64(0.25)], [held, np.float64(0.5)]
    assert Estimator.dump(one).data == Estimator.dump(two).data
    assert Estimator.dump(one).data != Estimator.dump(other).data


def test_what_an_estimator_holds_twice_is_one_object_again_where_it_can_change(tmp_path: Path) -> None:
    one, two = LogisticRegression(), LogisticRegression()
    shared = np.arange(3.0)
    one.both_, two.both_ = [shared, shared], [shared, shared.copy()]
    assert Estimator.dump(one).data != Estimator.dump(two).data
    back = Estimator.load(Estimator.dump(one), tmp_path)
    assert back.both_[0] is back.both_[1]


def test_the_order_of_a_set_and_bytes_between_fields_do_not_show_in_an_estimator() -> None:
    gaps = np.dtype([("flag", "u1"), ("value", "f8")], align=True)
    one, two = LogisticRegression(), LogisticRegression()
    one.rows_, two.rows_ = np.zeros(2, gaps), np.frombuffer(b"\xff" * 32, gaps).copy()
    two.rows_["flag"], two.rows_["value"] = 0, 0.0
    one.names_, two.names_ = {8, 0}, {0, 8}  # eight slots: whoever comes first lies first
    assert list(one.names_) != list(two.names_)
    assert Estimator.dump(one).data == Estimator.dump(two).data


def test_an_estimator_has_the_same_bytes_in_every_process() -> None:
    program = (
        "from sklearn.linear_model import LogisticRegression as L; from rung.pipelines.materialisers import materialise;"
        "from rung.core.digests import digest_of;"
        "print(digest_of(materialise(L().fit([[0.0], [1.0], [3.0]], [0, 1, 1]), where='')[1].data))"
    )
    found = {subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(found) == 1


@pytest.mark.parametrize("value", [lambda: 1, object(), np.array([object()]), open, {"a": [print]}])
def test_what_cannot_be_kept_names_step_output_and_type(value: object) -> None:
    with pytest.raises(Invalid, match="output 'x' of step 's'") as failure:
        materialise(value, where="output 'x' of step 's'")
    assert failure.value.code == "pipelines.unserialisable"


@pytest.mark.parametrize(
    ("original", "repeated", "likeness"),
    [
        ({"auc": 0.7}, {"auc": 0.7}, "identical"),
        ({"auc": 0.7}, {"auc": 0.7 + 1e-12}, "equivalent"),
        ({"auc": 0.7}, {"auc": 0.71}, "different"),
        (pl.DataFrame({"a": [1.0, 2.0]}), pl.DataFrame({"a": [1.0, 2.0 + 1e-12]}), "equivalent"),
        (pl.DataFrame({"a": [1.0, 2.0]}), pl.DataFrame({"a": [1.0]}), "different"),
        (np.array([1.0, np.nan]), np.array([1.0 + 1e-12, np.nan]), "equivalent"),
        (np.array([1, 2]), np.array([1, 3]), "different"),
    ],
)
def test_values_are_compared_within_a_tolerance(original: object, repeated: object, likeness: str, tmp_path: Path) -> None:
    kind, first = materialise(original, where="")
    _, second = materialise(repeated, where="")
    assert compare(kind, first, second, tolerance=1e-9, scratch=tmp_path).likeness == likeness
