"""Overview: the loop of each model with its live state, what it is worth and what needs somebody now."""

from __future__ import annotations

from collections.abc import Callable

from rung.data.records import GetDataset, ListDatasets
from rung.evaluation.records import ListEvaluations
from rung.features.records import ListViews
from rung.maturity.records import GetAssessment
from rung.monitoring.records import Diagnosis, GetDiagnosis, GetReport, Incident, ListIncidents, MonitorReport
from rung.pipelines.summaries import RunSummary, SummarisePipelines, SummariseRuns
from rung.registry.records import GetVersion, ListModels, ListVerdicts, Model, ModelVersion
from rung.serving.records import CountServed, Deployment, ListDeployments
from rung.tracking.records import GetRun, SearchRuns
from rung.ui import words
from rung.ui.blocks import Empty, Loop, Page, Station, Stats, Table, Visit
from rung.ui.charts.line import sparkline
from rung.ui.pages.models import main_metric
from rung.ui.pages.monitors import state_of
from rung.ui.pages.pipelines import COLUMNS, last_ended, run_row
from rung.ui.words import MISSING, TONE, address, link, money, number, pill, when
from rung.value.records import GetReport as GetValueReport
from rung.value.records import ListDecisions, ValueReport

_EMPTY = 'import rung\n\nclient = rung.connect()\nclient.data.add("flights", "flights.csv")'
_MOST_RUNS = 20
_REFRESH_S = 30  # it counts predictions and weighs the evidence of every criterion: seconds of work on a large home


def overview(visit: Visit) -> Page:
    """Every model's loop, then the fleet in a table, then the open incidents."""
    models = visit.find(ListModels()) or ()
    deployments = visit.find(ListDeployments()) or ()
    incidents = visit.find(ListIncidents()) or ()
    open_ones = [i for i in incidents if i.status != "closed"]
    if not models:
        return _beginning(visit)
    assessment = visit.find(GetAssessment())
    reports = {d.name: visit.find(GetReport(deployment=d.name)) for d in deployments}
    worth = {m.name: visit.find(GetValueReport(model=m.name)) for m in models}
    loops, rows = [], []
    for model in models:
        serving = next((d for d in deployments if any(r.model == model.name for r in d.routes)), None)
        report = reports.get(serving.name) if serving else None
        troubles = [i for i in incidents if serving and i.deployment == serving.name]
        loops.append(Loop(model.name, _stations(visit, model, serving, report, troubles)))
        rows.append(_row(model, serving, report, worth[model.name], troubles))
    levels = [(s.title, f"level {s.level} of {s.top}", "accent") for s in assessment.scales] if assessment else []
    decided = visit.find(ListDecisions(limit=10)) or ()
    inbox = [
        (
            link(f"#{i.number}", "incidents", i.number),
            pill(i.status),
            i.title,
            i.deployment,
            (i.cause or "not known yet").replace("_", " "),
            when(i.opened_at),
        )
        for i in open_ones
    ]
    answers = [
        (
            link(f"#{d.number}", "decisions", d.number),
            pill(d.action, "accent"),
            d.deployment,
            d.cause.replace("_", " "),
            d.reasons[0] if d.reasons else MISSING,
            when(d.as_of),
        )
        for d in decided
    ]
    blocks = [
        *loops,
        Table(("model", "health", "deployment", "net value", "by month", "last change", "incidents"), rows, "Models"),
        Stats(levels),
        *_broken(visit),
        Table(("", "state", "what", "deployment", "cause", "opened"), inbox, "Open incidents", note="" if inbox else "None is open."),
        Table(("", "action", "deployment", "cause", "why", "as of"), answers, "Last decisions" if answers else ""),
    ]
    losing = sum(report is not None and report.net.estimate < 0 for report in worth.values())
    head = (
        f"{words.many(len(models), 'model')}, {words.many(len(deployments), 'deployment')}, {words.many(len(open_ones), 'open incident')}; "
        + (f"{losing} lose value." if losing else "none loses value.")
    )
    data = {"models": models, "deployments": deployments, "open_incidents": open_ones, "value": worth, "decisions": decided}
    return Page(
        "Overview", head, blocks, "rung demo flights" if not deployments else "rung monitor list", data, live=True, refresh_s=_REFRESH_S
    )


