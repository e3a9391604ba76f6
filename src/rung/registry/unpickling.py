"""A pickled model in a format that runs no code, made by a confined process. Only where the settings allow pickles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from rung.core.errors import Invalid, Unavailable
from rung.registry.format import FORMATS

_TIMEOUT_S = 180
_LARGEST = 2 << 30
_LARGEST_ANSWER = 100_000
PICKLE, ANSWER = "model.pickle", "answer.json"


class _Answer(msgspec.Struct):
    """What the confined process told."""

    format: str = ""
    error: str = ""


def unpickled(data: bytes, scratch: Path) -> tuple[str, dict[str, bytes]]:
    """Format and files of a pickled model. ``scratch`` is a folder of ours in which the process is given a folder of its own.

    Raises:
        Invalid: it holds no model that one of our formats can write, or took too long.
        Unavailable: this machine has no means to confine a process.
    """
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="pickle-"))
    try:
        (folder / PICKLE).write_bytes(data)
        _run(folder)
        raw = _read(folder / ANSWER, _LARGEST_ANSWER)
        answer = msgspec.json.decode(raw, type=_Answer)
        if answer.error or answer.format not in FORMATS.names():
            raise _refused(answer.error or "it is of no known format")
        names = [item.name for item in folder.iterdir() if item.name not in {PICKLE, ANSWER}]
        return answer.format, {name: _read(folder / name, _LARGEST) for name in names[:10]}
    except (OSError, msgspec.DecodeError) as error:
        raise _refused(f"it left nothing readable ({error})") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path) -> None:
    command = [sys.executable, "-I", "-m", "rung.registry.unpickler", str(folder)]
    environment = {"HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"}
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
        told = msgspec.json.decode(_read(folder / ANSWER, _LARGEST_ANSWER), type=_Answer)
        raise Unavailable(told.error or "The pickle's process could not be confined.", code="registry.no_isolation")


def _read(path: Path, limit: int) -> bytes:
    """The bytes of a plain file; what the process left may be a link, or larger than it should be."""
    place = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(place, "rb") as file:
        if os.fstat(place).st_size > limit:
            raise OSError("too large")
        return file.read(limit)


def _refused(why: str) -> Invalid:
    return Invalid(
        f"The pickle could not be turned into a format that runs no code: {why}.",
        code="registry.pickle",
        hint="Log it again with serialization_format='skops'.",
    )
