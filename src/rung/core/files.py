"""Files that are whole or not there at all, whoever writes them at once."""

from __future__ import annotations

import os
from pathlib import Path

from rung.core.ids import new_id


def write_whole(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Put the bytes there, in place of what is there; a reader sees the old or the new, only its owner may read it.

    Each call writes a file of its own first, so that processes and threads may write the same path at once; the last counts.
    With ``durable`` the bytes are on the disk when this returns. Raises OSError.
    """
    part = path.with_name(f".{path.name}.{new_id()}.part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(data)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
