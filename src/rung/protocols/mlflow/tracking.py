"""Rows of experiments, runs, metric histories and inputs. What logs to a run stands in ``hot``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from rung.core.errors import Invalid, NotFound
from rung.protocols.mlflow import shapes, wire
from rung.protocols.mlflow.routes import Answer, Call, Row, row
from rung.tracking import records as r

ViewType = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]
Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
_VIEWS: dict[str, r.View] = {"ACTIVE_ONLY": "active", "DELETED_ONLY": "deleted", "ALL": "all"}
_Texts = tuple[str, ...] | None
_MOST_RESULTS = 50_000
_Name = Annotated[str, Meta(min_length=1)]


class CreateBody(wire.Body):
    name: _Name
    artifact_location: str | None = None
    tags: tuple[wire.Tag, ...] | None = ()


class ByIdBody(wire.Body):
    experiment_id: str


class ByNameBody(wire.Body):
    experiment_name: str


class SearchExperimentsBody(wire.Body):
    max_results: int | None = None
    page_token: str | None = None
    filter: str | None = None
    order_by: _Texts = ()
    view_type: ViewType | None = None


class UpdateBody(ByIdBody):
    new_name: str | None = None


class ExperimentTagBody(ByIdBody):
    key: _Name
    value: str


class ExperimentTagKeyBody(ByIdBody):
    key: _Name


class CreateRunBody(wire.Body):
    experiment_id: str | None = None
    user_id: str | None = None
    run_name: str | None = None
    start_time: wire.Millis | None = None
    tags: tuple[wire.Tag, ...] | None = ()


class RunBody(wire.Body):
    run_id: str | None = None
    run_uuid: str | None = None


class UpdateRunBody(RunBody):
    status: Status | None = None
    end_time: wire.Millis | None = None
    run_name: str | None = None


class DeleteTagBody(RunBody):
    key: _Name


class SearchRunsBody(wire.Body):
    experiment_ids: _Texts = ()
    filter: str | None = None
    run_view_type: ViewType | None = None
    max_results: int | None = None
    order_by: _Texts = ()
    page_token: str | None = None


class DatasetBody(wire.Body):
    name: _Name
    digest: _Name
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInputBody(wire.Body):
    dataset: DatasetBody
    tags: tuple[wire.Tag, ...] | None = ()


class ModelInputBody(wire.Body):
    model_id: str


class ModelOutputBody(wire.Body):
    model_id: str
    step: wire.Step = 0


class LogInputsBody(RunBody):
    datasets: tuple[DatasetInputBody, ...] | None = ()
    models: tuple[ModelInputBody, ...] | None = ()


class OutputsBody(RunBody):
    models: tuple[ModelOutputBody, ...] | None = ()


class LogModelBody(RunBody):
    model_json: str


class HistoryBody(RunBody):
    metric_key: str
    max_results: int | None = None
    page_token: str | None = None


class BulkBody(wire.Body):
    run_ids: tuple[str, ...] = ()
    metric_key: str
    start_step: wire.Step | None = None
    end_step: wire.Step | None = None
    max_results: int | None = None


class PointsBody(wire.Body):
    run_id: tuple[str, ...] = ()
    metric_key: str
    max_results: int | None = None


class ExperimentsBody(wire.Body):
    experiment_ids: tuple[str, ...] = ()


@row("POST", "/experiments/create", CreateBody, r.CreateExperiment)
def create_experiment(body: CreateBody, call: Call) -> Answer:
    made = call(
        r.CreateExperiment(
            name=shapes.our_name(body.name), tags=wire.mapped(body.tags or ()), artifact_location=body.artifact_location or ""
        )
    )  # fmt: skip
    return {"experiment_id": str(made.number)}


@row("GET", "/experiments/get", ByIdBody, r.GetExperiment)
def get_experiment(body: ByIdBody, call: Call) -> Answer:
    return {"experiment": shapes.experiment_json(call(r.GetExperiment(number=shapes.experiment_number(body.experiment_id))))}


@row("GET", "/experiments/get-by-name", ByNameBody, r.GetExperiment)
def get_experiment_by_name(body: ByNameBody, call: Call) -> Answer:
    return {"experiment": shapes.experiment_json(call(r.GetExperiment(name=shapes.our_name(body.experiment_name))))}


@row("POST GET", "/experiments/search", SearchExperimentsBody, r.SearchExperiments)
def search_experiments(body: SearchExperimentsBody, call: Call) -> Answer:
    page = call(
        r.SearchExperiments(
            filter=body.filter or "", order_by=tuple(body.order_by or ()), after=shapes.mark_of(body.page_token),
            limit=_limit(body.max_results, 1000), view=_VIEWS[body.view_type or "ACTIVE_ONLY"], dialect="mlflow",
        )
    )  # fmt: skip
    found = {"experiments": [shapes.experiment_json(item) for item in page.items], "next_page_token": shapes.page_token(page.next)}
    return wire.without_empty(found)


@row("POST", "/experiments/update", UpdateBody, r.UpdateExperiment)
def update_experiment(body: UpdateBody, call: Call) -> Answer:
    call(r.UpdateExperiment(number=shapes.experiment_number(body.experiment_id), name=body.new_name or None))
    return {}


@row("POST", "/experiments/delete", ByIdBody, r.DeleteExperiment)
def delete_experiment(body: ByIdBody, call: Call) -> Answer:
    call(r.DeleteExperiment(number=shapes.experiment_number(body.experiment_id)))
    return {}


@row("POST", "/experiments/restore", ByIdBody, r.RestoreExperiment)
def restore_experiment(body: ByIdBody, call: Call) -> Answer:
    call(r.RestoreExperiment(number=shapes.experiment_number(body.experiment_id)))
    return {}


@row("POST", "/experiments/set-experiment-tag", ExperimentTagBody, r.UpdateExperiment)
def set_experiment_tag(body: ExperimentTagBody, call: Call) -> Answer:
    call(r.UpdateExperiment(number=shapes.experiment_number(body.experiment_id), tags={body.key: body.value}))
    return {}


@row("POST", "/experiments/delete-experiment-tag", ExperimentTagKeyBody, r.UpdateExperiment)
def delete_experiment_tag(body: ExperimentTagKeyBody, call: Call) -> Answer:
    call(r.UpdateExperiment(number=shapes.experiment_number(body.experiment_id), tags={body.key: None}))
    return {}


@row("POST", "/runs/create", CreateRunBody, r.StartRun, r.GetExperiment)
def create_run(body: CreateRunBody, call: Call) -> Answer:
    tags = wire.mapped(body.tags or ())
    name, parent, context, kept = shapes.start_facts(body.run_name, tags)
    if body.user_id:
        kept.setdefault("mlflow.user", body.user_id)
    number = shapes.experiment_number(body.experiment_id or "0")
    run = call(
        r.StartRun(
            experiment_number=number, name=name, tags=kept, parent=parent, context=context,
            started_at=None if body.start_time is None else wire.instant(body.start_time),
        )
    )  # fmt: skip
    return {"run": shapes.run_json(run, _locations(call, number))}


@row("GET", "/runs/get", RunBody, r.GetRun, r.GetExperiment)
def get_run(body: RunBody, call: Call) -> Answer:
    run = call(r.GetRun(run=shapes.run_id(body), points=True))
    return {"run": shapes.run_json(run, _locations(call, run.experiment_number))}


@row("POST", "/runs/update", UpdateRunBody, r.UpdateRun, r.FinishRun, r.GetRun, r.GetExperiment)
def update_run(body: UpdateRunBody, call: Call) -> Answer:
    run = shapes.run_id(body)
    status = wire.STATUS_OF.get(body.status or "")
    if body.run_name or status in {"running", "scheduled"} or status is None:
        found = call(r.UpdateRun(run=run, name=body.run_name or None, status=status if status in {"running", "scheduled"} else None))  # type: ignore[arg-type]  # the set says it
    if status in r.ENDED:
        found = call(r.FinishRun(run=run, status=status, ended_at=None if body.end_time is None else wire.instant(body.end_time)))  # type: ignore[arg-type]  # the tuple says it
    return {"run_info": shapes.info_json(found, _locations(call, found.experiment_number))}


@row("POST", "/runs/delete", RunBody, r.DeleteRun)
def delete_run(body: RunBody, call: Call) -> Answer:
    call(r.DeleteRun(run=shapes.run_id(body)))
    return {}


@row("POST", "/runs/restore", RunBody, r.RestoreRun)
def restore_run(body: RunBody, call: Call) -> Answer:
    call(r.RestoreRun(run=shapes.run_id(body)))
    return {}


@row("POST", "/runs/delete-tag", DeleteTagBody, r.DeleteTag)
def delete_tag(body: DeleteTagBody, call: Call) -> Answer:
    call(r.DeleteTag(run=shapes.run_id(body), key=body.key))
    return {}


@row("POST", "/runs/search", SearchRunsBody, r.SearchRuns, r.GetExperiment)
def search_runs(body: SearchRunsBody, call: Call) -> Answer:
    numbers = tuple(shapes.experiment_number(text) for text in dict.fromkeys(body.experiment_ids or ()))
    if not numbers:
        return {}
    page = call(
        r.SearchRuns(
            experiments=numbers, filter=body.filter or "", order_by=tuple(body.order_by or ()), after=shapes.mark_of(body.page_token),
            limit=_limit(body.max_results, 1000), view=_VIEWS[body.run_view_type or "ACTIVE_ONLY"], dialect="mlflow", points=True,
        )
    )  # fmt: skip
    locations = _locations(call, *{run.experiment_number for run in page.items})
    found = {"runs": [shapes.run_json(run, locations) for run in page.items], "next_page_token": shapes.page_token(page.next)}
    return wire.without_empty(found)


@row("POST", "/runs/log-inputs", LogInputsBody, r.LogBatch)
def log_inputs(body: LogInputsBody, call: Call) -> Answer:
    inputs = tuple(_input(item) for item in body.datasets or ())
    models = tuple(r.ModelLink(model=shapes.model_id(item.model_id), direction="in") for item in body.models or ())
    call(r.LogBatch(run=shapes.run_id(body), inputs=inputs, models=models))
    return {}


@row("POST", "/runs/outputs", OutputsBody, r.LogBatch)
def log_outputs(body: OutputsBody, call: Call) -> Answer:
    models = tuple(shapes.link_out(item.model_id, item.step) for item in body.models or ())
    call(r.LogBatch(run=shapes.run_id(body), models=models))
    return {}


@row("POST", "/runs/log-model", LogModelBody, r.GetRun, r.LogBatch)
def log_model(body: LogModelBody, call: Call) -> Answer:
    run = call(r.GetRun(run=shapes.run_id(body)))
    tag = shapes.history_of(run.tags.get("mlflow.log-model.history"), body.model_json)
    call(r.LogBatch(run=run.id, tags={"mlflow.log-model.history": tag}))
    return {}


@row("GET", "/metrics/get-history", HistoryBody, r.MetricPage)
def metric_history(body: HistoryBody, call: Call) -> Answer:
    limit = _limit(body.max_results, 25_000)
    page = call(r.MetricPage(run=shapes.run_id(body), key=body.metric_key, after=shapes.mark_of(body.page_token), limit=limit))
    return wire.without_empty({"metrics": [_point(item) for item in page.items], "next_page_token": shapes.page_token(page.next)})


@row("GET", "/metrics/get-history-bulk-interval", BulkBody, r.MetricHistory)
def metric_history_interval(body: BulkBody, call: Call) -> Answer:
    limit = _limit(body.max_results, 2500)
    found = []
    for run in _runs_of(body.run_ids):
        try:
            series = call(
                r.MetricHistory(run=run, key=body.metric_key, limit=min(max(limit, 4), 100_000), first=body.start_step, last=body.end_step)
            )
        except NotFound as error:
            if error.code != "tracking.no_metric":
                raise
            continue  # MLflow answers nothing of runs that never logged the metric
        found += [{**_point(item), "run_id": run} for item in series.points]
    return {"metrics": found}


@row("GET", "/metrics/get-history-bulk", PointsBody, r.MetricPage)
def metric_history_bulk(body: PointsBody, call: Call) -> Answer:
    left, found = min(_limit(body.max_results, 25_000), 25_000), list[dict[str, Any]]()
    for run in sorted(_runs_of(body.run_id)):
        if left > len(found):
            page = call(r.MetricPage(run=run, key=body.metric_key, limit=left - len(found)))
            found += [{**_point(item), "run_id": run} for item in page.items]
    return {"metrics": found}


@row("POST", "/experiments/search-datasets", ExperimentsBody, r.ListInputs)
def search_datasets(body: ExperimentsBody, call: Call) -> Answer:
    found = call(r.ListInputs(experiments=tuple(shapes.experiment_number(text) for text in body.experiment_ids)))
    summaries = [
        {"experiment_id": str(item.experiment_number), "name": item.name, "digest": item.digest, "context": item.context} for item in found
    ]
    return wire.without_empty({"dataset_summaries": summaries})


ROWS: tuple[Row, ...] = (
    create_experiment, get_experiment, get_experiment_by_name, search_experiments, update_experiment, delete_experiment,
    restore_experiment, set_experiment_tag, delete_experiment_tag, create_run, get_run, update_run, delete_run, restore_run, delete_tag,
    search_runs, log_inputs, log_outputs, log_model, metric_history, metric_history_interval, metric_history_bulk, search_datasets,
)  # fmt: skip


def _limit(given: int | None, default: int) -> int:
    if given is None:
        return default
    if not 1 <= given <= _MOST_RESULTS:
        raise Invalid(
            f"Invalid value {given} for parameter 'max_results' supplied: it must be from 1 to {_MOST_RESULTS}.",
            code="mlflow.bad_max_results", hint="Ask for several pages.",
        )  # fmt: skip
    return given


def _locations(call: Call, *numbers: int) -> dict[int, str]:
    """Places of experiments that chose one themselves."""
    return {number: call(r.GetExperiment(number=number)).artifact_location for number in numbers}


def _input(item: DatasetInputBody) -> r.Input:
    data = item.dataset
    return r.Input(
        name=data.name, digest=data.digest, source_type=data.source_type, source=data.source, schema=data.schema or "",
        profile=data.profile or "", tags=wire.mapped(item.tags or ()),
    )  # fmt: skip


def _runs_of(texts: tuple[str, ...]) -> list[str]:
    if not 1 <= len(texts) <= 100:  # noqa: PLR2004 - MLflow's own bound
        raise Invalid(f"{len(texts)} runs; 1 to 100 are allowed.", code="mlflow.bad_run_ids", hint="Ask for fewer runs.")
    return [shapes.known_id(text, "run") for text in texts]


def _point(item: r.MetricPoint) -> dict[str, Any]:
    return {"key": item.key, "value": wire.number(item.value), "timestamp": wire.millis(item.at) if item.at else 0, "step": item.step}
