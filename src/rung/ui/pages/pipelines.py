"""Pipelines: the list, one pipeline, one pipeline run with DAG, Gantt and step logs, and what starts them by itself."""

from __future__ import annotations

from datetime import datetime

from rung.pipelines.records import (
    GetPipeline,
    GetPipelineRun,
    ListPipelineRuns,
    ListPipelines,
    ListTriggerFires,
    ListTriggers,
    PipelineRun,
    StepLog,
    StepRun,
)
from rung.ui import words
from rung.ui.blocks import Charts, Empty, Facts, Form, Page, Stats, Table, Visit, Words
from rung.ui.charts.dag import DagNode, dag
from rung.ui.charts.svg import Figure
from rung.ui.charts.time import Bar, gantt
from rung.ui.words import TONE, address, link, pill, when

_COLUMNS = ("run", "state", "why", "started", "took", "by")
_EMPTY = "from rung import pipeline, step\n\n\n@step\ndef double(x: int) -> int:\n    return 2 * x\n\n\n@pipeline\ndef first(x: int = 21):\n    return double(x)"


def pipelines(visit: Visit) -> Page:
    """Every pipeline with its last run, and the newest runs of all."""
    known = visit.ask(ListPipelines())
    newest = visit.ask(ListPipelineRuns(limit=30)).items
    if not known and not newest:
        return Page(
            "Pipelines",
            "No pipeline is known yet.",
            [Empty("Write steps and a pipeline into pipelines.py of your project, then run it.", "rung run first", _EMPTY)],
            "rung pipeline list",
            {"pipelines": ()},
        )
    last = {run.pipeline: run for run in reversed(newest)}
    rows = [
        (
            link(p.name, "pipelines", p.name),
            len(p.steps),
            _newest(last.get(p.name)),
            ", ".join(s.name for s in p.params) or words.MISSING,
            p.doc,
        )
        for p in known
    ]
    running = sum(run.status in {"running", "queued"} for run in newest)
    failed = sum(run.status == "failed" for run in newest)
    head = f"{words.many(len(known), 'pipeline')}: {running} of the last {words.many(len(newest), 'run')} under way, {failed} failed."
    blocks = [
        Table(("pipeline", "steps", "last run", "params", "what it does"), rows),
        Table(_COLUMNS, [_row(run) for run in newest], "Newest runs"),
    ]
    return Page("Pipelines", head, blocks, "rung pipeline list", {"pipelines": known, "runs": newest}, live=True)


def pipeline(visit: Visit) -> Page:
    """One pipeline: its plan, its params, its runs."""
    name = visit.path["pipeline"]
    info = visit.ask(GetPipeline(pipeline=name))
    held = visit.ask(ListPipelineRuns(pipeline=name, limit=50)).items
    plan = dag(f"Steps of {name}", [DagNode(s.key, s.step, s.needs, s.doc or "step", "accent") for s in info.steps])
    params = [(p.name, p.type, "required" if p.required else repr(p.default)) for p in info.params]
    blocks = [
        Words(info.doc),
        Form(
            "/act/run-pipeline",
            f"Run {name}",
            {"pipeline": name},
            [(f"param.{p.name}", f"{p.name} ({p.type})", "" if p.required else str(p.default)) for p in info.params],
        ),
        Charts([plan]),
        Table(("param", "type", "default"), params, "Params" if params else ""),
        Table(_COLUMNS, [_row(run) for run in held], "Runs" if held else ""),
    ]
    state = f"its last run {held[0].status}." if held else "it has not run yet."
    return Page(
        "Pipeline",
        f"{name} has {words.many(len(info.steps), 'step')}; {state}",
        blocks,
        f"rung run {name}",
        {"pipeline": info, "runs": held},
    )


def pipeline_run(visit: Visit) -> Page:
    """One pipeline run."""
    detail = visit.ask(GetPipelineRun(id=visit.path["id"]))
    held, steps = detail.run, detail.steps
    state = {step.key: step for step in steps}
    nodes = [
        DagNode(
            s.key,
            s.step,
            s.needs,
            state[s.key].status if s.key in state else "",
            TONE.get(state[s.key].status, "muted") if s.key in state else "muted",
            address("pipeline-runs", held.id, "steps", s.key),
        )
        for s in held.steps
    ]
    rows = [
        (
            link(s.step, "pipeline-runs", held.id, "steps", s.key),
            pill(s.status),
            s.reason or words.MISSING,
            s.attempts,
            f"{s.wall_s:.2f} s",
            f"{s.cpu_s:.2f} s",
        )
        for s in steps
    ]
    cached = sum(s.status == "cached" for s in steps)
    figures: list[Figure] = [dag("How the steps depend on each other", nodes)]
    bars = _bars(steps)
    figures += [gantt("When each step ran", bars)] if bars else []
    stats = Stats(
        [
            ("steps", len(steps), ""),
            ("from cache", cached, "ok" if cached else ""),
            ("wall time", f"{held.wall_s:.1f} s", ""),
            ("CPU time", f"{held.cpu_s:.1f} s", ""),
        ]
    )
    blocks: list[object] = [stats]
    blocks += [Words(held.error, f"Error in {held.failed_step or 'the run'}", code=True)] if held.error else []
    blocks += [
        Charts(figures),
        Table(("step", "state", "why it ran, or did not", "tries", "wall", "CPU"), rows, "Steps"),
        _about(held),
    ]
    head = f"{held.pipeline}:{held.number} {held.status}" + (
        f" at {held.failed_step}." if held.failed_step else f"; {cached} of {words.many(len(steps), 'step')} came from the cache."
    )
    return Page(
        "Pipeline run",
        head,
        blocks,
        f"rung pipeline status {held.pipeline}:{held.number}",
        {"detail": detail},
        live=held.status in {"queued", "running"},
    )


