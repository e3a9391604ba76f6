"""One pipeline run: its graph with live states, its timings, why each step ran, what went in and came out, what can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from markupsafe import Markup

from rung.core.errors import NotFound
from rung.governance.records import TraceLineage
from rung.pipelines.records import Artifact, GetPipelineRun, PipelineRun, PipelineRunDetail, StepRun, StepSpec, StepStatus
from rung.pipelines.reproducing import ListReproductions, Reproduction
from rung.pipelines.summaries import RunSummary, SummariseRuns
from rung.pipelines.triggering import GetTriggerFire
from rung.ui import words
from rung.ui.blocks import Charts, Facts, Page, Part, Stats, Table, Visit, Words
from rung.ui.pages.gantt import timings, waited
from rung.ui.pages.graphs import graph, outcome, tone
from rung.ui.pages.pipelines import tabs, why
from rung.ui.pages.run_form import PREFIX, shown
from rung.ui.words import MISSING, address, digest, hover, joined, link, pill, when
from rung.value.records import ListCosts

MOST_ROWS = 200
_MANY_STEPS = 500
_LONG_ERROR = 20_000
_DATASETS = 20


def pipeline_run(visit: Visit) -> Page:
    """One pipeline run, by its id or as ``pipeline:number``."""
    detail = visit.ask(GetPipelineRun(id=visit.path["id"]))
    held, steps = detail.run, detail.steps
    under_way = held.status in {"queued", "running"}
    base = address("pipeline-runs", held.id)
    blocks: list[object] = [tabs(""), _acts(visit, held, steps), _stats(held, steps)]
    if held.error:
        blocks.append(Words(held.error[:_LONG_ERROR], f"Error in {held.failed_step or 'the run'}", code=True))
    if held.steps:
        blocks += graph(visit, "How the steps depend on each other", held.steps, steps, base)
    figure = timings(detail)
    blocks += [Charts([figure])] if figure else []
    blocks += [_steps(visit, detail, base)] if steps else [Words("The plan is made when the run begins.")]
    blocks += _outputs(held, steps)
    still = [*_inputs(visit, held), _about(visit, held), *_reproductions(visit, held), _compare(visit, held)]
    data = {"detail": detail}
    refresh = 2 if len(held.steps) <= _MANY_STEPS else 10
    return Page(
        "Pipeline run", _headline(held, steps), blocks, f"rung pipeline status {held.pipeline}:{held.number}", data,
        live=under_way, refresh_s=refresh, still=still, shape=held.status,
    )  # fmt: skip


def _headline(held: PipelineRun, steps: Sequence[StepRun]) -> str:
    name = f"{held.pipeline}:{held.number}"
    if held.status == "queued":
        return f"{name} waits for a worker."
    done = sum(step.status in {"succeeded", "cached", "skipped"} for step in steps)
    if held.status == "running":
        at = ", ".join(step.key for step in steps if step.status == "running")[:200]
        asked = " It was asked to stop." if held.cancel_requested else ""
        return f"{name} is running: {done} of {words.many(len(steps), 'step')} done" + (f", now {at}." if at else ".") + asked
    cached = sum(step.status == "cached" for step in steps)
    if held.failed_step:
        return f"{name} {held.status} at {held.failed_step}."
    return f"{name} {held.status}; {cached} of {words.many(len(steps), 'step')} came from the cache."


def _stats(held: PipelineRun, steps: Sequence[StepRun]) -> Stats:
    failed = sum(step.status == "failed" for step in steps)
    cached = sum(step.status == "cached" for step in steps)
    peak = held.peak_bytes or max((step.peak_bytes for step in steps), default=0)
    items: list[tuple[str, object, str]] = [
        ("state", pill(held.status), ""), ("steps", f"{len(steps):,}", ""), ("from cache", f"{cached:,}", "accent" if cached else ""),
        ("failed", f"{failed:,}", "bad" if failed else ""), ("wall time", words.lasted(held.wall_s), ""), ("CPU time", words.lasted(held.cpu_s), ""),
    ]  # fmt: skip
    items += [("peak memory", words.size(peak), "")] if peak else []
    items += [("GPU time", words.lasted(held.gpu_s), "")] if held.gpu_s else []
    return Stats(items)


def _acts(visit: Visit, held: PipelineRun, steps: Sequence[StepRun]) -> Part:
    forms: list[dict[str, Any]] = []
    hidden = {"id": held.id}
    base = address("pipelines", held.pipeline)
    links = []
    if visit.may("pipeline:run"):
        if held.status in {"queued", "running"} and not held.cancel_requested:
            forms.append(_form("/act/cancel-pipeline-run", "Cancel", hidden))
        if held.status in {"failed", "cancelled"}:
            forms.append(_form("/act/resume-pipeline-run", "Resume", hidden, quiet=False))
        if held.status not in {"queued", "running"}:
            forms.append(_form("/act/rerun-pipeline", "Run again", hidden))
            if held.steps:
                keys = [(spec.key, spec.key) for spec in held.steps[:1000]]
                keys.sort(key=lambda pair: pair[0] != held.failed_step)
                fields = [("step", "From this step on; those before keep their results", keys)]
                forms.append(_form("/act/rerun-pipeline", "Run again from a step", hidden, fields))
        if held.status == "succeeded" and held.reproduces is None:
            forms.append(_form("/act/reproduce-run", "Reproduce", hidden, [("rebuild", "build its environment anew", False)]))
        query = words.query_of([(PREFIX + name, shown(value)) for name, value in held.params.items()])
        links.append((f"{base}?{query}#run", "Change parameters and run"))
    return Part("acts.html", {"forms": forms, "links": [*links, (base, f"All runs of {held.pipeline}")]})


def _tries(step: StepRun) -> object:
    """How often a step was tried; a map is carried out in batches."""
    if step.items and step.attempts:
        return "1 batch" if step.attempts == 1 else f"{step.attempts:,} batches"
    return step.attempts or MISSING


def _form(
    action: str, label: str, hidden: Mapping[str, str], fields: Sequence[tuple[str, str, object]] = (), *, quiet: bool = True
) -> dict[str, Any]:
    return {"action": action, "label": label, "hidden": hidden, "fields": fields, "quiet": quiet}


def _steps(visit: Visit, detail: PipelineRunDetail, base: str) -> Table:
    """Every step; of very many a page, filtered by state and name."""
    state, name = visit.query.get("state", ""), visit.query.get("name", "")
    if state and state not in get_args(StepStatus):
        raise NotFound(f"Steps are never {state!r}.", code="ui.no_page", hint=f"They are {', '.join(get_args(StepStatus))}.")
    start = min(visit.number("from") or 0, 10_000_000)
    specs = {spec.key: spec for spec in detail.run.steps}
    ends: dict[str, datetime | None] = {step.key: step.ended_at for step in detail.steps}
    chosen = [step for step in detail.steps if (not state or step.status == state) and (not name or step.step == name)]
    rows = [_row(step, specs.get(step.key), ends, detail.run) for step in chosen[start : start + MOST_ROWS]]
    columns = ("step", "state", "why it ran, or did not", "tries", "waited", "wall", "CPU", "peak memory", "where")
    note: list[Markup] = []
    if state or name:
        note.append(
            Markup("{} of {}. ").format(f"{len(chosen):,}", words.many(len(detail.steps), "step"))
            + Markup('<a href="{}#steps">All steps</a>').format(base)
        )
    elif len({step.status for step in detail.steps}) > 1 and len(detail.steps) > 20:  # noqa: PLR2004 - fewer are seen at a glance
        note += [
            Markup('<a href="{}?{}#steps">{}</a>').format(base, words.query(state=one), f"{sum(s.status == one for s in detail.steps):,} {one}")
            for one in get_args(StepStatus) if any(s.status == one for s in detail.steps)
        ]  # fmt: skip
    if start + MOST_ROWS < len(chosen):
        more = words.query(state=state, name=name, **{"from": start + MOST_ROWS})
        note.append(Markup('<a href="{}?{}#steps" rel="next">The next of {}</a>').format(base, more, f"{len(chosen):,}"))
    return Table(columns, rows, "Steps", joined(note, " · ") if note else "")


def _row(step: StepRun, spec: StepSpec | None, ends: dict[str, datetime | None], run: PipelineRun) -> tuple[object, ...]:
    idle = waited(step, spec.needs if spec else (), ends, run.started_at)
    told = joined([step.reason or MISSING, *([_changes(step)] if step.changes else []), *([_undeclared(step)] if step.undeclared else [])])
    within = Markup('<span class="muted small">{}/</span>').format(spec.within) if spec and spec.within else Markup("")
    count = Markup('<div class="muted small">{}</div>').format(outcome(step)) if step.items else Markup("")
    return (
        within + link(step.key, "pipeline-runs", run.id, "steps", step.key), pill(step.status, tone(step.status)) + count, told, _tries(step),
        words.lasted(idle) if idle is not None else MISSING, words.lasted(step.wall_s) if step.ended_at else MISSING,
        words.lasted(step.cpu_s) if step.ended_at else MISSING, words.size(step.peak_bytes) if step.peak_bytes else MISSING, step.executor or MISSING,
    )  # fmt: skip


def _changes(step: StepRun) -> Markup:
    whole = "\n".join(f"{change.part} {change.name}: {change.before or 'not there'} -> {change.after or 'gone'}" for change in step.changes)
    return Markup('<span class="muted small">({})</span>').format(hover(words.many(len(step.changes), "change"), whole))


def _undeclared(step: StepRun) -> Markup:
    return Markup('<div class="small">{} {}</div>').format(pill("undeclared", "warn"), ", ".join(step.undeclared[:5])[:300])


def _outputs(held: PipelineRun, steps: Sequence[StepRun]) -> list[object]:
    if not held.outputs:
        return []
    makers = {artifact.digest: step.key for step in reversed(steps) for artifact in step.outputs}
    rows = [
        (_output(held, artifact, makers), artifact.kind, words.size(artifact.size_bytes), digest(artifact.digest))
        for artifact in held.outputs
    ]
    return [Table(("output", "kind", "size", "digest"), rows, "What it answered")]


def _output(held: PipelineRun, artifact: Artifact, makers: Mapping[str, str]) -> object:
    maker = makers.get(artifact.digest)
    if maker is None:
        return artifact.name
    return Markup('<a href="{}#outputs">{}</a>').format(address("pipeline-runs", held.id, "steps", maker), artifact.name) + Markup(
        " of {}"
    ).format(maker)


def _inputs(visit: Visit, held: PipelineRun) -> list[object]:
    """Parameters, dataset versions and whatever else it read."""
    blocks: list[object] = []
    if held.params:
        blocks.append(
            Part("pairs.html", {"pairs": [(name, words.plain(value)[:2000]) for name, value in held.params.items()]}, "Parameters")
        )
    trace = visit.find(TraceLineage(kind="pipeline_run", id=held.id, direction="up", depth=1))
    versions = [node.id for node in trace.nodes if node.kind == "dataset_version"] if trace else []
    rows: list[tuple[object, ...]] = [
        (link(version, "datasets", *version.rpartition(":")[::2]), "dataset version", MISSING) for version in versions[:_DATASETS]
    ]
    rows += [(name, "declared file or variable", digest(value)) for name, value in held.inputs.items()]
    return [*blocks, *([Table(("input", "kind", "digest"), rows, "What it read")] if rows else [])]


def _about(visit: Visit, held: PipelineRun) -> Facts:
    fire = visit.find(GetTriggerFire(id=held.id)) if held.cause.trigger else None
    trigger = link(fire.trigger_name, "triggers", fire.trigger_name) if fire else MISSING
    costs = [entry for entry in visit.find(ListCosts()) or () if entry.subject == f"pipeline_run {held.id}"] if held.ended_at else []
    hardware = ", ".join(f"{name} {value}" for name, value in held.hardware.items() if value and not isinstance(value, (dict, list)))
    facts: list[tuple[str, object]] = [
        ("pipeline", link(held.pipeline, "pipelines", held.pipeline)), ("why", why(held)), ("trigger", trigger), ("started by", held.created_by),
        ("queued", when(held.created_at)), ("started", when(held.started_at)), ("ended", when(held.ended_at)),
        ("environment", held.environment or MISSING), ("executor", held.executor or "as set"), ("seed", held.seed),
        ("cache", "used" if held.use_cache else "not used"), ("resumed", f"{held.resumed} times" if held.resumed else ""),
        ("again from", joined([link("the run before", "pipeline-runs", held.rerun_of), "from", ", ".join(held.rerun_from)]) if held.rerun_of else ""),
        ("reproduces", link(held.reproduces[:8], "pipeline-runs", held.reproduces) if held.reproduces else ""),
        ("package", link(held.package.removeprefix("blake3:")[:12], "packages", held.package) if held.package else ""),
        ("concurrency group", f"{held.concurrency_group}, at most {held.concurrency_limit}" if held.concurrency_group else ""),
        ("tracking run", link(held.run_id[:8], "runs", held.run_id) if held.run_id else MISSING),
        ("code", digest(held.code)), ("lock", digest(held.lock)), ("commit", digest(held.git_commit) + (" with changes" if held.git_dirty else "")),
        ("Python", held.python or MISSING), ("machine", hardware or MISSING),
        ("switches", ", ".join(f"{name}={value}" for name, value in held.switches.items())), ("audited", "yes" if held.audited else ""),
        ("cost", ", ".join(words.money(entry.amount, entry.currency) for entry in costs)), ("notes", " ".join(held.notes)),
        ("lineage", link("what went in and what came out", "lineage", "pipeline_run", held.id)),
    ]  # fmt: skip
    return Facts([(name, value) for name, value in facts if value != ""], "About this run", wide=True)


def _reproductions(visit: Visit, held: PipelineRun) -> list[object]:
    found = visit.find(ListReproductions(pipeline_run=held.id)) or ()
    return [Table(REPRODUCED, [reproduction_row(item) for item in found], "Reproductions")] if found else []


REPRODUCED = ("reproduction", "of", "verdict", "first difference", "as", "network", "when", "by")


def reproduction_row(held: Reproduction) -> tuple[object, ...]:
    """A reproduction in a list."""
    of = f"{held.pipeline}:{held.number}" if held.pipeline else held.pipeline_run[:8]
    likeness = {"identical": "ok", "equivalent": "accent", "different": "bad"}[held.likeness]
    return (
        link(held.id[:8], "reproductions", held.id), link(of, "pipeline-runs", held.pipeline_run), pill(held.likeness, likeness),
        held.first_diverging_step or MISSING, link("its run", "pipeline-runs", held.repeated_as), held.network, when(held.created_at), held.created_by,
    )  # fmt: skip


def _compare(visit: Visit, held: PipelineRun) -> Part:
    page = visit.find(SummariseRuns(pipeline=held.pipeline, limit=30))
    others: list[RunSummary] = [run for run in page.items if run.id != held.id] if page else []
    older = [run for run in others if run.number < held.number]
    chosen = next((run.id for run in older if run.status == "succeeded"), older[0].id if older else "")
    choices = [(run.id, f"{run.pipeline}:{run.number} {run.status} {run.created_at:%Y-%m-%d %H:%M}", run.id == chosen) for run in others]
    return Part("compare_with.html", {"run": held.id, "choices": choices}, "Compare with another run" if choices else "")
