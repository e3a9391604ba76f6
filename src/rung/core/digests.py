"""Digests: BLAKE3-256 of bytes, written ``blake3:<64 hex digits>``; the address of a blob."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blake3
import msgspec


def digest_of(data: bytes) -> str:
    """The digest of bytes in memory."""
    return "blake3:" + blake3.blake3(data).hexdigest()


def digest_of_file(path: Path, *, chunk_bytes: int = 8 << 20) -> tuple[str, int]:
    """Digest and size in bytes of a file, read in chunks so that memory stays flat."""
    hasher, size = blake3.blake3(), 0
    with path.open("rb") as file:
        while chunk := file.read(chunk_bytes):
            hasher.update(chunk)
            size += len(chunk)
    return "blake3:" + hasher.hexdigest(), size


def digest_of_value(value: Any) -> str:
    """The digest of a plain value by its canonical JSON: keys sorted, no spaces."""
    return digest_of(msgspec.json.encode(value, order="sorted"))
