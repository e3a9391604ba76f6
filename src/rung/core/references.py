"""Words that records of several areas share: how they name a thing of another area without importing it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from rung.core.records import Name, Number, Record

Task = Literal["binary", "multiclass", "regression"]
LockDigest = Annotated[str, Meta(pattern=r"^(blake3:[0-9a-f]{64})?$")]  # empty: none was found
DatasetRole = Literal["input", "train", "test", "reference"]


class DatasetUse(Record):
    """A dataset version and what it was used for."""

    dataset: Name
    number: Number
    role: DatasetRole = "input"


FlawKind = Literal["damaged", "missing", "index", "pack", "leftover", "stray", "database", "foreign_key", "project"]  # of what is stored
