"""Reproduction: run a finished pipeline run again from its own code snapshot, isolated, and compare every output."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from rung.core.ids import new_id
from rung.engine.executors.family import payload_of
from rung.engine.host import ServiceTransport
from rung.governance.lineage import link, node
from rung.pipelines.environment import environment_of, python_version
from rung.pipelines.materialisers import compare
from rung.pipelines.project import restore
from rung.pipelines.records import Artifact, OutputComparison, PipelineRun, Reproduction, StepRun
from rung.pipelines.rules import first_diverging, least_alike
from rung.pipelines.store import PipelineStore
from rung.storage.blobs import BlobStore
from rung.storage.queue import Job
from rung.storage.scope import Scope


@dataclass(frozen=True)
class Original:
    """A run to be repeated, its steps, and the folder in which its code was restored."""

    run: PipelineRun
    steps: tuple[StepRun, ...]
    folder: Path

    def discard(self) -> None:
        """Forget the restored code."""
        shutil.rmtree(self.folder, ignore_errors=True)


def restored(transport: ServiceTransport, job: Job) -> Original | None:
    """The original of a reproduction's job with its code in a folder; None for other jobs."""
    scope = transport.scope()
    wish = scope.read(lambda s: PipelineStore(s.connection, s.project).run(job.subject))
    if wish.reproduces is None:
        return None
    run = scope.read(lambda s: PipelineStore(s.connection, s.project).run(str(wish.reproduces)))
    steps = scope.read(lambda s: PipelineStore(s.connection, s.project).steps(run.id))
    folder = (scope.home / "reproduce" / job.subject).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    restore(run.code, transport.get_blob, folder)
    return Original(run=run, steps=steps, folder=folder)


def compare_runs(transport: ServiceTransport, original: Original, repeated: PipelineRun, *, tolerance: float) -> Reproduction:
    """Compare and store. A repeated run that failed is different at the step where it did."""
    scope = transport.scope()
    steps = {step.key: step for step in scope.read(lambda s: PipelineStore(s.connection, s.project).steps(repeated.id))}
    scratch = scope.home / "work" / new_id()
    try:
        comparisons = tuple(
            c
            for step in original.steps
            if not _not_repeated(step, steps.get(step.key))
            for c in _compare_step(step, steps.get(step.key), scope.blobs, tolerance, scratch)
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    reproduction = Reproduction(
        id=new_id(),
        pipeline_run=original.run.id,
        repeated_as=repeated.id,
        likeness=least_alike(comparisons) if comparisons else "different",
        first_diverging_step=first_diverging(comparisons),
        tolerance=tolerance,
        comparisons=comparisons,
        notes=_notes(original, repeated, steps),
        created_at=scope.now,
        created_by=repeated.created_by,
    )

    def save(inside: Scope) -> Reproduction:
        PipelineStore(inside.connection, inside.project).add_reproduction(reproduction)
        link(inside, node("pipeline_run", original.run.id), "repeated_as", node("pipeline_run", repeated.id))
        return reproduction

    return scope.write(save)


def _compare_step(step: StepRun, again: StepRun | None, blobs: BlobStore, tolerance: float, scratch: Path) -> list[OutputComparison]:
    if again is None or again.status not in {"succeeded", "cached"} or len(again.outputs) != len(step.outputs):
        detail = "it is not in the repeated run" if again is None else (again.error or f"it has {again.status}")
        return [OutputComparison(step=step.key, output="", likeness="different", detail=detail[:1000], original="", repeated="")]
    return [_compare_output(step.key, a, b, blobs, tolerance, scratch) for a, b in zip(step.outputs, again.outputs, strict=True)]


def _compare_output(step: str, a: Artifact, b: Artifact, blobs: BlobStore, tolerance: float, scratch: Path) -> OutputComparison:
    if a.kind != b.kind:
        return OutputComparison(
            step=step, output=a.name, likeness="different", detail=f"was {a.kind}, is {b.kind}", original=a.digest, repeated=b.digest
        )
    if (a.digest, a.meta) == (b.digest, b.meta):
        return OutputComparison(
            step=step, output=a.name, likeness="identical", detail="The bytes are equal.", original=a.digest, repeated=b.digest
        )
    found = compare(a.kind, payload_of(a, blobs), payload_of(b, blobs), tolerance=tolerance, scratch=scratch)
    # Values that are equal although the bytes are not are equivalent: identical is a claim about bytes.
    likeness = "equivalent" if found.likeness == "identical" else found.likeness
    return OutputComparison(step=step, output=a.name, likeness=likeness, detail=found.detail[:1000], original=a.digest, repeated=b.digest)


def _not_repeated(step: StepRun, again: StepRun | None) -> bool:
    """Whether a step was left out because it is run for its side effects."""
    return again is not None and again.cached_from == step.id


def _notes(original: Original, repeated: PipelineRun, steps: dict[str, StepRun]) -> tuple[str, ...]:
    notes = []
    left_out = [step.key for step in original.steps if _not_repeated(step, steps.get(step.key))]
    if left_out:
        notes.append(f"Not repeated, being run for their side effects: {', '.join(left_out)}."[:1000])
    if len(left_out) == len(original.steps):
        notes.append("No step could be repeated, so nothing is proved.")
    if original.run.lock != repeated.lock:
        notes.append("The libraries are not those of the original run.")
    if original.run.python != python_version():
        notes.append(f"Python was {original.run.python}, is {python_version()}.")
    if original.run.code != repeated.code:
        notes.append("The code that was restored is not the original's.")
    if original.run.hardware != repeated.hardware:
        notes.append("The machine is another one.")
    if not environment_of(original.folder).text:
        notes.append("The original run has no lock.")
    return tuple(notes)
