"""Which loaded deployments give way when models may take so much memory and no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from rung.registry.records import ModelVersion

K = TypeVar("K")


def size_of(versions: Iterable[ModelVersion]) -> int:
    """Bytes of the versions' files, each version counted once: what they take when loaded, near enough to plan with."""
    return sum({version.digest: version.size_bytes for version in versions}.values())


def giving_way(sizes: Mapping[K, int], used: Mapping[K, float], budget: int, *, staying: Collection[K] = ()) -> list[K]:
    """Who is unloaded, the longest unused first, until the rest fits the budget; those that stay may exceed it.

    Args:
        sizes: bytes of each that is loaded.
        used: when each was last asked, any clock; never: 0.
        budget: bytes that all may take together; 0: no bound.
        staying: those that are never unloaded.
    """
    found: list[K] = []
    total = sum(sizes.values())
    if not budget:
        return found
    for key in sorted(sizes, key=lambda one: used.get(one, 0.0)):
        if total <= budget:
            break
        if key not in staying:
            total -= sizes[key]
            found.append(key)
    return found
