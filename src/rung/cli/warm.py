"""``rung warm``: keep a process at hand in which everything is loaded, so that commands start in milliseconds."""

from __future__ import annotations

import click

from rung.cli.frame import EXIT_FAILURE, fail, show, verb


@click.group(name="warm")
def command() -> None:
    """Keep a process at hand in which everything is loaded, so that commands start in milliseconds.

    It belongs to you alone, opens nothing by itself, and ends when nobody has needed it for a while.

    \b
    Example: rung warm start; rung run train
    """


@command.command()
@click.option("--idle", default="30m", show_default=True, help="End after that long without a command, e.g. 10m or 8h.")
@verb
def start(idle: str) -> None:
    """Start it; nothing happens when it is there already.

    \b
    Example: rung warm start --idle 8h
    """
    import os  # noqa: PLC0415
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415
    import time  # noqa: PLC0415

    from rung.cli.entry import socket_path  # noqa: PLC0415
    from rung.cli.warm_client import trusted  # noqa: PLC0415
    from rung.pipelines.authoring import seconds  # noqa: PLC0415

    path, idle_s = socket_path(), seconds(idle)
    if _pid(path) is None:
        folder = os.path.dirname(path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not trusted(path):
            fail(f"{folder} is open to other users.", hint="Remove it, or set XDG_RUNTIME_DIR to a folder of your own.")
        process = subprocess.Popen(
            [sys.executable, "-m", "rung.cli.warm_host", path, str(idle_s)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True, cwd="/",
        )  # fmt: skip
        until = time.monotonic() + 90  # on a busy machine loading everything takes its time
        while _pid(path) is None:
            if process.poll() is not None or time.monotonic() > until:
                said = process.stderr.read().decode("utf-8", "replace").strip() if process.stderr and process.poll() is not None else ""
                fail(f"The warm process did not start. {said}".strip(), hint="Commands work without it.")
            time.sleep(0.01)
    _say(path)


@command.command()
@verb
def status() -> None:
    """Say whether it is there.

    \b
    Example: rung warm status
    """
    from rung.cli.entry import socket_path  # noqa: PLC0415

    _say(socket_path())


@command.command()
@verb
def stop() -> None:
    """End it, once the commands it runs have ended.

    \b
    Example: rung warm stop
    """
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from rung.cli.entry import socket_path  # noqa: PLC0415

    pid = _pid(socket_path())
    if pid is None:
        fail("There is no warm process.", hint="`rung warm start` starts one.", code=EXIT_FAILURE)
    os.kill(pid, signal.SIGTERM)
    show({"warm": False, "pid": pid}, title="Stopped")


def _say(path: str) -> None:
    pid = _pid(path)
    show({"warm": pid is not None, "pid": pid, "socket": path})


def _pid(path: str) -> int | None:
    """The process that listens there, told by the kernel."""
    import socket  # noqa: PLC0415
    import struct  # noqa: PLC0415

    from rung.cli.warm_client import trusted  # noqa: PLC0415

    if not trusted(path):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError:
            return None
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])
