"""The project's code: import the modules of ``settings.pipelines`` from its folder, anew when a file has changed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from rung.core.digests import digest_of
from rung.core.errors import Invalid, NotFound, RungError
from rung.core.records import prepared
from rung.core.settings import Settings
from rung.pipelines.authoring import Pipeline, Step
from rung.pipelines.faults import line_of
from rung.pipelines.installed import named_files

_SKIPPED = {"__pycache__", "node_modules", "site-packages"}
_KEPT_FILES = {"rung.toml", "pyproject.toml", "requirements.lock", "requirements.txt", "uv.lock"}
_LOCKS = {"requirements.lock", "requirements.txt", "uv.lock"}
_LARGEST = 2 << 20
_LARGEST_WHEEL = 64 << 20
_KNOWN_S = 600.0  # how long a file that was kept is not put again
_lock = threading.RLock()
_loaded: dict[str, tuple[tuple[tuple[str, int, int], ...], Project]] = {}
_folders: set[Path] = set()  # every folder that was ever a project's in this process


class Project(msgspec.Struct, frozen=True):
    """The code of a project folder as it was imported: its pipelines by name, and its files."""

    folder: Path
    pipelines: dict[str, Pipeline[..., Any]]
    files: tuple[Path, ...]

    def pipeline(self, name: str) -> Pipeline[..., Any]:
        """A pipeline by name. Raises NotFound, listing the known ones."""
        if name not in self.pipelines:
            raise NotFound(
                f"The project in {self.folder} has no pipeline {name!r}.",
                code="pipelines.no_pipeline",
                hint=f"It has: {', '.join(sorted(self.pipelines)) or 'none'}.",
            )
        return self.pipelines[name]


def load_project(settings: Settings) -> Project:
    """The project of the settings' folder; modules are imported again when any of its files has changed.

    Raises:
        NotFound: a module that the settings name is not there. Invalid: it cannot be imported.
    """
    folder = Path(settings.folder or ".").resolve()
    with _lock:
        state = tuple(_marks(project_files(folder)))
        files = tuple(Path(file) for file, _, _ in state)
        held = _loaded.get(str(folder))
        if held is not None and held[0] == state:
            return held[1]
        if held is not None:
            forget_modules(folder)
        _make_room(folder, files)
        if str(folder) in sys.path:
            sys.path.remove(str(folder))  # another project's folder may lie before it
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        found: dict[str, Pipeline[..., Any]] = {}
        before = len(sys.modules)
        for name in settings.pipelines:
            _collect(_imported(name, folder, optional=settings.pipelines == ("pipelines",)), found)
        modules = _modules_of(folder, files, list(islice(reversed(sys.modules), max(0, len(sys.modules) - before))))
        project = Project(folder=folder, pipelines=found, files=tuple(sorted({*files, *_pinning(folder, modules)})))
        _loaded[str(folder)] = (state, project)
        return project


def _marks(files: Iterable[Path]) -> Iterator[tuple[str, int, int]]:
    """Path, time and size of each file, without those that an editor or git takes away meanwhile."""
    for file in files:
        with suppress(FileNotFoundError):
            stat = file.stat()
            yield str(file), stat.st_mtime_ns, stat.st_size


def _make_room(folder: Path, files: tuple[Path, ...]) -> None:
    """Forget modules of other projects that bear the names of this one's: Python would hand them out in their place."""
    names = {file.relative_to(folder).parts[0].removesuffix(".py") for file in files}
    _folders.add(folder)
    for name in [name for name in names if name in sys.modules]:
        for other in _folders - {folder, *folder.parents}:
            if name in sys.modules and _lies_in(sys.modules[name], other):
                forget_modules(other)
                _loaded.pop(str(other), None)


@contextmanager
def isolated_modules(folder: Path) -> Iterator[None]:
    """Import a project's modules from another folder for a while; those of loaded projects step aside and come back."""
    with _lock:
        path, projects = list(sys.path), list(_folders)
        held = {name: module for name, module in sys.modules.copy().items() if any(_lies_in(module, place) for place in projects)}
        for name in held:
            del sys.modules[name]
        sys.path[:] = [place for place in path if Path(place) not in _folders]
        try:
            yield
        finally:
            forget_modules(folder)
            _loaded.pop(str(folder), None)
            sys.path[:] = path
            sys.modules.update(held)
            importlib.invalidate_caches()


