"""A project is looked at while an editor or git changes its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.settings import Settings
from rung.pipelines.project import load_project, project_files


def test_a_file_that_is_taken_away_while_the_project_is_looked_at_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept.py").write_text("")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(Path, "is_symlink", lambda _: False)  # so that it is as a file that has just gone
    assert project_files(tmp_path) == (tmp_path / "kept.py",)
    monkeypatch.setattr("rung.pipelines.project.project_files", lambda _: (tmp_path / "gone.py", tmp_path / "kept.py"))
    assert load_project(Settings(folder=str(tmp_path))).files == (tmp_path / "kept.py",)
