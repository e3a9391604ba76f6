"""The project's code: import the modules of ``settings.pipelines`` from its folder, anew when a file has changed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from rung.core.digests import digest_of
from rung.core.errors import Invalid, NotFound, RungError
from rung.core.settings import Settings
from rung.pipelines.authoring import Pipeline

_SKIPPED = {"__pycache__", "node_modules", "site-packages"}
_KEPT_FILES = {"rung.toml", "pyproject.toml", "requirements.lock", "requirements.txt", "uv.lock"}
_LARGEST = 2 << 20
_KNOWN_S = 600.0  # how long a file that was kept is not put again
_lock = threading.RLock()
_loaded: dict[str, tuple[tuple[tuple[str, int, int], ...], Project]] = {}


@dataclass(frozen=True)
class Project:
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
        files = project_files(folder)
        state = tuple((str(file), stat.st_mtime_ns, stat.st_size) for file in files if (stat := file.stat()))
        held = _loaded.get(str(folder))
        if held is not None and held[0] == state:
            return held[1]
        if held is not None:
            forget_modules(folder)
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        found: dict[str, Pipeline[..., Any]] = {}
        for name in settings.pipelines:
            _collect(_imported(name, folder, optional=settings.pipelines == ("pipelines",)), found)
        project = Project(folder=folder, pipelines=found, files=files)
        _loaded[str(folder)] = (state, project)
        return project


@contextmanager
def isolated_modules(folder: Path) -> Iterator[None]:
    """Import a project's modules from another folder for a while; those of loaded projects step aside and come back."""
    with _lock:
        path, projects = list(sys.path), [Path(place) for place in _loaded]
        held = {name: module for name, module in sys.modules.items() if any(_lies_in(module, place) for place in projects)}
        for name in held:
            del sys.modules[name]
        sys.path[:] = [place for place in path if place not in _loaded]
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
            elif (entry.suffix == ".py" or entry.name in _KEPT_FILES) and entry.stat().st_size <= _LARGEST:
                found.append(entry)
    return tuple(sorted(found))


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


def restore(code: str, get: Any, into: Path) -> None:
    """Write the files of a code tree into a folder. Raises NotFound when a blob has gone."""
    for path, digest in msgspec.json.decode(get(code), type=CodeTree).files.items():
        file = into / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(get(digest))


def forget_modules(folder: Path) -> None:
    """Drop every imported module whose file lies in a folder, so that the next import reads it anew."""
    for name, module in list(sys.modules.items()):
        if name != "__main__" and _lies_in(module, folder):
            del sys.modules[name]


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
    file = getattr(module, "__file__", None) or ""
    return folder in Path(file).parents and not (_SKIPPED & set(Path(file).parts))


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
    except Exception as error:
        where = _line_of(error, folder)
        raise Invalid(
            f"Module {name!r} cannot be imported: {type(error).__name__}: {error}{where}.",
            code="pipelines.broken_module",
            hint="Mend it; `python -c 'import …'` in the project's folder shows the whole traceback.",
        ) from error


def _line_of(error: BaseException, folder: Path) -> str:
    place, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if folder in file.parents:
            place = f" ({file.relative_to(folder)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


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
