"""Environments from locks, by the real uv."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path

import pytest

from rung.core.errors import Invalid, NotFound, Unavailable
from rung.pipelines.building import uv_environment
from rung.pipelines.installed import manifest_of, parsed
from tests.unit.pipelines.wheels import wheel


def _says(python: Path, code: str) -> str:
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_an_environment_holds_what_its_lock_names_and_can_run_a_step(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 2\n"})
    lock = tmp_path / "tiny.txt"
    lock.write_text("./wheels/tiny-1.0-py3-none-any.whl\n")
    built = uv_environment(lock, home=tmp_path / "home")
    assert built.version == platform.python_version()
    assert list(parsed(manifest_of(built.folder))) == ["tiny"]
    assert _says(built.python, "import tiny, rung.engine.child; print(tiny.RATE)") == "2"
    hidden = "import importlib.util as u; print([n for n in ('numpy', 'polars', 'pytest') if u.find_spec(n)])"
    assert _says(built.python, hidden) == "[]"
    assert uv_environment(lock, home=tmp_path / "home") == built


def test_a_wheel_changed_behind_its_lock_is_another_environment(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 2\n"})
    lock = tmp_path / "tiny.txt"
    lock.write_text(f"tiny @ file://{tmp_path}/wheels/tiny-1.0-py3-none-any.whl\n")
    before = uv_environment(lock, home=tmp_path / "home")
    wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 3\n"})
    after = uv_environment(lock, home=tmp_path / "home")
    assert before.folder != after.folder
    assert (_says(before.python, "import tiny; print(tiny.RATE)"), _says(after.python, "import tiny; print(tiny.RATE)")) == ("2", "3")
    assert parsed(manifest_of(before.folder))["tiny"] != parsed(manifest_of(after.folder))["tiny"]


def test_a_hash_that_does_not_match_is_told(tmp_path: Path) -> None:
    file = wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 2\n"})
    lock = tmp_path / "tiny.txt"
    lock.write_text(f"./wheels/tiny-1.0-py3-none-any.whl --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n")
    uv_environment(lock, home=tmp_path / "home")
    wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 3\n"})
    with pytest.raises(Invalid, match=r"not what tiny\.txt says") as caught:
        uv_environment(lock, home=tmp_path / "home")
    assert caught.value.code == "pipelines.lock_mismatch"


def test_a_missing_patch_is_replaced_by_the_nearest_with_a_note(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 2\n"})
    lock = tmp_path / "tiny.txt"
    lock.write_text("./wheels/tiny-1.0-py3-none-any.whl\n")
    minor = ".".join(platform.python_version_tuple()[:2])
    built = uv_environment(lock, home=tmp_path / "home", python=f"{minor}.99")
    assert built.version == platform.python_version()
    assert f"Python {minor}.99 is not here" in built.notes[0]


def test_a_lock_that_cannot_be_had_is_unavailable(tmp_path: Path) -> None:
    lock = tmp_path / "gone.txt"
    with pytest.raises(NotFound):
        uv_environment(lock, home=tmp_path / "home")
    lock.write_text("./wheels/none-1.0-py3-none-any.whl\n")
    with pytest.raises(Unavailable, match=r"gone\.txt could not be built"):
        uv_environment(lock, home=tmp_path / "home")
