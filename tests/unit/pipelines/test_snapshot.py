"""Snapshots of a project's code: every store gets every file, and again after a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.settings import load_settings
from rung.pipelines import project
from rung.pipelines.project import Project, load_project, restore, snapshot
from rung.storage.blobs.local import LocalBlobs


def test_each_store_gets_the_files_and_gets_them_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "steps.py").write_text("one = 1\n")
    code = Project(folder=tmp_path, pipelines={}, files=(tmp_path / "steps.py",))
    one, two = LocalBlobs(f"file://{tmp_path / 'a'}"), LocalBlobs(f"file://{tmp_path / 'b'}")
    tree = snapshot(code, one.put)
    assert snapshot(code, two.put) == tree
    restore(tree, two.get, tmp_path / "restored")
    assert (tmp_path / "restored" / "steps.py").read_text() == "one = 1\n"
    for digest in list(one.list()):
        one.delete(digest)  # as a collection of garbage does with what nothing names any more
    monkeypatch.setattr(project, "_KNOWN_S", -1.0)
    project._kept.clear()
    snapshot(code, one.put)
    for digest in list(one.list()):
        one.delete(digest)
    assert snapshot(code, one.put) == tree
    assert len(list(one.list())) == 2


def test_two_folders_with_modules_of_one_name_do_not_get_each_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rung.toml").write_text("")
        (tmp_path / name / "helper_of_both.py").write_text(f"NAME = {name!r}\n")
        (tmp_path / name / "pipelines.py").write_text(
            f"import helper_of_both\nfrom rung import pipeline\n\n@pipeline(name=helper_of_both.NAME)\ndef made_in_{name}():\n    return None\n"
        )
    for name in ("one", "two", "one"):
        assert list(load_project(load_settings(tmp_path / name, environ={})).pipelines) == [name]
