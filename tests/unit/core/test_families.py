"""Families find their members by file and refuse doubles."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.errors import Invalid, NotFound
from rung.core.families import Family
from rung.storage.blobs import BACKENDS


def test_members_are_found_by_file() -> None:
    assert "file" in BACKENDS.names()


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(NotFound, match=r"blob_backends.*'tape'") as caught:
        BACKENDS.get("tape")
    assert "file" in str(caught.value.hint)


def test_a_duplicate_name_is_refused() -> None:
    family: Family[object] = Family("tests", "rung.storage.blobs")

    @family.member("one")
    def first() -> None: ...

    with pytest.raises(Invalid, match="one"):

        @family.member("one")
        def second() -> None: ...


def test_a_member_of_another_project_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tapes.py").write_text("tape = 'a tape'\n")
    about = tmp_path / "tapes-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tapes\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[rung.taped]\ntape = tapes:tape\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    family: Family[str] = Family("taped", "rung.storage.migrations")
    assert family.get("tape") == "a tape"
    other: Family[str] = Family("untaped", "rung.storage.migrations")
    assert other.names() == []
