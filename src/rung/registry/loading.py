"""Loading a version into a predictor; the last few stay loaded, keyed by the version's digest and its artifact."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from rung.core.errors import Invalid, RungError
from rung.registry.records import ModelVersion
from rung.registry.rules import check_servable
from rung.storage.blobs import BlobStore
from rung.storage.scope import Scope

if TYPE_CHECKING:
    from rung.registry.format import Scorer
    from rung.registry.predictor import Predictor

LOG = logging.getLogger("rung.registry")
_KEPT = 8
_SLOW_US = 20_000.0  # beside which a frame costs nothing
CPU = "cpu"
_held: OrderedDict[tuple[str, str, str], Predictor] = OrderedDict()
_lock = threading.Lock()


def predictor(source: Scope | BlobStore, version: ModelVersion, *, engine: str = "", device: str = "") -> Predictor:
    """The predictor of a version, by its serving artifact unless ``engine`` is "native" or it is to compute on another device.

    Raises:
        NotFound: a file is gone. Conflict or Invalid: it may not be loaded.
    """
    key = (version.digest, "native" if engine == "native" or version.engine is None else version.engine.artifact, device)
    with _lock:
        found = _held.get(key)
        if found is not None:
            _held.move_to_end(key)
            return found
    loaded = load(source.blobs if isinstance(source, Scope) else source, version, engine=engine, device=device)
    with _lock:
        _held[key] = loaded
        while len(_held) > _KEPT:
            _held.popitem(last=False)
    return loaded


class Readable(Protocol):
    """What loading needs of a blob store."""

    def get(self, digest: str) -> bytes:
        """The bytes of a digest."""
        ...


def load(blobs: Readable, version: ModelVersion, *, engine: str = "", device: str = "") -> Predictor:
    """The predictor of a version, loaded anew; each file is checked against its digest.

    It serves by the version's artifact where there is one, unless ``engine`` is "native"; a damaged artifact is told in the
    log, and the model's own library answers. Artifacts compute on the processor: on another device the own library does.

    Raises:
        Conflict: it cannot be served. Invalid: its format does not compute on such a device. Unavailable: the device is not there.
    """
    check_servable(version)
    if engine != "native" and version.engine is not None and engine not in {"", version.engine.engine}:
        LOG.warning("%s:%s is asked for by %r and served by %r", version.model, version.number, engine, version.engine.engine)
    if device in {"", CPU} and engine != "native" and version.engine is not None and version.engine.artifact:
        try:
            return _compiled(blobs, version)
        except (ValueError, RungError) as error:
            LOG.warning("the serving artifact of %s:%s cannot be used, its own library answers: %s", version.model, version.number, error)
    return _native(blobs, version, device)


def _compiled(blobs: Readable, version: ModelVersion) -> Predictor:
    from rung.registry.compiled import compiled_predictor  # noqa: PLC0415 - NumPy only for those who load a model

    return compiled_predictor(blobs, version)


def files_of(blobs: Readable, version: ModelVersion) -> dict[str, bytes]:
    """The bytes of a version's files by path. Raises NotFound; Invalid for one of another size."""
    files = {}
    for file in version.files:
        files[file.path] = blobs.get(file.digest)
        if len(files[file.path]) != file.size_bytes:
            raise Invalid(
                f"File {file.path!r} has {len(files[file.path])} bytes, not {file.size_bytes}.",
                code="registry.wrong_size",
                hint="Register the model anew.",
            )
    return files


def _native(blobs: Readable, version: ModelVersion, device: str) -> Predictor:
    from rung.registry import matrices  # noqa: PLC0415 - Polars only for those who load a model that is not compiled
    from rung.registry.format import FORMATS  # noqa: PLC0415 - see above
    from rung.registry.predictor import Predictor  # noqa: PLC0415 - see above

    kind = FORMATS.get(version.format)
    check_device(version, kind, device)
    there: Callable[..., Scorer] | None = getattr(kind, "load_on", None)
    files, task = files_of(blobs, version), version.known_task
    scorer = kind.load(files, task) if there is None else there(files, task, device)
    cost = version.engine.native_us if version.engine is not None and version.engine.native_us else 1000.0
    made = Predictor(**about(version), scorer=scorer, cost_us=cost)
    if not made.numeric or cost > _SLOW_US:
        return made
    fields = version.signature.inputs
    ask = matrices.proved(scorer, fields, _example(blobs, version))
    if ask is None:
        return made
    ask = matrices.refusing(ask, version.model, version.number)
    return replace(made, score_matrix=ask, cost_us=matrices.measured_us(ask, len(fields), cost))


def _example(blobs: Readable, version: ModelVersion) -> bytes | None:
    """The bytes of a version's input example; none is no harm where a few rows are wanted."""
    try:
        return blobs.get(version.input_example) if version.input_example else None
    except RungError:
        return None


def check_device(version: ModelVersion, kind: object, device: str) -> None:
    """Raise Invalid for a device that models of a format do not compute on, whatever the machine has."""
    if device in {"", CPU} or hasattr(kind, "load_on"):
        return
    raise Invalid(
        f"{version.model}:{version.number} is of the format {version.format!r}, which computes on the processor, not on {device!r}.",
        code="registry.no_device", hint="Leave runtime.device empty, or register a PyTorch module in the format torch.",
    )  # fmt: skip


def about(version: ModelVersion) -> dict[str, Any]:
    """What a predictor says of its version."""
    names = ("model", "number", "digest", "signature", "classes", "threshold")
    return {name: getattr(version, name) for name in names} | {"task": version.known_task}


def forget() -> None:
    """Let go of every loaded predictor."""
    with _lock:
        _held.clear()
