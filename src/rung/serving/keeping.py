"""What is kept of answers: a share of them, and of personal columns a keyed hash or nothing. Raw values never reach the log.

The hash is blake2b under a key of the home and the project: equal values stay equal, so rows can still be joined and
counted, and nobody without the key can try values out.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from rung.core.errors import Unavailable
from rung.core.files import write_first
from rung.serving.options.logging import LogOptions

KEY_FILE = "mask.key"
KEY_BYTES = 32
_SPAN = float(1 << 64)
_PERSON = b"rung-logged-share"  # not the arms' hash: a share of the log must hold every arm alike


class Keeping(msgspec.Struct, frozen=True):
    """What a deployment's options say of its log, made ready once for many entries; ``PredictionLog.keeping`` makes it."""

    share: float = 1.0
    masked: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    sheds: bool = False
    key: bytes = b""

    def keeps(self, prediction_id: str) -> bool:
        """Whether an answer belongs to the share that is kept."""
        drawn = blake2b(prediction_id.encode(), digest_size=8, key=_PERSON).digest()
        return int.from_bytes(drawn, "little") < self.share * _SPAN

    def mask(self, value: Any, dtype: str = "") -> str | None:
        """The keyed hash of a value, 32 hex digits; None of a missing one. A whole number hashes alike as 5 and as 5.0."""
        said = _said(value, dtype)
        return None if said is None else blake2b(said.encode(), digest_size=16, key=self.key).hexdigest()


def keeping_of(options: LogOptions, home: Path, project: str) -> Keeping | None:
    """The options made ready; None when everything is kept as it is and nothing shed. Raises Unavailable without a key."""
    if options.share >= 1 and not options.masked and not options.dropped and options.when_behind == "refuse":
        return None
    key = project_key(home, project) if options.masked else b""
    masked = tuple(name for name in options.masked if name not in options.dropped)
    return Keeping(share=options.share, masked=masked, dropped=options.dropped, sheds=options.when_behind == "shed", key=key)


def project_key(home: Path, project: str) -> bytes:
    """The project's key for masks, derived from the home's, which is made on first need and lies there with rights 0600.

    The home of an inference node has the platform's key of the project itself.
    """
    given = mask_key_file(home, project)
    if given.exists():
        return _home_key(given)
    return blake2b(project.encode(), digest_size=KEY_BYTES, key=_home_key(home / "predictions" / KEY_FILE)).digest()


def mask_key_file(home: Path, project: str) -> Path:
    """Where a project's key lies that was not derived from the home's."""
    return home / "predictions" / f"mask-{project}.key"


def _home_key(path: Path) -> bytes:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_first(path, os.urandom(KEY_BYTES))  # whoever is first gives the key to all
        key = path.read_bytes()
    except OSError as error:
        raise _keyless(path, error.strerror or "it cannot be read") from None
    if len(key) != KEY_BYTES:
        raise _keyless(path, f"it has {len(key)} bytes instead of {KEY_BYTES}")
    return key


def _keyless(path: Path, why: str) -> Unavailable:
    return Unavailable(
        f"The key for masked columns, {path}, cannot be used: {why}.",
        code="serving.no_mask_key",
        hint="Restore it from a backup; with another key, values masked before can no longer be joined.",
    )


def _said(value: Any, dtype: str) -> str | None:
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
        return None
    if isinstance(value, bool) or dtype == "Boolean":
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if not isinstance(value, float) else repr(value)
