"""Pipelines: the list of all, one pipeline with its plan, its parameters and its runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import cast, get_args

from markupsafe import Markup

from rung.core.errors import NotFound
from rung.core.records import Page as RecordPage
from rung.pipelines.explaining import without_plan
from rung.pipelines.records import GetPipeline, ParamSpec, PipelineInfo, PipelineRun, PipelineRunStatus, StepOptions
from rung.pipelines.summaries import PipelineSummary, RunSummary, SummarisePipelines, SummariseRuns
from rung.pipelines.triggering import ListTriggers, Trigger
from rung.ui import words
from rung.ui.blocks import Empty, Page, Part, Stats, Table, Visit, Words
from rung.ui.charts import svg
from rung.ui.pages import graphs
from rung.ui.pages.run_form import run_form, shown
from rung.ui.words import MISSING, TONE, address, link, pill, when

COLUMNS = ("run", "state", "why", "started", "took", "by")
_EMPTY = "from rung import pipeline, step\n\n\n@step\ndef double(x: int) -> int:\n    return 2 * x\n\n\n@pipeline\ndef first(x: int = 21):\n    return double(x)"
_SHOWN = 30
_ID = re.compile(r"[0-9a-f]{32}")
_STRIP = 20
_UNDER_WAY = {"running", "queued"}
TABS = (
    ("/pipelines", "Pipelines"), ("/triggers", "Triggers"), ("/packages", "Packages and releases"), ("/reproductions", "Reproductions"),
)  # fmt: skip


def tabs(here: str) -> Part:
    """Where one can go from the pages of pipelines."""
    return Part("tabs.html", {"label": "Of pipelines", "tabs": [(href, name, href == here) for href, name in TABS]})


def pipelines(visit: Visit) -> Page:
    """Every pipeline with its last runs, and the newest runs of all."""
    known = visit.ask(SummarisePipelines())
    if not known:
        blank = Empty("Write steps and a pipeline into pipelines.py of your project, then run it.", "rung run first", _EMPTY)
        return Page("Pipelines", "No pipeline is known yet.", [tabs("/pipelines"), blank], "rung pipeline list", {"pipelines": ()})
    newest = _runs(visit, None)
    listening = visit.find(ListTriggers())
    due = next_fires(listening or ())
    rows = [
        (
            link(p.name, "pipelines", p.name) + (Markup("") if p.declared else Markup(' <span class="muted small">no longer declared</span>')),
            strip(p.recent, p.name), _newest(p.recent[0] if p.recent else None), _share(p),
            words.lasted(p.median_s) if p.median_s is not None else MISSING, when(due.get(p.name)), p.steps or MISSING, words.prose(p.doc.partition("\n")[0]),
        )
        for p in known
    ]  # fmt: skip
    under_way = sum(run.status in _UNDER_WAY for p in known for run in p.recent)
    broken = [p.name for p in known if (ended := last_ended(p)) and ended.status == "failed"]
    head = f"{words.many(len(known), 'pipeline')}, {words.many(under_way, 'run')} under way; "
    head += f"the last run of {', '.join(broken[:3])} failed." if broken else "no last run failed."
    columns = ("pipeline", "last runs", "newest", "succeeded", "median time", "next", "steps", "what it does")
    blocks = [tabs("/pipelines"), Table(columns, rows), *_listed(visit, newest, "/pipelines", "Newest runs")]
    return Page("Pipelines", head, blocks, "rung pipeline list", {"pipelines": known, "runs": newest.items}, live=True)


def pipeline(visit: Visit) -> Page:
    """One pipeline: its plan, its params, its runs. Raises NotFound for one that is neither declared nor has run."""
    name = visit.path["pipeline"]
    info = visit.find(GetPipeline(pipeline=name))
    held = _runs(visit, name)
    if info is None and not held.items and "status" not in visit.query:
        visit.ask(GetPipeline(pipeline=name))  # says which there are
    told = visit.ask(SummarisePipelines(pipeline=name))
    summary = told[0] if told else PipelineSummary(name=name)
    listening = visit.find(ListTriggers(pipeline=name)) or ()
    due = next_fires(listening or ())
    stats = [
        ("succeeded", _share(summary), "" if not summary.failed else "warn"),
        ("median time", words.lasted(summary.median_s) if summary.median_s is not None else MISSING, ""),
        ("last runs", strip(summary.recent, name), ""),
        ("next", when(due.get(name)), ""),
    ]
    ways = [("#run", "Run it"), ("#plan", "Plan")] if info else []
    live: list[object] = [tabs(""), *([Part("acts.html", {"forms": (), "links": ways})] if ways else []), Stats(stats)]
    live += _listed(visit, held, address("pipelines", name), "Runs") if held.items or "status" in visit.query else []
    running = any(run.status in _UNDER_WAY for run in held.items)
    still: list[object] = (
        _declared(visit, info) if info else [Words("The project does not declare this pipeline any more; its runs are kept.")]
    )
    still += [_triggers(listening)] if listening else []
    state = f"its last run {_ended(held.items[0])}." if held.items else "it has not run yet."
    head = f"{name} has {words.many(len(info.steps), 'step')}; {state}" if info and info.steps else f"{name}: {state}"
    return Page("Pipeline", head, live, f"rung run {name}", {"pipeline": info, "runs": held.items}, live=running, still=still)


def _declared(visit: Visit, info: PipelineInfo) -> list[object]:
    """What it does, its parameters, the form and the plan."""
    blocks: list[object] = [Words(words.prose(info.doc))] if info.doc else []
    if visit.may("pipeline:run"):
        blocks.append(run_form(visit, info))
    if info.params:
        blocks.append(
            Table(("parameter", "type", "unit", "default", "may be", "what it is"), [_param(spec) for spec in info.params], "Parameters")
        )
    if not info.steps:
        return [*blocks, Words(without_plan(info), "Plan")]
    blocks.append(Words("", "Plan"))
    blocks += graphs.graph(visit, f"Steps of {info.name}", info.steps, (), address("pipelines", info.name))
    rows = [
        (
            spec.key,
            graphs.when_it_runs(spec) or MISSING,
            ", ".join(spec.needs) or MISSING,
            ", ".join(declared(spec.options)) or MISSING,
            words.prose(spec.doc),
        )
        for spec in info.steps[:200]
    ]
    note = f"The first 200 of {len(info.steps):,}." if len(info.steps) > len(rows) else ""
    return [*blocks, Table(("step", "runs", "needs", "options", "what it does"), rows, "Steps", note, folded=True)]


def declared(options: StepOptions) -> list[str]:
    """What ``@step`` was told, where it is not the default."""
    plain = StepOptions()
    names = [name for name in StepOptions.__struct_fields__ if getattr(options, name) != getattr(plain, name)]
    return [f"{name}={_option(getattr(options, name))}" for name in names]


def _option(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def run_row(run: RunSummary | PipelineRun) -> tuple[object, ...]:
    """A run in a list."""
    state = pill(run.status) + (
        Markup(' <span class="muted small">at {}</span>').format(run.failed_step) if run.failed_step else Markup("")
    )
    return (
        link(f"{run.pipeline}:{run.number}", "pipeline-runs", run.id), state, why(run), when(run.started_at or run.created_at),
        words.took(run.started_at, run.ended_at), run.created_by,
    )  # fmt: skip


def why(run: RunSummary | PipelineRun) -> str:
    """On account of what a run was started."""
    subject = "" if run.cause.reason and _ID.fullmatch(run.cause.subject) else run.cause.subject
    said = " ".join(part for part in (run.cause.kind.replace("_", " "), subject) if part)
    return f"{said}: {run.cause.reason}" if run.cause.reason else said


def strip(runs: Sequence[RunSummary], name: str) -> Markup:
    """The last runs as bars, oldest left: as high as they took, hollow while under way, crossed where they failed."""
    if not runs:
        return Markup("")
    spans = [(run.ended_at - run.started_at).total_seconds() if run.started_at and run.ended_at else 0.0 for run in runs[:_STRIP]]
    longest = max(spans) or 1.0
    parts = []
    for index, (run, span) in enumerate(reversed(list(zip(runs[:_STRIP], spans, strict=True)))):
        x, high = index * 9.0, max(5.0, 22.0 * span / longest)
        tip = svg.tip(f"{name}:{run.number} {_ended(run)}, {words.took(run.started_at, run.ended_at)}")
        tone = TONE.get(run.status, "muted")
        bar = svg.element(
            "rect",
            tip,
            x=x + 0.5,
            y=24 - high,
            width=7.0,
            height=high,
            rx=1.5,
            class_="bar" if run.status not in _UNDER_WAY else "bar hollow",
        )
        cross = (
            svg.element("path", d=f"M{x + 1.5:.1f} 25.5 l5 5 m0 -5 l-5 5", class_="cross")
            if run.status in {"failed", "cancelled"}
            else Markup("")
        )
        parts.append(svg.element("a", svg.element("g", bar, cross, class_=tone), href=address("pipeline-runs", run.id), tabindex="-1"))
    counts = {status: sum(run.status == status for run in runs[:_STRIP]) for status in get_args(PipelineRunStatus)}
    label = f"Last {len(runs[:_STRIP])} runs of {name}: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return svg.element("svg", *parts, viewBox="0 0 180 32", width="180", height="32", class_="chart strip", role="img", aria_label=label)


def next_fires(triggers: Sequence[Trigger]) -> dict[str, datetime]:
    """When each pipeline is started next by a schedule that is not paused."""
    due: dict[str, datetime] = {}
    for trigger in triggers:
        if trigger.next_fire is not None and not trigger.paused:
            due[trigger.pipeline] = min(due.get(trigger.pipeline, trigger.next_fire), trigger.next_fire)
    return due


def _runs(visit: Visit, pipeline: str | None) -> RecordPage[RunSummary]:
    status = visit.query.get("status") or None
    if status not in {None, *get_args(PipelineRunStatus)}:
        raise NotFound(f"Runs are never {status!r}.", code="ui.no_page", hint=f"They are {', '.join(get_args(PipelineRunStatus))}.")
    after = visit.query.get("after", "")
    known = after if len(after) == 32 and after.isalnum() else None  # noqa: PLR2004 - an id
    return visit.ask(SummariseRuns(pipeline=pipeline, status=cast("PipelineRunStatus | None", status), after=known, limit=_SHOWN))


def _listed(visit: Visit, page: RecordPage[RunSummary], base: str, title: str) -> list[object]:
    """Runs with a choice of states above them and a way to older ones below."""
    status = visit.query.get("status", "")
    states = [
        (f"{base}?{words.query(status=state)}" if state else base, state or "all", state == status)
        for state in ("", *get_args(PipelineRunStatus))
    ]
    older = (
        Markup('<a href="{}?{}" rel="next">Older runs</a>').format(base, words.query(status=status, after=page.next)) if page.next else ""
    )
    note = older or ("" if page.items else "There are none.")
    return [
        Words("", title),
        Part("tabs.html", {"label": "By state", "tabs": states}),
        Table(COLUMNS, [run_row(run) for run in page.items], note=note),
    ]


def _share(summary: PipelineSummary) -> str:
    ended = summary.succeeded + summary.failed
    return f"{summary.succeeded} of {ended}" if ended else MISSING


def last_ended(summary: PipelineSummary) -> RunSummary | None:
    """The newest run of a pipeline that is not under way; None where there is none."""
    return next((run for run in summary.recent if run.status not in _UNDER_WAY), None)


def _newest(run: RunSummary | None) -> object:
    return words.joined([link(f"#{run.number}", "pipeline-runs", run.id), pill(run.status)]) if run else MISSING


def _ended(run: RunSummary) -> str:
    return {"queued": "waits to be started", "running": "is under way"}.get(run.status, run.status)


def _param(spec: ParamSpec) -> tuple[object, ...]:
    bounds = [
        f"at least {spec.minimum:g}" if spec.minimum is not None else "",
        f"at most {spec.maximum:g}" if spec.maximum is not None else "",
    ]
    allowed = ", ".join(part for part in (*bounds, *map(str, spec.choices)) if part)
    return (
        spec.name,
        spec.type,
        spec.unit or MISSING,
        "required" if spec.required else shown(spec.default),
        allowed or MISSING,
        words.prose(spec.doc),
    )


def _triggers(held: Sequence[Trigger]) -> Table:
    rows = [
        (link(t.name, "triggers", t.name), t.kind, pill("paused" if t.paused else "live"), when(t.next_fire), when(t.last_fired_at))
        for t in held
    ]
    return Table(("trigger", "kind", "state", "next", "last"), rows, "What starts it")
