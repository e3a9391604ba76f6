"""Blobs in a folder: large ones as ``ab/cdef…``, mode 0400, written beside and renamed; small ones together in packs.

Either way the bytes are synced before the answer. ``unpacked`` holds copies of small ones for readers of files.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import blake3

from rung.core.digests import digest_of
from rung.core.errors import NotFound, Unavailable
from rung.storage.blobs.frames import sync_folder
from rung.storage.blobs.packs import Packs
from rung.storage.blobs.store import BACKENDS, Flaw, Kept, digits_of

_SMALL = 128 << 10
_NAME = re.compile(r"[0-9a-f]{64}")
_YOUNG_S = 3600.0  # an older blob that is put again counts as new from then on, so that no collection takes it


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
        with _writing():
            if isinstance(source, Path) and source.stat().st_size <= _SMALL:
                source = source.read_bytes()
            if isinstance(source, bytes):
                return self._put_bytes(source)
            return self._put_file(source, move=move)

    def get(self, digest: str) -> bytes:
        """The bytes, checked against the digest."""
        path = self._path(digest)
        with _reading(digest):
            try:
                data: bytes | None = path.read_bytes()
            except FileNotFoundError:  # it is in a pack, or somebody collects it just now
                data = self._packs.get(_raw(digest))
        if data is None:
            raise _missing(digest)
        if digest_of(data) != digest:
            raise Unavailable(f"Blob {digest} is damaged on disk.", code="blobs.damaged", hint="Restore it from a backup.")
        return data

    def exists(self, digest: str) -> bool:
        """Whether the bytes are here."""
        path = self._path(digest)
        with _reading(digest):
            return path.is_file() or self._packs.place(_raw(digest)) is not None

    def size(self, digest: str) -> int:
        """Number of bytes. Raises NotFound."""
        return self._about(digest)[0]

    def stored_at(self, digest: str) -> datetime:
        """When a blob was kept, or put again. Raises NotFound."""
        return self._about(digest)[1]

    def inventory(self) -> Iterator[Kept]:
        """Every blob with its size and age, in order."""
        loose = [self._path(digest) for digest in self._loose()]
        found = []
        for path in loose:
            with suppress(FileNotFoundError):
                stat = path.stat()
                found.append(Kept(f"blake3:{path.parent.name}{path.name}", stat.st_size, datetime.fromtimestamp(stat.st_mtime, tz=UTC)))
        with _reading("list"):
            found += [Kept(f"blake3:{digest.hex()}", place.size, _instant(place.stamp)) for digest, place in self._packs.places()]
        yield from sorted({kept.digest: kept for kept in found}.values())

    def list(self) -> Iterator[str]:
        """Every digest kept, in order."""
        with _reading("list"):
            packed = [f"blake3:{digest.hex()}" for digest, _ in self._packs.places()]
        yield from sorted({*self._loose(), *packed})

    def delete(self, digest: str) -> None:
        """Forget the bytes."""
        path = self._path(digest)
        with _writing():
            path.unlink(missing_ok=True)
            self._copy_of(digest).unlink(missing_ok=True)
            self._packs.delete(_raw(digest))

    def discard(self, digest: str, before: datetime) -> int | None:
        """Forget bytes that were neither put nor put again since ``before``; how many, None when they stay.

        Who puts a blob again while this looks at it either makes it young first, or finds it gone and writes it anew.
        """
        path = self._path(digest)
        with _writing():
            freed = self._packs.discard(_raw(digest), int(before.timestamp() * 1e9))
            with suppress(FileNotFoundError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                stat = os.fstat(file.fileno())
                if stat.st_nlink and stat.st_mtime < before.timestamp():
                    path.unlink()
                    freed = (freed or 0) + stat.st_size
            if freed is not None:
                self._copy_of(digest).unlink(missing_ok=True)
        return freed

    def url(self, digest: str) -> str:
        """The file's path; a small blob is written out beside its pack for who needs a file."""
        path = self._path(digest)
        if path.is_file():
            return str(path)
        copy = self._copy_of(digest)
        with _writing():
            if not _is_kept_copy(copy, digest):
                data = self.get(digest)
                copy.parent.mkdir(mode=0o700, exist_ok=True)
                import tempfile  # noqa: PLC0415 - most blobs of a short command are small

                handle, name = tempfile.mkstemp(dir=self.root / "incoming")
                with os.fdopen(handle, "wb") as target:
                    target.write(data)
                Path(name).rename(copy)
        return str(copy)

    def compact(self) -> int:
        """Give back the space of deleted small blobs and of copies nobody asked for lately; the bytes that were freed."""
        with _writing():
            freed = self._packs.compact()
            for copy in (self.root / "unpacked").glob("*"):
                with suppress(FileNotFoundError), copy.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)  # whoever is asked for it makes it young first, or finds it gone
                    size = _size_of_old(copy)
                    if size is not None:
                        copy.unlink(missing_ok=True)
                        freed += size
        return freed

    def examine(self, *, thorough: bool, repair: bool) -> Iterator[Flaw]:
        """Leftovers, files that are no blobs, and what is wrong with packs."""
        with _writing():
            for path in sorted((self.root / "incoming").iterdir()):
                if _size_of_old(path) is not None:
                    if repair:
                        path.unlink(missing_ok=True)
                    yield Flaw("leftover", f"incoming/{path.name}", "of an upload that never ended", repair)
            for folder in self._folders():
                for file in sorted(folder.iterdir()):
                    if not _NAME.fullmatch(f"{folder.name}{file.name}"):
                        yield Flaw("stray", f"{folder.name}/{file.name}", "no blob has such a name")
            yield from self._packs.examine(self.root / "quarantine", thorough=thorough, repair=repair)

    def set_aside(self, digest: str) -> bool:
        """Take damaged bytes out of the way, to ``quarantine``; whether a whole copy was found in a pack."""
        path = self._path(digest)
        with _writing():
            if path.is_file():
                (self.root / "quarantine").mkdir(mode=0o700, exist_ok=True)
                path.rename(self.root / "quarantine" / digest[7:])
                return self._packs.place(_raw(digest)) is not None
            return self._packs.set_aside(_raw(digest))

    def close(self) -> None:
        """Let go of files."""
        self._packs.close()

    def _put_bytes(self, data: bytes) -> str:
        digest = digest_of(data)
        if _made_young(self._path(digest)):
            return digest
        if len(data) <= _SMALL:
            self._packs.put(_raw(digest), data, young_ns=int(_YOUNG_S * 1e9))
            return digest
        incoming = self.root / "incoming" / uuid4().hex
        try:
            with incoming.open("xb") as target:
                target.write(data)
                target.flush()
                os.fsync(target.fileno())
            return self._settle(incoming, digest)
        finally:
            incoming.unlink(missing_ok=True)

    def _put_file(self, source: Path, *, move: bool) -> str:
        incoming = self.root / "incoming" / uuid4().hex
        moved = move and source.stat().st_dev == self.root.stat().st_dev
        if moved:
            os.utime(source)  # its age counts from now; before it lies among what is cleared away when it is old
            source.rename(incoming)
        try:
            if not moved:
                import shutil  # noqa: PLC0415 - for large ones

                shutil.copyfile(source, incoming)
            hasher = blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(incoming)
            with incoming.open("rb") as file:
                os.fsync(file.fileno())
            return self._settle(incoming, "blake3:" + hasher.hexdigest())
        except BaseException:
            if moved:
                incoming.rename(source)
            raise
        finally:
            incoming.unlink(missing_ok=True)

    def _settle(self, incoming: Path, digest: str) -> str:
        final = self._path(digest)
        if not _made_young(final):
            if not final.parent.is_dir():
                final.parent.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self.root)
            incoming.chmod(0o400)
            incoming.rename(final)
            sync_folder(final.parent)
        return digest

    def _about(self, digest: str) -> tuple[int, datetime]:
        path = self._path(digest)
        with _reading(digest):
            try:
                stat = path.stat()
                return stat.st_size, datetime.fromtimestamp(stat.st_mtime, tz=UTC)
            except FileNotFoundError:
                place = self._packs.place(_raw(digest))
        if place is None:
            raise _missing(digest)
        return place.size, _instant(place.stamp)

    def _loose(self) -> tuple[str, ...]:
        """Digests of the blobs that are files of their own."""
        names = [f"{folder.name}{file.name}" for folder in self._folders() for file in sorted(folder.iterdir())]
        return tuple(f"blake3:{name}" for name in names if _NAME.fullmatch(name))

    def _folders(self) -> tuple[Path, ...]:
        return tuple(sorted(path for path in self.root.iterdir() if len(path.name) == 2))  # noqa: PLR2004 - two hex digits

    def _copy_of(self, digest: str) -> Path:
        return self.root / "unpacked" / digest[7:]

    def _path(self, digest: str) -> Path:
        digits = digits_of(digest)
        return self.root / digits[:2] / digits[2:]


