"""The proxy's tree of artifacts, and who in it owns what. A path that climbs, in whatever spelling, is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote

from rung.core.errors import Invalid

_OWNERS = (
    re.compile(r"^[0-9]{1,9}/([0-9a-f]{32})/artifacts(?:/(.*))?$", re.DOTALL),
    re.compile(r"^[0-9]{1,9}/models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?$", re.DOTALL),
    re.compile(r"^[0-9]{1,9}/traces/(tr-[0-9a-f]{32})/artifacts(?:/(.*))?$", re.DOTALL),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOBODY = "files"
_SPELLINGS = 4


def located(path: str) -> tuple[str, str]:
    """Owner and path inside its artifacts of a path in the proxy's tree. Raises Invalid for one that climbs."""
    plain = checked(path).strip("/")
    for pattern in _OWNERS:
        match = pattern.match(plain)
        if match:
            return match[1], checked(match[2] or "")  # who fetches it puts this part below a folder of their own
    return _NOBODY, plain


def checked(path: str) -> str:
    """A path as it was sent. Raises Invalid when it, or what it says once more decoded, leaves its folder."""
    spelt = path
    for _ in range(_SPELLINGS):
        if spelt.startswith(("/", "\\")) or _CONTROL.search(spelt) or re.match(r"^[A-Za-z]:[\\/]", spelt) or _climbs(spelt):
            raise Invalid(
                f"Invalid path: {path[:100]!r} leaves its folder or holds control characters.",
                code="mlflow.bad_path",
                hint="Send a path inside it.",
            )
        again = unquote(spelt)
        if again == spelt:
            break
        spelt = again
    return path


def _climbs(path: str) -> bool:
    return any(part in {"..", "."} for part in re.split(r"[/\\]", path))