def _broken(visit: Visit) -> list[Table]:
    """Pipelines whose last run failed, and what is under way."""
    known = visit.find(SummarisePipelines(runs=1)) or ()
    failed = [run for pipeline in known if (run := last_ended(pipeline)) and run.status == "failed"]
    under_way = [run for pipeline in known for run in pipeline.recent if run.status in {"running", "queued"}]
    rows = [run_row(run) for run in (*failed, *under_way)]
    return [Table(COLUMNS, rows[:_MOST_RUNS], "Pipelines that failed or are under way")] if rows else []


def _beginning(visit: Visit) -> Page:
    datasets = visit.find(ListDatasets())
    runs = visit.find(SearchRuns(limit=1))
    done = [
        ("datasets", number(len(datasets.items) if datasets else 0), ""),
        ("runs", "some" if runs and runs.items else "none", ""),
        ("models", "none", ""),
    ]
    blocks = [
        Stats(done),
        *_broken(visit),
        Empty("The loop begins with data. See all of it at work on real flights, or bring your own.", "rung demo flights"),
        Empty("Bring your own:", "rung data add flights flights.csv", _EMPTY),
    ]
    return Page("Overview", "No model yet: the loop has not begun.", blocks, "rung demo flights", {"models": ()}, live=True)


def _stations(
    visit: Visit, model: Model, serving: Deployment | None, report: MonitorReport | None, troubles: list[Incident]
) -> list[Station]:
    """Data → features → pipeline → run → evaluation → gate → registry → deployment → predictions → monitor → diagnosis → decision."""
    version = visit.find(GetVersion(model=model.name, alias="champion")) if "champion" in model.aliases else None
    version = version or visit.find(GetVersion(model=model.name))
    newest = troubles[0] if troubles else None
    diagnosis = visit.find(GetDiagnosis(diagnosis=newest.id)) if newest else None
    makers: list[Callable[[], Station]] = [
        lambda: _data(visit, version),
        lambda: _features(visit),
        lambda: _pipeline(visit, version),
        lambda: _run(visit, version),
        lambda: _evaluation(visit, model, version),
        lambda: _gate(visit, model),
    ]
    first = [make() for make in makers]
    aliases = ", ".join(f"{alias} is {which}" for alias, which in model.aliases.items())
    registry = Station(
        "registry",
        aliases or f"version {model.newest}, no champion",
        "ok" if "champion" in model.aliases else "warn",
        address("models", model.name),
    )
    return [
        *first,
        registry,
        *_served(visit, model, serving),
        _monitor(serving, report),
        _diagnosis(newest, diagnosis),
        _decision(visit, model),
    ]


def _data(visit: Visit, version: ModelVersion | None) -> Station:
    train = next((d for d in version.datasets if d.role == "train"), version.datasets[0] if version.datasets else None) if version else None
    held = visit.find(GetDataset(dataset=train.dataset)) if train else None
    if train is None or held is None:
        return Station("data", "not linked", "muted", "/datasets")
    newer = f", {held.latest} is newest" if held.latest and held.latest > train.number else ""
    return Station("data", f"{train.dataset}:{train.number}{newer}", TONE.get(held.validation, "muted"), address("datasets", train.dataset))


def _features(visit: Visit) -> Station:
    held = visit.find(ListViews())
    count = len(held.items) if held else 0
    return Station("features", words.many(count, "view") if count else "none declared", "ok" if count else "muted", "/features")


def _pipeline(visit: Visit, version: ModelVersion | None) -> Station:
    page = visit.find(SummariseRuns(limit=20))
    runs: tuple[RunSummary, ...] = page.items if page else ()
    own = next((r for r in runs if version and r.id == version.pipeline_run_id), None)
    name = own.pipeline if own else ""
    last = next((r for r in runs if not name or r.pipeline == name), None)
    if last is None:
        return Station("pipeline", "not run yet", "muted", "/pipelines")
    return Station(
        "pipeline", f"{last.pipeline} #{last.number} {last.status}", TONE.get(last.status, "muted"), address("pipeline-runs", last.id)
    )


