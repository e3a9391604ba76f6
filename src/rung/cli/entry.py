"""The ``rung`` command's entry: hands the command to a warm process where one waits, else runs it here.

Nothing is imported before that is known: starting Python and loading the command line is most of what a short command costs.
"""

from __future__ import annotations

import sys

from rung.cli.warm_place import socket_path


def main() -> None:
    """Entry point of the ``rung`` command."""
    path = socket_path()
    if path is not None:
        from rung.cli.warm_client import hand_over  # noqa: PLC0415 - only where a warm process is wanted

        status = hand_over(path, sys.argv[1:])
        if status is not None:
            sys.exit(status)
    from rung.cli.main import main as here  # noqa: PLC0415 - the whole command line

    try:
        here()
    except SystemExit as error:
        if path is not None:
            from rung.cli.warm_start import for_the_next  # noqa: PLC0415 - a command that had to load everything

            for_the_next(path, sys.argv[1:])
        if error.code is None or isinstance(error.code, int):
            from rung.cli.leaving import leave  # noqa: PLC0415

            leave(error.code or 0)
        raise


if __name__ == "__main__":
    main()
