"""Bytes as they are: a bytearray or memoryview comes back as bytes, and so do large bytes on their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Payload


@MATERIALISERS.member("bytes")
class Bytes:
    """bytes, bytearray, memoryview."""

    rank = 110

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a buffer of bytes."""
        return type(value) in {bytes, bytearray, memoryview}

    @staticmethod
    def dump(value: Any) -> Payload:
        """The bytes."""
        return Payload(bytes(value))

    @staticmethod
    def load(payload: Payload, scratch: Path) -> bytes:
        """The bytes."""
        return payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()

    @staticmethod
    def compare(original: bytes, repeated: bytes, tolerance: float) -> Difference:
        """Equal or not."""
        if original == repeated:
            return Difference("identical", "The bytes are equal.")
        return Difference("different", f"{len(original)} bytes were other than the {len(repeated)} of now")