def project_files(folder: Path) -> tuple[Path, ...]:
    """The Python files of a project and the few that pin its environment, in order; hidden folders are left out."""
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = sorted(place.iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SKIPPED or entry.is_symlink():
                continue
            if entry.is_dir():
                if not (entry / "pyvenv.cfg").exists():
                    waiting.append(entry)
            elif (entry.suffix == ".py" or entry.name in _KEPT_FILES) and _size(entry) <= _LARGEST:
                found.append(entry)
    return tuple(sorted(found))


def _size(file: Path) -> int:
    """Bytes of a file; too many of one that an editor or git has just taken away."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return _LARGEST + 1


class CodeTree(msgspec.Struct, frozen=True):
    """The files of a project by relative path and blob digest."""

    files: dict[str, str]


_kept: WeakKeyDictionary[object, dict[tuple[str, int, int], tuple[str, float]]] = WeakKeyDictionary()


def snapshot(project: Project, put: Any) -> str:
    """Keep the project's files as blobs; the digest of the tree that lists them."""
    kept = _kept.setdefault(getattr(put, "__self__", put), {})

    def known(mark: tuple[str, int, int], read: Callable[[], bytes]) -> str:
        digest, until = kept.get(mark, ("", 0.0))
        if time.monotonic() > until:  # put again, or a collection of garbage may take what was put long ago
            digest = put(read())
            kept[mark] = digest, time.monotonic() + _KNOWN_S
        return digest

    tree: dict[str, str] = {}
    for file in project.files:
        stat = file.stat()
        tree[str(file.relative_to(project.folder))] = known((str(file), stat.st_mtime_ns, stat.st_size), file.read_bytes)
    data = msgspec.json.encode(CodeTree(files=tree), order="sorted")
    return known((digest_of(data), 0, len(data)), lambda: data)


def files_of(code: str, get: Any) -> dict[str, str]:
    """Digests of a code tree's files by their path. Raises NotFound when its blob has gone."""
    return msgspec.json.decode(get(code), type=prepared(CodeTree)).files


def restore(code: str, get: Any, into: Path) -> None:
    """Write the files of a code tree into a folder. Raises NotFound when a blob has gone, Invalid for one that leaves it."""
    for path, digest in files_of(code, get).items():
        file = into / path
        if not file.resolve().is_relative_to(into.resolve()):
            raise Invalid(f"{path!r} leaves the code's folder.", code="pipelines.bad_path", hint="This snapshot was not made by Rung.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(get(digest))


def _modules_of(folder: Path, files: Iterable[Path], fresh: Iterable[str]) -> list[ModuleType]:
    """The loaded modules of a project: among those just loaded, and those that bear the names of its files.

    Not among all that are loaded: to touch each of thousands costs a forked process a copy of its page.
    """
    names = set(fresh)
    for file in files:
        parts = file.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        names |= {".".join(parts[place:]) for place in range(len(parts))}
    held = [module for name in sorted(names) if (module := sys.modules.get(name)) is not None]
    return [module for module in held if _lies_in(module, folder)]


def _pinning(folder: Path, modules: Iterable[ModuleType]) -> Iterator[Path]:
    """Locks that the project's steps name for themselves, and the wheels in the folder that any lock names."""
    steps = [value for module in modules for value in vars(module).values()]
    own = {step.options.environment for step in steps if isinstance(step, Step)}
    for name in sorted((own | _LOCKS) - {""}):
        lock = (folder / name).resolve()
        for file in (lock, *(file.resolve() for file in named_files(lock))):
            if file.is_file() and file.is_relative_to(folder) and file.stat().st_size <= _LARGEST_WHEEL:
                yield file


def forget_modules(folder: Path) -> None:
    """Drop every imported module whose file lies in a folder, so that the next import reads it anew.

    Its bytecode goes too: Python tells it by size and whole seconds, so that an edit within one second would not be seen.
    """
    for name, module in sys.modules.copy().items():
        if name != "__main__" and _lies_in(module, folder):
            del sys.modules[name]
            if module.__spec__ is not None and module.__spec__.cached:
                with suppress(OSError):
                    Path(module.__spec__.cached).unlink(missing_ok=True)


def forget_project(folder: Path) -> None:
    """Forget that a folder was ever a project's here."""
    with _lock:
        forget_modules(folder)
        _loaded.pop(str(folder), None)
        _folders.discard(folder)
        sys.path[:] = [place for place in sys.path if place != str(folder)]


def find_target(target: str) -> Any:
    """The step or pipeline at ``module:qualified name``. Raises NotFound."""
    name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise NotFound(
            f"{target} cannot be imported: {error}.",
            code="pipelines.no_target",
            hint="Define steps at the top level of a module of the project.",
        ) from None
    return found


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None) or ""  # texts: thousands of modules are asked, and paths are slow to make
    return file.startswith(f"{folder}{os.sep}") and not any(f"{os.sep}{skipped}{os.sep}" in file for skipped in _SKIPPED)


def _imported(name: str, folder: Path, *, optional: bool) -> ModuleType | None:
    try:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name)
    except ModuleNotFoundError:
        if optional:
            return None
        raise NotFound(
            f"There is no module {name!r} in {folder}.", code="pipelines.no_module", hint="Correct `pipelines` in rung.toml."
        ) from None
    try:
        return importlib.import_module(name)
    except RungError:
        raise
    except (Exception, SystemExit) as error:
        where = line_of(error, folder)
        raise Invalid(
            f"Module {name!r} cannot be imported: {type(error).__name__}: {error}{where}.",
            code="pipelines.broken_module",
            hint="Mend it; `python -c 'import …'` in the project's folder shows the whole traceback.",
        ) from error


def _collect(module: ModuleType | None, found: dict[str, Pipeline[..., Any]]) -> None:
    for value in vars(module).values() if module else ():
        if not isinstance(value, Pipeline):
            continue
        held = found.get(value.name)
        if held is not None and held is not value:
            raise Invalid(
                f"Two pipelines are called {value.name!r}: {held.target} and {value.target}.",
                code="pipelines.two_pipelines",
                hint="Give one of them another name.",
            )
        found[value.name] = value
