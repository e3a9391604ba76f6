"""OpenLineage: runs and steps as events of schema 2-0-2. A table of translations; who sends them is ``lineage_mail``.

A model is a dataset with a facet of ours, for there is no other word for it over there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from rung import __version__
from rung.data.records import DatasetVersion, ExpectationResult
from rung.engine.history import History
from rung.pipelines.records import Artifact, StepRun

PRODUCER = f"urn:rung:{__version__}"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets/"
_ENDS = {"succeeded": "COMPLETE", "cached": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT", "skipped": "ABORT"}
Event = dict[str, Any]


def run_events(history: History, namespace: str) -> Iterator[Event]:
    """Every event of a run, in the order in which they happened."""
    yield begun(history, namespace)
    for step in history.steps:
        yield from step_events(history, step, namespace)
    if history.run.ended_at is not None:
        yield ended(history, namespace)


def begun(history: History, namespace: str) -> Event:
    """The run has begun; one that was resumed goes on."""
    run = history.run
    return _event(
        "RUNNING" if run.resumed else "START",
        run.started_at or run.created_at,
        run.id,
        _run_facets(history),
        _job(history, namespace),
        (),
        (),
    )


def ended(history: History, namespace: str) -> Event:
    """The run has ended, with what went in and what came out."""
    run = history.run
    inputs = [_dataset(version, history, namespace, role="input") for version in history.inputs]
    outputs = [_dataset(version, history, namespace, role="output") for version in history.outputs]
    outputs += [_model(name, namespace) for name in history.models]
    outputs += [_artifact(run.pipeline, artifact.name, artifact, namespace, output=True) for artifact in run.outputs]
    kind = _ENDS.get(run.status, "OTHER")
    return _event(kind, run.ended_at or run.created_at, run.id, _run_facets(history), _job(history, namespace), inputs, outputs)


def step_events(history: History, step: StepRun, namespace: str) -> Iterator[Event]:
    """A step's begin and end; nothing for one that has not begun."""
    if step.status in {"waiting", "skipped"} or (step.started_at is None and step.status != "cached"):
        return
    run, spec = history.run, history.spec(step.key)
    at = step.started_at or step.ended_at or run.started_at or run.created_at
    facets = {
        "parent": _facet("1-2-0", "ParentRunFacet", run={"runId": _uuid(run.id)}, job={"namespace": namespace, "name": run.pipeline}),
        "rung_step": _own(
            "StepRunFacet", status=step.status, reason=step.reason, attempts=step.attempts, cacheKey=step.cache_key, cpuSeconds=step.cpu_s,
            peakBytes=step.peak_bytes, items=step.items,
        ),
    }  # fmt: skip
    if spec.arguments:
        facets["executionParameters"] = _parameters(spec.arguments)
    if step.error:
        facets["errorMessage"] = _facet("1-0-1", "ErrorMessageRunFacet", message=step.error, programmingLanguage="python")
    job = {
        "namespace": namespace,
        "name": f"{run.pipeline}.{step.key}",
        "facets": {
            "jobType": _job_type("STEP"),
            **({"documentation": _facet("1-1-0", "DocumentationJobFacet", description=spec.doc)} if spec.doc else {}),
        },
    }
    inputs = [
        _artifact(f"{run.pipeline}/{made.key}", name, artifact, namespace, output=False)
        for made, name, artifact in history.sources(step.key)
    ]
    outputs = [_artifact(f"{run.pipeline}/{step.key}", artifact.name, artifact, namespace, output=True) for artifact in step.outputs]
    yield _event("START", at, step.id, facets, job, inputs, ())
    if step.status != "running":
        yield _event(_ENDS[step.status], step.ended_at or at, step.id, facets, job, inputs, outputs)


def _event(kind: str, at: datetime, run: str, facets: dict[str, Any], job: dict[str, Any], inputs: Any, outputs: Any) -> Event:
    return {
        "eventType": kind, "eventTime": at.isoformat(timespec="microseconds"), "run": {"runId": _uuid(run), "facets": facets}, "job": job,
        "inputs": list(inputs), "outputs": list(outputs), "producer": PRODUCER, "schemaURL": SCHEMA,
    }  # fmt: skip


