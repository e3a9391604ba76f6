"""The parts of a step's key that are its own: code, environment, declared files and variables, salt.

One ``Keying`` is made a run, before any of its steps begins: what a step runs with later is what it was then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from rung.core.digests import digest_of, digest_of_file, digest_of_value
from rung.core.errors import Invalid, RungError
from rung.pipelines.authoring import Step
from rung.pipelines.environment import environment_of
from rung.pipelines.fingerprint import Fingerprint, fingerprint
from rung.pipelines.libraries import library_index, normalised
from rung.pipelines.project import find_target

CacheLevel = Literal["closure", "lock", "python", "none"]
# Kinds of values whose methods a step may call without ever naming the library.
_LIBRARIES_OF_KINDS = {"numpy": "numpy", "polars": "polars", "pandas": "pandas", "arrow": "pyarrow", "estimator": "sklearn"}
_MOST_FILES = 10_000


class Keying:
    """Parts of keys for the steps of one run.

    Args:
        folder: the project's folder, where its lock and declared files are.
        cache: a folder for what is expensive to find out about the environment; None keeps it in memory only.
        level: which libraries enter a key: those the step's code reaches and what they require (``closure``), the whole
            lock (``lock``), only Python's version (``python``), nothing (``none``).
        code: the digest of a snapshot that stands for the code of every step, for a run from one.
        learned: for each step, what an audited run found that it reads without declaring it; it counts as declared.
    """

    def __init__(
        self, folder: Path, cache: Path | None, level: CacheLevel = "closure", *, code: str = "",
        learned: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._cache = cache
        self._level: CacheLevel = level
        self._code = code
        self._learned = learned or {}
        self._prints: dict[int, tuple[Any, Fingerprint]] = {}
        self._drawing: dict[int, tuple[Any, bool]] = {}
        self._environments: dict[Any, str] = {}
        self._files: dict[str, tuple[Any, str]] = {}
        self.details: dict[str, Any] = {}
        self._fresh: dict[str, Any] = {}

    def prepare(self, steps: Iterable[Step[..., Any]]) -> None:
        """Take the fingerprints of steps, before any of them runs."""
        for step in steps:
            self._print(step.function)

    def parts(self, step: Step[..., Any], *, params: dict[str, Any], inputs: dict[str, Any], seed: int) -> dict[str, Any]:
        """Every part of a step's key. Raises Invalid for declared files that are not there."""
        found = self._print(step.function)
        libraries, records = set(found.libraries), []
        for kind, meta in _contents([*params.values(), *inputs.values()]):
            if kind in _LIBRARIES_OF_KINDS:
                libraries.add(_LIBRARIES_OF_KINDS[kind])
            elif kind == "record":
                records.append(str(meta.get("type", "")))
        code = self._code or self._with_records(found, sorted(set(records)))
        return {
            "code": code,
            "params": params,
            "inputs": inputs,
            "environment": self._environment(frozenset(libraries), step.options.environment),
            "seed": seed,
            "salt": step.salt,
            "files": self._declared_files(step) | self._learned_files(step),
            "variables": {name: _hidden(os.environ.get(name)) for name in sorted(self._variables(step))},
        }

    def unsure(self, step: Step[..., Any]) -> tuple[str, ...]:
        """What of a step's code cannot be told apart; a run from a snapshot is told apart by the snapshot."""
        return () if self._code else self._print(step.function).unsure

    def draws(self, step: Step[..., Any]) -> bool:
        """Whether a step may draw from the random generators that steps in one process share."""
        if not self._code:
            return self._print(step.function).draws
        held = self._drawing.get(id(step.function))
        if held is None:  # a run from a snapshot has no fingerprints of its steps otherwise
            held = self._drawing[id(step.function)] = (step.function, fingerprint(step.function).draws)
        return held[1]

    def take_details(self) -> dict[str, Any]:
        """What digests in parts stand for, of those that were made since the last call."""
        taken, self._fresh = self._fresh, {}
        return taken

    def _print(self, function: Any) -> Fingerprint:
        held = self._prints.get(id(function))
        if held is None:
            held = self._prints[id(function)] = (function, Fingerprint(digest=self._code) if self._code else fingerprint(function))
            self._describe(held[1].digest, {"units": held[1].units})
        return held[1]

    def _with_records(self, found: Fingerprint, records: list[str]) -> str:
        """The step's code and that of the record classes it is given, whose methods it may call."""
        if not records:
            return found.digest
        units, digests = dict(found.units), []
        for target in records:
            try:
                inner = self._print(find_target(target))
            except RungError:
                continue  # the class has gone: loading the input will say so
            units |= inner.units
            digests.append(inner.digest)
        code = digest_of_value([found.digest, digests])
        self._describe(code, {"units": units})
        return code

    def _describe(self, digest: str, detail: dict[str, Any]) -> None:
        if digest and digest not in self.details:
            self.details[digest] = self._fresh[digest] = detail

    def _environment(self, libraries: frozenset[str], own: str) -> str:
        key = own or (libraries if self._level == "closure" else None)
        if key not in self._environments:
            detail = self._environment_detail(libraries, own)
            digest = digest_of_value(detail) if detail else ""
            self._environments[key] = digest
            self._describe(digest, detail)
        return self._environments[key]

    def _environment_detail(self, libraries: frozenset[str], own: str) -> dict[str, Any]:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        if self._level == "none":
            return {}
        if self._level == "python":
            return {"python": python}
        if own:
            text = _lock_text(self._folder / own, own)
            return {"python": python, "lock": digest_of(text), "libraries": libraries_in(text)}
        if self._level == "lock":
            environment = environment_of(self._folder)
            return {"python": python, "lock": environment.digest, "libraries": libraries_in(environment.text)}
        return {"python": python, "libraries": library_index(self._cache).closure(libraries)}

    def _declared_files(self, step: Step[..., Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for pattern in step.options.files:
            files = sorted(file for file in self._matching(pattern, step.name) if file.is_file())
            if not files:
                raise Invalid(
                    f"Step {step.name!r} declares files {pattern!r}, but there are none in {self._folder}.",
                    code="pipelines.no_files",
                    hint="Write a path or a glob relative to the project's folder.",
                )
            if len(files) > _MOST_FILES:
                raise Invalid(
                    f"Step {step.name!r} declares {len(files)} files by {pattern!r}.",
                    code="pipelines.too_many_files",
                    hint=f"At most {_MOST_FILES}: add them as a dataset and take its version as a parameter.",
                )
            for file in files:
                found[str(file.relative_to(self._folder)) if self._folder in file.parents else str(file)] = self._file(file)
        return found

    def _learned_files(self, step: Step[..., Any]) -> dict[str, str]:
        """What an audited run saw the step read: digests of files, names in folders; empty for what has gone."""
        found: dict[str, str] = {}
        for line in self._learned.get(step.name, ()):
            kind, _, name = line.partition(" ")
            place = self._folder / name
            if kind == "file":
                found[name] = self._file(place) if place.is_file() else ""
            elif kind == "folder":
                found[f"{name}/"] = digest_of_value(sorted(os.listdir(place))) if place.is_dir() else ""
        return found

    def _variables(self, step: Step[..., Any]) -> set[str]:
        learned = {line.partition(" ")[2] for line in self._learned.get(step.name, ()) if line.startswith("variable ")}
        return {*step.options.variables, *(learned - {"*"})}

    def _matching(self, pattern: str, step: str) -> Iterable[Path]:
        path = Path(pattern)
        if path.is_absolute():
            return [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
        try:
            whole = self._folder / path
            return whole.rglob("*") if whole.is_dir() else self._folder.glob(pattern)
        except (ValueError, NotImplementedError) as error:
            raise Invalid(
                f"Step {step!r} declares files {pattern!r}: {error}.", code="pipelines.no_files", hint="Write a path or a glob."
            ) from None

    def _file(self, file: Path) -> str:
        stat = file.stat()
        mark = (stat.st_mtime_ns, stat.st_size)
        held = self._files.get(str(file))
        if held is None or held[0] != mark:
            held = self._files[str(file)] = (mark, digest_of_file(file)[0])
        return held[1]


def libraries_in(lock: bytes) -> dict[str, str]:
    """Versions of the libraries a lock names, by library: of ``uv.lock``, or of lines ``name==version``.

    >>> libraries_in(b"numpy==2.0  # why")
    {'numpy': '2.0'}
    """
    if lock.lstrip().startswith((b"version", b"[[package]]", b"requires-python")):
        import tomllib  # noqa: PLC0415 - only for uv.lock

        try:
            told = tomllib.loads(lock.decode("utf-8", "replace")).get("package", [])
            return {
                normalised(str(item["name"])): str(item.get("version", "")) for item in told if isinstance(item, dict) and "name" in item
            }
        except (tomllib.TOMLDecodeError, TypeError):
            return {}
    found = {}
    for line in lock.decode("utf-8", "replace").splitlines():
        name, equals, rest = line.partition("==")
        if equals and name.strip() and not name.lstrip().startswith(("#", "-")):
            found[normalised(name.partition("[")[0].strip())] = rest.split(";")[0].split("#")[0].split("\\")[0].strip()
    return found


def _lock_text(file: Path, name: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Invalid(
            f"The environment {name!r} cannot be read: {error.strerror}.",
            code="pipelines.no_environment",
            hint="Name a lock or requirements file, relative to the project's folder.",
        ) from None


def _hidden(value: str | None) -> str:
    """A variable's value in a form that does not tell it: it may be a secret."""
    return "" if value is None else digest_of(b"rung variable " + value.encode("utf-8", "surrogateescape"))[7:23]


def _contents(values: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and meta of everything in the contents of arguments: lists of kind, digest and meta, however nested."""
    for value in values:
        if not isinstance(value, (list, tuple)):
            continue
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], str) and isinstance(value[2], dict):  # noqa: PLR2004
            yield value[0], value[2]
        else:
            yield from _contents(value)


def short_text(data: bytes, most: int = 200) -> str:
    """A small JSON value as people read it; empty for one that is long or no plain JSON.

    >>> short_text(b'0.1')
    '0.1'
    """
    if len(data) > most:
        return ""
    try:
        return data.decode() if msgspec.json.decode(data) is not None or data == b"null" else ""
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