def _about(held: PipelineRun) -> Facts:
    facts = [
        ("state", pill(held.status)),
        ("pipeline", link(held.pipeline, "pipelines", held.pipeline)),
        ("why", _why(held)),
        ("params", ", ".join(f"{k}={v}" for k, v in held.params.items()) or words.MISSING),
        ("started", when(held.started_at)),
        ("by", held.created_by),
        ("tracking run", link(held.run_id[:8], "runs", held.run_id) if held.run_id else words.MISSING),
        ("code", words.digest(held.code)),
        ("lock", words.digest(held.lock)),
        ("commit", words.digest(held.git_commit)),
        ("lineage", link("what went in and what came out", "lineage", "pipeline_run", held.id)),
    ]
    return Facts(facts, "About this run")


def step(visit: Visit) -> Page:
    """One step of a pipeline run with its log."""
    detail = visit.ask(GetPipelineRun(id=visit.path["id"]))
    held = next((s for s in detail.steps if s.key == visit.path["step"]), None)
    run = detail.run
    if held is None:
        from rung.core.errors import NotFound  # noqa: PLC0415

        raise NotFound(
            f"{run.pipeline}:{run.number} has no step {visit.path['step']!r}.", code="ui.no_page", hint="Look at the run for its steps."
        )
    log = visit.find(StepLog(pipeline_run=run.id, step=held.key, limit_bytes=200_000))
    tries = [
        (a.number, pill(a.status), a.executor, a.worker, when(a.started_at), f"{a.wall_s:.2f} s", a.error)
        for a in detail.attempts
        if a.step_run == held.id
    ]
    outputs = [(o.name, o.kind, words.size(o.size_bytes), words.digest(o.digest)) for o in held.outputs]
    facts = [
        ("state", pill(held.status)),
        ("why", held.reason or words.MISSING),
        ("cache key", words.digest(held.cache_key)),
        ("code", words.digest(held.fingerprint)),
    ]
    blocks: list[object] = [Facts([*facts, ("run", link(f"{run.pipeline}:{run.number}", "pipeline-runs", run.id))])]
    blocks += [Words(held.error, "Error", code=True)] if held.error else []
    blocks.append(Words(log.text if log and log.text else "The step printed nothing.", "Log", code=True))
    blocks += [Table(("output", "kind", "size", "digest"), outputs, "Outputs" if outputs else "")]
    blocks += [Table(("try", "state", "executor", "worker", "started", "wall", "error"), tries, "Tries" if tries else "")]
    return Page(
        "Step",
        f"{held.step} {held.status} in {held.wall_s:.2f} s.",
        blocks,
        f"rung pipeline log {run.pipeline}:{run.number} {held.key}",
        {"step": held, "log": log},
        live=held.status == "running",
    )


def triggers(visit: Visit) -> Page:
    """What will run by itself, and what did."""
    held = visit.ask(ListTriggers())
    fires = visit.find(ListTriggerFires()) or ()
    if not held:
        return Page(
            "Triggers",
            "Nothing runs by itself yet.",
            [
                Empty(
                    "A trigger starts a pipeline at a time, on new data, on an alert or on a decision.",
                    "rung trigger add nightly train --cron '0 3 * * *'",
                )
            ],
            "rung trigger list",
            {"triggers": ()},
        )
    name = {t.id: t.name for t in held}
    rows = [
        (
            t.name,
            link(t.pipeline, "pipelines", t.pipeline),
            t.kind,
            t.cron or t.subject,
            pill("paused" if t.paused else "live", "warn" if t.paused else "ok"),
            when(t.next_fire),
            when(t.last_fired_at),
        )
        for t in held
    ]
    past = [
        (
            when(f.at),
            name.get(f.trigger, words.MISSING),
            pill(f.outcome, "ok" if f.outcome == "fired" else "warn"),
            f.reason,
            link("run", "pipeline-runs", f.pipeline_run) if f.pipeline_run else words.MISSING,
        )
        for f in fires
    ]
    paused = sum(t.paused for t in held)
    blocks = [
        Table(("trigger", "pipeline", "by", "on", "state", "next", "last"), rows),
        Table(("when", "trigger", "outcome", "why", "run"), past, "What they did" if past else ""),
    ]
    return Page(
        "Triggers",
        f"{words.many(len(held), 'trigger')} can start a pipeline; {paused} paused.",
        blocks,
        "rung trigger list",
        {"triggers": held, "fires": fires},
    )


def _newest(run: PipelineRun | None) -> object:
    return words.joined([link(f"#{run.number}", "pipeline-runs", run.id), pill(run.status)]) if run else words.MISSING


def _row(run: PipelineRun) -> tuple[object, ...]:
    return (
        link(f"{run.pipeline}:{run.number}", "pipeline-runs", run.id),
        pill(run.status),
        _why(run),
        when(run.started_at or run.created_at),
        words.took(run.started_at, run.ended_at),
        run.created_by,
    )


def _why(run: PipelineRun) -> str:
    return " ".join(part for part in (run.cause.kind, run.cause.subject, run.cause.reason) if part)


def _bars(steps: tuple[StepRun, ...]) -> list[Bar]:
    ran = [(s, s.started_at, s.ended_at or s.started_at) for s in steps if s.started_at]
    if not ran:
        return []
    first: datetime = min(start for _, start, _ in ran)
    return [
        Bar(s.step, (start - first).total_seconds(), (end - first).total_seconds(), s.status, TONE.get(s.status, "muted"))
        for s, start, end in ran
    ]
