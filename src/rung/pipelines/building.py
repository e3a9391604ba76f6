"""Virtual environments from locks, by uv: built once, kept under the digest of everything that decides what is in them.

The key is over the lock, the interpreter and the bytes of every local file the lock names, so a wheel that changed behind
its lock is another environment. What Rung itself needs to run a step there is reachable behind the lock's own packages.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

import rung
from rung.core.digests import digest_of, digest_of_file, digest_of_value
from rung.core.errors import Invalid, NotFound, Unavailable
from rung.pipelines.installed import named_files

_RUNTIME = ("msgspec", "blake3", "SQLAlchemy", "typing_extensions", "greenlet")
_LONGEST_S = 1800
_SAID = 2000


class Built(msgspec.Struct, frozen=True):
    """A finished environment: its folder, its interpreter, that one's full version, and what is to be known of it."""

    folder: Path
    python: Path
    version: str
    notes: tuple[str, ...] = ()


class _Mark(msgspec.Struct, frozen=True):
    version: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Interpreter:
    path: str
    version: str
    note: str = ""


def uv_environment(lock: Path, *, home: Path, python: str = "") -> Built:
    """The environment of a lock: a ``uv.lock`` beside its pyproject.toml, or a file of requirements.

    Args:
        lock: the file.
        home: folder of the platform; environments are kept below it.
        python: full version wanted; the nearest patch of the same minor version is taken, with a note, where it is missing.

    Raises:
        NotFound: there is no such file. Invalid: a package's bytes are not those of the lock's hashes.
        Unavailable: uv is missing or fails, or no interpreter of that minor version is here.
    """
    if not lock.is_file():
        raise NotFound(f"There is no lock {lock}.", code="pipelines.no_lock", hint="Write it with `uv lock` or `uv pip compile`.")
    interpreter = _interpreter(python or platform.python_version())
    key = digest_of_value([lock.name == "uv.lock", digest_of(lock.read_bytes()), interpreter.version, _locals(lock), rung.__version__])
    folder = home / "environments" / key.partition(":")[2][:24]
    with _alone(folder):
        mark = _marked(folder)
        if mark is None:
            shutil.rmtree(folder, ignore_errors=True)
            _build(folder, lock, interpreter)
            _reach_rung(folder, interpreter, home)
            mark = _Mark(version=interpreter.version, notes=(interpreter.note,) if interpreter.note else ())
            (folder / "rung.json").write_bytes(msgspec.json.encode(mark))
    return Built(folder=folder, python=folder / "bin" / "python", version=mark.version, notes=mark.notes)


def uv_binary() -> str:
    """The path of uv. Raises Unavailable."""
    found = shutil.which("uv")
    if found:
        return found
    try:
        from uv import find_uv_bin  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - optional
    except ImportError:
        raise Unavailable("uv is not installed.", code="pipelines.no_uv", hint="Install it with `pip install uv`.") from None
    return str(find_uv_bin())


def _interpreter(wanted: str) -> _Interpreter:
    """An interpreter of a version: this one, one that uv finds, or the nearest patch."""
    here = platform.python_version()
    if wanted == here:
        return _Interpreter(sys.executable, here)
    minor = ".".join(wanted.split(".")[:2])
    if found := _found(wanted):
        return _Interpreter(found, wanted)
    note = f"Python {wanted} is not here"
    if ".".join(here.split(".")[:2]) == minor:
        return _Interpreter(sys.executable, here, f"{note}; {here} was taken.")
    near = _found(minor)
    if near is None:
        raise Unavailable(
            f"{note}, nor any other {minor}.",
            code="pipelines.no_python",
            hint=f"Install it, for example with `uv python install {wanted}`.",
        )
    version = _run([near, "-c", "import platform; print(platform.python_version())"], Path.cwd()).stdout.strip()
    return _Interpreter(near, version, f"{note}; {version} was taken.")


