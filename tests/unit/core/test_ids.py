"""Ids sort by creation and are UUIDs of version 7."""

from __future__ import annotations

import uuid

from rung.core.ids import new_id


def test_ids_sort_by_creation() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_an_id_is_a_uuid_of_version_seven() -> None:
    parsed = uuid.UUID(new_id())
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
