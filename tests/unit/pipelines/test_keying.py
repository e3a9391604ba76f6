"""The parts of a key: code, libraries by level, declared files and variables, and the code of record inputs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.core.digests import digest_of
from rung.core.errors import Invalid
from rung.pipelines import libraries
from rung.pipelines.authoring import Step
from rung.pipelines.keying import Keying, libraries_in, short_text
from rung.pipelines.libraries import Library, LibraryIndex, Requirement
from rung.pipelines.records import StepOptions
from rung.pipelines.rules import cache_key


def count(x: int) -> int:
    return x + 1


def add(x: int) -> Any:
    return np.array([x])


@dataclasses.dataclass
class Row:
    value: int

    def doubled(self) -> int:
        return self.value * 2


def _step(function: Any = count, **options: Any) -> Step[..., Any]:
    return Step(function, name="step", options=StepOptions(**options))


def _parts(keying: Keying, step: Step[..., Any], **inputs: Any) -> dict[str, Any]:
    return keying.parts(step, params={}, inputs=inputs, seed=1)


def _index(numpy: str = "2.0", other: str = "1.0") -> LibraryIndex:
    return LibraryIndex(
        {
            "numpy": Library("numpy", numpy, (Requirement("base"),)),
            "base": Library("base", "1.0"),
            "other": Library("other", other),
            "polars": Library("polars", "1.0"),
        },
        {"numpy": ("numpy",), "other": ("other",), "polars": ("polars",)},
    )


def test_a_library_the_code_does_not_reach_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(step: Step[..., Any], index: LibraryIndex) -> str:
        monkeypatch.setattr("rung.pipelines.keying.library_index", lambda cache: index)
        return cache_key("step", _parts(Keying(tmp_path, None), step))

    assert key(_step(add), _index()) == key(_step(add), _index(other="2.0"))
    assert key(_step(add), _index()) != key(_step(add), _index(numpy="2.1"))
    assert key(_step(count), _index()) == key(_step(count), _index(numpy="2.1"))


def test_what_a_library_requires_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def environment(index: LibraryIndex) -> str:
        monkeypatch.setattr("rung.pipelines.keying.library_index", lambda cache: index)
        return str(_parts(Keying(tmp_path, None), _step(add))["environment"])

    changed = _index()
    changed.libraries["base"] = Library("base", "1.1")
    assert environment(_index()) != environment(changed)


def test_the_library_of_an_input_counts_though_the_code_does_not_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.pipelines.keying.library_index", lambda cache: _index())
    keying = Keying(tmp_path, None)
    found = _parts(keying, _step(), x=[[["polars", "blake3:" + "0" * 64, {"kind": "DataFrame"}]], []])["environment"]
    assert keying.take_details()[found]["libraries"] == {"polars": "1.0"}


@pytest.mark.parametrize("level", ["closure", "lock", "python", "none"])
def test_an_edit_of_the_lock_counts_at_its_level_only(tmp_path: Path, level: Any) -> None:
    found = set()
    for text in ("numpy==2.0\n", "numpy==2.0\nother==1.0\n"):
        (tmp_path / "requirements.lock").write_text(text)
        found.add(_parts(Keying(tmp_path, None, level), _step())["environment"])
    assert len(found) == (2 if level == "lock" else 1)


def test_a_step_with_a_lock_of_its_own_is_keyed_by_it(tmp_path: Path) -> None:
    found = set()
    for text in ("numpy==2.0\n", "numpy==2.1\n"):
        (tmp_path / "own.lock").write_text(text)
        found.add(_parts(Keying(tmp_path, None), _step(environment="own.lock"))["environment"])
    assert len(found) == 2
    with pytest.raises(Invalid, match=r"gone\.lock"):
        _parts(Keying(tmp_path, None), _step(environment="gone.lock"))


def test_the_content_of_declared_files_counts(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").write_bytes(b"one")
    before = _parts(Keying(tmp_path, None), _step(files=("weights/*.bin",)))["files"]
    assert before == {"weights/a.bin": digest_of(b"one")}
    (tmp_path / "weights" / "a.bin").write_bytes(b"twos")
    assert _parts(Keying(tmp_path, None), _step(files=("weights/*.bin",)))["files"] != before
    (tmp_path / "weights" / "b.bin").write_bytes(b"new")
    assert set(_parts(Keying(tmp_path, None), _step(files=("weights",)))["files"]) == {"weights/a.bin", "weights/b.bin"}


def test_declared_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"gone/\*\.bin"):
        _parts(Keying(tmp_path, None), _step(files=("gone/*.bin",)))


def test_the_value_of_a_declared_variable_counts_and_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, found = _step(variables=("API_BASE",)), []
    for value in ("one", "two", None):
        if value is None:
            monkeypatch.delenv("API_BASE")
        else:
            monkeypatch.setenv("API_BASE", value)
        found.append(_parts(Keying(tmp_path, None), step)["variables"]["API_BASE"])
    assert len(set(found)) == 3
    assert found[2] == ""
    assert "one" not in found


def test_the_class_of_a_record_input_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"x": [[["record", "blake3:" + "0" * 64, {"type": f"{__name__}:Row"}]], []]}
    before = _parts(Keying(tmp_path, None), _step(), **row)["code"]
    assert before != _parts(Keying(tmp_path, None), _step())["code"]
    monkeypatch.setattr(Row, "doubled", lambda self: self.value * 3)
    assert _parts(Keying(tmp_path, None), _step(), **row)["code"] != before


def test_code_is_as_it_was_when_the_run_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, step = sys.modules[__name__], _step(counted)
    keying = Keying(tmp_path, None)
    keying.prepare([step])
    before = fresh = _parts(keying, step)["code"]
    monkeypatch.setattr(module, "RATE", 3)
    assert _parts(keying, step)["code"] == before
    fresh = _parts(Keying(tmp_path, None), step)["code"]
    assert fresh != before


RATE = 2


def counted(x: int) -> int:
    return x * RATE


def test_a_snapshot_stands_for_all_code(tmp_path: Path) -> None:
    keying = Keying(tmp_path, None, code="blake3:snapshot")
    assert _parts(keying, _step())["code"] == "blake3:snapshot"
    assert keying.unsure(_step()) == ()


def test_details_are_taken_once(tmp_path: Path) -> None:
    keying = Keying(tmp_path, None)
    parts = _parts(keying, _step())
    assert {parts["code"], parts["environment"]} <= set(keying.take_details())
    assert keying.take_details() == {}


def test_locks_of_both_kinds_are_read() -> None:
    uv = b'version = 1\n[[package]]\nname = "Num_Py"\nversion = "2.0"\n'
    assert libraries_in(uv) == {"num-py": "2.0"}
    assert libraries_in(b"# note\n-r other.txt\nnumpy[x]==2.0 ; python_version > '3' \\\n  --hash=sha256:00\n") == {"numpy": "2.0"}
    assert libraries_in(b"version = [") == {}


def test_only_small_plain_json_is_told() -> None:
    assert [short_text(b"0.1"), short_text(b'"a"'), short_text(b"null"), short_text(b"\xff"), short_text(b'"' + b"a" * 300 + b'"')] == [
        "0.1", '"a"', "null", "", "",
    ]  # fmt: skip


def test_the_index_is_asked_for_once_an_environment() -> None:
    assert libraries.library_index(None) is libraries.library_index(None)
