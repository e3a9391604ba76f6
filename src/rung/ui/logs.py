"""What steps print, made fit for a page: colours and cursor movements taken out, redrawn lines as they ended, odd bytes named."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = {code: 0x2400 + code for code in range(32) if code not in {9, 10}} | {127: 0x2421, 0x2028: 0x2424, 0x2029: 0x2424}
_TURNING = dict.fromkeys((0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2066, 0x2067, 0x2068, 0x2069), 0xFFFD)  # would reorder what is read


def readable(text: str) -> str:
    """The text as a terminal would have left it, without colours; control characters as their pictures."""
    plain = _ESCAPES.sub("", text).replace("\r\n", "\n")
    lines = (_last_drawn(line) if "\r" in line else line for line in plain.split("\n"))
    return "\n".join(lines).translate(_CONTROLS | _TURNING)


def _last_drawn(line: str) -> str:
    """A line that was drawn over, as a progress bar is: what stood there in the end."""
    return next((part for part in reversed(line.split("\r")) if part), "")
