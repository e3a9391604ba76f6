"""A version's predictor from its serving artifact: NumPy and Rung's compiled part, neither the model's library nor Polars."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rung.core.digests import digest_of
from rung.registry.engine import unpacked
from rung.registry.loading import Readable, about
from rung.registry.predictor import Predictor, unscorable
from rung.registry.program import Program
from rung.registry.records import ModelVersion
from rung.registry.rules import made_from
from rung.stats.ensembles import Alone

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]


def compiled_predictor(blobs: Readable, version: ModelVersion) -> Predictor:
    """The predictor of a version by its artifact. Raises ValueError for one that is damaged or of another version, NotFound."""
    told = version.engine
    if told is None:
        raise ValueError("it was never compiled")
    data = blobs.get(told.artifact)
    if digest_of(data) != told.artifact:
        raise ValueError("its bytes are not those of its digest")
    program = unpacked(data)
    if program.version != made_from(version):
        raise ValueError("it was made from another version")
    return program_predictor(about(version), program)


def program_predictor(told: dict[str, Any], program: Program) -> Predictor:
    """The predictor that runs a program; ``told`` is what it says of its version. A copy in another process is made by it too."""
    run = program.run()

    def score(frame: pl.DataFrame) -> Floats:
        from rung.registry.matching import coded_frame  # noqa: PLC0415 - Polars only for those who ask with frames

        return run(coded_frame(program, frame))

    def score_matrix(rows: Floats) -> Floats:
        try:
            return run(rows)
        except ValueError as error:
            raise unscorable(told["model"], told["number"], error) from None

    def score_columns(columns: Sequence[Sequence[Any]]) -> Floats:
        try:
            return run(program.coded(columns))
        except (ValueError, TypeError) as error:
            raise unscorable(told["model"], told["number"], error) from None

    return Predictor(
        **told, scorer=score, engine=program.engine, score_matrix=score_matrix if program.numeric else None,
        score_columns=score_columns, cost_us=_measured_us(run, len(program.sources)), program=program,
        alone=run if program.numeric and isinstance(run, Alone) and run.features == len(program.inputs) else None,
    )  # fmt: skip


def _measured_us(run: Callable[[Floats], Floats], width: int) -> float:
    """Microseconds for a row of zeros, the fastest of a few."""
    row, best = np.zeros((1, width)), float("inf")
    for _ in range(5):
        before = time.perf_counter()
        run(row)
        best = min(best, time.perf_counter() - before)
    return best * 1e6
