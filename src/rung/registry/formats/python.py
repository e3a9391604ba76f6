"""A Python class of one's own: ``load(folder)`` once, ``predict(frame)`` for scores; its code is kept by digest with its data.

It is served from a confined process of its own. What is kept is the source of the module that holds the class (or of the folder of a
package), and the files the class was given: no pickle of an object.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import FORMATS, Scorer, Traits, scores
from rung.registry.own_code import check_here
from rung.registry.records import Class

MANIFEST, CODE, DATA = "model.json", "code", "data"


class PythonModel(Protocol):
    """What a class must have; ``files`` of it, a mapping of names to bytes or paths, go along as its data."""

    task: Task
    classes: tuple[Class, ...]

    def load(self, folder: Path) -> None:
        """Read what it needs; ``folder`` holds its files."""
        ...

    def predict(self, frame: pl.DataFrame) -> Any:
        """Scores: P(positive), P(class) as a matrix, or values."""
        ...


class _About(msgspec.Struct, forbid_unknown_fields=True):
    module: str
    name: str
    task: Task
    classes: tuple[Class, ...] = ()


@FORMATS.member("python")
class PythonClass:
    """An instance of a class with ``load`` and ``predict``, defined in a file; how it was made is not kept, only its class."""

    rank = 90
    libraries = ("polars", "numpy")
    endings: tuple[str, ...] = ()
    isolated = True

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it has the two methods and says its task."""
        return all(callable(getattr(estimator, name, None)) for name in ("load", "predict")) and hasattr(estimator, "task")

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """Source, data, and which class it is. Raises Invalid for a class without a file."""
        kind = type(estimator)
        try:
            path = Path(inspect.getfile(kind))
            source = path.read_bytes()
        except (TypeError, OSError):
            raise Invalid(
                f"The source of {kind.__qualname__} is not to be found.", code="registry.no_source", hint="Define the class in a file."
            ) from None
        if "." in kind.__qualname__ or "<" in kind.__qualname__:
            raise Invalid(f"{kind.__qualname__} is not at the top of its file.", code="registry.no_source", hint="Move it there.")
        module = path.stem if path.stem.isidentifier() and path.stem != "__main__" else "model_code"
        about = _About(module=module, name=kind.__name__, task=estimator.task, classes=tuple(getattr(estimator, "classes", ())))
        files = {MANIFEST: msgspec.json.encode(about), f"{CODE}/{module}.py": source}
        for name, data in dict(getattr(estimator, "files", {})).items():
            files[f"{DATA}/{name}"] = data if isinstance(data, bytes) else Path(data).read_bytes()
        return files

    @staticmethod
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """No tool writes these."""
        raise Invalid("A Python class is registered as an instance.", code="registry.no_format", hint="Give an object of the class.")

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """What the manifest says; no code runs for it."""
        about = _about(files)
        return Traits(task=about.task, classes=about.classes)

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Denied in a server's process."""
        check_here("python")
        about = _about(files)
        folder = tempfile.TemporaryDirectory(prefix="rung-model-")
        for path, data in files.items():
            place = Path(folder.name, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        (Path(folder.name) / DATA).mkdir(exist_ok=True)
        made = getattr(_module(about.module, Path(folder.name) / CODE / f"{about.module}.py"), about.name)
        model = made.__new__(made)
        model.load(Path(folder.name) / DATA)

        def score(frame: pl.DataFrame) -> NDArray[np.float64]:
            assert folder.name  # noqa: S101 - kept alive with the scorer: the model may read its files later
            return scores(model.predict(frame), task)

        return score


def _about(files: Mapping[str, bytes]) -> _About:
    try:
        return msgspec.json.decode(files[MANIFEST], type=_About)
    except (KeyError, msgspec.DecodeError) as error:
        raise Invalid(
            f"The model's {MANIFEST} cannot be read: {error}.", code="registry.unreadable_model", hint="Register it anew."
        ) from None


def _module(name: str, path: Path) -> ModuleType:
    """The module of a file, under a name of its own, so that it replaces none."""
    own = f"rung_model_{name}_{abs(hash(path))}"
    module = ModuleType(own)
    module.__file__ = str(path)
    sys.modules[own] = module
    sys.path.insert(0, str(path.parent))
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - the model's own code, see own_code
    finally:
        sys.path.remove(str(path.parent))
    return module
