"""Ending a command's process: all that was promised is done, but the interpreter is not taken apart.

Taking it apart costs a seventh of a short command, and in a fork of the warm process more than the command. What it would do
that somebody could notice is done here: threads are waited for, what was registered for the end is called, what steps have
left open is closed. Where foreign native libraries are loaded, which may have their own ways to end, it ends as ever.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress

from rung.cli.frame import EXIT_FAILURE

_OURS = {"rung", "msgspec", "blake3", "sqlalchemy", "greenlet", "psycopg", "psycopg_binary", "psycopg_c", "yaml", "markupsafe"}


def leave(status: int) -> None:
    """End with an exit status: by leaving at once, or where it must be by SystemExit.

    Output that cannot be written makes a command fail that had succeeded. Raises SystemExit.
    """
    if sys.gettrace() is not None or sys.getprofile() is not None or sys.flags.inspect or _has_foreign_code():
        raise SystemExit(status)
    import atexit  # noqa: PLC0415 - these are loaded by now
    import threading  # noqa: PLC0415

    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - waits for threads that are no daemons, as the interpreter does
    atexit._run_exitfuncs()  # noqa: SLF001 - the only way to run them
    _close_files()
    os._exit(_written() or status)


def _has_foreign_code() -> bool:
    """Whether a native library is loaded that is neither Python's nor one of those that short commands load."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and file.endswith((".so", ".pyd")) and "lib-dynload" not in file and name.partition(".")[0] not in _OURS:
            return True
    return False


def _close_files() -> None:
    """Close what is open yet, the outer before the inner, so that what is in a buffer gets into its file."""
    archive = getattr(sys.modules.get("zipfile"), "ZipFile", None)
    streams = {id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)}
    ranks: dict[type, int | None] = {}
    found: list[tuple[int, io.IOBase]] = []
    for held in gc.get_objects():
        kind = type(held)
        if kind not in ranks:
            ranks[kind] = _rank(kind, archive)
        if ranks[kind] is not None and id(held) not in streams and not _is_standard(held):
            found.append((ranks[kind] or 0, held))
    for _, held in sorted(found, key=lambda pair: pair[0]):
        with suppress(Exception):  # as the interpreter, which has nobody to tell
            held.close()


def _rank(kind: type, archive: type | None) -> int | None:
    """When to close a kind of object: text, then compressors, archives, buffers, what lies beneath; None for those without a need."""
    if archive is not None and issubclass(kind, archive):
        return 2
    if issubclass(kind, io.TextIOWrapper):
        return 0
    if issubclass(kind, io.BufferedWriter | io.BufferedRandom | io.BufferedRWPair):
        return 3
    if not issubclass(kind, io.IOBase) or kind.__module__ == "_io":
        return None
    return 4 if issubclass(kind, io.RawIOBase) else 1


def _is_standard(held: io.IOBase) -> bool:
    try:
        return held.fileno() <= 2  # noqa: PLR2004 - standard error
    except (OSError, ValueError, AttributeError):
        return False


def _written() -> int:
    """Write out what waits in the standard streams; the exit status of a command whose output could not be written."""
    failed = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except ValueError:
            continue  # closed
        except OSError as error:
            failed = EXIT_FAILURE
            told = f"The output could not be written: {error.strerror}.\n"
            os.write(2, told.encode()) if stream is sys.stdout else None
    return failed
