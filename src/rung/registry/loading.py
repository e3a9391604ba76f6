"""Loading a version into a predictor; the last few stay loaded, keyed by the version's digest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from rung.core.errors import Invalid
from rung.registry.records import ModelVersion
from rung.registry.rules import check_servable
from rung.storage.blobs import BlobStore
from rung.storage.scope import Scope

if TYPE_CHECKING:
    from rung.registry.predictor import Predictor

_KEPT = 8
_held: OrderedDict[str, Predictor] = OrderedDict()
_lock = threading.Lock()


def predictor(source: Scope | BlobStore, version: ModelVersion) -> Predictor:
    """The predictor of a version. Raises NotFound when a file is gone, Conflict or Invalid when it may not be loaded."""
    with _lock:
        found = _held.get(version.digest)
        if found is not None:
            _held.move_to_end(version.digest)
            return found
    loaded = load(source.blobs if isinstance(source, Scope) else source, version)
    with _lock:
        _held[version.digest] = loaded
        while len(_held) > _KEPT:
            _held.popitem(last=False)
    return loaded


class Readable(Protocol):
    """What loading needs of a blob store."""

    def get(self, digest: str) -> bytes:
        """The bytes of a digest."""
        ...


def load(blobs: Readable, version: ModelVersion) -> Predictor:
    """The predictor of a version, loaded anew; each file is checked against its digest. Raises Conflict for an unservable one."""
    from rung.registry.format import FORMATS  # noqa: PLC0415 - Polars and NumPy only for those who load a model
    from rung.registry.predictor import Predictor  # noqa: PLC0415 - see above

    check_servable(version)
    files = {}
    for file in version.files:
        files[file.path] = blobs.get(file.digest)
        if len(files[file.path]) != file.size_bytes:
            raise Invalid(
                f"File {file.path!r} has {len(files[file.path])} bytes, not {file.size_bytes}.",
                code="registry.wrong_size",
                hint="Register the model anew.",
            )
    return Predictor(
        model=version.model, number=version.number, digest=version.digest, signature=version.signature, task=version.known_task,
        classes=version.classes, threshold=version.threshold, scorer=FORMATS.get(version.format).load(files, version.known_task),
    )  # fmt: skip


def forget() -> None:
    """Let go of every loaded predictor."""
    with _lock:
        _held.clear()