def _run(visit: Visit, version: ModelVersion | None) -> Station:
    held = visit.find(GetRun(run=version.run_id)) if version and version.run_id else None
    if held is None:
        return Station("run", "not linked", "muted", "/runs")
    return Station("run", f"{held.experiment}:{held.number} {held.status}", TONE.get(held.status, "muted"), address("runs", held.id))


def _evaluation(visit: Visit, model: Model, version: ModelVersion | None) -> Station:
    held = visit.find(ListEvaluations(model=model.name, number=version.number, limit=1)) if version else ()
    if not held or version is None:
        return Station("evaluation", "none yet", "muted", address("models", model.name))
    metric = main_metric(held)
    return Station("evaluation", f"{metric} {number(held[0].scores.get(metric))}", "ok", address("models", model.name, version.number))


def _gate(visit: Visit, model: Model) -> Station:
    held = visit.find(ListVerdicts(model=model.name, limit=1))
    if not held:
        return Station("gate", "no verdict", "muted", address("models", model.name))
    verdict = held[0]
    return Station(
        "gate",
        f"version {verdict.number} {'passed' if verdict.passed else 'failed'}",
        "ok" if verdict.passed else "bad",
        address("models", model.name, verdict.number),
    )


def _served(visit: Visit, model: Model, serving: Deployment | None) -> list[Station]:
    if serving is None:
        return [Station("deployment", "not deployed", "muted", "/deployments"), Station("predictions", "none", "muted", "/deployments")]
    routes = ", ".join(f"{r.number} {r.arm} {r.share:.0%}" for r in serving.routes if r.model == model.name)
    served = visit.find(CountServed(deployment=serving.name)) or ()
    rows, errors = sum(r.rows for r in served), sum(r.errors for r in served)
    place = address("deployments", serving.name)
    counted = Station(
        "predictions", f"{rows:,} rows" + (f", {errors:,} failed" if errors else ""), "bad" if errors else "ok" if rows else "muted", place
    )
    return [Station("deployment", f"{serving.name}: {routes}", "ok" if len(serving.routes) == 1 else "warn", place), counted]


def _monitor(serving: Deployment | None, report: MonitorReport | None) -> Station:
    state, tone = state_of(report)
    return Station("monitor", state, tone, address("monitors", serving.name) if serving and report else "/monitors")


def _diagnosis(incident: Incident | None, diagnosis: Diagnosis | None) -> Station:
    if incident is None:
        return Station("diagnosis", "nothing to explain", "ok", "/incidents")
    state = diagnosis.cause.replace("_", " ") if diagnosis else "not diagnosed"
    closed = incident.status == "closed"
    return Station("diagnosis", state + (" (closed)" if closed else ""), "ok" if closed else "warn", address("incidents", incident.number))


def _decision(visit: Visit, model: Model) -> Station:
    held = visit.find(ListDecisions(model=model.name, limit=1))
    if not held:
        return Station("decision", "none needed yet", "muted", "/incidents")
    return Station("decision", held[0].action.replace("_", " "), "accent", address("decisions", held[0].number))


def _row(
    model: Model, serving: Deployment | None, report: MonitorReport | None, worth: ValueReport | None, troubles: list[Incident]
) -> tuple[object, ...]:
    state, tone = state_of(report)
    months = sparkline([m.net for m in worth.months], f"net value of {model.name} by month") if worth else ""
    net = link(money(worth.net.estimate, worth.currency), "value", model.name) if worth else "not measured"
    open_ones = sum(i.status != "closed" for i in troubles)
    place = link(serving.name, "deployments", serving.name) if serving else "not deployed"
    return (
        link(model.name, "models", model.name),
        pill(state, tone),
        place,
        net,
        months,
        when(serving.changed_at if serving else None),
        open_ones or "none open",
    )
