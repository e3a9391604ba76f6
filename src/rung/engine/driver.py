"""The driver: executes one claimed pipeline run, from its plan to its end, a durable state at every step.

Every transaction that changes a run first proves the claim's fence. Finished steps of this run are never run again;
others come from the cache or are executed. A step's end shares its transaction with the starts that follow from it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from rung.core.errors import RungError
from rung.core.ids import new_id
from rung.core.settings import Settings
from rung.engine.executors import Executor, Outcome, Task
from rung.engine.host import Host, ServiceTransport
from rung.engine.reproduction import Original
from rung.engine.wiring import answered, changed, content, open_tracking_run, step_seed, wired
from rung.governance.lineage import link, node
from rung.pipelines.authoring import Pipeline
from rung.pipelines.context import StepContext
from rung.pipelines.describing import typed_params
from rung.pipelines.environment import environment_of, git_state, hardware, python_version
from rung.pipelines.fingerprint import Fingerprint, fingerprint
from rung.pipelines.operations import finished, log_path
from rung.pipelines.project import Project, isolated_modules, load_project, snapshot
from rung.pipelines.records import Artifact, PipelineRun, StepAttempt, StepFinished, StepRun, StepStatus
from rung.pipelines.rules import cache_key, changed_parts, why_not_cached
from rung.pipelines.store import CacheEntry, PipelineStore
from rung.pipelines.tracing import Node, Plan, handles_in, trace
from rung.storage.outbox import emit
from rung.storage.queue import Job, QueueStore
from rung.storage.scope import Scope
from rung.tracking.records import FinishRun, Hardware, RunContext

_DONE: frozenset[StepStatus] = frozenset({"succeeded", "cached"})
_POLL_S = 0.2
_BACKOFF_S = 0.5
Listener = Callable[[StepRun], None]


class LeaseLost(Exception):
    """Another worker has this run now; this one must stop and write nothing more."""


@dataclass
class _Live:
    """A step as the driver holds it between its rows."""

    node: Node
    row: StepRun
    parts: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
    tries_before: int = 0
    attempt: str = ""


class Driver:
    """Executes one claimed run. ``lost`` and ``cancelled`` are set by whoever keeps the lease."""

    def __init__(
        self, host: Host, job: Job, executors: Callable[[str], Executor], worker: str, *, offered: dict[str, Any] | None = None,
        listener: Listener | None = None, original: Original | None = None,
    ) -> None:  # fmt: skip
        self.host = host
        self.job = job
        self.transport = ServiceTransport(host, job.project)
        self.worker = worker
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self._executors = executors
        self._offered = offered or {}
        self._listener = listener
        self._original = original
        self._kept = {step.key: step for step in original.steps} if original else {}
        self._project: Project | None = None
        self._home = host.settings.home_path
        self._scratch = self._home / "work" / job.subject
        self._live: dict[str, _Live] = {}
        self._lock = ""
        self._recent: dict[str, CacheEntry] = {}
        self._unwritten: list[_Live] = []

    def execute(self) -> PipelineRun:
        """Bring the run to its end and answer it. Raises LeaseLost when another worker has taken it."""
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            run = self._row()
            plan = self._plan(run)
            run = self._open(run, plan)
            error, failed = self._steps(run, plan)
            return self._end(run, plan, error, failed)
        except LeaseLost:
            raise
        except RungError as error:
            return self._end(self._row(), None, str(error), "")
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _row(self) -> PipelineRun:
        return self.transport.scope().read(lambda s: PipelineStore(s.connection, s.project).run(self.job.subject))

    def _plan(self, run: PipelineRun) -> Plan:
        if self._original is not None:
            folder = self._original.folder
            with isolated_modules(folder):
                return self._traced(run, None, changed(self.host.settings, folder=str(folder)))
        return self._traced(run, self._offered.get(run.pipeline), self.host.settings)

    def _traced(self, run: PipelineRun, pipeline: Pipeline[..., Any] | None, settings: Settings) -> Plan:
        self._project = None
        if pipeline is None or Path(settings.folder or ".", "rung.toml").is_file():
            project = load_project(settings)
            pipeline = pipeline or project.pipeline(run.pipeline)
            inside = project.folder in Path(pipeline.function.__code__.co_filename).resolve().parents
            self._project = project if inside else None
        return trace(pipeline, typed_params(pipeline, run.params))

    def _open(self, run: PipelineRun, plan: Plan) -> PipelineRun:
        """Enter what the run is made with, its steps and its tracking run; keep what earlier attempts finished."""
        folder = self._project.folder if self._project else Path(self.host.settings.folder or ".")
        environment = environment_of(folder)
        commit, dirty = git_state(folder)
        code = snapshot(self._project, self.host.blobs.put) if self._project else ""
        lock = self.host.blobs.put(environment.text)
        self._lock, machine = environment.key, hardware()
        made_with = RunContext(
            git_commit=commit,
            git_dirty=dirty,
            lock=lock,
            lock_kind=environment.kind,
            python=python_version(),
            seeds={"run": run.seed},
            hardware=Hardware(cpus=machine["cpus"], memory_bytes=machine["memory_bytes"]),
            source=f"pipeline {run.pipeline}",
        )
        run_id = run.run_id or open_tracking_run(self.transport, run, made_with)
        specs = plan.specs()

        def save(scope: Scope) -> PipelineRun:
            store = self._proven(scope)
            store.update_run(
                run.id,
                status="running",
                started_at=run.started_at or scope.now,
                ended_at=None,
                code=code,
                lock=lock,
                python=python_version(),
                git_commit=commit,
                git_dirty=dirty,
                hardware=machine,
                steps=specs,
                run_id=run_id,
                error="",
                failed_step="",
            )
            held = {step.key: step for step in store.steps(run.id)}
            self._recent = store.recently_cached(run.pipeline) if run.use_cache else {}
            store.remove_steps([step.id for key, step in held.items() if key not in plan.nodes])
            fresh = []
            for position, node_ in enumerate(plan.nodes.values()):
                row = held.get(node_.key) or StepRun(
                    id=new_id(), pipeline_run=run.id, key=node_.key, step=node_.step.name, position=position, status="waiting"
                )
                if node_.key not in held:
                    fresh.append(row)
                self._live[node_.key] = _Live(node=node_, row=row)
            store.add_steps(fresh)
            self._lose_attempts(scope, store, run)
            for digest, kind in ((code, "code"), (lock, "lock"), (commit, "git_commit")):
                if digest:
                    link(scope, node(kind, digest), "input_of", node("pipeline_run", run.id))
            link(scope, node("pipeline_run", run.id), "opened", node("run", run_id))
            return store.run(run.id)

        return self.transport.scope().write(save)

    def _lose_attempts(self, scope: Scope, store: PipelineStore, run: PipelineRun) -> None:
        for attempt in store.attempts(run.id):
            if attempt.status == "running":
                store.update_attempt(attempt.id, status="lost", ended_at=scope.now, error="Its worker died.")
        for live in self._live.values():
            if live.row.status not in _DONE:
                live.row = changed(live.row, status="waiting", error="", ended_at=None)

    def _steps(self, run: PipelineRun, plan: Plan) -> tuple[str, str]:
        """Run every step; the error and the step that failed, both empty when all succeeded."""
        done: set[str] = set()
        running: dict[Future[Outcome], str] = {}
        error = failed = ""
        ended: list[tuple[_Live, Outcome]] = []
        while True:
            ready = [] if error else self._ready(plan, done, set(running.values()))
            begun, cached = self._sort(run, ready)
            while cached:
                done |= cached
                more, cached = self._sort(run, self._ready(plan, done, set(running.values()) | {live.row.key for live in begun}))
                begun += more
            self._record(run, ended, begun)
            ended = []
            for live in begun:
                running[self._submit(run, live)] = live.row.key
            if not running:
                return error, failed
            for future in self._wait(running):
                live = self._live[running.pop(future)]
                outcome = future.result()
                if outcome.status != "succeeded" and self._again(live, outcome):
                    running[self._retry(run, live, outcome)] = live.row.key
                    continue
                ended.append((live, outcome))
                if outcome.status == "succeeded":
                    live.row = changed(live.row, outputs=outcome.outputs, status="succeeded")
                    done.add(live.row.key)
                elif not error:
                    error, failed = outcome.error, live.row.key
            if self.cancelled.is_set() and not error:
                error = "It was cancelled."

    def _ready(self, plan: Plan, done: set[str], running: set[str]) -> list[_Live]:
        return [
            self._live[key] for key, node_ in plan.nodes.items()
            if key not in done and key not in running and all(need in done for need in node_.needs)
        ]  # fmt: skip

    def _sort(self, run: PipelineRun, ready: list[_Live]) -> tuple[list[_Live], set[str]]:
        """Which ready steps must be executed, and the keys of those that need not be."""
        must: list[_Live] = []
        free: set[str] = set()
        asked: dict[str, _Live] = {}
        for live in ready:
            kept = self._kept.get(live.row.key)
            if kept is not None and not live.node.step.options.cache:
                live.row = self._cached(live, kept.id, kept.outputs, "Not repeated: it is run for its side effects.")
                self._unwritten.append(live)
                free.add(live.row.key)
                continue
            key, unsure = self._key(run, live)
            if live.row.status in _DONE and live.row.cache_key == key:
                free.add(live.row.key)
                continue
            live.row = changed(live.row, cache_key=key, fingerprint=live.parts["code"], status="waiting")
            refusal = why_not_cached(declared=live.node.step.options.cache, wished=run.use_cache, unsure=unsure)
            if refusal:
                live.row = changed(live.row, reason=refusal)
                must.append(live)
            else:
                asked[key] = live
        if not asked:
            return must, free
        found = {key: self._recent[key] for key in asked if key in self._recent}
        unknown = {key: live for key, live in asked.items() if key not in found}
        before: dict[str, dict[str, Any]] = {}
        if unknown:
            more, before = self.transport.scope().read(lambda s: self._look_up(s, unknown))
            found |= more
        hits = []
        for key, live in asked.items():
            entry = found.get(key)
            if entry is None:
                live.row = changed(live.row, reason=f"Ran: {changed_parts(live.parts, before.get(live.row.step))}.")
                must.append(live)
                continue
            live.row = self._cached(live, entry.step_run, entry.outputs, "Cached: same code, parameters, inputs and environment.")
            hits.append(live)
            free.add(live.row.key)
        self._unwritten += hits
        return must, free

    def _cached(self, live: _Live, source: str, outputs: tuple[Artifact, ...], reason: str) -> StepRun:
        now = self.host.clock.now()
        return changed(live.row, status="cached", outputs=outputs, cached_from=source, started_at=now, ended_at=now, reason=reason)

    @staticmethod
    def _look_up(scope: Scope, asked: dict[str, _Live]) -> tuple[dict[str, CacheEntry], dict[str, dict[str, Any]]]:
        store = PipelineStore(scope.connection, scope.project)
        found = store.cached(list(asked))
        missed = {live.row.step for key, live in asked.items() if key not in found}
        nearest = {step: store.nearest_cached(step) for step in missed}
        return found, {step: entry.parts for step, entry in nearest.items() if entry}

    def _key(self, run: PipelineRun, live: _Live) -> tuple[str, tuple[str, ...]]:
        step = live.node.step
        # a repeated run takes its code whole, from its snapshot, and asks no cache
        code = Fingerprint(digest=run.code) if self._original else fingerprint(step.function)
        params: dict[str, Any] = {}
        inputs: dict[str, Any] = {}
        for name, value in live.node.arguments.items():
            has_handles = next(handles_in(value), None) is not None
            (inputs if has_handles else params)[name] = content(value, self._outputs, where=f"argument {name!r} of step {step.name!r}")
        live.parts = {
            "code": code.digest,
            "params": params,
            "inputs": inputs,
            "environment": self._lock,
            "seed": step_seed(run.seed, live.row.key),
            "salt": step.salt,
        }
        return cache_key(step.name, live.parts), code.unsure

    def _record(self, run: PipelineRun, ended: list[tuple[_Live, Outcome]], begun: list[_Live]) -> None:
        """Write ends, cached steps and starts in one transaction, then tell the listener."""
        hits, self._unwritten = self._unwritten, []
        if not (ended or begun or hits):
            return
        logs = {live.row.key: self._kept_log(run, live) for live, _ in ended}

        def save(scope: Scope) -> None:
            store = self._proven(scope)
            for live, outcome in ended:
                self._save_end(scope, store, run, live, outcome, logs[live.row.key])
            for live in begun:
                live.tries_before = live.row.attempts
                live.tries = live.tries_before + 1
                live.attempt = new_id()
                live.row = changed(live.row, status="running", attempts=live.tries, started_at=scope.now, error="")
                store.add_attempt(self._attempt(live, scope))
            store.put_steps([live.row for live in (*hits, *begun)])

        self.transport.scope().write(save)
        if self._listener:
            for live in (*(live for live, _ in ended), *hits, *begun):
                self._listener(live.row)

    def _save_end(self, scope: Scope, store: PipelineStore, run: PipelineRun, live: _Live, outcome: Outcome, log: str) -> None:
        status: StepStatus = "succeeded" if outcome.status == "succeeded" else "cancelled" if outcome.status == "cancelled" else "failed"
        live.row = changed(
            live.row,
            status=status,
            outputs=outcome.outputs,
            error=outcome.error,
            ended_at=scope.now,
            wall_s=live.row.wall_s + outcome.wall_s,
            cpu_s=live.row.cpu_s + outcome.cpu_s,
        )
        store.put_steps([live.row])
        store.update_attempt(
            live.attempt,
            status=outcome.status,
            ended_at=scope.now,
            wall_s=outcome.wall_s,
            cpu_s=outcome.cpu_s,
            error=outcome.error,
            log=log,
        )
        if status == "succeeded" and live.node.step.options.cache and run.reproduces is None:
            entry = CacheEntry(cache_key=live.row.cache_key, step_run=live.row.id, outputs=outcome.outputs, parts=live.parts)
            store.keep(entry, step=live.row.step, now=scope.now)
        emit(
            scope,
            StepFinished(
                pipeline=run.pipeline, pipeline_run=run.id, step_run=live.row.id, step=live.row.step, status=status, cpu_s=live.row.cpu_s,
                wall_s=live.row.wall_s, ended_at=scope.now, run_id=run.run_id,
            ),
        )  # fmt: skip

    def _attempt(self, live: _Live, scope: Scope) -> StepAttempt:
        return StepAttempt(
            id=live.attempt,
            step_run=live.row.id,
            number=live.tries,
            status="running",
            executor=self._executor_of(live),
            worker=self.worker,
            started_at=scope.now,
        )

    def _executor_of(self, live: _Live) -> str:
        return "process" if self._original is not None or live.node.step.options.isolated else "inline"

    def _submit(self, run: PipelineRun, live: _Live) -> Future[Outcome]:
        step, options = live.node.step, live.node.step.options
        settings = self.host.settings
        isolated = self._executor_of(live) == "process"
        context = StepContext(
            pipeline=run.pipeline,
            pipeline_run=run.id,
            step=live.row.key,
            attempt=live.tries,
            seed=step_seed(run.seed, live.row.key),
            run_id=run.run_id,
            transport=None if isolated else self.transport,
        )
        environ = {
            "RUNG_HOME": str(self._home), "RUNG_STORAGE_DATABASE": settings.storage.database,
            "RUNG_STORAGE_BLOBS": settings.storage.blobs or f"file://{self._home / 'blobs'}", "RUNG_CURRENT_RUN": run.run_id or "",
        }  # fmt: skip
        folder = self._project.folder if self._project else Path(settings.folder or ".")
        task = Task(
            id=live.attempt, step=step.name, target=step.target, outputs=step.outputs, function=step.function, context=context,
            arguments={name: wired(value, self._outputs) for name, value in live.node.arguments.items()},
            log=log_path(self._home, run.id, live.row.key, live.tries), scratch=self._scratch, timeout_s=options.timeout_s,
            memory_bytes=options.memory_bytes, folder=folder, environ=environ,
        )  # fmt: skip
        return self._executors(self._executor_of(live)).submit(task)

    def _wait(self, running: dict[Future[Outcome], str]) -> set[Future[Outcome]]:
        while True:
            ended, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            if self.lost.is_set():
                self._stop(running)
                raise LeaseLost
            if self.cancelled.is_set():
                self._stop(running)
            if ended:
                return ended

    def _stop(self, running: dict[Future[Outcome], str]) -> None:
        for key in running.values():
            self._executors(self._executor_of(self._live[key])).cancel(self._live[key].attempt)

    def _again(self, live: _Live, outcome: Outcome) -> bool:
        tried = live.tries - live.tries_before
        return outcome.status in {"failed", "timed_out", "lost"} and tried <= live.node.step.options.retries and not self.cancelled.is_set()

    def _retry(self, run: PipelineRun, live: _Live, outcome: Outcome) -> Future[Outcome]:
        """Note the failed attempt, wait a little longer each time, and begin the next."""
        log = self._kept_log(run, live)

        def save(scope: Scope) -> None:
            store = self._proven(scope)
            store.update_attempt(
                live.attempt,
                status=outcome.status,
                ended_at=scope.now,
                wall_s=outcome.wall_s,
                cpu_s=outcome.cpu_s,
                error=outcome.error,
                log=log,
            )
            live.tries += 1
            live.attempt = new_id()
            live.row = changed(
                live.row,
                attempts=live.tries,
                error=outcome.error,
                wall_s=live.row.wall_s + outcome.wall_s,
                cpu_s=live.row.cpu_s + outcome.cpu_s,
            )
            store.add_attempt(self._attempt(live, scope))
            store.put_steps([live.row])

        self.cancelled.wait(_BACKOFF_S * 2 ** (live.tries - live.tries_before - 1))
        self.transport.scope().write(save)
        return self._submit(run, live)

    def _kept_log(self, run: PipelineRun, live: _Live) -> str:
        """Move a finished attempt's log into the blobs; empty when it said nothing."""
        file = log_path(self._home, run.id, live.row.key, live.tries)
        if not file.is_file():
            return ""
        digest = self.host.blobs.put(file) if file.stat().st_size else ""
        file.unlink()
        return digest

    def _end(self, run: PipelineRun, plan: Plan | None, error: str, failed: str) -> PipelineRun:
        cancelled = self.cancelled.is_set() and not failed
        status: Literal["cancelled", "failed", "succeeded"] = "cancelled" if cancelled else "failed" if error else "succeeded"
        outputs = answered(plan, self._outputs) if plan and not error else ()

        def save(scope: Scope) -> PipelineRun:
            store = self._proven(scope)
            waiting = [live for live in self._live.values() if live.row.status == "waiting"]
            store.put_steps([changed(live.row, status="cancelled" if cancelled else "skipped") for live in waiting])
            steps = store.steps(run.id)
            began = run.started_at or scope.now
            store.update_run(
                run.id, status=status, ended_at=scope.now, error=error[:100_000], failed_step=failed, outputs=outputs,
                wall_s=(scope.now - began) / timedelta(seconds=1), cpu_s=sum(step.cpu_s for step in steps),
            )  # fmt: skip
            ended = store.run(run.id)
            emit(scope, finished(ended))
            QueueStore(scope.connection).finish(
                self.job, now=scope.now, state="cancelled" if cancelled else "failed" if error else "done", error=error[:1000] or None
            )
            return ended

        if tracked := self._row().run_id:
            # before the job ends: should this process die in between, the next worker closes the tracking run again
            self.transport.call(FinishRun(run=tracked, status=status, error=error[:100_000]))
        ended = self.transport.scope().write(save)
        shutil.rmtree(self._home / "logs" / run.id, ignore_errors=True)
        return ended

    def _outputs(self, key: str) -> tuple[Artifact, ...]:
        return self._live[key].row.outputs

    def _proven(self, scope: Scope) -> PipelineStore:
        """The store, if the fence still holds in this transaction."""
        if not QueueStore(scope.connection).holds(self.job):
            self.lost.set()
            raise LeaseLost
        return PipelineStore(scope.connection, scope.project)
