"""Compiling a version for serving: the fastest engine that answers as the model itself does, and how that was found."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.records import replaced
from rung.registry.engine import ENGINES, Engine, Model, NotHeld, packed, unpacked
from rung.registry.format import FORMATS, Scorer
from rung.registry.matching import coded_frame, dtype_of
from rung.registry.parity import REFUSED, compared
from rung.registry.program import Program
from rung.registry.racing import clearly_slower, cost_us, raced
from rung.registry.records import ModelVersion, ServingEngine
from rung.registry.rules import made_from
from rung.stats import kernel
from rung.storage.blobs import BlobStore

LOG = logging.getLogger("rung.registry")


@dataclass(frozen=True)
class Compiled:
    """What compiling found: the row kept with the version, and the artifact's bytes, none where the model serves natively."""

    told: ServingEngine
    artifact: bytes = b""


def scored_and_estimator(version: ModelVersion, files: Mapping[str, bytes]) -> tuple[Scorer, Callable[[], Any]]:
    """The model's own scorer, and the estimator behind it, read once."""
    if version.format == "skops":
        from rung.registry.formats.skops import read_scorer  # noqa: PLC0415 - a second that those who serve nothing never pay

        estimator, score = read_scorer(files, version.known_task)
        return score, lambda: estimator
    score = FORMATS.get(version.format).load(files, version.known_task)
    return score, _no_estimator


def compiled(version: ModelVersion, files: Mapping[str, bytes], example: bytes | None, now: datetime, *, engine: str = "") -> Compiled:
    """The artifact of a version, or why its own library serves it; one engine only where it is named. Raises as loading does."""
    if engine and engine != "native":
        ENGINES.get(engine)
    native, estimator = scored_and_estimator(version, files)
    rows = _example(version, example)
    native_us = _native_us(native, rows.head(1))
    model = as_model(version, files, estimator)
    reasons = []
    for name, member in sorted(ENGINES.items(), key=lambda pair: pair[1].rank):
        if name == engine or (not engine and member.automatic):
            try:
                program = msgspec.structs.replace(member.compile(model), version=made_from(version))
                return _proved(version, name, member, program, native, rows, native_us, now)
            except NotHeld as error:
                reasons.append(str(error))
    reason = " ".join(dict.fromkeys(filter(None, reasons)))[:1000] if engine != "native" else "It was asked to serve natively."
    took = native_us or 0.0
    return Compiled(ServingEngine(engine="native", reason=reason or "No engine reads it.", cost_us=took, native_us=took, compiled_at=now))


def as_model(version: ModelVersion, files: Mapping[str, bytes], estimator: Callable[[], Any]) -> Model:
    """A version as engines see it."""
    return Model(
        format=version.format, files=files, inputs=version.signature.inputs, task=version.known_task, classes=version.classes,
        estimator=cache(estimator),
    )  # fmt: skip


def _proved(
    version: ModelVersion, name: str, member: Engine, program: Program, native: Scorer, rows: pl.DataFrame,
    native_us: float | None, now: datetime,
) -> Compiled:  # fmt: skip
    """The artifact after it was held against the model. Raises NotHeld."""
    data = packed(program)
    program = unpacked(data)
    run = program.run()

    def score(frame: pl.DataFrame) -> NDArray[np.float64]:
        return run(coded_frame(program, frame))

    inputs, task = version.signature.inputs, version.known_task
    threshold = 0.5 if version.threshold is None else version.threshold
    found = compared(native, program, score, inputs, task, rows, tolerance=member.tolerance, threshold=threshold)
    row = rows.head(1)
    matrix = coded_frame(program, row)
    cost = 0.0  # where the one row at hand is refused, nobody knows
    if native_us is not None:
        cost = cost_us(lambda: run(matrix))
        ours, its_own = raced(lambda: run(matrix), lambda: native(row))
        if clearly_slower(ours, its_own):
            raise NotHeld(f"It takes {ours:.0f} µs for a row, the model's own library {its_own:.0f}.")
    told = ServingEngine(
        engine=name, size_bytes=len(data), rows=found.rows, largest_difference=found.largest, cost_us=cost,
        native_us=native_us or 0.0, compiled_at=now, compiled_part=kernel.KERNEL is not None,
    )  # fmt: skip
    return Compiled(told, data)


def keep(blobs: BlobStore, found: Compiled) -> ServingEngine:
    """The row of what was compiled, its artifact stored."""
    return replaced(found.told, artifact=blobs.put(found.artifact)) if found.artifact else found.told


def _no_estimator() -> Any:
    raise NotHeld("It is no estimator of scikit-learn.")


def _example(version: ModelVersion, example: bytes | None) -> pl.DataFrame:
    """Some rows of the version's inputs: its input example, else one row of nothing."""
    inputs = version.signature.inputs
    if example:
        try:
            frame = pl.read_parquet(io.BytesIO(example))
            return frame.select([pl.col(item.name).cast(dtype_of(item.dtype)) for item in inputs])
        except (pl.exceptions.PolarsError, OSError, Invalid):
            LOG.warning("the input example of %s:%s cannot be read", version.model, version.number)
    made = {item.name: pl.Series([_anything(dtype_of(item.dtype))], dtype=dtype_of(item.dtype), strict=False) for item in inputs}
    return pl.DataFrame(made)


def _anything(kind: pl.DataType) -> Any:
    return "a" if kind in (pl.String, pl.Categorical) else True if kind == pl.Boolean else 1


def _native_us(score: Scorer, row: pl.DataFrame) -> float | None:
    """What the model's own library takes for a row; None when it refuses this one."""
    try:
        return cost_us(lambda: score(row))
    except REFUSED:
        return None
