"""A model folder that MLflow's client wrote, read without running anything from it.

Its MLmodel file says what the folder holds; the model's own file is read by one of our formats or not at all. A folder
that no format reads safely is a version like any other: it is kept, its signature is known, and ``unservable`` says why
it answers nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as held_field
from typing import Any

import polars as pl

from rung.core.digests import digest_of
from rung.core.errors import Invalid, RungError
from rung.core.records import Count, Digest, Id, Line, Name, Record, replaced
from rung.core.references import Task
from rung.registry.bounded_yaml import read_yaml, text_of
from rung.registry.format import FORMATS, Format, Scorer, Traits, format_of
from rung.registry.matching import dtype_of, signature_of
from rung.registry.mlschema import asked_by, example_frame
from rung.registry.own_code import brings_code
from rung.registry.packing import WRONG_TASK, example_bytes, nullable_columns, output_fields, tried
from rung.registry.records import Class, Field, ModelFile, Signature

MLMODEL = "MLmodel"
_PYFUNC = "python_function"
_DATA_KEYS = ("pickled_model", "model_data", "data")
_LARGEST_MODEL = 4 << 30
_LARGEST_EXAMPLE = 4 << 20
_LARGEST_TEXT = 1 << 20
_MOST_LIBRARIES = 500
_PICKLES = (".pkl", ".pickle", ".joblib", ".pth", ".pt", ".cloudpickle")
_UNPICKLED = frozenset({"sklearn", "lightgbm", "xgboost"})
_OWN = {"lightgbm": frozenset({"lightgbm", "skops"}), "xgboost": frozenset({"xgboost", "skops"})}  # the rest: files that say what they are
_PROGRAM = ".pt2"
_OF_TORCH = "Log the module with rung.log_model(module, example=rows), or export it (torch.onnx.export) and log it with mlflow.onnx."
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]{0,100})(?:\[[^\]]*\])?\s*==\s*([A-Za-z0-9][A-Za-z0-9.+!_-]{0,100})\s*(?:[;#].*)?$")
_RUN = re.compile(r"^[0-9a-f]{32}$")
_LOGGED = re.compile(r"^m-[0-9a-f]{32}$")


class FolderFile(Record):
    """One file of a model folder."""

    digest: Digest
    size_bytes: Count


Folder = Mapping[str, FolderFile]
Read = Callable[[str], bytes]
Unpickle = Callable[[bytes], tuple[str, dict[str, bytes]]]


class MlflowModel(Record):
    """What a model folder holds. ``unservable`` is empty for one that can answer; else it says why not, and what to do.

    ``files`` are those its format needs, under the format's names; the folder as a whole stays with whoever keeps it.
    ``example`` is Parquet. ``libraries`` are those pinned when it was logged, ``run_id`` and ``logged_model`` those of then.
    ``made`` are files that are not in the folder: those of a pickle, written anew by a process of its own.
    """

    flavors: tuple[Line, ...]
    format: Name | None = None
    files: tuple[ModelFile, ...] = ()
    signature: Signature | None = None
    task: Task | None = None
    classes: tuple[Class, ...] = ()
    libraries: dict[str, str] = {}
    python: Line = ""
    run_id: Id | None = None
    logged_model: Line = ""
    uuid: Line = ""
    example: bytes | None = None
    made: dict[str, bytes] = {}
    unservable: Line = ""


def interpret(files: Folder, read: Read, unpickle: Unpickle | None = None) -> MlflowModel:
    """What the folder holds; ``files`` by path inside of it, ``read`` gives the bytes of a digest.

    ``unpickle`` turns a pickle into the files of a format; without it a pickled model is told to be one, and not opened.

    Raises:
        Invalid: there is no MLmodel file, or it is none: too large, nested without end, not a mapping.
    """
    if MLMODEL not in files:
        raise Invalid("The folder has no MLmodel file.", code="registry.no_mlmodel", hint="Log it with MLflow's log_model.")
    if files[MLMODEL].size_bytes > _LARGEST_TEXT:
        raise Invalid(
            f"MLmodel has {files[MLMODEL].size_bytes} bytes, more than {_LARGEST_TEXT}.",
            code="registry.bad_mlmodel",
            hint="Log the model again with MLflow's own client.",
        )
    described = read_yaml(read(files[MLMODEL].digest), MLMODEL)
    flavors = _flavors(described)
    model = MlflowModel(
        flavors=tuple(flavors), libraries=_libraries(files, read), python=text_of(flavors.get(_PYFUNC, {}).get("python_version"))[:100],
        run_id=_matching(_RUN, described.get("run_id")) or None, logged_model=_matching(_LOGGED, described.get("model_id")),
        uuid=text_of(described.get("model_uuid"))[:100],
    )  # fmt: skip
    try:
        source = _source(flavors, files, read, unpickle)
    except RungError as error:
        held = _Held(traits=Traits(), reason=_line(error))
    else:
        held = source
    return _finished(model, described, held, _Folder(files, read))


@dataclass(frozen=True)
class _Folder:
    """The folder's files, and how their bytes are had."""

    files: Folder
    read: Read

    def bytes(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, None when there is none or it is larger than the limit."""
        found = self.files.get(path)
        return self.read(found.digest) if found is not None and found.size_bytes <= limit else None


@dataclass(frozen=True)
class _Held:
    """The model's own file as one of our formats holds it, or the reason why none does."""

    traits: Traits
    reason: str = ""
    format: str | None = None
    files: tuple[ModelFile, ...] = ()
    scorer: Scorer | None = None
    made: Mapping[str, bytes] = held_field(default_factory=dict)


def _finished(model: MlflowModel, described: dict[str, Any], held: _Held, folder: _Folder) -> MlflowModel:
    """The answer: signature by their words, else by the example, else by the model itself; and whether it scores."""
    given = described.get("signature")
    asked = asked_by(text_of(given.get("inputs")), held.traits) if isinstance(given, dict) and text_of(given.get("inputs")) else None
    example = _example(described, asked.fields if asked else (), folder)
    fields = asked.fields if asked and asked.fields else _derived(example, held.traits)
    reason = held.reason or held.traits.reason or (asked.reason if asked else "")
    if not reason and not fields:
        reason = "Neither its MLmodel file nor the model says which columns it takes; log it with a signature or an input example."
    nullable: frozenset[str] = frozenset()
    if not reason and held.scorer is not None:
        nullable, reason = _trial(held.scorer, fields, example)
    task = held.traits.task
    inputs = tuple(_field(field, nullable) for field in fields)
    outputs = output_fields(task, held.traits.classes) if task else ()
    return replaced(
        model, format=held.format, files=held.files, task=task, classes=held.traits.classes,
        signature=Signature(inputs=inputs, outputs=outputs) if inputs else None,
        example=None if example is None else example_bytes(example), made=dict(held.made), unservable=reason[:1000],
    )  # fmt: skip


def _source(flavors: Mapping[str, dict[str, Any]], folder: Folder, read: Read, unpickle: Unpickle | None) -> _Held:
    """The model's file, read by the format its ending names. Raises Invalid or Unavailable, saying why none reads it."""
    path, flavor = _model_file(flavors, folder)
    file = folder[path]
    if file.size_bytes > _LARGEST_MODEL:
        raise Invalid(f"{path} has {file.size_bytes} bytes, too many to serve.", code="registry.too_large", hint="Make the model smaller.")
    if path.lower().endswith(_PICKLES) and unpickle is not None and flavor in _UNPICKLED:
        name, made = unpickle(read(file.digest))
        held = tuple(ModelFile(path=own, digest=digest_of(data), size_bytes=len(data)) for own, data in made.items())
        return replace(_read(name, FORMATS.get(name), made, held), made=made)
    found = format_of(path)
    if found is None or brings_code(FORMATS.get(found[0])):
        raise _no_reader(path, flavor)
    name, ending = found
    kind = FORMATS.get(name)
    files = kind.adopt(read(file.digest), ending)
    own = tuple(ModelFile(path=held, digest=file.digest, size_bytes=file.size_bytes) for held in files)
    return _read(name, kind, files, own)


def _read(name: str, kind: Format, files: Mapping[str, bytes], own: tuple[ModelFile, ...]) -> _Held:
    try:
        traits = kind.traits(files)
        scorer = kind.load(files, traits.task) if traits.task else None
    except RungError as error:
        return _Held(traits=Traits(), reason=_line(error), format=name, files=own)
    reason = traits.reason or ("" if traits.task else "The model does not say what it predicts.")
    return _Held(traits=traits, reason=reason, format=name, files=own, scorer=scorer)


def _model_file(flavors: Mapping[str, dict[str, Any]], folder: Folder) -> tuple[str, str]:
    """Path and flavor of the model's own file. Raises Invalid for a flavor without one, or one outside of the folder."""
    others = [name for name in flavors if name != _PYFUNC]
    if not others:
        raise Invalid(
            "It is a Python function (pyfunc), and a server that runs no code of strangers cannot answer with it.",
            code="registry.unservable",
            hint="Log the model inside by its own flavor: mlflow.sklearn, lightgbm, xgboost or onnx.",
        )
    for flavor in others:
        for key in _DATA_KEYS:
            path = text_of(flavors[flavor].get(key))
            inside = [path] if path in folder else [held for held in folder if path and held.startswith(f"{path.rstrip('/')}/")]
            readable = [held for held in inside if _reads(flavor, held)]
            readable = readable or [held for held in inside if held.lower().endswith((*_PICKLES, _PROGRAM))]
            if readable:
                return sorted(readable)[0], flavor
            if path and not inside:
                raise Invalid(
                    f"Its MLmodel file names {path[:200]!r}, which is not in the folder.",
                    code="registry.bad_mlmodel",
                    hint="Log the model again.",
                )
    raise Invalid(
        f"No format here reads a model of the flavor {', '.join(others)[:200]}.",
        code="registry.unservable",
        hint="Export it to ONNX and log it with mlflow.onnx.",
    )


def _reads(flavor: str, path: str) -> bool:
    found = format_of(path)
    return found is not None and found[0] in _OWN.get(flavor, {"skops", "onnx"})


def _no_reader(path: str, flavor: str) -> Invalid:
    if path.lower().endswith(_PROGRAM):
        return Invalid(
            f"{path[:200]!r} is a program of torch.export, which only PyTorch itself opens, by pickles.", code="registry.unservable",
            hint=_OF_TORCH,
        )  # fmt: skip
    if not path.lower().endswith(_PICKLES):
        return Invalid(f"No format here reads {path[:200]!r}.", code="registry.unservable", hint="Export it to ONNX.")
    remedy = _OF_TORCH if flavor == "pytorch" else "Export it to ONNX and log it with mlflow.onnx."
    if flavor in _UNPICKLED:
        remedy = "Log it again with serialization_format='skops', or let pickles be opened in a confined process: registry.allow_pickles."
    return Invalid(f"{path[:200]!r} is a pickle, which runs code when it is loaded.", code="registry.pickle", hint=remedy)


def _trial(scorer: Scorer, fields: tuple[Field, ...], example: pl.DataFrame | None) -> tuple[frozenset[str], str]:
    """Columns the model takes nulls in, and why it cannot answer at all: empty when it can, or when no row is known to try."""
    rows = _blank(fields) if example is None else example.head(2)
    try:
        tried(scorer, rows)
    except RungError as error:
        return frozenset(), "" if example is None and error.code != WRONG_TASK else _line(error)
    return frozenset(nullable_columns(scorer, rows)), ""


def _blank(fields: tuple[Field, ...]) -> pl.DataFrame:
    """Two rows of zeros and empty texts, for a model logged without an example."""
    columns = []
    for field in fields:
        kind = dtype_of(field.dtype)
        columns.append(pl.Series(field.name, [0, 0] if not kind.is_(pl.Categorical) and kind != pl.String else ["", ""]).cast(kind))
    return pl.DataFrame(columns)


def _field(field: Field, nullable: frozenset[str]) -> Field:
    return replaced(field, nullable=field.nullable or field.name in nullable)


def _derived(example: pl.DataFrame | None, traits: Traits) -> tuple[Field, ...]:
    """Inputs of a model logged without a signature: the example's columns under the model's names, else what the model knows."""
    if example is None:
        return tuple(Field(name=field.name, dtype=field.dtype) for field in traits.inputs)
    return signature_of(example, ()).inputs


def _example(described: dict[str, Any], fields: tuple[Field, ...], folder: _Folder) -> pl.DataFrame | None:
    info = described.get("saved_input_example_info")
    if not isinstance(info, dict):
        return None
    data = folder.bytes(text_of(info.get("artifact_path")), _LARGEST_EXAMPLE)
    return None if data is None else example_frame(data, text_of(info.get("pandas_orient")) or "split", fields)


def _flavors(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = described.get("flavors")
    if not isinstance(found, dict):
        raise Invalid("MLmodel names no flavors.", code="registry.bad_mlmodel", hint="Log the model again with MLflow's own client.")
    return {name[:100]: value for name, value in list(found.items())[:20] if isinstance(name, str) and isinstance(value, dict)}


def _libraries(files: Folder, read: Read) -> dict[str, str]:
    """Versions pinned in requirements.txt, else in conda.yaml."""
    folder = _Folder(files, read)
    text = folder.bytes("requirements.txt", _LARGEST_TEXT)
    lines = text.decode("utf-8", "replace").splitlines() if text is not None else _conda(folder.bytes("conda.yaml", _LARGEST_TEXT))
    pinned = (_PINNED.match(line.strip()) for line in lines)
    return dict([(found[1], found[2]) for found in pinned if found][:_MOST_LIBRARIES])


def _conda(data: bytes | None) -> list[str]:
    if data is None:
        return []
    try:
        listed = read_yaml(data, "conda.yaml").get("dependencies")
    except Invalid:
        return []  # versions are told, not needed: a file that cannot be read leaves them out
    groups = [item.get("pip") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return [text_of(line) for group in groups if isinstance(group, list) for line in group]


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    found = text_of(value)
    return found if pattern.match(found) else ""


def _line(error: RungError) -> str:
    return f"{error.message} {error.hint or ''}".strip().replace("\x00", "")[:1000]
