"""The six verbs every blob backend speaks, and the family of backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from rung.core.errors import Invalid
from rung.core.families import Family
from rung.core.references import FlawKind

_HEX = frozenset("0123456789abcdef")
_DIGITS = 64


class Kept(NamedTuple):
    """A blob as it lies in a backend."""

    digest: str
    size: int
    at: datetime


class Flaw(NamedTuple):
    """Something wrong with what is stored: its kind, where it is, what is known of it, and whether it was mended."""

    kind: FlawKind
    where: str
    detail: str = ""
    mended: bool = False


class BlobStore(Protocol):
    """Bytes by digest. ``put`` is durable when it returns, and storing the same bytes twice is harmless."""

    def put(self, source: bytes | Path, *, move: bool = False) -> str:
        """Keep the bytes, or the file's bytes, and return their digest; with ``move`` the file may be taken away."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes. Raises NotFound, or Unavailable when they no longer match the digest."""
        ...

    def exists(self, digest: str) -> bool:
        """Whether the bytes are here."""
        ...

    def list(self) -> Iterator[str]:
        """Every digest kept."""
        ...

    def delete(self, digest: str) -> None:
        """Forget the bytes; forgetting what is not there is harmless."""
        ...

    def url(self, digest: str) -> str:
        """An address that a reader of files (Polars, Arrow) can open. Raises NotFound."""
        ...


BACKENDS: Family[Callable[[str], BlobStore]] = Family("blob_backends", "rung.storage.blobs")


def open_blobs(url: str) -> BlobStore:
    """The store at a URL. Raises NotFound for an unknown scheme."""
    return BACKENDS.get(urlsplit(url).scheme or "file")(url)


def digits_of(digest: str) -> str:
    """The 64 hex digits of a digest. Raises Invalid for what is none."""
    algorithm, _, digits = digest.partition(":")
    if algorithm != "blake3" or len(digits) != _DIGITS or not _HEX.issuperset(digits):
        raise Invalid(f"{digest!r} is not a digest.", code="blobs.bad_digest", hint="A digest is blake3: and 64 hex digits.")
    return digits
