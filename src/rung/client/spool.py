"""The spool: a folder a run with what was logged on this machine and has not arrived yet.

<spool>/<run id>/note.json           which run of which platform
                 <journal>.journal   one chain of files a process that logs
                 blobs/<hex>         files of offline runs
                 sending.lock        held by the one process that sends for this run
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from rung.client.journal import SUFFIX
from rung.core.digests import digest_of_file
from rung.core.errors import Unavailable
from rung.core.files import write_whole
from rung.core.ids import new_id
from rung.core.locking import FileLock
from rung.core.records import Record, prepared
from rung.core.settings import Settings

_NOTE, _LOCK, _BLOBS = "note.json", "sending.lock", "blobs"
_TRIES = 3


class Note(Record):
    """Which run a folder of the spool belongs to. ``platform`` is a server's address or a home; empty: whichever it is sent to."""

    run: str
    platform: str = ""
    project: str = ""
    experiment: str = ""
    name: str = ""
    offline: bool = False
    created_at: datetime | None = None


class RunFolder:
    """One run's part of the spool."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(self.path / _LOCK)

    @property
    def run(self) -> str:
        """The run's id."""
        return self.path.name

    def note(self) -> Note:
        """What is known of the run; only its id when nothing can be read."""
        try:
            return msgspec.json.decode((self.path / _NOTE).read_bytes(), type=prepared(Note))
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return Note(run=self.run)

    def prepare(self, note: Note) -> None:
        """Make the folder and its note. Raises Unavailable when it cannot be written."""
        try:
            for _ in range(_TRIES):  # whoever sent what was in the folder may remove it meanwhile
                with suppress(FileNotFoundError, FileExistsError):
                    self._make(note)
                    return
            self._make(note)
        except OSError as error:
            raise Unavailable(
                f"The spool {self.path.parent} cannot be written: {error.strerror}.", code="tracking.spool_unwritable",
                hint="Choose another folder with RUNG_SPOOL.",
            ) from None  # fmt: skip

    def _make(self, note: Note) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.mkdir(exist_ok=True, mode=0o700)
        if not (self.path / _NOTE).exists():
            write_whole(self.path / _NOTE, msgspec.json.encode(note))

    def journals(self) -> list[Path]:
        """Journals in the order they were begun."""
        try:
            return sorted(self.path.joinpath(item.name) for item in os.scandir(self.path) if item.name.endswith(SUFFIX))
        except FileNotFoundError:
            return []

    def keep_blob(self, source: bytes | Path) -> str:
        """Keep bytes, or a copy of a file, beside the journals; return their digest."""
        folder = self.path / _BLOBS
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = folder / f"{new_id()}.part"
        part.write_bytes(source) if isinstance(source, bytes) else shutil.copyfile(source, part)
        digest = digest_of_file(part)[0]  # of the copy: the file may change while it is copied
        part.rename(self.blob(digest))
        return digest

    def blob(self, digest: str) -> Path:
        """Where a blob lies."""
        return self.path / _BLOBS / digest.partition(":")[2]

    def lock(self) -> bool:
        """Become the one process that sends for this run; False while another is, or where there is nothing to send."""
        try:
            return self._lock.take()
        except FileNotFoundError:  # no folder, or none any more
            return False

    def unlock(self) -> None:
        """Let another process send."""
        self._lock.give()

    def leave(self) -> None:
        """In a forked child: sending is the parent's."""
        self._lock.leave()

    def remove_if_done(self) -> bool:
        """Delete the folder when no journal is left in it; only the sender may."""
        if self.journals() or not self._lock.held:
            return False
        shutil.rmtree(self.path / _BLOBS, ignore_errors=True)
        for name in (_NOTE, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody began a journal meanwhile, and keeps the folder
            self.path.rmdir()
        return True


def spool_root(settings: Settings, home: Path | None = None) -> Path:
    """Where unsent logs lie: RUNG_SPOOL, else in the home of the embedded platform, else in the user's state folder."""
    if settings.spool:
        return Path(settings.spool).expanduser().absolute()
    if home is not None or not settings.url:
        return (home or settings.home_path) / "spool"
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser().absolute() / "rung" / "spool"


def run_folders(root: Path) -> Iterator[RunFolder]:
    """Folders of runs in a spool, oldest run first; ``root`` may be one of them itself."""
    if any(root.glob(f"*{SUFFIX}")) or (root / _NOTE).exists():
        yield RunFolder(root)
    elif root.is_dir():
        yield from (RunFolder(path) for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith("."))


def spool_bytes(root: Path) -> int:
    """Bytes that a spool takes on the disk."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total
