"""Starting the platform for the story, and waiting until it has caught up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rung


@contextmanager
def running_platform(folder: Path) -> Iterator[Any]:
    """``rung up`` on a free port in the project's folder, and a client of it."""
    address = folder / ".rung" / "address"
    address.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with a story that is ended
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "rung.cli.main", "up", "--port", "0"], cwd=folder, stdout=log, stderr=log)
    try:
        client = _connected(folder, address, process)
        yield client
        client.close()
    finally:
        process.terminate()
        process.wait(60)


def settle(client: Any, seconds: float = 180.0) -> None:
    """Wait until no event waits for a subscriber and no pipeline run is under way."""
    deadline = time.monotonic() + seconds
    quiet = 0
    while quiet < 2:
        if time.monotonic() > deadline:
            raise SystemExit("The platform did not catch up; look at server.log.")
        busy = client.governance.waiting_events() or any(client.pipelines.runs(status=status).items for status in ("queued", "running"))
        quiet = 0 if busy else quiet + 1
        time.sleep(0.1)


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for a condition, or end the story saying what did not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"Waited in vain for {what}; look at server.log.")
        time.sleep(0.1)


def _connected(folder: Path, address: Path, process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if address.is_file() and (url := address.read_text("utf-8").strip()):
            client = rung.connect(url, (folder / ".rung" / "token").read_text("utf-8").strip())
            try:
                client.governance.who_am_i()
            except Exception:
                client.close()
            else:
                return client
        time.sleep(0.1)
    raise SystemExit("The server did not start; look at server.log.")
