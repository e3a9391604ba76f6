"""Audit: what a step reads without saying so, noticed while it runs.

Files, folders, programs and hosts are noticed by Python's audit events, variables by a watched ``os.environ``. What
belongs to Python, to installed libraries, to Rung or to the system does not count, nor what the step wrote itself.
Libraries that open files without Python tell of no event; the readers of Polars and Arrow are watched by name.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

_EVENTS = frozenset(
    {
        "open",
        "os.listdir",
        "os.scandir",
        "subprocess.Popen",
        "os.system",
        "os.posix_spawn",
        "os.exec",
        "socket.connect",
        "socket.getaddrinfo",
    }
)
_MOST = 200
_CODE = (".py", ".pyc", ".pyi", ".so", ".pyd")
_SYSTEM = (
    "/proc/", "/sys/", "/dev/", "/lib", "/usr/lib", "/usr/local/lib", "/usr/share/", "/etc/localtime", "/etc/timezone", "/etc/hosts",
    "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/host.conf", "/etc/gai.conf", "/etc/mime.types", "/etc/ssl/",
    "/etc/pki/", "/etc/ca-certificates", "/etc/os-release", "/etc/ld.so", "/etc/services", "/etc/protocols", "/etc/fonts/",
)  # fmt: skip
_RUNG = str(Path(__file__).parents[1]) + "/"
_HERE = __file__
_INSTALLED = tuple({f"{path}/" for name in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_paths().get(name))})
_LIBRARIES = (*_INSTALLED, f"{sys.prefix}/", f"{sys.base_prefix}/")
_READERS = {
    "polars": ("read_csv", "read_parquet", "read_ipc", "read_ndjson", "read_json", "read_excel", "read_avro", "scan_csv", "scan_parquet",
               "scan_ipc", "scan_ndjson"),
    "pyarrow": ("memory_map",),
    "pyarrow.parquet": ("read_table",),
    "pyarrow.csv": ("read_csv",),
    "pyarrow.dataset": ("dataset",),
}  # fmt: skip
_watch: ContextVar[Watch | None] = ContextVar("rung_watch", default=None)
_active: list[Watch] = []
_lock = threading.RLock()
_hooked = False
_patched: list[tuple[Any, str, Any]] = []


@dataclass
class Watch:
    """What one step reads. ``undeclared`` is sorted; each line begins with its kind: file, folder, variable, program, host."""

    folder: str
    excused: tuple[str, ...]
    found: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    whole: set[tuple[str, int]] = field(default_factory=set)
    read_at: dict[str, set[tuple[str, int]]] = field(default_factory=dict)

    @property
    def undeclared(self) -> tuple[str, ...]:
        """Everything noticed, in order; of a copy of the whole environment only that."""
        names = [f"variable {name}" for name, places in self.read_at.copy().items() if not places <= self.whole]
        return tuple(sorted({*self.found, *names, *(["variable *"] if self.whole else [])})[:_MOST])

    def file(self, path: Any, *, writing: bool = False, kind: str = "file") -> None:
        """Notice a path that is opened."""
        if isinstance(path, int):
            return
        full = os.path.abspath(os.fsdecode(path))
        if writing:
            self.written.add(full)
            return
        if full in self.written or full.endswith(_CODE) or "__pycache__" in full or self._is_excused(full):
            return
        told = os.path.relpath(full, self.folder) if full.startswith(self.folder + "/") else full
        self.found.add(f"{kind} {told}"[:1000])

    def _is_excused(self, full: str) -> bool:
        inside = full + "/"
        if any(inside.startswith(place) for place in self.excused):
            return True
        if inside.startswith(self.folder + "/"):
            return "/site-packages/" in full
        return inside.startswith((*_LIBRARIES, _RUNG, *_SYSTEM, tempfile.gettempdir() + "/")) or "site-packages/" in full

    def variable(self, name: str, place: tuple[str, int]) -> None:
        """Notice a variable of the environment."""
        if not name.startswith("RUNG_"):
            self.read_at.setdefault(name, set()).add(place)


class Watched(Protocol):
    """What is known of an attempt at a step: an executor's task."""

    @property
    def scratch(self) -> Path:
        """The attempt's own folder."""
        ...

    @property
    def folder(self) -> Path | None:
        """The project's folder."""
        ...

    @property
    def environ(self) -> dict[str, str]:
        """Variables it is given; ``RUNG_HOME`` among them says where the platform keeps its files."""
        ...


@contextmanager
def watched(task: Watched) -> Iterator[Watch]:
    """Watch what an attempt reads, in this context and in threads it starts."""
    home = task.environ.get("RUNG_HOME") or os.environ.get("RUNG_HOME")
    with watching(task.folder, scratch=task.scratch, home=Path(home) if home else None) as watch:
        yield watch


@contextmanager
def watching(folder: Path | None, *, scratch: Path | None = None, home: Path | None = None) -> Iterator[Watch]:
    """Watch what is read in this context and in threads it starts.

    Args:
        folder: the project's folder: paths in it are told relative to it.
        scratch: the step's own folder, which does not count.
        home: the platform's home, which does not count.
    """
    watch = Watch(os.path.abspath(folder or Path.cwd()), tuple(f"{os.path.abspath(path)}/" for path in (scratch, home) if path is not None))
    _begin(watch)
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)
        _end(watch)


