"""Blobs in a bucket that speaks S3, as ``ab/cdef…`` under a prefix: ``s3://bucket/prefix?endpoint=…&region=…``.

Credentials come from the environment (``AWS_ACCESS_KEY_ID`` …) or from the role of the machine or container, never from
the URL. Readers of files get a copy in a folder of this machine, which is bounded; bytes that come from the bucket are
held against their digest.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import blake3

from rung.core.digests import digest_of
from rung.core.errors import Conflict, Invalid, NotFound, Unavailable
from rung.storage.blobs.store import BACKENDS, Flaw, Kept, digits_of

_SMALL = 1 << 20  # up to this a PUT costs no more than asking first whether it is needed
_CHUNK = 8 << 20
_YOUNG_S = 3600.0  # a blob put again is uploaded again when it is older, so that its age counts from now
_USED_S = 3600.0  # a copy that was asked for this lately is not taken away to make room
_READERS = 4
_EMPTY = digest_of(b"")
_PATIENCE_S = 30.0  # how long one request is tried again
_ANSWER_S = 60.0  # how long one try may take: a part of 8 MiB, or less
_OPTIONS = ("endpoint", "region", "cache", "cache_mb")
_PLACE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{62}")


@BACKENDS.member("s3")
class S3Blobs:
    """A bucket. Options in the query: ``endpoint``, ``region``, ``cache`` (folder of copies), ``cache_mb`` (10240)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = _options(url, parts.query)
        if not parts.hostname or "@" in parts.netloc:
            raise Invalid(
                f"{parts.scheme}://{parts.hostname or ''} is not the address of a bucket.",
                code="blobs.bad_url",
                hint="Write s3://bucket/prefix, and give credentials as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )
        self._name = f"s3://{parts.netloc}{parts.path}"
        self._obstore, self._store = _connected(parts.netloc, parts.path.strip("/"), options)
        self._copies = _Copies(_cache_folder(url, options.get("cache", "")), _megabytes(options.get("cache_mb", "10240")))

    def put(self, source: bytes | Path, *, move: bool = False) -> str:
        """Keep bytes, or a file's bytes; return their digest. Raises Conflict when the file changes meanwhile, Unavailable."""
        if isinstance(source, bytes):
            return self._put_bytes(source)
        try:
            small = source.stat().st_size <= _SMALL
            digest = self._put_bytes(source.read_bytes()) if small else self._put_file(source)
            if move:
                source.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"{source} cannot be read: {error.strerror}.", code="blobs.unreadable", hint="Check the file.") from None
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes, checked against the digest."""
        data = b"".join(self._fetched(digest))
        if digest_of(data) != digest:
            raise _damaged(digest, self._name)
        return data

    def exists(self, digest: str) -> bool:
        """Whether the bytes are here."""
        return self._head(digest) is not None

    def size(self, digest: str) -> int:
        """Number of bytes. Raises NotFound."""
        return int(self._known(digest)["size"])

    def stored_at(self, digest: str) -> datetime:
        """When the bytes were put here, or put again. Raises NotFound."""
        found: datetime = self._known(digest)["last_modified"]
        return found

    def list(self) -> Iterator[str]:
        """Every digest kept."""
        yield from (kept.digest for kept in self.inventory())

    def inventory(self) -> Iterator[Kept]:
        """Every blob with its size and age, as the bucket lists them."""
        with self._translated():
            for page in self._obstore.list(self._store):
                yield from (Kept(digest, item["size"], item["last_modified"]) for item in page if (digest := _digest_at(item["path"])))

    def delete(self, digest: str) -> None:
        """Forget the bytes, here and in the folder of copies."""
        self._copies.path(digits_of(digest)).unlink(missing_ok=True)
        with self._translated(), suppress(self._obstore.exceptions.NotFoundError, FileNotFoundError):
            self._obstore.delete(self._store, _key(digest))

    def discard(self, digest: str, before: datetime) -> int | None:
        """Forget bytes that were not put since ``before``; how many, None when they stay.

        S3 deletes without conditions: bytes put in the milliseconds between the look and the deletion are lost,
        unless the bucket keeps versions.
        """
        held = self._head(digest)
        if held is None or held["last_modified"] >= before:
            return None
        self.delete(digest)
        return int(held["size"])

    def url(self, digest: str) -> str:
        """The path of a copy on this machine, fetched if it is not there. Raises NotFound."""
        copy = self._copies.path(digits_of(digest))
        if not self._copies.holds(digest):
            try:
                if not self._copies.keep(digest, self._fetched(digest)):
                    raise _damaged(digest, self._name)
            except OSError as error:
                raise Unavailable(
                    f"The copy of a blob cannot be written to {copy.parent}: {error.strerror}.", code="blobs.unwritable",
                    hint="Name another folder with ?cache=… in storage.blobs.",
                ) from None  # fmt: skip
        with suppress(OSError):
            os.utime(copy)
        return str(copy)

    def compact(self) -> int:
        """Take away the copies on this machine that nobody used lately; bytes freed."""
        return self._copies.shrink(0)

    def examine(self, *, thorough: bool, repair: bool) -> Iterator[Flaw]:
        """Copies on this machine that were never finished. Uploads that never ended are the bucket's: give it a lifecycle rule."""
        for path in self._copies.leftovers():
            if repair:
                path.unlink(missing_ok=True)
            yield Flaw("leftover", str(path), "of a copy that was never finished", repair)

    def set_aside(self, digest: str) -> bool:
        """Take damaged bytes out of the way, to ``quarantine/…`` in the bucket."""
        self._copies.path(digits_of(digest)).unlink(missing_ok=True)
        with self._translated(digest):
            self._obstore.rename(self._store, _key(digest), f"quarantine/{digits_of(digest)}")
        return False

    def close(self) -> None:
        """Let go of nothing: connections end with the process."""

    def _put_bytes(self, data: bytes) -> str:
        digest = digest_of(data)
        if len(data) <= _SMALL or not self._is_young(digest):
            with self._translated():
                self._obstore.put(self._store, _key(digest), data, chunk_size=_CHUNK)
        return digest

    def _put_file(self, source: Path) -> str:
        digest = "blake3:" + blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(source).hexdigest()
        if not self._is_young(digest):
            with self._translated():
                self._obstore.put(self._store, _key(digest), _unchanged(source, digest), chunk_size=_CHUNK)
        return digest

    def _is_young(self, digest: str) -> bool:
        held = self._head(digest)
        return held is not None and held["last_modified"].timestamp() > time.time() - _YOUNG_S

    def _fetched(self, digest: str) -> Iterator[bytes]:
        """The bytes in parts, each a request of its own, so that a patience for one part does for blobs of any size."""
        key, empty = _key(digest), digest == _EMPTY  # of which S3 can give no range
        with self._translated(digest):
            first = self._obstore.get(self._store, key, options=None if empty else {"range": (0, _CHUNK)})
            size = int(first.meta["size"])
            yield bytes(first.bytes())
        ranges = [(start, min(start + _CHUNK, size)) for start in range(_CHUNK, size, _CHUNK)]
        if not ranges:
            return
        with ThreadPoolExecutor(_READERS) as readers:
            for at in range(0, len(ranges), _READERS):  # no more of them in memory
                with self._translated(digest):
                    yield from readers.map(lambda part: self._range(key, *part), ranges[at : at + _READERS])

    def _range(self, key: str, start: int, end: int) -> bytes:
        return bytes(self._obstore.get_range(self._store, key, start=start, end=end))

    def _known(self, digest: str) -> dict[str, Any]:
        held = self._head(digest)
        if held is None:
            raise NotFound(f"There is no blob {digest}.", code="blobs.not_found")
        return held

    def _head(self, digest: str) -> dict[str, Any] | None:
        key = _key(digest)
        with self._translated():
            try:
                found: dict[str, Any] = self._obstore.head(self._store, key)
            except (self._obstore.exceptions.NotFoundError, FileNotFoundError):
                return None
            return found

    @contextmanager
    def _translated(self, digest: str = "") -> Iterator[None]:
        """Errors of the library as ours; what is not found is the blob, or without one the bucket."""
        errors = self._obstore.exceptions
        try:
            yield
        except (errors.NotFoundError, FileNotFoundError):
            if digest:
                raise NotFound(f"There is no blob {digest}.", code="blobs.not_found") from None
            raise Unavailable(f"There is no bucket at {self._name}.", code="blobs.no_bucket", hint="Make the bucket first.") from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError, PermissionError):
            raise self._refused() from None
        except errors.BaseError as error:
            cause = str(error).strip().splitlines()[0][:300]
            if "403 Forbidden" in cause or "401 Unauthorized" in cause:  # lists tell it in words only
                raise self._refused() from None
            raise Unavailable(
                f"{self._name} does not answer: {cause}", code="blobs.unreachable", hint="Check endpoint, region and network."
            ) from None

    def _refused(self) -> Unavailable:
        return Unavailable(
            f"{self._name} refuses these credentials.", code="blobs.refused",
            hint="Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and the rights on the bucket.",
        )  # fmt: skip