def _run_facets(history: History) -> dict[str, Any]:
    run = history.run
    facets = {
        "processing_engine": _facet("1-1-1", "ProcessingEngineRunFacet", version=__version__, name="rung", openlineageAdapterVersion=__version__),
        "rung_run": _own(
            "PipelineRunFacet", number=run.number, cause=run.cause.kind, reason=run.cause.reason, seed=run.seed, code=run.code, lock=run.lock,
            python=run.python, gitCommit=run.git_commit, gitDirty=run.git_dirty, createdBy=run.created_by, environment=run.environment,
        ),
    }  # fmt: skip
    if run.params:
        facets["executionParameters"] = _parameters(run.params)
    if run.switches:
        variables = [{"name": name, "value": value} for name, value in sorted(run.switches.items())]
        facets["environmentVariables"] = _facet("1-0-0", "EnvironmentVariablesRunFacet", environmentVariables=variables)
    if run.error:
        facets["errorMessage"] = _facet("1-0-1", "ErrorMessageRunFacet", message=run.error, programmingLanguage="python")
    return facets


def _job(history: History, namespace: str) -> dict[str, Any]:
    run = history.run
    facets: dict[str, Any] = {
        "jobType": _job_type("PIPELINE"),
        "ownership": _facet("1-0-1", "OwnershipJobFacet", owners=[{"name": run.created_by, "type": "STARTED_BY"}]),
    }
    if run.code:
        facets["sourceCodeLocation"] = _facet(
            "1-1-0", "SourceCodeLocationJobFacet", type="rung", url=f"rung://code/{run.code}", version=run.git_commit or run.code
        )
    return {"namespace": namespace, "name": run.pipeline, "facets": facets}


def _dataset(version: DatasetVersion, history: History, namespace: str, *, role: str) -> dict[str, Any]:
    facets = {"version": _facet("1-0-1", "DatasetVersionDatasetFacet", datasetVersion=version.digest)}
    if version.schema:
        fields = [{"name": column.name, "type": column.dtype} for column in version.schema]
        facets["schema"] = _facet("1-2-0", "SchemaDatasetFacet", fields=fields)
    found: dict[str, Any] = {"namespace": namespace, "name": version.dataset, "facets": facets}
    counts = {"rowCount": version.rows, "size": version.size_bytes, "fileCount": len(version.files)}
    counts = {name: count for name, count in counts.items() if count is not None}
    if role == "output":
        return {**found, "outputFacets": {"outputStatistics": _facet("1-0-2", "OutputStatisticsOutputDatasetFacet", **counts)}}
    inputs = {"inputStatistics": _facet("1-0-0", "InputStatisticsInputDatasetFacet", **counts)}
    if version.rows is not None:
        inputs["dataQualityMetrics"] = _facet(
            "1-0-3", "DataQualityMetricsInputDatasetFacet", rowCount=version.rows, bytes=version.size_bytes, columnMetrics={}
        )
    validation = history.validations.get(f"{version.dataset}:{version.number}")
    if validation is not None:
        claims = [_claim(result) for result in validation.results]
        inputs["dataQualityAssertions"] = _facet("1-1-0", "DataQualityAssertionsDatasetFacet", assertions=claims)
    return {**found, "inputFacets": inputs}


def _claim(result: ExpectationResult) -> dict[str, Any]:
    column = result.expectation.arguments.get("column")
    return {"assertion": str(result.expectation), "success": result.passed, **({"column": str(column)} if column else {})}


def _model(name: str, namespace: str) -> dict[str, Any]:
    model, _, number = name.rpartition(":")
    facets = {
        "version": _facet("1-0-1", "DatasetVersionDatasetFacet", datasetVersion=number),
        "rung_model": _own("ModelVersionFacet", model=model, number=int(number)),
    }
    return {"namespace": namespace, "name": f"models/{model}", "facets": facets}


def _artifact(owner: str, name: str, artifact: Artifact, namespace: str, *, output: bool) -> dict[str, Any]:
    facets = {
        "version": _facet("1-0-1", "DatasetVersionDatasetFacet", datasetVersion=artifact.digest),
        "rung_artifact": _own("ArtifactFacet", kind=artifact.kind, digest=artifact.digest),
    }
    found: dict[str, Any] = {"namespace": namespace, "name": f"{owner}/{name}", "facets": facets}
    if output:
        found["outputFacets"] = {"outputStatistics": _facet("1-0-2", "OutputStatisticsOutputDatasetFacet", size=artifact.size_bytes)}
    return found


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    parameters = [{"key": name, "name": name, "value": value if isinstance(value, str) else repr(value)} for name, value in values.items()]
    return _facet("1-0-0", "ExecutionParametersRunFacet", parameters=parameters)


def _job_type(kind: str) -> dict[str, Any]:
    return _facet("2-0-4", "JobTypeJobFacet", processingType="BATCH", integration="RUNG", jobType=kind)


def _facet(version: str, name: str, /, **fields: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}{version}/{name}.json#/$defs/{name}", **fields}


def _own(name: str, /, **fields: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{PRODUCER}#/$defs/{name}", **fields}


def _uuid(identity: str) -> str:
    return str(UUID(hex=identity))
