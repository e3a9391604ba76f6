"""Steps that another engine runs: inputs come from its files, outputs and metrics go to its files, and no platform is asked.

An ``Errand`` travels as JSON in what was exported. Values keep Rung's own canonical bytes on the way from step to step,
so a step computes from the same inputs, with the same seed, what it would compute here.
"""

from __future__ import annotations

import atexit
import base64
import io
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import msgspec

from rung.core.digests import digest_of
from rung.core.errors import Invalid, Unavailable
from rung.core.records import Empty
from rung.engine.executors.family import seed_everything
from rung.pipelines.authoring import Step
from rung.pipelines.conditions import Clause, Operand, holds
from rung.pipelines.context import StepContext, current_step
from rung.pipelines.materialisers import Payload, load, materialise
from rung.pipelines.materialisers.json import untagged
from rung.pipelines.project import find_target
from rung.pipelines.records import Operator
from rung.tracking.records import LogBatch

FOLDER = "RUNG_FOLDER"
_NO_RUN = "0" * 32


class File(Protocol):
    """An artifact of the other engine: a file, and words about it."""

    path: str
    metadata: dict[str, Any]


class Leaf(msgspec.Struct, frozen=True):
    """A comparison of one of the step's outputs, answered as a truth."""

    operator: Operator
    output: int | None = None
    path: tuple[str | int, ...] = ()
    value: Any = None


class Taken(msgspec.Struct, frozen=True):
    """A list among the step's outputs whose positions are answered, for a map over it."""

    output: int | None = None
    path: tuple[str | int, ...] = ()


class Errand(msgspec.Struct, frozen=True):
    """What to call, and where its arguments come from; see ``_resolved`` for the words of ``arguments``."""

    pipeline: str
    step: str
    target: str
    outputs: tuple[str, ...]
    arguments: dict[str, Any] = {}
    over: tuple[str, ...] = ()
    seed: int = 0
    leaves: tuple[Leaf, ...] = ()
    taken: tuple[Taken, ...] = ()


class Recorder:
    """Stands for the platform where there is none: keeps the metrics a step logs."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def call(self, request: Any) -> Any:
        """Take what is logged. Raises Unavailable for everything else."""
        if not isinstance(request, LogBatch):
            raise Unavailable(
                f"{request.operation} needs a platform, and this step runs outside of one.",
                code="pipelines.outside",
                hint="Export pipelines whose steps compute from their inputs; set RUNG_URL and use rung.connect(url=…) for the others.",
            )
        self.metrics |= {point.key: point.value for point in request.metrics}
        columns = request.columns
        self.metrics |= {columns.keys[place]: value for place, value in zip(columns.key, columns.value, strict=True)}
        return Empty()

    def put_blob(self, source: bytes | Path) -> str:
        """Refused: there is no store. Raises Unavailable."""
        raise Unavailable("Files cannot be logged outside of a platform.", code="pipelines.outside", hint="Return the file's Path.")

    def get_blob(self, digest: str) -> bytes:
        """Refused: there is no store. Raises Unavailable."""
        raise Unavailable(f"There is no blob {digest} outside of a platform.", code="pipelines.outside", hint="Hand it to the step.")

    def close(self) -> None:
        """Nothing to let go of."""


def run_step(
    errand: str,
    given: Mapping[str, Any],
    files: Mapping[str, Any],
    outputs: Mapping[str, File],
    metrics: Any = None,
    code: str = "",
) -> tuple[Any, ...]:
    """Run one step of an exported pipeline; the truths and positions that other tasks ask of its outputs.

    Args:
        errand: an ``Errand`` as JSON.
        given: parameters by name; of a map, ``rung_index`` is the item's position.
        files: input files by name, a list of them for what a map made.
        outputs: where each output goes.
        metrics: told of every metric logged, by ``log_metric(key, value)``.
        code: the project's files as a zip in base64; else they lie in RUNG_FOLDER or the working folder.
    """
    work = msgspec.json.decode(errand, type=Errand)
    folder = _unpacked(code) if code else Path(os.environ.get(FOLDER) or ".").resolve()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    found = find_target(work.target)
    function = found.function if isinstance(found, Step) else found
    scratch = _until_the_end("rung-")
    arguments = {name: _resolved(node, given, files, scratch) for name, node in work.arguments.items()}
    for name in work.over:
        arguments[name] = arguments[name][int(given["rung_index"])]
    recorder = Recorder()
    context = StepContext(
        pipeline=work.pipeline, pipeline_run="", step=work.step, attempt=1, seed=work.seed, run_id=_NO_RUN, transport=recorder
    )
    token = current_step.set(context)
    try:
        seed_everything(work.seed)
        value = function(**arguments)
    finally:
        current_step.reset(token)
    values = _separate(value, work)
    for name, item in zip(work.outputs, values, strict=True):
        _keep(item, outputs[name], where=f"output {name!r} of step {work.step!r}")
    for key, number in sorted(recorder.metrics.items()):
        if metrics is not None:
            metrics.log_metric(key, number)
    truths = [_true(leaf, _at(value, values, leaf.output, leaf.path)) for leaf in work.leaves]
    return (*truths, *(list(range(len(_at(value, values, taken.output, taken.path)))) for taken in work.taken))


def packed_code(files: Sequence[Path], folder: Path) -> str:
    """A project's files as ``run_step`` takes them: the same bytes give the same text."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.relative_to(folder).as_posix()), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return base64.b64encode(buffer.getvalue()).decode()


