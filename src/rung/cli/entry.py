"""The ``rung`` command's entry: hands the command to a warm process where one waits, else runs it here.

Nothing is imported before that is known: starting Python and loading the command line is most of what a short command costs.
"""

from __future__ import annotations

import os
import sys

_SHAPING = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")  # read once by an interpreter at its start, besides PYTHON*


def main() -> None:
    """Entry point of the ``rung`` command."""
    if os.environ.get("RUNG_WARM", "1") != "0" and os.path.exists(socket_path()):
        from rung.cli.warm_client import hand_over  # noqa: PLC0415 - only where a warm process waits

        status = hand_over(socket_path(), sys.argv[1:])
        if status is not None:
            sys.exit(status)
    from rung.cli.main import main as here  # noqa: PLC0415 - the whole command line

    here()


def interpreter() -> str:
    """What makes two interpreters alike: the binary, the environment Rung lies in, and the variables Python reads at its start."""
    shaping = [f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith("PYTHON") or key in _SHAPING]
    return "\n".join([sys.executable, sys.prefix, __file__, sys.version, *shaping])


def socket_path() -> str:
    """Where the warm process of this user and interpreter listens."""
    from zlib import crc32  # noqa: PLC0415

    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = f"{runtime}/rung" if runtime else f"/tmp/rung-{os.getuid()}"  # noqa: S108 - its owner and mode are checked before use
    return f"{folder}/warm-{crc32(interpreter().encode()):08x}.sock"


if __name__ == "__main__":
    main()
