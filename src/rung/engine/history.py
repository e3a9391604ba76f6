"""What is known of a pipeline run when it is told to other systems: its steps, and the datasets and models at its edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rung.core.errors import NotFound
from rung.data.records import DatasetVersion, GetValidation, GetVersion, Validation
from rung.governance.records import Edge, TraceLineage
from rung.pipelines.records import Artifact, GetPipelineRun, PipelineRun, StepAttempt, StepRun, StepSpec


@dataclass(frozen=True)
class History:
    """A run, its steps in the order of the plan, what went in and what came out."""

    run: PipelineRun
    steps: tuple[StepRun, ...]
    attempts: tuple[StepAttempt, ...]
    inputs: tuple[DatasetVersion, ...]
    outputs: tuple[DatasetVersion, ...]
    models: tuple[str, ...]
    validations: dict[str, Validation]

    def spec(self, key: str) -> StepSpec:
        """The plan's node of a step."""
        return next(spec for spec in self.run.steps if spec.key == key)

    def sources(self, key: str) -> Iterator[tuple[StepRun, str, Artifact]]:
        """What a step took from earlier ones: whose, which output, its artifact."""
        steps = {step.key: step for step in self.steps}
        seen: set[tuple[str, str]] = set()
        for sources in self.spec(key).inputs.values():
            for source in (part for text in sources for part in text.split("|")):
                name, index = (source, None) if source in steps else (source.rpartition(".")[0], source.rpartition(".")[2])
                step = steps.get(name)
                for place, artifact in enumerate(step.outputs if step else ()):
                    if step is not None and index in {None, str(place)} and (name, artifact.name) not in seen:
                        seen.add((name, artifact.name))
                        yield step, artifact.name, artifact


def history_of(transport: Any, run: str) -> History:
    """Everything of a run, asked of the platform by id or ``pipeline:number``. Raises NotFound."""
    detail = transport.call(GetPipelineRun(id=run))
    held: PipelineRun = detail.run
    edges: list[Edge] = []
    for kind, identity in (("pipeline_run", held.id), *([("run", held.run_id)] if held.run_id else [])):
        for way in ("up", "down"):
            edges += transport.call(TraceLineage(kind=kind, id=identity, direction=way, depth=1)).edges
    here = {held.id, held.run_id}
    went_in = sorted({e.source.id for e in edges if e.source.kind == "dataset_version" and e.target.id in here})
    came_out = sorted({e.target.id for e in edges if e.target.kind == "dataset_version" and e.source.id in here})
    inputs, outputs = (tuple(_versions(transport, refs)) for refs in (went_in, came_out))
    validations = {f"{v.dataset}:{v.number}": found for v in inputs if (found := _validation(transport, v)) is not None}
    models = tuple(sorted({e.target.id for e in edges if e.target.kind == "model_version" and e.source.id in here}))
    return History(held, detail.steps, detail.attempts, inputs, outputs, models, validations)


def _versions(transport: Any, refs: list[str]) -> Iterator[DatasetVersion]:
    for ref in refs:
        name, _, number = ref.rpartition(":")
        try:
            yield transport.call(GetVersion(dataset=name, number=int(number)))
        except NotFound:
            continue  # it was erased since


def _validation(transport: Any, version: DatasetVersion) -> Validation | None:
    if version.validation == "unchecked":
        return None
    try:
        found: Validation = transport.call(GetValidation(dataset=version.dataset, number=version.number))
    except NotFound:
        return None
    return found
