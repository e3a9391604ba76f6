"""Blobs in a folder: large ones as ``ab/cdef…``, mode 0400, written beside and renamed; small ones together in packs.

Either way the bytes are synced before the answer. ``unpacked`` holds copies of small ones for readers of files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import blake3

from rung.core.digests import digest_of
from rung.core.errors import NotFound, Unavailable
from rung.storage.blobs.packs import Packs
from rung.storage.blobs.store import BACKENDS, digits_of

_SMALL = 128 << 10


@BACKENDS.member("file")
class LocalBlobs:
    """The folder backend. ``url`` is ``file:///folder``."""

    def __init__(self, url: str) -> None:
        self.root = Path(unquote(urlsplit(url).path))
        self._packs = Packs(self.root / "packs")
        try:
            (self.root / "incoming").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable(
                f"The blob folder {self.root} cannot be made: {error.strerror}.", code="blobs.unwritable", hint="Check its rights."
            ) from None

    def put(self, source: bytes | Path, *, move: bool = False) -> str:
        """Keep bytes, or a file's bytes; return their digest. Raises Unavailable when the disk refuses."""
        try:
            if isinstance(source, Path) and source.stat().st_size <= _SMALL:
                source = source.read_bytes()
            if isinstance(source, bytes):
                return self._put_bytes(source)
            return self._put_file(source, move=move)
        except OSError as error:
            raise Unavailable(
                f"The blob cannot be written: {error.strerror}.",
                code="blobs.unwritable",
                hint="Free some space, or check the rights of the home.",
            ) from None

    def get(self, digest: str) -> bytes:
        """The bytes, checked against the digest."""
        path = self._path(digest)
        data = path.read_bytes() if path.is_file() else self._packs.get(_raw(digest))
        if data is None:
            raise _missing(digest)
        if digest_of(data) != digest:
            raise Unavailable(f"Blob {digest} is damaged on disk.", code="blobs.damaged", hint="Restore it from a backup.")
        return data

    def exists(self, digest: str) -> bool:
        """Whether the bytes are here."""
        return self._path(digest).is_file() or self._packs.place(_raw(digest)) is not None

    def size(self, digest: str) -> int:
        """Number of bytes. Raises NotFound."""
        path = self._path(digest)
        if path.is_file():
            return path.stat().st_size
        place = self._packs.place(_raw(digest))
        if place is None:
            raise _missing(digest)
        return place[2]

    def stored_at(self, digest: str) -> datetime:
        """When a blob was kept. Raises NotFound."""
        path = self._path(digest)
        if path.is_file():
            return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        stamp = self._packs.stamp(_raw(digest))
        if stamp is None:
            raise _missing(digest)
        return datetime.fromtimestamp(stamp / 1e9, tz=UTC)

    def list(self) -> Iterator[str]:
        """Every digest kept, in order."""
        loose = [
            f"blake3:{folder.name}{file.name}"
            for folder in sorted(p for p in self.root.iterdir() if len(p.name) == 2)  # noqa: PLR2004 - two hex digits
            for file in sorted(folder.iterdir())
        ]
        packed = [f"blake3:{digest.hex()}" for digest in self._packs.digests()]
        yield from sorted({*loose, *packed})

    def delete(self, digest: str) -> None:
        """Forget the bytes."""
        self._path(digest).unlink(missing_ok=True)
        (self.root / "unpacked" / digest[7:]).unlink(missing_ok=True)
        self._packs.delete(_raw(digest))

    def url(self, digest: str) -> str:
        """The file's path; a small blob is written out beside its pack for who needs a file."""
        path = self._path(digest)
        if path.is_file():
            return str(path)
        copy = self.root / "unpacked" / digest[7:]
        if not copy.is_file() or digest_of(copy.read_bytes()) != digest:
            data = self.get(digest)
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.root / "incoming")
            with os.fdopen(handle, "wb") as target:
                target.write(data)
            Path(name).rename(copy)
        return str(copy)

    def compact(self) -> int:
        """Give back the space of deleted small blobs and of copies; the bytes that were freed."""
        freed = self._packs.compact()
        for copy in (self.root / "unpacked").glob("*"):
            freed += copy.stat().st_size
            copy.unlink(missing_ok=True)
        return freed

    def close(self) -> None:
        """Let go of files."""
        self._packs.close()

    def _put_bytes(self, data: bytes) -> str:
        digest = digest_of(data)
        if self._path(digest).is_file():
            return digest
        if len(data) <= _SMALL:
            self._packs.put(_raw(digest), data)
            return digest
        handle, name = tempfile.mkstemp(dir=self.root / "incoming")
        incoming = Path(name)
        try:
            with os.fdopen(handle, "wb") as target:
                target.write(data)
                target.flush()
                os.fsync(target.fileno())
            return self._settle(incoming, digest)
        finally:
            incoming.unlink(missing_ok=True)

    def _put_file(self, source: Path, *, move: bool) -> str:
        if move and source.stat().st_dev == self.root.stat().st_dev:
            incoming = self.root / "incoming" / uuid4().hex
            source.rename(incoming)
        else:
            handle, name = tempfile.mkstemp(dir=self.root / "incoming")
            os.close(handle)
            incoming = Path(name)
            shutil.copyfile(source, incoming)
        try:
            hasher = blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(incoming)
            with incoming.open("rb") as file:
                os.fsync(file.fileno())
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

    def _path(self, digest: str) -> Path:
        digits = digits_of(digest)
        return self.root / digits[:2] / digits[2:]


def _raw(digest: str) -> bytes:
    return bytes.fromhex(digest[7:])


def _missing(digest: str) -> NotFound:
    return NotFound(f"There is no blob {digest}.", code="blobs.not_found")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
