"""Families find their members by file and refuse doubles."""

from __future__ import annotations

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