class _Copies:
    """A folder of blobs fetched before, the longest unused of which make room for new ones."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes

    def path(self, digits: str) -> Path:
        """Where the copy of a blob is, or would be."""
        return self._folder / digits

    def holds(self, digest: str) -> bool:
        """Whether there is a copy; a small one is held against its digest again."""
        path = self.path(digits_of(digest))
        with suppress(FileNotFoundError):
            return path.stat().st_size > _SMALL or digest_of(path.read_bytes()) == digest
        return False

    def keep(self, digest: str, parts: Iterable[bytes]) -> bool:
        """Write a copy down; False, and none, when the bytes are not those of the digest."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix="incoming-")
        incoming, hasher = Path(name), blake3.blake3()
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    hasher.update(part)
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            whole = "blake3:" + hasher.hexdigest() == digest
            if whole:
                incoming.chmod(0o400)
                incoming.rename(self.path(digits_of(digest)))
                self.shrink(self._limit)
            return whole
        finally:
            incoming.unlink(missing_ok=True)

    def leftovers(self) -> list[Path]:
        """Files that were begun and have not grown for an hour."""
        found = []
        for path in self._folder.glob("incoming-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _USED_S:
                    found.append(path)
        return sorted(found)

    def shrink(self, limit_bytes: int) -> int:
        """Take copies away until the folder is within a limit, but none that was used lately; bytes freed."""
        with suppress(FileNotFoundError):
            held = sorted(((p.stat(), p) for p in self._folder.iterdir() if p.is_file()), key=lambda item: item[0].st_mtime)
            total, freed = sum(stat.st_size for stat, _ in held), 0
            for stat, path in held:
                if total - freed <= limit_bytes or stat.st_mtime > time.time() - _USED_S:
                    break
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime == stat.st_mtime:  # otherwise it was asked for since the folder was read
                        path.unlink()
                        freed += stat.st_size
            return freed
        return 0


def _connected(bucket: str, prefix: str, options: dict[str, str]) -> tuple[Any, Any]:
    """The library and its store of a bucket. Raises Unavailable without the library, Invalid for wrong options."""
    try:
        import obstore  # noqa: PLC0415 - an optional library
        from obstore.store import S3Store  # noqa: PLC0415
    except ImportError:
        raise Unavailable("Blobs in S3 need the library obstore.", code="blobs.no_library", hint="pip install 'rung[s3]'") from None
    endpoint = options.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    config: dict[str, Any] = {"region": region}
    if endpoint:
        config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    try:
        store = S3Store(
            bucket, prefix=prefix or None, **config,
            client_options={"allow_http": endpoint.startswith("http://"), "connect_timeout": "5s", "timeout": timedelta(seconds=_ANSWER_S)},
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=_PATIENCE_S)},
        )  # fmt: skip
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise Invalid(f"The bucket {bucket!r} cannot be used: {error}", code="blobs.bad_url", hint="Check storage.blobs.") from None
    return obstore, store


