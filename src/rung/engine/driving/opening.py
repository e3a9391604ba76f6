"""Opening a run: what it is made with, its steps and its tracking run are entered; what earlier workers finished is kept."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.core.ids import new_id
from rung.engine.driving.frontier import Frontier
from rung.engine.driving.keys import Codes
from rung.engine.driving.sources import Source
from rung.engine.driving.states import DONE, Claim, Live
from rung.engine.host import ServiceTransport
from rung.engine.wiring import changed, open_tracking_run
from rung.governance.lineage import link_all, node
from rung.pipelines.cache_store import CacheStore
from rung.pipelines.circumstances import Circumstances, recorded
from rung.pipelines.environment import Kind, environment_of, git_state, python_version
from rung.pipelines.keying import Keying
from rung.pipelines.progress_store import ProgressStore
from rung.pipelines.project import snapshot
from rung.pipelines.records import PipelineRun, PipelineRunStarted, StepAttempt, StepRun, StepSpec
from rung.pipelines.secrets import secret_values
from rung.pipelines.store import CacheEntry, PipelineStore
from rung.storage.blobs import BlobStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope
from rung.tracking.records import Hardware, RunContext

DIED = "Its worker died."


class Opened(msgspec.Struct):
    """A run that has been opened: its row, its steps, where keys come from, and what the cache holds of earlier runs.

    ``anew`` are steps that must run although their results are known.
    """

    run: PipelineRun
    live: dict[str, Live]
    codes: Codes
    recent: dict[str, CacheEntry]
    anew: set[str]


def open_run(transport: ServiceTransport, blobs: BlobStore, run: PipelineRun, source: Source, claim: Claim) -> Opened:
    """Enter everything in one transaction. Raises Invalid for a rerun from steps that are not there, NotFound for a missing secret."""
    for held in source.plan.nodes.values():
        secret_values(held.step.options.secrets, transport.scope().settings, step=held.key)
    environment = environment_of(source.folder)
    world = transport.scope()
    engine = world.settings.engine
    learned = world.read(lambda s: CacheStore(s.connection, s.project).learned()) if engine.cache_undeclared else {}
    codes = Keying(source.folder, world.home / "installed", engine.cache_environment, code=source.code, learned=learned)
    codes.prepare({id(held.step): held.step for held in source.plan.nodes.values()}.values())
    specs = source.plan.specs()
    fields = _made_with(transport, blobs, run, source, specs)
    run_id = run.run_id or open_tracking_run(transport, run, _context(run, fields, environment.kind))
    frontier = Frontier({held.key: held.needs for held in source.plan.nodes.values()})
    anew = _anew(run, frontier, source)

    def save(scope: Scope) -> Opened:
        progress, store = claim.proven(scope), PipelineStore(scope.connection, scope.project)
        claim.progressed(scope)  # that the plan can be traced; what a step does to its worker is counted step by step
        began = run.started_at or scope.now
        notes = tuple(dict.fromkeys((*run.notes, *(note[:1000] for note in source.notes))))
        store.update_run(
            run.id, status="running", started_at=began, ended_at=None, steps=specs, run_id=run_id, error="", failed_step="", notes=notes,
            **fields,
        )  # fmt: skip
        held = {step.key: step for step in store.steps(run.id)}
        store.remove_steps([step.id for key, step in held.items() if key not in source.plan.nodes])
        live, fresh = _rows(run, source, held)
        progress.add_steps(fresh)
        _bury(scope, progress, live, store.attempts(run.id) if held else ())
        _take_over(store, run, live, anew)
        this = node("pipeline_run", run.id)
        causes = [(node(kind, fields[kind]), "input_of", this) for kind in ("code", "lock", "git_commit") if fields[kind]]
        link_all(scope, [*causes, (this, "opened", node("run", run_id))])
        emit(scope, PipelineRunStarted(pipeline=run.pipeline, pipeline_run=run.id, at=scope.now, run_id=run_id))
        recent = store.recently_cached(run.pipeline) if run.use_cache and not source.repeats else {}
        return Opened(run=store.run(run.id), live=live, codes=codes, recent=recent, anew=anew)

    opened = transport.scope().write(save)
    claim.noted = True
    return opened


def _made_with(
    transport: ServiceTransport, blobs: BlobStore, run: PipelineRun, source: Source, specs: tuple[StepSpec, ...]
) -> dict[str, Any]:
    environment = environment_of(source.folder)
    commit, dirty = git_state(source.folder)
    found: Circumstances = recorded(transport.scope(), source.folder, run, specs)
    return {
        "code": snapshot(source.project, blobs.put) if source.project else "",
        "lock": blobs.put(environment.text),
        "python": python_version(),
        "git_commit": commit,
        "git_dirty": dirty,
        "hardware": found.hardware,
        "switches": found.switches,
        "inputs": found.inputs,
        "packages": blobs.put(found.packages),
    }


def _context(run: PipelineRun, fields: dict[str, Any], lock_kind: Kind) -> RunContext:
    hardware = fields["hardware"]
    return RunContext(
        git_commit=fields["git_commit"],
        git_dirty=fields["git_dirty"],
        lock=fields["lock"],
        lock_kind=lock_kind,
        python=fields["python"],
        seeds={"run": run.seed},
        hardware=Hardware(cpus=hardware["cpus"], memory_bytes=hardware["memory_bytes"]),
        source=f"pipeline {run.pipeline}",
    )


def _anew(run: PipelineRun, frontier: Frontier, source: Source) -> set[str]:
    strange = [key for key in run.rerun_from if key not in source.plan.nodes]
    if strange:
        raise Invalid(
            f"Pipeline {run.pipeline!r} has no step {strange[0]!r} to run again from.",
            code="pipelines.no_step", hint=f"It has: {', '.join(list(source.plan.nodes)[:20])}.",
        )  # fmt: skip
    return frontier.with_all_after(run.rerun_from)


def _rows(run: PipelineRun, source: Source, held: dict[str, StepRun]) -> tuple[dict[str, Live], list[StepRun]]:
    live: dict[str, Live] = {}
    fresh: list[StepRun] = []
    for position, planned in enumerate(source.plan.nodes.values()):
        row = held.get(planned.key)
        if row is None:
            row = StepRun(
                id=new_id(), pipeline_run=run.id, key=planned.key, step=planned.step.name, position=position, status="waiting"
            )  # fmt: skip
            fresh.append(row)
        elif row.status not in DONE:
            row = changed(row, status="waiting", error="", ended_at=None, position=position)
        live[planned.key] = Live(node=planned, row=row, number=row.attempts)
    return live, fresh


def _bury(scope: Scope, progress: ProgressStore, live: dict[str, Live], attempts: tuple[StepAttempt, ...]) -> None:
    """Enter attempts that a dead worker left running as lost, and count for each step how often in a row that happened."""
    lost = [changed(a, status="lost", ended_at=scope.now, error=DIED) for a in attempts if a.status == "running"]
    progress.end_attempts(lost)
    by_step = {held.row.id: held for held in live.values()}
    died = {a.id for a in lost}
    for attempt in attempts:
        held = by_step.get(attempt.step_run)
        if held is not None:
            held.number = max(held.number, attempt.number)
            held.deaths = held.deaths + 1 if attempt.id in died or (attempt.status, attempt.error) == ("lost", DIED) else 0


def _take_over(store: PipelineStore, run: PipelineRun, live: dict[str, Live], anew: set[str]) -> None:
    """Give the steps that a rerun leaves alone the results of the earlier run."""
    if run.rerun_of is None:
        return
    earlier = {step.key: step for step in store.steps(run.rerun_of)}
    origin = store.run(run.rerun_of)
    for key, held in live.items():
        source = earlier.get(key)
        if key not in anew and held.row.status not in DONE and source is not None and source.status in DONE:
            held.taken = (source, f"Taken from {origin.pipeline}:{origin.number}.")
