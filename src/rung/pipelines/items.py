"""The list that a map answers, kept as one manifest: the artifacts of each item, in the order of the collection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from rung.core.records import prepared
from rung.pipelines.records import Artifact

ITEMS = "items"


def loaded(artifact: Artifact, get: Callable[[str], bytes], scratch: Path) -> Any:
    """The value of any artifact, a list of a map's results among them; ``get`` answers blobs by digest."""
    from rung.pipelines.materialisers import Payload, load  # noqa: PLC0415 - loads NumPy; only reading a value needs it

    data = artifact.inline if artifact.inline is not None else get(artifact.digest)
    if artifact.kind != ITEMS:
        return load(artifact.kind, Payload(data, artifact.meta), scratch)
    found = []
    for place, parts in enumerate(items_of(data)):
        held = tuple(loaded(part, get, scratch / f"{place}") for part in parts)
        found.append(held if len(held) != 1 else held[0])
    return found


class Manifest(msgspec.Struct, frozen=True):
    """The artifacts of every item: one an output of the step."""

    items: tuple[tuple[Artifact, ...], ...]


def manifest(items: tuple[tuple[Artifact, ...], ...]) -> bytes:
    """The manifest's bytes; equal contents give equal bytes."""
    return msgspec.json.encode(Manifest(items=items), order="sorted")


def items_of(data: bytes | Path) -> tuple[tuple[Artifact, ...], ...]:
    """The artifacts of each item of a manifest."""
    held = data if isinstance(data, bytes) else data.read_bytes()
    return msgspec.json.decode(held, type=prepared(Manifest)).items
