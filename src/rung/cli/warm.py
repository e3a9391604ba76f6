"""``rung warm``: look after the process in which everything is loaded, so that commands start in milliseconds."""

from __future__ import annotations

import click

from rung.cli.frame import EXIT_FAILURE, fail, show, verb

_PATIENCE_S = 90  # on a busy machine loading everything takes its time


@click.group(name="warm")
def command() -> None:
    """Look after the process in which everything is loaded, so that commands start in milliseconds.

    It starts by itself with your second command within a quarter of an hour, belongs to you alone, opens nothing by itself, and
    ends after another quarter of an hour without a command. RUNG_WARM=0 keeps it away.

    \b
    Example: rung warm status
    """


@command.command()
@click.option("--idle", default="30m", show_default=True, help="End after that long without a command, e.g. 10m or 8h.")
@verb
def start(idle: str) -> None:
    """Start it now, or let one that is there stay for as long as you say.

    \b
    Example: rung warm start --idle 8h
    """
    import os  # noqa: PLC0415
    import time  # noqa: PLC0415

    from rung.cli.warm_client import ask, trusted  # noqa: PLC0415
    from rung.cli.warm_start import spawn, taken, why_not  # noqa: PLC0415
    from rung.pipelines.options import seconds  # noqa: PLC0415

    path, idle_s = _place(), seconds(idle)
    process, until = None, time.monotonic() + _PATIENCE_S
    while ask(path, ["warm", "--idle", str(idle_s)]) is None:
        lock = taken(path) if process is None else None  # else another command is starting it just now
        if lock is not None:
            process = spawn(path, idle_s or 0.0, lock)
            os.close(lock)
        elif not trusted(path):
            fail(
                f"{os.path.dirname(path)} is open to other users.",
                hint="Remove it, or set XDG_RUNTIME_DIR to a folder of your own.",
            )
        elif (process is not None and process.poll() is not None) or time.monotonic() > until:
            fail(f"The warm process did not start. {why_not(path)}".strip(), hint="Commands work without it.")
        time.sleep(0.01)
    if process is not None:
        process.returncode = 0  # it is nobody's to wait for
    _say(path)


@command.command()
@verb
def status() -> None:
    """Say whether it is there, and if the last start failed, why.

    \b
    Example: rung warm status
    """
    _say(_place())


@command.command()
@verb
def stop() -> None:
    """End it, once the commands it runs have ended.

    \b
    Example: rung warm stop
    """
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    pid = _pid(_place())
    if pid is None:
        fail("There is no warm process.", hint="`rung warm start` starts one.", code=EXIT_FAILURE)
    os.kill(pid, signal.SIGTERM)
    show({"warm": False, "pid": pid}, title="Stopped")


def _place() -> str:
    from rung.cli.warm_place import socket_path  # noqa: PLC0415

    path = socket_path()
    if path is None:
        fail(
            "There is no warm process here: RUNG_WARM switches it off, this command is being traced, or this is not Linux.",
            hint="Commands work without it.",
            code=EXIT_FAILURE,
        )
    return path


def _say(path: str) -> None:
    from rung.cli.warm_start import why_not  # noqa: PLC0415

    pid = _pid(path)
    failed = {"failed": why_not(path)} if pid is None and why_not(path) else {}
    show({"warm": pid is not None, "pid": pid, "socket": path, **failed})


def _pid(path: str) -> int | None:
    """The process that listens there, told by the kernel."""
    import socket  # noqa: PLC0415
    import struct  # noqa: PLC0415

    from rung.cli.warm_client import connected  # noqa: PLC0415

    connection = connected(path)
    if connection is None:
        return None
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    finally:
        connection.close()
    return int(struct.unpack("3i", credentials)[0])
