"""Starting the process of a model, up to where it answers; and what is told of one that does not."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rung.core.errors import Invalid, RungError, Unavailable, rebuilt
from rung.registry.records import ModelVersion
from rung.serving.isolated import wire

LOG = logging.getLogger("rung.serving")
START_S = 120.0
# what a confined model sees of the environment: how libraries compute, not the tokens that a server is given
_KEPT = ("PATH", "LANG", "LC_", "TZ", "PYTHON", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "OMP_", "OPENBLAS_", "MKL_", "POLARS_")


@dataclass(frozen=True)
class Spec:
    """Which version runs, where, and what it may take.

    Args:
        version: the version.
        folder: where its files lie, each named by its digest.
        timeout_s: seconds an answer may take; the process is killed then.
        memory_mb: memory of the process, MiB; 0: no bound.
        python: interpreter with the version's own libraries, which then score it; empty: this one.
        path: folders in front of the environment's own packages, with the model's code.
        preload: modules imported before the model is loaded.
        engine: serving engine, as for loading; empty: the version's artifact where there is one.
        device: where it computes; empty: as its format does by itself.
        confined: give up network, other programs and other files before the model is loaded; it writes in a scratch folder only.
        unconfined: run all the same where the kernel cannot confine it.
    """

    version: ModelVersion
    folder: Path
    timeout_s: float = 30.0
    memory_mb: int = 0
    python: str = ""
    path: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    engine: str = ""
    device: str = ""
    confined: bool = False
    unconfined: bool = False

    @property
    def name(self) -> str:
        """The version as people write it."""
        return f"{self.version.model}:{self.version.number}"


@dataclass
class Process:
    """A running process, the line to it, and what it said of its engine; ``asked`` is held by whoever writes to the line and reads it."""

    held: subprocess.Popen[bytes]
    line: socket.socket
    began: float
    scratch: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    asked: threading.Lock = field(default_factory=threading.Lock)

    def end(self) -> None:
        """End it at once; its scratch folder goes with it."""
        self.held.kill()
        with suppress(OSError):  # whoever waits for an answer hears that none comes
            self.line.shutdown(socket.SHUT_RDWR)
        self.held.wait()
        with self.asked:  # the number of a closed line is the next connection's, and what comes there is for another
            self.line.close()
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)


def started(spec: Spec, launched: Callable[[Process], None]) -> Process:
    """A process that has loaded the model; ``launched`` is told of it before, so that others may end it. Raises why it does not answer."""
    ours, theirs = socket.socketpair()
    scratch = tempfile.mkdtemp(prefix="rung-scratch-") if spec.confined else ""
    command = [spec.python or sys.executable, "-m", "rung.serving.isolated.child", str(theirs.fileno()), str(os.getpid())]
    try:
        held = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=_environ(scratch), cwd=spec.folder
        )  # fmt: skip
    except OSError as error:
        ours.close()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
        raise Unavailable(f"No process for {spec.name}: {error}.", code="serving.model_crashed") from None
    finally:
        theirs.close()
    ours.setblocking(False)  # noqa: FBT003 - the name of the socket's own method
    process = Process(held, ours, time.monotonic(), scratch)
    launched(process)
    try:
        process.facts = _facts(spec, process)
    except RungError:
        process.end()
        raise
    process.began = time.monotonic()
    return process


def _facts(spec: Spec, process: Process) -> dict[str, Any]:
    until = time.monotonic() + START_S
    try:
        wire.send(process.line.fileno(), wire.CONFIG, _config(spec, process.scratch), until=until)
        kind, _, _, payload = wire.receive(process.line.fileno(), until=until)
    except (TimeoutError, EOFError, OSError):
        raise died(spec, process) from None
    told: dict[str, Any] = json.loads(payload)
    if kind == wire.ERROR:
        raise told_error(spec, told)
    if told.get("open"):
        LOG.warning("%s runs unconfined, as registry.allow_unconfined_code says: %s", spec.name, told["open"])
    return told


def _config(spec: Spec, scratch: str) -> bytes:
    behind = [place for place in sys.path if place and Path(place).is_dir()]
    return msgspec.json.encode(
        {
            "version": spec.version, "folder": str(spec.folder), "memory_mb": spec.memory_mb, "path": list(spec.path),
            "preload": list(spec.preload), "engine": "native" if spec.python else spec.engine, "device": spec.device, "behind": behind,
            "roots": _roots(), "confined": spec.confined, "unconfined": spec.unconfined, "scratch": scratch,
        }
    )  # fmt: skip


def _roots() -> list[str]:
    return sorted({sys.prefix, sys.base_prefix, *site.getsitepackages(), site.getusersitepackages()})


def _environ(scratch: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNG_")}
    if scratch:
        kept = {name: value for name, value in kept.items() if name.startswith(_KEPT)}
        kept |= dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), scratch)
    return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", **kept}


def died(spec: Spec, process: Process) -> Unavailable:
    """How a process ended that closed its line."""
    with suppress(subprocess.TimeoutExpired):
        process.held.wait(2)
    code = process.held.returncode
    how = "closed its line" if code is None else f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
    return Unavailable(
        f"The process of {spec.name} {how}.",
        code="serving.model_crashed",
        hint="It is started again; see the server's log for its words.",
    )


def told_error(spec: Spec, told: dict[str, Any]) -> RungError:
    """The error that a process told."""
    if told["kind"] == "memory":
        return memory(spec)
    if told["kind"] == "confined":
        return Unavailable(
            f"{spec.name} did what a confined model may not: {told['name']}: {told['message']}", code="serving.model_confined",
            hint="Models with code of their own have no network, start no programs, read only what came with them, and write only "
            "below their scratch folder (tempfile): take the rest out of its code.",
        )  # fmt: skip
    if told["kind"] == "rows":
        return Invalid(
            f"{spec.name} cannot score these rows: {told['message'][:300]}", code="registry.unscorable",
            hint="Send values of the kind it was fitted on.",
        )  # fmt: skip
    if told["kind"] != "raised":
        return rebuilt(told["kind"], told["message"], code=told["code"], hint=told["hint"])
    return Unavailable(
        f"{spec.name} raised {told['name']}: {told['message'].rstrip('.')}.",
        code="serving.model_raised",
        hint="Correct the model's code, or what it was asked.",
    )


def memory(spec: Spec) -> Unavailable:
    """It took too much."""
    return Unavailable(
        f"{spec.name} needs more than the {spec.memory_mb} MiB it may take.", code="serving.model_memory",
        hint="Send fewer rows, or give it more by its runtime options.",
    )  # fmt: skip


def silent(spec: Spec) -> Unavailable:
    """It hangs."""
    return Unavailable(
        f"{spec.name} did not answer in {spec.timeout_s:g} s; its process was ended.", code="serving.model_timeout",
        hint="Send fewer rows, or allow more time by its limits.",
    )  # fmt: skip