def _until_the_end(prefix: str) -> Path:
    """A temporary folder for as long as this process lasts: what a step answers may lie in it, and it may import something late."""
    folder = Path(mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _unpacked(code: str) -> Path:
    folder = _until_the_end("rung-code-")
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(code))) as archive:
        archive.extractall(folder)
    return folder


def _resolved(node: Any, given: Mapping[str, Any], files: Mapping[str, Any], scratch: Path) -> Any:
    """The value of an argument: a tagged list of JSON."""
    tag, *rest = node
    if tag == "param":
        return given[rest[0]]
    if tag == "value":
        return untagged(rest[0])
    if tag == "file":
        return _walk(_read(files[rest[0]], scratch), rest[1])
    if tag == "files":
        return _walk(tuple(_read(files[name], scratch) for name in rest[0]), rest[1])
    if tag == "results":
        columns = [[_read(file, scratch) for file in files[name]] for name in rest[0]]
        return _walk(columns[0] if len(columns) == 1 else list(zip(*columns, strict=True)), rest[1])
    if tag == "dict":
        return {key: _resolved(item, given, files, scratch) for key, item in rest[0]}
    items = [_resolved(item, given, files, scratch) for item in rest[0]]
    return tuple(items) if tag == "tuple" else items


def _read(file: File | None, scratch: Path) -> Any:
    if file is None:
        return None
    meta = dict(file.metadata)
    if "rung_kind" not in meta:
        raise Invalid(f"{file.path} was not written by a step of Rung.", code="pipelines.foreign_file", hint="Take a step's output.")
    inner = msgspec.json.decode(meta["rung_meta"]) if meta.get("rung_meta") else {}
    return load(meta["rung_kind"], Payload(Path(file.path).read_bytes(), inner), scratch)


def _keep(value: Any, file: File, *, where: str) -> None:
    kind, payload = materialise(value, where=where)
    data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
    target = Path(file.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    # as text: other engines keep numbers in metadata as doubles
    words = {"rung_kind": kind, "rung_meta": msgspec.json.encode(payload.meta, order="sorted").decode(), "rung_digest": digest_of(data)}
    file.metadata.update(words)


def _separate(value: Any, work: Errand) -> tuple[Any, ...]:
    if len(work.outputs) == 1:
        return (value,)
    if isinstance(value, tuple) and len(value) == len(work.outputs):
        return value
    raise Invalid(
        f"Step {work.step!r} is annotated to return {len(work.outputs)} values, but returned {type(value).__name__}.",
        code="pipelines.wrong_outputs", hint="Return a tuple of that length, or change the annotation.",
    )  # fmt: skip


def _at(value: Any, values: tuple[Any, ...], output: int | None, path: Sequence[str | int]) -> Any:
    return _walk(value if output is None else values[output], path)


def _walk(value: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        value = value[part]
    return value


def _true(leaf: Leaf, value: Any) -> bool:
    # an operand stands for the value while its clause is judged, as in a traced pipeline
    return holds(Clause(leaf.operator, Operand(), leaf.value), lambda _: value)
