"""A pickled model in a format that runs no code, made by a confined process. Only where the settings allow pickles."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec

from rung.core.errors import Invalid, Unavailable
from rung.registry.format import FORMATS
from rung.registry.unpickler import ANSWER, MADE, PICKLE

_TIMEOUT_S = 180
_LARGEST = 2 << 30
_LARGEST_ANSWER = 100_000
_one_at_a_time = threading.Lock()  # each may take gigabytes


class _Answer(msgspec.Struct):
    """What the confined process told."""

    format: str = ""
    path: str = ""
    error: str = ""
    hint: str = ""


def unpickled(data: bytes, scratch: Path) -> tuple[str, dict[str, bytes]]:
    """Format and files of a pickled model. ``scratch`` is a folder of ours in which the process is given a folder of its own.

    The files are a stranger's: they are read by their format, as any other file that was sent here.

    Raises:
        Invalid: it holds no model that one of our formats can write, or took too long.
        Unavailable: this machine has no means to confine a process.
    """
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _one_at_a_time, tempfile.TemporaryDirectory(dir=scratch, prefix="pickle-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / PICKLE).write_bytes(data)
        (folder / MADE).touch(mode=0o600)
        (folder / ANSWER).touch(mode=0o600)
        _run(folder)
        answer = _told(folder)
        if answer.error or answer.format not in FORMATS.names():
            raise _refused(answer.error or "it is of no known format")
        return answer.format, {answer.path: _read(folder / MADE, _LARGEST)}


def _run(folder: Path) -> None:
    command = [sys.executable, "-I", "-B", "-m", "rung.registry.unpickler", str(folder)]
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    environment = {"HOME": str(folder), "LANG": "C.UTF-8", **dict.fromkeys(threads, "1")}
    nowhere = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=_TIMEOUT_S, check=False,
            start_new_session=True, close_fds=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _refused(f"it was not done after {_TIMEOUT_S} s") from None
    if done.returncode < 0:
        raise _refused(f"it ended the process that opened it (signal {-done.returncode})")
    if done.returncode:
        told = _told(folder)
        raise Unavailable(told.error or "A pickle's process did not start.", code="registry.no_isolation", hint=told.hint or None)


def _told(folder: Path) -> _Answer:
    try:
        return msgspec.json.decode(_read(folder / ANSWER, _LARGEST_ANSWER), type=_Answer)
    except msgspec.MsgspecError as error:
        raise _refused(f"it left nothing readable ({error})") from None


def _read(path: Path, limit: int) -> bytes:
    """The bytes of a file the process wrote. Raises Invalid for more than the limit."""
    size = os.stat(path, follow_symlinks=False).st_size
    if size > limit:
        raise _refused(f"it wrote {size} bytes")
    return path.read_bytes()


def _refused(why: str) -> Invalid:
    return Invalid(
        f"The pickle could not be turned into a format that runs no code: {why}.",
        code="registry.pickle",
        hint="Log it again with serialization_format='skops'.",
    )
