"""Handler of scored dataset versions: rows are counted, and the edges written."""

from __future__ import annotations

from rung.core.errors import Conflict
from rung.core.requests import handles
from rung.data.store import DataStore
from rung.governance.lineage import link, node
from rung.registry.store import RegistryStore
from rung.serving.batching import RecordScored, Scored
from rung.storage.scope import Scope


@handles(RecordScored)
def record_scored(request: RecordScored, scope: Scope) -> Scored:
    """What was scored. Raises NotFound, Conflict."""
    data = DataStore(scope.connection, scope.project)
    RegistryStore(scope.connection, scope.project).version(request.model, request.number)
    given, made = data.version(request.dataset, request.dataset_number), data.version(request.result, request.result_number)
    if given.rows != made.rows:
        raise Conflict(
            f"{request.result}:{request.result_number} has {made.rows} rows, {request.dataset}:{request.dataset_number} has {given.rows}.",
            code="serving.rows_differ", hint="Score the dataset version anew.",
        )  # fmt: skip
    result = node("dataset_version", f"{request.result}:{request.result_number}")
    link(scope, node("model_version", f"{request.model}:{request.number}"), "scored", result)
    if request.pipeline_run is not None:
        run = node("pipeline_run", request.pipeline_run)
        link(scope, node("dataset_version", f"{request.dataset}:{request.dataset_number}"), "input_of", run)
        link(scope, run, "produced", result)
    return Scored(
        model=request.model, number=request.number, dataset=request.dataset, dataset_number=request.dataset_number, result=request.result,
        result_number=request.result_number, rows=given.rows or 0,
    )  # fmt: skip
