"""A step's own process: ``python -m rung.engine.child FD`` takes one errand from a socket, and sees blobs, never rows.

On another machine: ``python -m rung.engine.child --blob DIGEST --answer FILE`` takes it from the blob store.
"""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> None:
    """Carry out one errand."""
    if network := os.environ.get("RUNG_NETWORK"):  # before anything is imported that could use it
        from rung.engine.reproducing.network import obey  # noqa: PLC0415 - few steps lose their network

        obey(network)
    if arguments[0] == "--blob":
        from rung.engine.remote import fetch_and_answer  # noqa: PLC0415 - only for steps on other machines

        fetch_and_answer(arguments[1], arguments[3])
        return
    from rung.engine.workers.worker import serve  # noqa: PLC0415 - after the network is closed

    serve(int(arguments[0]), reused="reused" in arguments)
    sys.stdout.flush()
    os._exit(0)  # what a step has left to run at exit is not waited for


if __name__ == "__main__":
    main(sys.argv[1:])
