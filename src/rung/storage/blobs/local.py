"""Blobs in a folder: ``ab/cdef…``, mode 0400, written beside and renamed, file and folder synced before the answer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import blake3

from rung.core.digests import digest_of
from rung.core.errors import Invalid, NotFound, Unavailable
from rung.storage.blobs.store import BACKENDS

_CHUNK = 8 << 20


@BACKENDS.member("file")
class LocalBlobs:
    """The folder backend. ``url`` is ``file:///folder``."""

    def __init__(self, url: str) -> None:
        self.root = Path(unquote(urlsplit(url).path))
        try:
            (self.root / "incoming").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable(
                f"The blob folder {self.root} cannot be made: {error.strerror}.", code="blobs.unwritable", hint="Check its rights."
            ) from None

    def put(self, source: bytes | Path) -> str:
        """Keep bytes, or a file's bytes; return their digest. Raises Unavailable when the disk refuses."""
        try:
            return self._put(source)
        except OSError as error:
            raise Unavailable(
                f"The blob cannot be written: {error.strerror}.",
                code="blobs.unwritable",
                hint="Free some space, or check the rights of the home.",
            ) from None

    def get(self, digest: str) -> bytes:
        """The bytes, checked against the digest."""
        data = self._held(digest).read_bytes()
        if digest_of(data) != digest:
            raise Unavailable(f"Blob {digest} is damaged on disk.", code="blobs.damaged", hint="Restore it from a backup.")
        return data

    def exists(self, digest: str) -> bool:
        """Whether the bytes are here."""
        return self._path(digest).is_file()

    def list(self) -> Iterator[str]:
        """Every digest kept, in order."""
        for folder in sorted(p for p in self.root.iterdir() if len(p.name) == 2):  # noqa: PLR2004 - two hex digits
            for file in sorted(folder.iterdir()):
                yield f"blake3:{folder.name}{file.name}"

    def delete(self, digest: str) -> None:
        """Forget the bytes."""
        self._path(digest).unlink(missing_ok=True)

    def url(self, digest: str) -> str:
        """The file's path."""
        return str(self._held(digest))

    def _put(self, source: bytes | Path) -> str:
        if isinstance(source, bytes):
            digest = digest_of(source)
            if self.exists(digest):
                return digest
        handle, name = tempfile.mkstemp(dir=self.root / "incoming")
        incoming = Path(name)
        try:
            with os.fdopen(handle, "wb") as target:
                hasher = blake3.blake3()
                if isinstance(source, bytes):
                    target.write(source)
                    hasher.update(source)
                else:
                    with source.open("rb") as file:
                        while chunk := file.read(_CHUNK):
                            hasher.update(chunk)
                            target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            return self._settle(incoming, "blake3:" + hasher.hexdigest())
        finally:
            incoming.unlink(missing_ok=True)

    def _settle(self, incoming: Path, digest: str) -> str:
        final = self._path(digest)
        if not final.is_file():
            if not final.parent.is_dir():
                final.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self.root)
            incoming.chmod(0o400)
            incoming.rename(final)
            _sync_folder(final.parent)
        return digest

    def _held(self, digest: str) -> Path:
        path = self._path(digest)
        if not path.is_file():
            raise NotFound(f"There is no blob {digest}.", code="blobs.not_found")
        return path

    def _path(self, digest: str) -> Path:
        algorithm, _, digits = digest.partition(":")
        if algorithm != "blake3" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):  # noqa: PLR2004
            raise Invalid(f"{digest!r} is not a digest.", code="blobs.bad_digest", hint="A digest is blake3: and 64 hex digits.")
        return self.root / digits[:2] / digits[2:]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
