"""Why a step ran is told by name: parameter, input, function, library, file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rung.pipelines.explaining import changes, fresh, likest, reason_of
from rung.pipelines.records import Change
from rung.pipelines.store import CacheEntry

ONE, TWO = "blake3:" + "1" * 64, "blake3:" + "2" * 64
PARTS: dict[str, Any] = {
    "code": "c1",
    "params": {"lr": ["json", ONE, {}, "0.1"]},
    "inputs": {"rows": [[["polars", ONE, {}]], []]},
    "environment": "e1",
    "seed": 1,
    "salt": "",
    "files": {"a.bin": ONE},
    "variables": {"API": "x"},
}
DETAILS = {
    "c1": {"units": {"pipelines.py:fit": ONE, "pipelines.py:RATE": "0.5"}},
    "c2": {"units": {"pipelines.py:fit": TWO, "pipelines.py:RATE": "0.5", "helpers.py:low": ONE}},
    "c3": {"units": {"pipelines.py:fit": ONE, "pipelines.py:RATE": "0.6"}},
    "c4": {"units": {"pipelines.py:fit": ONE, "pipelines.py:RATE": "0.5"}},
    "e1": {"python": "3.11", "libraries": {"numpy": "2.0", "scipy": "1.0"}},
    "e2": {"python": "3.12", "libraries": {"numpy": "2.1"}},
    "e3": {"python": "3.11", "lock": ONE, "libraries": {"numpy": "2.0", "scipy": "1.0"}},
}


def _changes(**other: Any) -> tuple[Change, ...]:
    return changes({**PARTS, **other}, PARTS, DETAILS)


def _reason(**other: Any) -> str:
    return reason_of(_changes(**other))


def test_nothing_differs_from_itself() -> None:
    assert _changes() == ()
    assert reason_of(()) == "its result was not kept"


def test_a_parameter_is_told_from_what_to_what() -> None:
    assert _reason(params={"lr": ["json", TWO, {}, "0.2"]}) == "parameter lr changed from 0.1 to 0.2"
    assert _reason(params={}) == "parameter lr changed from 0.1 to none"
    assert _reason(params={**PARTS["params"], "n": ["json", TWO, {}]}) == f"parameter n changed from none to json {'2' * 12}"


def test_an_input_is_told_by_name() -> None:
    assert _changes(inputs={"rows": [[["polars", TWO, {}]], []]}) == (
        Change(part="input", name="rows", before=f"polars {'1' * 12}", after=f"polars {'2' * 12}"),
    )
    assert _reason(inputs={"rows": [[["polars", TWO, {}]], []]}) == "input rows changed"


def test_a_path_into_an_input_counts() -> None:
    assert len(_changes(inputs={"rows": [[["polars", ONE, {}]], ["auc"]]})) == 1


def test_code_is_told_by_file_and_name() -> None:
    assert _reason(code="c2") == "code helpers.py:low is new; code pipelines.py:fit changed"


def test_a_constant_is_told_from_what_to_what() -> None:
    assert _reason(code="c3") == "pipelines.py:RATE changed from 0.5 to 0.6"


def test_code_that_differs_in_no_unit_is_told_all_the_same() -> None:
    assert _reason(code="c4") == "a value its code uses changed"
    assert _reason(code="unknown") == "its code changed"


def test_a_library_is_told_with_its_versions() -> None:
    assert _reason(environment="e2") == "Python changed from 3.11 to 3.12; numpy 2.0 → 2.1; scipy 1.0 → none"


def test_a_lock_with_the_same_versions_is_told() -> None:
    assert _reason(environment="e3") == f"the lock changed from none to {'1' * 12}"


def test_files_variables_seed_and_salt_are_told() -> None:
    assert _reason(files={"a.bin": TWO, "b.bin": ONE}) == "file a.bin changed; file b.bin is new"
    assert _reason(variables={"API": "y"}) == "variable API changed"
    assert _reason(seed=2) == "seed changed from 1 to 2"
    assert _reason(salt="again") == "salt changed from none to again"


def test_entries_from_before_these_parts_were_kept_are_compared_by_what_they_have() -> None:
    old = {key: value for key, value in PARTS.items() if key not in {"files", "variables"}}
    assert changes({**PARTS, "files": {}, "variables": {}}, old, {}) == ()


def test_many_changes_are_counted() -> None:
    params = {f"p{number}": ["json", ONE, {}, "1"] for number in range(8)}
    assert reason_of(changes({**PARTS, "params": {**PARTS["params"], **params}}, PARTS, DETAILS)).endswith(" and 3 more")


def test_the_likest_earlier_result_is_compared_with() -> None:
    newest = CacheEntry("k1", "s1", (), {**PARTS, "code": "c2", "seed": 2})
    older = CacheEntry("k2", "s2", (), {**PARTS, "code": "c2"})
    assert likest(PARTS, [newest, older]) is older
    assert likest(PARTS, []) is None


def test_a_result_is_used_until_it_is_too_old() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert fresh(now - timedelta(days=9), None, now)
    assert fresh(now - timedelta(seconds=59), 60.0, now)
    assert not fresh(now - timedelta(seconds=60), 60.0, now)
    assert reason_of((), old_s=60.0) == "its result is older than 60 s"
    assert reason_of((), earlier=False) == "it has no earlier result"