def _raw(digest: str) -> bytes:
    return bytes.fromhex(digest[7:])


def _missing(digest: str) -> NotFound:
    return NotFound(f"There is no blob {digest}.", code="blobs.not_found")


def _made_young(path: Path) -> bool:
    """Whether a large blob is here, and will be for a while: an old one counts as new from now on."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mtime > time.time() - _YOUNG_S:
                return True
            fcntl.flock(file, fcntl.LOCK_SH)  # who discards it holds the lock until it has gone
            if os.fstat(file.fileno()).st_nlink == 0:
                return False
            os.utime(file.fileno())
            return True
    except FileNotFoundError:
        return False


def _is_kept_copy(copy: Path, digest: str) -> bool:
    """Whether there is a copy with the right bytes; it counts as new from now on."""
    try:
        with copy.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # who takes it away holds the lock until it has gone
            os.utime(file.fileno())
            return os.fstat(file.fileno()).st_nlink > 0 and digest_of(file.read()) == digest
    except FileNotFoundError:
        return False


def _size_of_old(path: Path) -> int | None:
    """Bytes of a file that nobody has written to for an hour, None for others."""
    with suppress(FileNotFoundError):
        stat = path.stat()
        return stat.st_size if stat.st_mtime < time.time() - _YOUNG_S else None
    return None


def _instant(stamp_ns: int) -> datetime:
    return datetime.fromtimestamp(stamp_ns / 1e9, tz=UTC)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"The blob cannot be written: {error.strerror}.",
            code="blobs.unwritable",
            hint="Free some space, or check the rights of the home.",
        ) from None


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"Blob {what} cannot be read: {error.strerror}.", code="blobs.unreadable", hint="Check the disk, and the rights of the home."
        ) from None
