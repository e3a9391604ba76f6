"""Removing for good: what areas forget of deleted things, and the blobs that nothing names any more.

A blob lives while any text of any table names its digest, or a small blob that lives does; tables with
``info={"keeps_blobs": False}`` only tell what was. The young are left alone: somebody may be about to name them.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.util import find_spec
from typing import Protocol, TypeVar

import rung
from rung.core.errors import Conflict, Invalid
from rung.storage.blobs import BlobStore, Kept
from rung.storage.following import Memory
from rung.storage.scope import Scope
from rung.storage.tables import metadata

Purge = Callable[[Scope, datetime], int]
P = TypeVar("P", bound=Purge)
PURGES: dict[str, Purge] = {}
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}")
_INLINE = re.compile(r'"inline":"([A-Za-z0-9+/]+)')
_MEMORY = "named.db"
_AT_ONCE = 16


class Collectable(BlobStore, Protocol):
    """A blob backend that knows how old and how large its blobs are."""

    def inventory(self) -> Iterator[Kept]:
        """Every blob with its size and age."""
        ...

    def discard(self, digest: str, before: datetime) -> int | None:
        """Forget a blob that was neither put nor put again since; its bytes, None when it stays."""
        ...

    def compact(self) -> int:
        """Give space back; bytes freed."""
        ...


def purges(what: str) -> Callable[[P], P]:
    """Register what an area forgets of things deleted before an instant: ``f(scope, before) -> how many``."""

    def register(function: P) -> P:
        if what in PURGES and PURGES[what].__qualname__ != function.__qualname__:
            raise Invalid(f"Two functions purge {what!r}.", code="storage.two_purges")
        PURGES[what] = function
        return function

    return register


def import_purges() -> None:
    """Import what every area forgets; areas whose operations nobody asked for yet are not known otherwise."""
    for item in pkgutil.iter_modules(rung.__path__, "rung."):
        if item.ispkg and item.name != "rung.storage" and find_spec(f"{item.name}.purging"):
            importlib.import_module(f"{item.name}.purging")


def collectable(blobs: BlobStore) -> Collectable:
    """The backend, for collecting. Raises Conflict for one that does not tell how old its blobs are."""
    if not hasattr(blobs, "inventory") or not hasattr(blobs, "discard"):
        raise Conflict("This blob store does not tell how old its blobs are.", code="storage.no_ages", hint="Use its own lifecycle rules.")
    return blobs  # type: ignore[return-value]  # asked just now


def orphans(scope: Scope, before: datetime) -> list[Kept]:
    """Blobs kept before an instant that nothing names."""
    living = set(named(scope))
    kept = list(collectable(scope.blobs).inventory())
    Memory(scope.home / _MEMORY).follow(scope.blobs, living, {blob.digest: blob.size for blob in kept})
    return [blob for blob in kept if blob.digest not in living and blob.at < before]


def swept(scope: Scope, blobs: Iterable[Kept], before: datetime) -> tuple[int, int]:
    """Delete blobs unless they were put again meanwhile; how many, and how many bytes."""
    backend = collectable(scope.blobs)
    with ThreadPoolExecutor(_AT_ONCE) as hands:  # a folder syncs them together, a bucket answers while others are asked
        done = hands.map(lambda blob: (blob.digest, backend.discard(blob.digest, before)), blobs)
        gone = [(digest, freed) for digest, freed in done if freed is not None]
    Memory(scope.home / _MEMORY).forget(digest for digest, _ in gone)
    backend.compact()
    return len(gone), sum(freed for _, freed in gone)


def named(scope: Scope) -> dict[str, str]:
    """Every digest that a text of any table names, of all projects, and the first table that does."""

    from sqlalchemy import String, Text, or_, select, type_coerce  # noqa: PLC0415 - only collecting needs it, see rung.storage.sql

    from rung.storage.types import JsonType  # noqa: PLC0415 - see above

    def read(inside: Scope) -> dict[str, str]:
        found: dict[str, str] = {}
        for item in metadata().sorted_tables:
            columns = [type_coerce(c, Text) for c in item.columns if isinstance(c.type, (String, Text, JsonType))]
            if not columns or not item.info.get("keeps_blobs", True):
                continue
            query = select(*columns).where(or_(*(column.contains("blake3:") for column in columns)))
            for row in inside.connection.execute(query, execution_options={"yield_per": 1000}):
                for value in row:
                    found |= {digest: item.name for digest in digests_in(value or "") if digest not in found}
        return found

    return scope.read(read)


def digests_in(value: str) -> Iterator[str]:
    """Digests that a text names; those in bytes kept inline, which JSON holds in base64, too."""
    if "blake3:" in value:
        yield from _DIGEST.findall(value)
        for inline in _INLINE.findall(value):
            yield from _DIGEST.findall(b64decode(inline + "==").decode("utf-8", "ignore"))
