"""A cache key is made of every part."""

from __future__ import annotations

from rung.pipelines.rules import cache_key

PARTS = {"code": "c", "params": {}, "inputs": {}, "environment": "e", "seed": 1, "salt": ""}


def test_every_part_of_a_cache_key_counts() -> None:
    keys = {cache_key("s", {**PARTS, name: "other"}) for name in PARTS} | {cache_key("s", PARTS), cache_key("t", PARTS)}
    assert len(keys) == len(PARTS) + 2
