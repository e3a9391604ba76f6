"""Holding a repeated run against its original: bytes first, then values by their kind, then metrics; and filing the verdict."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rung.core.errors import RungError
from rung.core.ids import new_id
from rung.engine.executors.family import payload_of
from rung.engine.host import ServiceTransport
from rung.engine.reproducing.probing import agreement
from rung.engine.reproducing.report import text_of
from rung.engine.reproducing.restoring import Restored
from rung.governance.lineage import link, node
from rung.pipelines.circumstances import HASHING
from rung.pipelines.items import ITEMS, items_of
from rung.pipelines.materialisers import compare
from rung.pipelines.project import isolated_modules
from rung.pipelines.records import Artifact, PipelineRun, StepRun
from rung.pipelines.reproducing import Likeness, MetricComparison, OutputComparison, PartComparison, Reproduction
from rung.pipelines.reproduction_store import ReproductionStore
from rung.pipelines.rules import first_diverging, least_alike
from rung.storage.blobs import BlobStore
from rung.storage.scope import Scope
from rung.tracking.records import GetRun

_ENDED_WELL = {"succeeded", "cached"}
_MOST_ITEMS = 1000
_SYSTEM = "system/"


def compare_runs(
    transport: ServiceTransport, restored: Restored, repeated: PipelineRun, again: dict[str, StepRun]
) -> Callable[[Scope], Reproduction]:
    """Compare a repeated run, whose steps are ``again``; what stores the verdict. One that failed is different at the step where it did."""
    original = restored.original
    assert original is not None  # noqa: S101 - a package's run is never compared
    scope = transport.scope()
    scratch = scope.home / "work" / new_id()
    kept = tuple(step.key for step in restored.steps if step.key in restored.kept)
    try:
        with isolated_modules(restored.folder):  # classes of the project's own are found where the steps found them
            comparisons = tuple(_outputs(restored, original, again, scope.blobs, scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    metrics = tuple(_metrics(transport, original, repeated, restored.tolerance, partial=bool(kept)))
    notes = [*restored.notes]
    if repeated.status != "succeeded":
        notes.append(f"The repeated run {repeated.status}: {repeated.error}"[:1000])
    if kept and len(kept) == len(restored.steps):
        notes.append("No step could be repeated, so nothing is proved.")
    verdict = _verdict(comparisons, metrics, repeated)
    # That hashing was random is no change, only a cause that cannot be ruled out where something differs.
    changes = tuple(c for c in restored.changes if verdict != "identical" or c.subject != HASHING)
    found = Reproduction(
        id=new_id(), pipeline_run=original.id, repeated_as=repeated.id, likeness=verdict,
        first_diverging_step=first_diverging(comparisons) or ("" if repeated.status == "succeeded" else repeated.failed_step),
        tolerance=restored.tolerance, comparisons=comparisons, notes=tuple(notes), created_at=scope.now, created_by=repeated.created_by,
        pipeline=original.pipeline, number=original.number, metrics=metrics, changes=changes, not_repeated=kept,
        network=restored.closed, rebuilt=restored.rebuilt,
    )  # fmt: skip
    found = msgspec.structs.replace(found, report=scope.blobs.put(text_of(found).encode()))  # type: ignore[type-var]  # a Struct

    def save(inside: Scope) -> Reproduction:
        ReproductionStore(inside.connection, inside.project).add_reproduction(found)
        link(inside, node("pipeline_run", original.id), "repeated_as", node("pipeline_run", repeated.id))
        link(inside, node("pipeline_run", original.id), "reproduced_in", node("reproduction", found.id))
        return found

    return save


def _verdict(comparisons: Sequence[OutputComparison], metrics: Sequence[MetricComparison], repeated: PipelineRun) -> Likeness:
    if repeated.status != "succeeded" or not comparisons:
        return "different"
    outputs = least_alike(tuple(comparisons))
    if any(metric.likeness == "different" for metric in metrics):
        return "different"
    return "equivalent" if outputs == "identical" and any(m.likeness != "identical" for m in metrics) else outputs


def _outputs(
    restored: Restored, original: PipelineRun, again: dict[str, StepRun], blobs: BlobStore, scratch: Path
) -> Iterator[OutputComparison]:
    options = {spec.key: spec.options for spec in original.steps}
    done = {step.key: step for step in restored.steps}
    for step in restored.steps:
        repeated = again.get(step.key)
        if step.status == "skipped" and repeated is not None and repeated.status in _ENDED_WELL:
            detail = f"it was skipped, and now it ran: {step.reason}"[:1000]
            yield OutputComparison(step=step.key, output="", likeness="different", detail=detail, original="", repeated="")
        if step.key in restored.kept or step.status not in _ENDED_WELL:
            continue
        declared = options[step.key].tolerance if step.key in options else None
        tolerance = restored.tolerance if declared is None else declared
        for found in _of_step(step, again.get(step.key), blobs, tolerance, scratch):
            told = agreement(found, step, original, done, again, blobs, scratch) if found.likeness != "identical" else ""
            detail = f"{found.detail}; {told}"[:1000] if told else found.detail
            yield msgspec.structs.replace(found, tolerance=declared, detail=detail)  # type: ignore[type-var]  # a Struct


def _of_step(step: StepRun, again: StepRun | None, blobs: BlobStore, tolerance: float, scratch: Path) -> Iterator[OutputComparison]:
    if again is None or again.status not in _ENDED_WELL or len(again.outputs) != len(step.outputs):
        detail = "it is not in the repeated run" if again is None else (again.error or f"it has {again.status}")
        yield OutputComparison(step=step.key, output="", likeness="different", detail=detail[:1000], original="", repeated="")
        return
    for a, b in zip(step.outputs, again.outputs, strict=True):
        if a.kind == b.kind == ITEMS and a.digest != b.digest:
            yield from _items(step.key, a, b, blobs, tolerance, scratch)
        else:
            yield _output(step.key, a, b, blobs, tolerance, scratch)


def _items(step: str, a: Artifact, b: Artifact, blobs: BlobStore, tolerance: float, scratch: Path) -> Iterator[OutputComparison]:
    """A map item by item: one line for all equal ones, one for each that differs."""
    first, second = (items_of(payload_of(side, blobs).data) for side in (a, b))
    if len(first) != len(second):
        detail = f"had {len(first)} items, has {len(second)}"
        yield OutputComparison(step=step, output=a.name, likeness="different", detail=detail, original=a.digest, repeated=b.digest)
        return
    pairs = [(i, x, y) for i, (xs, ys) in enumerate(zip(first, second, strict=True)) for x, y in zip(xs, ys, strict=True)]
    differing = [(i, x, y) for i, x, y in pairs if (x.kind, x.digest, x.meta) != (y.kind, y.digest, y.meta)]
    if len(differing) < len(pairs):
        detail = f"{len(pairs) - len(differing)} of {len(pairs)} items have equal bytes"
        yield OutputComparison(step=step, output=a.name, likeness="identical", detail=detail, original=a.digest, repeated=b.digest)
    for position, x, y in differing[:_MOST_ITEMS]:
        found = _output(step, x, y, blobs, tolerance, scratch)
        yield msgspec.structs.replace(found, item=position)  # type: ignore[type-var]  # a Struct


def _output(step: str, a: Artifact, b: Artifact, blobs: BlobStore, tolerance: float, scratch: Path) -> OutputComparison:
    def said(likeness: Likeness, detail: str, parts: tuple[PartComparison, ...] = ()) -> OutputComparison:
        return OutputComparison(
            step=step, output=a.name, likeness=likeness, detail=detail[:1000], original=a.digest, repeated=b.digest, parts=parts
        )

    if a.kind != b.kind:
        return said("different", f"was {a.kind}, is {b.kind}")
    if (a.digest, a.meta) == (b.digest, b.meta):
        return said("identical", "The bytes are equal.")
    try:
        found = compare(a.kind, payload_of(a, blobs), payload_of(b, blobs), tolerance=tolerance, scratch=scratch)
    except (RungError, ImportError, AttributeError, ValueError, TypeError, OSError) as error:
        return said("different", f"The bytes differ, and the values cannot be compared: {error}")
    # Values that are equal although the bytes are not are equivalent: identical is a claim about bytes.
    likeness = "equivalent" if found.likeness == "identical" else found.likeness
    parts = tuple(
        PartComparison(
            name=part.name[:1000], likeness=part.likeness, detail=part.detail[:1000], absolute=part.absolute, relative=part.relative
        )
        for part in found.parts
    )
    return said(likeness, found.detail, parts)


def _metrics(
    transport: ServiceTransport, original: PipelineRun, repeated: PipelineRun, tolerance: float, *, partial: bool
) -> Iterator[MetricComparison]:
    """The last value of each metric, then and now. One that is missing counts only where every step was repeated."""
    if original.run_id is None or repeated.run_id is None:
        return
    then, now = (_logged(transport, run) for run in (original.run_id, repeated.run_id))
    for name in sorted({*then, *now}):
        a, b = then.get(name), now.get(name)
        if a is None or b is None:
            if not partial:
                yield MetricComparison(metric=name, original=a, repeated=b, difference=None, likeness="different")
            continue
        yield MetricComparison(metric=name, original=a, repeated=b, difference=b - a, likeness=_alike(a, b, tolerance))


def _alike(a: float, b: float, tolerance: float) -> Likeness:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return "identical"
    return "equivalent" if abs(a - b) <= tolerance * max(abs(a), abs(b)) else "different"


def _logged(transport: ServiceTransport, run: str) -> dict[str, Any]:
    metrics = transport.call(GetRun(run=run)).metrics
    return {name: value for name, value in metrics.items() if not name.startswith(_SYSTEM)}
