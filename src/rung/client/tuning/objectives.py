"""Objectives: where they are found, and how they reach a worker's process."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pickle
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from rung.client.tuning.space import Space
from rung.core.errors import Invalid, RungError

Objective = Callable[..., Any]
_TRIAL = "trial"
_loading = threading.local()


def is_loading() -> bool:
    """Whether this thread is importing the script of an objective: then a sweep must not begin in it."""
    return bool(getattr(_loading, "depth", 0))


@contextmanager
def loading() -> Iterator[None]:
    """While an objective's script is imported."""
    _loading.depth = getattr(_loading, "depth", 0) + 1
    try:
        yield
    finally:
        _loading.depth -= 1


def load(reference: str) -> Objective:
    """The function that ``script.py:objective`` or ``package.module:objective`` names. Raises Invalid."""
    where, colon, name = reference.rpartition(":")
    if not colon or not name.isidentifier():
        raise _refused(f"{reference!r} names no function.", "Write train.py:objective or package.module:objective.")
    with loading():
        module = _script(Path(where)) if where.endswith(".py") else _module(where)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and getattr(value, "__module__", "") == module.__name__]
        raise _refused(f"{where} has no function {name!r}.", f"It has {', '.join(known) or 'none'}.")
    return found  # type: ignore[no-any-return]


def asked_by_name(objective: Objective, space: Collection[str]) -> tuple[str, ...]:
    """Which params an objective takes by name, ``trial`` for the trial itself; none when it takes the trial alone.

    Raises:
        Invalid: it needs what neither is.
    """
    if not (inspect.isroutine(objective) or isinstance(objective, functools.partial)):
        return ()
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):
        return ()
    known = set(space) - {_TRIAL}
    named = [p for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    needed = [p.name for p in named if p.default is p.empty]
    if not any(p.name in known for p in named) and len(needed) <= 1:
        return ()
    if lacking := [name for name in needed if name not in known and name != _TRIAL]:
        raise _refused(
            f"The objective needs {', '.join(lacking)}, which the space does not have.",
            f"Take one parameter, the trial, or some that are called like those of the space: {', '.join(sorted(known))}.",
        )
    return tuple(p.name for p in named if p.name in known or p.name == _TRIAL)


def called(objective: Objective, trial: Mapping[str, Any]) -> Any:
    """What an objective answers about a trial, or about its params where it takes them by name."""
    names = asked_by_name(objective, trial)
    return objective(**{name: trial if name == _TRIAL else trial[name] for name in names}) if names else objective(trial)


def packed(what: tuple[Objective | str, Space]) -> bytes:
    """An objective and a space for another process: functions by name where it can import them, else whole. Raises Invalid."""
    import cloudpickle  # noqa: PLC0415 - only for workers in processes of their own

    try:
        return bytes(cloudpickle.dumps(what))
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise _refused(
            f"The objective cannot be sent to another process: {error}.",
            "Name it as 'script.py:objective', open what it needs inside of it, or use threads=True.",
        ) from None


def unpacked(content: bytes) -> tuple[Objective, Space]:
    """What this user's own tuner packed."""
    with loading():
        objective, space = pickle.loads(content)  # noqa: S301 - written by the parent process into a folder of mode 0700
    return load(objective) if isinstance(objective, str) else objective, space


def name_of(objective: Objective | str) -> str:
    """How to name an objective, so that another process finds it; empty when none can."""
    if isinstance(objective, str):
        return objective
    module, name = getattr(objective, "__module__", ""), getattr(objective, "__qualname__", "")
    if module == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        module = str(Path(file).absolute()) if file and file.endswith(".py") else ""
    return f"{module}:{name}" if module and name.isidentifier() else ""


def _script(path: Path) -> ModuleType:
    full = path.expanduser().absolute()
    if not full.is_file():
        raise _refused(f"There is no file {path}.", "Check the path.")
    held = sys.modules.get(full.stem)
    if held is not None and getattr(held, "__file__", None) == str(full):
        return held
    # As Python does for a script: modules beside it can be imported.
    if str(full.parent) not in sys.path:
        sys.path.insert(0, str(full.parent))
    name = full.stem if held is None and full.stem.isidentifier() else f"rung_script_{full.stem}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise _refused(f"{path} cannot be imported.", "Name a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, (RungError, KeyboardInterrupt)):
            raise
        raise _refused(f"{path} cannot be imported: {type(error).__name__}: {error}.", "Run it by itself first.") from error
    return module


def _module(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError) as error:
        raise _refused(f"{name!r} cannot be imported: {error}.", "Name a module, or a file: train.py:objective.") from None


def _refused(message: str, hint: str) -> Invalid:
    return Invalid(message, code="tuning.bad_objective", hint=hint)
