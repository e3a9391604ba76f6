"""Identifiers: UUID version 7 (RFC 9562, section 5.7) as 32 hex digits, so that ids sort by creation."""

from __future__ import annotations

import os
import threading
import time

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A fresh id: 48 bits of Unix milliseconds, then a 12-bit counter within the process, then 62 random bits."""
    global _last  # noqa: PLW0603 - monotonic within the process is the point of the counter
    with _lock:
        tick = max(time.time_ns() // 1_000_000 << 12, _last + 1)
        _last = tick
    milliseconds, counter = tick >> 12, tick & 0xFFF
    tail = int.from_bytes(os.urandom(8), "big") & (2**62 - 1) | 2 << 62
    return f"{milliseconds:012x}7{counter:03x}{tail:016x}"