def _options(url: str, query: str) -> dict[str, str]:
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name in found:
        if name not in _OPTIONS:
            raise Invalid(f"{url.partition('?')[0]} takes no option {name!r}.", code="blobs.bad_url", hint=f"Known: {', '.join(_OPTIONS)}.")
    return found


def _cache_folder(url: str, named: str) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else home / "rung" / "blobs" / digest_of(url.encode())[7:23]


def _megabytes(text: str) -> int:
    if not text.isdecimal() or len(text) > 12:  # noqa: PLR2004 - far more than any disk holds
        raise Invalid(f"cache_mb is {text!r}, not a number of MiB.", code="blobs.bad_url", hint="Write cache_mb=10240.")
    return int(text) << 20


def _unchanged(path: Path, digest: str) -> Iterator[bytes]:
    """A file's bytes; raises at their end, so that the upload is broken off, when they are not those of the digest."""
    hasher = blake3.blake3()
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            hasher.update(part)
            yield part
    if "blake3:" + hasher.hexdigest() != digest:
        raise Conflict(f"{path} was changed while it was read.", code="blobs.changed", hint="Wait until it is whole, then repeat.")


def _key(digest: str) -> str:
    digits = digits_of(digest)
    return f"{digits[:2]}/{digits[2:]}"


def _digest_at(path: str) -> str:
    digits = path.replace("/", "", 1)
    return f"blake3:{digits}" if _PLACE.fullmatch(path) else ""


def _damaged(digest: str, where: str) -> Unavailable:
    return Unavailable(f"Blob {digest} is damaged in {where}.", code="blobs.damaged", hint="Restore it from a backup.")
