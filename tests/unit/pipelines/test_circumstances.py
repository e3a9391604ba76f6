"""What a run is made with: switches, files it reads, and what is installed."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from rung.pipelines.circumstances import hardware, input_files, switches, variables
from rung.pipelines.installed import edited, manifest, manifest_in, named_files, parsed
from rung.pipelines.records import StepOptions, StepSpec


def _installed(place: Path, name: str, version: str, text: str, *, extra: str = "") -> Path:
    (place / f"{name}.py").write_text(text)
    folder = place / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    told = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    (folder / "RECORD").write_text(f"{name}.py,sha256={told},{len(text)}\n{folder.name}/RECORD,,\n{extra}")
    return folder


def test_switches_are_those_that_change_numbers_and_those_asked_for() -> None:
    found = switches({"OMP_NUM_THREADS": "2", "HOME": "/root", "REGION": "eu", "SECRET": "x"}, ("REGION",))
    assert variables(found) == {"OMP_NUM_THREADS": "2", "REGION": "eu"}
    assert found["python.hashing"] in {"random", "fixed"}
    assert "HOME" not in found
    assert "SECRET" not in found


def test_a_set_hash_seed_is_fixed_hashing() -> None:
    assert switches({"PYTHONHASHSEED": "0"})["python.hashing"] == "fixed"


def test_the_machine_tells_processor_and_instructions() -> None:
    found = hardware()
    assert found["cpus"] >= 1
    assert found["platform"].startswith("Linux")
    assert "isa" in found


def test_files_read_are_parameters_that_are_paths_and_declared_ones(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("x\n1\n")
    (tmp_path / "weights.bin").write_bytes(b"w")
    spec = StepSpec(key="load", step="load", target="m:load", options=StepOptions(files=("*.bin",)))
    found = input_files(tmp_path, ["data/a.csv", 0.1, "nothing", "data"], [spec])
    assert sorted(found) == ["data/a.csv", "weights.bin"]


def test_wheels_that_a_lock_names_are_found(tmp_path: Path) -> None:
    lock = tmp_path / "tiny.txt"
    lock.write_text("./wheels/tiny-1.0-py3-none-any.whl\nother @ file:///srv/other-2.0-py3-none-any.whl\nnumpy==2.0.0\n"
                    "far @ https://example.org/far-1.0-py3-none-any.whl\n")  # fmt: skip
    assert named_files(lock) == [tmp_path / "wheels/tiny-1.0-py3-none-any.whl", Path("/srv/other-2.0-py3-none-any.whl")]


def test_a_manifest_changes_with_content_under_the_same_version(tmp_path: Path) -> None:
    _installed(tmp_path, "tiny", "1.0", "RATE = 1\n")
    before = parsed(manifest_in((str(tmp_path),)))
    _installed(tmp_path, "tiny", "1.0", "RATE = 2\n")
    after = parsed(manifest_in((str(tmp_path),)))
    assert before["tiny"][0] == after["tiny"][0] == "1.0"
    assert before["tiny"][1] != after["tiny"][1]


def test_what_an_installer_adds_does_not_change_a_manifest(tmp_path: Path) -> None:
    _installed(tmp_path, "tiny", "1.0", "RATE = 1\n")
    before = manifest_in((str(tmp_path),))
    added = "tiny-1.0.dist-info/INSTALLER,sha256=x,3\n../../../bin/tiny,sha256=x,9\n__pycache__/tiny.cpython-311.pyc,,\n"
    _installed(tmp_path, "tiny", "1.0", "RATE = 1\n", extra=added)
    assert manifest_in((str(tmp_path),)) == before


def test_a_file_edited_in_place_is_named(tmp_path: Path) -> None:
    _installed(tmp_path, "tiny", "1.0", "RATE = 1\n")
    assert list(edited(["tiny"], tmp_path)) == []
    (tmp_path / "tiny.py").write_text("RATE = 3\n")
    assert list(edited(["tiny", "other"], tmp_path)) == [("tiny", "tiny.py")]


def test_this_interpreter_has_a_manifest_that_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = manifest(tmp_path)
    assert "numpy" in parsed(first)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [first]
