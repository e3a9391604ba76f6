"""A nursery: one warmed process with a single thread that forks workers and servers, so that a restart costs a fork.

Run as ``python -m tests.integration.nursery FOLDER``. Each line on its input is ``worker`` or ``server``; it answers
the process id of the child. A child lives until it is killed, and dies with the nursery.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import rung
from rung.core.settings import load_settings

_WARM = (
    "rung.app.local", "rung.app.opening", "rung.engine.loop", "rung.engine.executors.inline", "rung.engine.executors.pool",
    "rung.pipelines.materialisers.json", "rung.server.up", "sqlalchemy.dialects.sqlite", "psycopg", "rung.pipelines.checkpoint_operations",
)  # fmt: skip


def main(folder: Path) -> None:
    """Warm up, then fork on demand."""
    os.chdir(folder)
    settings = load_settings(folder, environ=os.environ)
    for area in pkgutil.iter_modules(rung.__path__):
        for module in ("store", "operations"):
            if area.ispkg and importlib.util.find_spec(f"rung.{area.name}.{module}"):
                importlib.import_module(f"rung.{area.name}.{module}")
    for name in _WARM:
        importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _live(line.strip(), settings)
        print(child, flush=True)


def _live(kind: str, settings: object) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no child outlives the nursery
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(f"/{settings.home_path}/{kind}.log".replace("//", "/"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # type: ignore[attr-defined]
    null = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(number, target)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - the child's for its whole life
    try:
        if kind == "server":
            from rung.server.up import run

            run(settings, port=0, engine=True, allow_remote=False, say=lambda _: None)  # type: ignore[arg-type]
        else:
            from rung.app.opening import open_platform
            from rung.engine.loop import Engine

            platform, _ = open_platform(settings)  # type: ignore[arg-type]
            engine = Engine(platform)
            engine.start()
            while True:
                time.sleep(3600)
    except BaseException:  # told where a test that fails looks, for nobody waits for this child
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
