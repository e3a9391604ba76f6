"""From imported names to installed libraries and what they require."""

from __future__ import annotations

from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

from rung.pipelines import libraries
from rung.pipelines.libraries import library_index, normalised, read_index


def _install(folder: Path, name: str, number: str, *requires: str, roots: tuple[str, ...] = (), direct: str = "") -> None:
    place = folder / f"{name}-{number}.dist-info"
    place.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}", *(f"Requires-Dist: {text}" for text in requires), "", "Text"]
    (place / "METADATA").write_text("\n".join(lines))
    (place / "RECORD").write_text("".join(f"{root}/__init__.py,,\n" for root in roots or (name,)) + f"{place.name}/METADATA,,\n")
    if direct:
        (place / "direct_url.json").write_text(direct)


def test_what_a_library_requires_counts_with_it_and_nothing_else(tmp_path: Path) -> None:
    _install(tmp_path, "learn", "1.0", "num>=1.26", 'old; python_version < "3"')
    _install(tmp_path, "num", "2.0")
    _install(tmp_path, "other", "3.0")
    assert read_index([tmp_path]).closure(["learn"]) == {"learn": "1.0", "num": "2.0"}


def test_a_library_is_found_by_the_name_it_is_imported_as(tmp_path: Path) -> None:
    _install(tmp_path, "scikit_learn", "1.0", roots=("sklearn",))
    assert read_index([tmp_path]).closure(["sklearn"]) == {"scikit-learn": "1.0"}


def test_an_installed_optional_requirement_counts_for_what_is_imported_but_not_one_for_tests(tmp_path: Path) -> None:
    _install(tmp_path, "frames", "1.0", 'arrow; extra == "parquet"', 'checks; extra == "test"', 'missing; extra == "excel"', "deep")
    _install(tmp_path, "deep", "1.0", 'other; extra == "fast"')
    for name in ("arrow", "checks", "other"):
        _install(tmp_path, name, "1.0")
    assert set(read_index([tmp_path]).closure(["frames"])) == {"frames", "arrow", "deep"}


def test_an_extra_that_is_asked_for_counts(tmp_path: Path) -> None:
    _install(tmp_path, "app", "1.0", "web[fast]>=1; sys_platform == 'linux'")
    _install(tmp_path, "web", "1.0", 'loop; extra == "fast"', 'slow; extra == "slow"')
    _install(tmp_path, "loop", "1.0")
    _install(tmp_path, "slow", "1.0")
    assert set(read_index([tmp_path]).closure(["app"])) == {"app", "web", "loop"}


def test_requirements_in_a_circle_end(tmp_path: Path) -> None:
    _install(tmp_path, "one", "1.0", "two")
    _install(tmp_path, "two", "1.0", "one")
    assert set(read_index([tmp_path]).closure(["one"])) == {"one", "two"}


def test_every_library_of_a_shared_name_counts(tmp_path: Path) -> None:
    _install(tmp_path, "cloud_a", "1.0", roots=("cloud",))
    _install(tmp_path, "cloud_b", "2.0", roots=("cloud",))
    assert read_index([tmp_path]).closure(["cloud"]) == {"cloud-a": "1.0", "cloud-b": "2.0"}


def test_a_library_from_a_repository_counts_with_its_commit(tmp_path: Path) -> None:
    _install(tmp_path, "mine", "1.0", direct='{"url": "https://example.org/mine", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}')
    assert read_index([tmp_path]).closure(["mine"]) == {"mine": "1.0 abc123"}


def test_a_name_of_no_library_stands_for_itself(tmp_path: Path) -> None:
    assert read_index([tmp_path]).closure(["nowhere"]) == {"nowhere": ""}


def test_a_broken_installation_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken-1.0.dist-info").mkdir()
    _install(tmp_path, "fine", "1.0")
    assert set(read_index([tmp_path]).libraries) == {"fine"}


def test_the_index_of_this_environment_agrees_with_importlib() -> None:
    index = library_index(None)
    known = packages_distributions()
    for name in ("numpy", "sklearn", "polars", "msgspec", "sqlalchemy", "yaml", "click"):
        assert set(index.owners[name]) == {normalised(owner) for owner in known[name]}
    found = index.closure(["sklearn"])
    assert found["scikit-learn"] == version("scikit-learn")
    assert found["numpy"] == version("numpy")
    assert "polars" not in index.closure(["yaml"])


def test_the_index_is_kept_in_a_file_and_read_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "_held", {})
    first = library_index(tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(libraries, "_held", {})
    monkeypatch.setattr(libraries, "read_index", None)
    assert library_index(tmp_path / "cache") == first


def test_a_damaged_file_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "_held", {})
    first = library_index(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"half")
    monkeypatch.setattr(libraries, "_held", {})
    assert library_index(tmp_path) == first
