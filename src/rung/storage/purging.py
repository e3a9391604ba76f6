"""Removing for good: what areas forget of deleted things, and the blobs that nothing names any more.

A blob lives while any text of any table names its digest, or a small blob that lives does. The young are left alone:
somebody may be about to name them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol, TypeVar, cast

from sqlalchemy import LargeBinary, String, Text

from rung.core.errors import Invalid
from rung.storage.blobs import BlobStore
from rung.storage.scope import Scope
from rung.storage.tables import METADATA, JsonType

Purge = Callable[[Scope, datetime], int]
P = TypeVar("P", bound=Purge)
PURGES: dict[str, Purge] = {}
_DIGEST = re.compile(rb"blake3:[0-9a-f]{64}")
_DIGEST_TEXT = re.compile(r"blake3:[0-9a-f]{64}")
_READABLE = 4 << 20  # a larger blob is data, not a list of other blobs


class Aged(Protocol):
    """A blob backend that knows how old and how large its blobs are."""

    def stored_at(self, digest: str) -> datetime:
        """When a blob was kept."""
        ...

    def size(self, digest: str) -> int:
        """Number of bytes."""
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


def unreferenced(scope: Scope, before: datetime) -> list[str]:
    """Digests of blobs kept before an instant that nothing names."""
    aged = cast("Aged", scope.blobs)
    living = _named(scope)
    _follow(scope.blobs, living)
    return [digest for digest in scope.blobs.list() if digest not in living and aged.stored_at(digest) < before]


def swept(scope: Scope, digests: Iterable[str]) -> tuple[int, int]:
    """Delete blobs; how many, and how many bytes."""
    aged = cast("Aged", scope.blobs)
    count = freed = 0
    for digest in digests:
        freed += aged.size(digest)
        scope.blobs.delete(digest)
        count += 1
    if hasattr(scope.blobs, "compact"):
        aged.compact()
    return count, freed


def _named(scope: Scope) -> set[str]:
    """Every digest that a text of any table names, of all projects."""

    def read(inside: Scope) -> set[str]:
        found: set[str] = set()
        for item in METADATA.sorted_tables:
            columns = [c for c in item.columns if isinstance(c.type, (String, Text, JsonType)) and not isinstance(c.type, LargeBinary)]
            if not columns:
                continue
            names = ", ".join(f'"{c.name}"' for c in columns)
            rows = inside.connection.exec_driver_sql(f'SELECT {names} FROM "{item.name}"')  # noqa: S608 - names of our own tables
            while part := rows.fetchmany(2000):
                for row in part:
                    for value in row:
                        if value is not None and "blake3:" in value:
                            found.update(_DIGEST_TEXT.findall(value))
        return found

    return scope.read(read)


def _follow(blobs: BlobStore, living: set[str]) -> None:
    """Add what small living blobs name: lists of files, snapshots of code."""
    aged = cast("Aged", blobs)
    waiting = list(living)
    while waiting:
        digest = waiting.pop()
        if blobs.exists(digest) and aged.size(digest) <= _READABLE:
            for match in _DIGEST.findall(blobs.get(digest)):
                name = match.decode()
                if name not in living:
                    living.add(name)
                    waiting.append(name)