def _found(version: str) -> str | None:
    answer = _run([uv_binary(), "python", "find", "--no-project", "--no-python-downloads", version], Path("/"))
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def _build(folder: Path, lock: Path, interpreter: _Interpreter) -> None:
    _ask(["venv", "--no-project", "--python", interpreter.path, str(folder)], lock)
    requirements, exact = lock, False
    if lock.name == "uv.lock":
        requirements, exact = folder / "exported.txt", True
        _ask(["export", "--frozen", "--no-dev", "--no-emit-project", "--format", "requirements.txt", "-o", str(requirements)], lock)
    fresh = [option for file in named_files(lock) for option in ("--refresh-package", file.name.partition("-")[0])]
    install = [
        "pip",
        "install",
        "--python",
        str(folder / "bin" / "python"),
        *fresh,
        *(["--no-deps"] if exact else []),
        "-r",
        str(requirements),
    ]
    if _run([uv_binary(), *install, "--offline"], lock.parent).returncode != 0:  # what is cached needs no index
        _ask(install, lock)


def _ask(arguments: list[str], lock: Path) -> None:
    answer = _run([uv_binary(), *arguments], lock.parent)
    if answer.returncode == 0:
        return
    said = re.sub(r"\s+", " ", answer.stderr).strip()[-_SAID:]
    if "hash mismatch" in said.lower():
        raise Invalid(
            f"A package is not what {lock.name} says: {said}", code="pipelines.lock_mismatch",
            hint="The file was changed behind the lock. Restore it, or lock anew.",
        )  # fmt: skip
    raise Unavailable(
        f"The environment of {lock.name} could not be built: {said}", code="pipelines.environment_failed",
        hint="Correct the lock, or let this machine reach the package index.",
    )  # fmt: skip


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}}
    try:
        return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]} failed: {error}.", code="pipelines.environment_failed", hint="Try again.") from None


def _locals(lock: Path) -> list[str]:
    return [digest_of_file(file)[0] if file.is_file() else "missing" for file in named_files(lock)]


def _reach_rung(folder: Path, interpreter: _Interpreter, home: Path) -> None:
    """Let the environment find Rung and the few libraries a step's process needs, behind everything the lock installed."""
    minor = ".".join(interpreter.version.split(".")[:2])
    runtime = home / "environments" / f"runtime-{minor}-{rung.__version__}"
    with _alone(runtime):
        if not (runtime / "rung.json").is_file():
            shutil.rmtree(runtime, ignore_errors=True)
            runtime.mkdir(parents=True)
            (runtime / "rung").symlink_to(Path(rung.__file__).parent)
            if minor == f"{sys.version_info.major}.{sys.version_info.minor}":
                _linked(runtime)
            else:
                from importlib.metadata import version  # noqa: PLC0415 - a plain run needs nothing of it, and it loads forty modules

                pins = [f"{name}=={version(name)}" for name in _RUNTIME[:3]]
                _ask(["pip", "install", "--python", interpreter.path, "--target", str(runtime), *pins], runtime / "runtime")
            (runtime / "rung.json").write_bytes(msgspec.json.encode(_Mark(version=interpreter.version, notes=())))
    place = next((folder / "lib").glob("python*/site-packages"))
    (place / "zz_rung.pth").write_text(f"{runtime}\n", "utf-8")


def _linked(runtime: Path) -> None:
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415 - a plain run needs nothing of it, and it loads forty modules

    for name in _RUNTIME:
        try:
            held = distribution(name)
        except PackageNotFoundError:
            continue  # greenlet is not everywhere
        tops = {Path(str(file)).parts[0] for file in held.files or () if ".." not in str(file)} - {"__pycache__"}
        for top in tops:
            (runtime / top).symlink_to(Path(str(held.locate_file(top))))


def _marked(folder: Path) -> _Mark | None:
    try:
        return msgspec.json.decode((folder / "rung.json").read_bytes(), type=_Mark)
    except (OSError, msgspec.MsgspecError):
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time for a folder; others wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
