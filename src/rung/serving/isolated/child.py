"""The process of one model: loads it, then answers rows with scores until who started it is gone.

Run as ``python -m rung.serving.isolated.child FD``. It may be of another environment: what Rung itself needs is found
behind that one's own packages. Where it is told to, it gives up network, other programs and other files before it loads.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.serving.isolated import wire

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rung.registry.predictor import Predictor

_PDEATHSIG = 1
_PLACES = ("/dev/null", "/dev/urandom", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/proc/self")
_TWO, _DEEPEST = 2, 10
_OF_ROWS = (ValueError, TypeError, KeyError, IndexError, ArithmeticError)  # what libraries raise for rows they cannot use
ISOLATED = "RUNG_ISOLATED"
_FILE_BYTES = 256 << 20
_confined = False


def main(fd: int, parent: int) -> int:
    """Load, say so, answer; returns the exit code."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what a model prints is no answer
    os.environ[ISOLATED] = "1"
    _, _, _, payload = wire.receive(fd)
    config: dict[str, Any] = json.loads(payload)
    global _confined  # noqa: PLW0603 - one process is confined once and for good
    try:
        unable = _bound(config)
        _confined = config["confined"] and not unable
        predictor = _loaded(config)
    except Exception as error:  # whatever a model's code raises while it loads is the reason why it does not answer
        wire.send(fd, wire.ERROR, _told(error))
        return 1
    wire.send(fd, wire.READY, json.dumps({"engine": predictor.engine, "cost_us": predictor.cost_us, "open": unable}).encode())
    ask = _asking(predictor)
    while True:
        try:
            kind, rows, columns, payload = wire.receive(fd)
        except EOFError:
            return 0
        _answer(fd, ask, kind, rows, columns, payload)


def _answer(fd: int, ask: Callable[..., NDArray[np.float64]], kind: bytes, rows: int, columns: int, payload: bytes) -> None:
    import numpy as np  # noqa: PLC0415 - found behind the model's own environment, which is set up by now

    try:
        scores = np.ascontiguousarray(ask(kind, rows, columns, payload), dtype=np.float64)
        if scores.shape[:1] != (rows,) or scores.ndim > _TWO:
            raise RuntimeError(f"it answered an array of shape {scores.shape} to {rows} rows")
    except Exception as error:  # a model may raise anything, and the answer tells it
        wire.send(fd, wire.ERROR, _told(error, "rows" if isinstance(error, _OF_ROWS) else "raised"))
        return
    wire.send(fd, wire.SCORES, scores.tobytes(), rows, scores.shape[1] if scores.ndim == _TWO else 0)


def _asking(predictor: Predictor) -> Callable[..., NDArray[np.float64]]:
    import io  # noqa: PLC0415 - as below: after the path is set

    import numpy as np  # noqa: PLC0415
    import polars as pl  # noqa: PLC0415

    names = [field.name for field in predictor.signature.inputs]

    def ask(kind: bytes, rows: int, columns: int, payload: bytes) -> NDArray[np.float64]:
        if kind == wire.FRAME:
            return predictor.predict_scores(pl.read_ipc(io.BytesIO(payload)))
        matrix = np.frombuffer(payload, dtype=np.float64).reshape(rows, columns)
        if predictor.score_matrix is not None:
            return predictor.score_matrix(matrix)
        frame = pl.DataFrame(matrix, schema=names, orient="row").fill_nan(None)
        return predictor.predict_scores(frame)

    return ask


def _bound(config: dict[str, Any]) -> str:
    """Take up the bounds, and the place of Rung's own libraries; why it is not confined, where it should be and may go without."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if config["memory_mb"]:
        bound = config["memory_mb"] << 20
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    sys.path[:0] = [place for place in config["path"] if place not in sys.path]
    sys.path += [place for place in config["behind"] if place not in sys.path]
    if not config["confined"]:
        return ""
    import rung  # noqa: PLC0415 - most models are not confined
    from rung.core.errors import Unavailable  # noqa: PLC0415 - see above
    from rung.registry.isolation import confine  # noqa: PLC0415 - see above

    scratch = Path(config["scratch"])
    os.chdir(scratch)
    sys.path[:] = _installed(config)
    own = [*map(Path, sys.path), Path(sys.prefix) / "lib", Path(sys.base_prefix) / "lib", Path(config["folder"]), *map(Path, rung.__path__)]
    endless = resource.RLIM_INFINITY
    try:
        confine([*own, *map(Path, _PLACES)], [], seconds=endless, memory_bytes=endless, file_bytes=_FILE_BYTES, scratch=scratch)
    except Unavailable as error:
        if not config["unconfined"]:
            raise
        return error.message
    return ""


def _installed(config: dict[str, Any]) -> list[str]:
    """Where libraries are installed; other places of the path, say a project's folder with its secrets, are none of a model's business."""
    roots = [*config["roots"], *config["path"], sys.prefix, sys.base_prefix]
    return [place for place in sys.path if any(Path(place).is_relative_to(root) for root in roots)]


def _loaded(config: dict[str, Any]) -> Predictor:
    import importlib  # noqa: PLC0415 - after the path is set, and the locks

    for name in config["preload"]:
        importlib.import_module(name)
    from rung.core.records import decoded  # noqa: PLC0415 - see above
    from rung.registry.loading import load  # noqa: PLC0415
    from rung.registry.records import ModelVersion  # noqa: PLC0415

    files, version = _Files(Path(config["folder"])), decoded(config["version"], ModelVersion)
    return load(files, version, engine=config["engine"], device=config["device"])


class _Files:
    """A version's files in a folder, by digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, digest: str) -> bytes:
        """The bytes of a digest. Raises NotFound."""
        from rung.core.errors import NotFound  # noqa: PLC0415 - after the path is set

        try:
            return (self._folder / digest.partition(":")[2]).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"There is no blob {digest}.", code="blobs.not_found") from None


def _forbidden(error: BaseException | None) -> bool:
    """Whether what was raised comes of what a confined process may not do; libraries wrap it."""
    for _ in range(_DEEPEST):
        if error is None or isinstance(error, (PermissionError, socket.gaierror)):
            break
        error = error.__cause__ or error.__context__
    return error is not None


def _told(error: Exception, kind: str = "raised") -> bytes:
    """An error as it travels: the class a Rung error has, else its Python name."""
    message = " ".join(str(getattr(error, "message", error)).split())[:500]
    kind = "confined" if _confined and _forbidden(error) else "memory" if isinstance(error, MemoryError) else getattr(error, "kind", kind)
    told = {
        "kind": kind,
        "code": getattr(error, "code", ""),
        "hint": getattr(error, "hint", None),
        "name": type(error).__name__,
        "message": message,
    }
    return json.dumps(told).encode()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
