"""``rung`` as a process, for tests of the warm process."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.processes import is_alive

ROOT = Path(__file__).parents[3]
PIPELINES = """
import os, sys, tempfile, time
from rung import pipeline, step

@step(cache=False)
def tell() -> dict:
    print("to the log")
    return {"folder": os.getcwd(), "word": os.environ.get("WORD", ""), "pid": os.getpid(), "parent": os.getppid(), "name": sys.argv[0], "temporary": tempfile.gettempdir()}

@step(cache=False)
def rest() -> int:
    open("resting", "w").write(str(os.getpid()))
    time.sleep(60)
    return 1

@step(cache=False)
def leave() -> int:
    import builtins, gzip, zipfile
    builtins.left = [open("left.txt", "w"), gzip.open("left.gz", "wt"), zipfile.ZipFile("left.zip", "w"), open("left.bin", "wb")]
    builtins.left[0].write("text")
    builtins.left[1].write("packed")
    builtins.left[2].writestr("inner", "archived")
    builtins.left[3].write(b"bytes")
    return 1

@pipeline
def telling():
    return tell()

@pipeline
def leaving():
    return leave()

@pipeline
def resting():
    return rest()
"""


def rung(*words: str, folder: Path, env: dict[str, str], before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    """A command as somebody types it; ``before`` and ``after`` stand around it in the shell."""
    line = f"{before}{shlex.join([sys.executable, '-m', 'rung.cli.entry', *words])}{after}"
    return subprocess.run(["sh", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def wait_for(what: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Until something is so."""
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def told(project: Path, env: dict[str, str], *, before: str = "") -> dict[str, Any]:
    """What a run says about its process."""
    done = rung("run", "telling", "--json", folder=project, env=env, before=before)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    artifact = (run.get("run") or run)["outputs"][0]
    answer: dict[str, Any] = json.loads(base64.b64decode(artifact["inline"]))
    return answer


def end(pid: int) -> None:
    """Let a warm process end."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_alive(pid))
