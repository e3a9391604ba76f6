"""Files that are whole or not there at all, whoever writes them at once; temporary folders that stay only where they are used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from rung.core.ids import new_id


def write_whole(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Put the bytes there, in place of what is there; a reader sees the old or the new, only its owner may read it.

    Each call writes a file of its own first, so that processes and threads may write the same path at once; the last counts.
    With ``durable`` the bytes are on the disk when this returns. Raises OSError.
    """
    with _part(path, data, mode=0o600, durable=durable) as part:
        part.rename(path)


def write_first(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put the bytes there, durably, unless something is there: of all who write at once one wins, and who reads then sees its bytes.

    Raises OSError, also where a file system has no links.
    """
    with _part(path, data, mode=mode, durable=True) as part, contextlib.suppress(FileExistsError):
        os.link(part, path)


@contextlib.contextmanager
def _part(path: Path, data: bytes, *, mode: int, durable: bool) -> Iterator[Path]:
    """A file beside the one that is meant, of this call alone; it is gone at the end, unless it was renamed."""
    part = path.with_name(f".{path.name}.{new_id()}.part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(data)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def kept_if_used(prefix: str) -> Iterator[Path]:
    """A temporary folder of this caller alone; it stays for as long as the machine keeps such folders if something lies in it at the end."""
    import tempfile  # noqa: PLC0415 - loads what draws random numbers

    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # it holds something
            folder.rmdir()
