"""How one loaded version scores checked rows: by its compiled engine, else by its own library, on a matrix or, if it must be, a frame.

A version whose prediction is cheap scores in the thread that asks; any other in a batcher of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import RungError, Unavailable
from rung.registry.openmp import OneThread
from rung.registry.predictor import unscorable
from rung.serving.batcher import Batcher, Calling, Waiting
from rung.serving.inference import Floats, Rows
from rung.serving.options import RuntimeOptions

if TYPE_CHECKING:
    from rung.registry.predictor import Predictor

INLINE_US = 200.0
_MANY_ROWS = 4096


class Scoring:
    """Scores rows with one predictor. ``now`` may be called by any thread; ``later`` answers a future.

    Args:
        let_go: of a version in a process of its own: lets that process end, at once if told so.
        program: digest of the artifact that it scores by; empty: the model's own library does.
    """

    __slots__ = ("_batcher", "_let_go", "_matrix", "_score", "inline", "predictor", "program")

    def __init__(
        self, predictor: Predictor, options: RuntimeOptions, *, queue: int, let_go: Callable[[bool], None] | None = None, program: str = ""
    ) -> None:
        apart, self.program = let_go is not None, program
        self.predictor, self._let_go = predictor, let_go
        matrix = predictor.score_matrix
        cheap = matrix is not None and predictor.cost_us < INLINE_US
        self.inline = not apart and (options.batching == "inline" or (options.batching == "auto" and cheap))
        alone = OneThread() if predictor.engine == "native" and not apart else None
        self._matrix = matrix = matrix if matrix is None or alone is None else _few(matrix, alone)
        self._score = score = _scorer(predictor, matrix, alone)  # no bound method: an idle batcher must not keep what was let go of
        self._batcher = Batcher(f"{predictor.model}:{predictor.number}", score, max_rows=options.max_batch_rows, queue=queue)

    def now(self, rows: Rows) -> Floats:
        """Scores of the rows, in this thread. Raises Invalid for rows the model refuses, Unavailable when it fails otherwise."""
        if self._matrix is not None and rows.matrix is not None:
            return self._matrix(rows.matrix)
        return self._score(rows)

    def later(self, rows: Rows, kind: Hashable = ()) -> Waiting:
        """Scores of the rows, from the batcher. Raises Unavailable when too many requests wait."""
        return self._batcher.submit(rows, kind)

    def call(self, rows: Rows, kind: Hashable, calling: Calling) -> None:
        """The same for an event loop, which is called. Raises Unavailable when too many requests wait."""
        self._batcher.post(rows, kind, calling)

    def close(self, *, now: bool = False) -> None:
        """Let go of what scores: who asks still is answered, and a process of its own ends when nobody does any more; or now."""
        if self._let_go is not None:
            self._let_go(now)

    @property
    def waiting(self) -> int:
        """Requests that wait for the batcher."""
        return self._batcher.waiting


def _few(matrix: Callable[[Floats], Floats], alone: OneThread) -> Callable[[Floats], Floats]:
    """The same with one thread of the library's own for few rows: a second one costs more than it gives."""
    return lambda rows: alone(matrix, rows) if len(rows) <= _MANY_ROWS else matrix(rows)


def _scorer(predictor: Predictor, matrix: Callable[[Floats], Floats] | None, alone: OneThread | None) -> Callable[[Rows], Floats]:
    def score(rows: Rows) -> Floats:
        if matrix is not None and rows.matrix is not None:
            return matrix(rows.matrix)
        return _native(predictor, rows) if alone is None or rows.height > _MANY_ROWS else alone(lambda one: _native(predictor, one), rows)

    return score


def _native(predictor: Predictor, rows: Rows) -> Floats:
    from rung.registry.matching import UNSCORABLE  # noqa: PLC0415 - Polars only where a compiled engine does not do
    from rung.registry.matrices import frame_of  # noqa: PLC0415 - see above

    try:
        if rows.matrix is None:
            assert rows.frame is not None  # noqa: S101 - one of the two is set
            scores = predictor.predict_scores(rows.frame)
        else:
            scores = predictor.scorer(frame_of(rows.matrix, predictor.signature.inputs))
    except UNSCORABLE as error:
        raise unscorable(predictor.model, predictor.number, error) from None
    return np.asarray(scores, dtype=np.float64)


def failed(predictor: Predictor, error: BaseException) -> RungError:
    """What the caller is told of an error inside a model: Rung's own as they are, any other as Unavailable with its reason."""
    if isinstance(error, RungError):
        return error
    return Unavailable(
        f"{predictor.model}:{predictor.number} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
        code="serving.model_failed",
        hint="Look at the server's log; other requests are not touched.",
    )