def undeclared(found: Iterable[str], *, files: Iterable[str], variables: Iterable[str]) -> tuple[str, ...]:
    """What was noticed, without what a step declares.

    >>> undeclared(["file data/a.csv", "variable KEY"], files=["data/*.csv"], variables=[])
    ('variable KEY',)
    """
    patterns, names = tuple(files), set(variables)

    def is_declared(line: str) -> bool:
        kind, _, name = line.partition(" ")
        if kind == "variable":
            return name in names
        return kind in {"file", "folder"} and any(
            fnmatch.fnmatch(name, pattern)
            or f"{name}/".startswith(pattern.rstrip("/") + "/")
            or (kind == "folder" and pattern.startswith(f"{name}/"))
            for pattern in patterns
        )

    return tuple(line for line in found if not is_declared(line))


def _begin(watch: Watch) -> None:
    global _hooked  # noqa: PLW0603 - an audit hook cannot be taken away, so it is put in once a process
    with _lock:
        if not _hooked:
            sys.addaudithook(_heard)
            _hooked = True
        if not _active:
            _patch()
        _active.append(watch)


def _end(watch: Watch) -> None:
    with _lock:
        _active.remove(watch)
        if not _active:
            while _patched:
                owner, name, original = _patched.pop()
                setattr(owner, name, original)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _active or event not in _EVENTS:
        return
    watches = _watching()
    if not watches or not _for_the_project(sys._getframe(1)):  # noqa: SLF001 - CPython's way to the caller
        return
    for watch in watches:
        try:
            _note(watch, event, arguments)
        except (TypeError, ValueError, OSError):
            continue  # a strange argument is the step's own business: it will hear of it from the call itself


def _watching() -> list[Watch]:
    """The watch of this context; in a thread the step started there is none, so all that are open hear of it."""
    own = _watch.get()
    return [own] if own is not None else list(_active)


def _note(watch: Watch, event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, mode, flags = arguments
        writing = any(letter in mode for letter in "wax") if isinstance(mode, str) else bool((flags or 0) & (os.O_WRONLY | os.O_CREAT))
        watch.file(path, writing=writing)
    elif event in {"os.listdir", "os.scandir"}:
        watch.file("." if arguments[0] is None else arguments[0], kind="folder")
    elif event == "socket.connect":
        if isinstance(arguments[1], tuple) and not _is_platform(str(arguments[1][0]), arguments[1][1]):
            watch.found.add(f"host {arguments[1][0]}:{arguments[1][1]}"[:1000])
    elif event == "socket.getaddrinfo":
        if arguments[0] and not _is_platform(str(arguments[0]), arguments[1]):
            watch.found.add(f"host {os.fsdecode(arguments[0])}:{arguments[1]}"[:1000])
    else:
        command = arguments[1] if event == "subprocess.Popen" else arguments[0]
        name = command[0] if isinstance(command, (list, tuple)) and command else command
        watch.found.add(f"program {os.fsdecode(name).split()[0]}"[:1000])


def _is_platform(host: str, port: Any) -> bool:
    address = os.environ.get("RUNG_URL", "").partition("://")[2].partition("/")[0]
    return bool(address) and address in {f"{host}:{port}", host}


def _for_the_project(frame: Any) -> bool:
    """Whether code of the project asked: the nearest caller that is neither Python's nor a library's is not Rung."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file == _HERE or file.startswith("<frozen") or file.startswith(_LIBRARIES) or "site-packages/" in file:
            if file.endswith("importlib/__init__.py") or "importlib._bootstrap" in file:
                return False  # an import: code is the fingerprint's business
            frame = frame.f_back
            continue
        return not file.startswith(_RUNG)
    return False


def _patch() -> None:
    kind = type(os.environ)
    getter, iterator = kind.__getitem__, kind.__iter__

    def read(self: Any, key: Any) -> Any:
        _variable(key)
        return getter(self, key)

    def listed(self: Any) -> Any:
        _variable(None)
        return iterator(self)

    _replace(kind, "__getitem__", read)
    _replace(kind, "__iter__", listed)
    for module, names in _READERS.items():
        held = sys.modules.get(module)
        for name in names if held is not None else ():
            reader = getattr(held, name, None)
            if callable(reader) and not isinstance(reader, type):
                _replace(held, name, _telling(reader))


def _replace(owner: Any, name: str, new: Any) -> None:
    _patched.append((owner, name, getattr(owner, name)))
    setattr(owner, name, new)


def _telling(reader: Any) -> Any:
    """A reader of files that says which one it was asked for."""

    @functools.wraps(reader)
    def telling(*arguments: Any, **named: Any) -> Any:
        source = arguments[0] if arguments else named.get("source", named.get("path"))
        for item in source if isinstance(source, (list, tuple)) else (source,):
            is_path = isinstance(item, (str, os.PathLike)) and "://" not in str(item)
            if is_path and _for_the_project(sys._getframe(1)):  # noqa: SLF001 - CPython's way to the caller
                for watch in _watching():
                    watch.file(item)
        return reader(*arguments, **named)

    return telling


def _variable(key: Any) -> None:
    """Notice a variable that code of the project asks for itself; what libraries look up is theirs."""
    frame: Any = sys._getframe(2)  # noqa: SLF001 - CPython's way to the caller
    while frame is not None and (frame.f_code.co_filename.startswith("<frozen") or frame.f_code.co_filename == os.__file__):
        frame = frame.f_back
    if frame is None:
        return
    file = frame.f_code.co_filename
    if file == _HERE or file.startswith((*_LIBRARIES, _RUNG)) or "site-packages/" in file:
        return
    place = (file, frame.f_lineno)
    for watch in _watching():
        if key is None:
            watch.whole.add(place)
        elif isinstance(key, str):
            watch.variable(key, place)
