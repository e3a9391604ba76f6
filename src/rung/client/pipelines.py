"""Pipelines, their runs and reproductions from Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rung.client.transports import Transport
from rung.core.errors import NotFound, Unavailable
from rung.core.records import Page
from rung.pipelines import caching as c
from rung.pipelines import records as r
from rung.pipelines import reproducing as p
from rung.pipelines import summaries as s
from rung.pipelines.authoring import Pipeline
from rung.pipelines.context import current_step

Listener = Callable[[r.StepRun], None]


class PipelinesVerbs:
    """Verbs of pipelines. With the embedded platform runs execute in this process; with a server, on its workers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._engine: Any = None
        self._making = threading.Lock()

    def run(
        self,
        pipeline: str | Pipeline[..., Any],
        params: dict[str, Any] | None = None,
        *,
        seed: int = 0,
        use_cache: bool = True,
        wait: bool = True,
        cause: r.Cause | None = None,
        listener: Listener | None = None,
        executor: str = "",
        priority: int = 0,
        audit: bool = False,
        concurrency_group: str = "",
        concurrency_limit: int = 1,
        package: str = "",
    ) -> r.PipelineRun:
        """Run a pipeline and answer the run when it has ended; with ``wait=False`` it is only queued.

        Args:
            pipeline: its name, or the pipeline itself.
            params: values of its parameters.
            seed: from which each step's seed is derived.
            use_cache: False executes every step even if nothing has changed.
            wait: False only queues the run; a worker executes it.
            cause: on whose account; default by hand.
            listener: is told of each step's changes.
            executor: where steps run that name none themselves.
            priority: of queued runs those of a higher one begin first, -100 to 100.
            audit: notice files and variables that steps read without declaring them.
            concurrency_group: of the runs of a group at most ``concurrency_limit`` are under way.
            concurrency_limit: how many.
            package: digest of the package whose pipeline it is; default the one that the platform knows by that name.

        Raises:
            NotFound: the project has no such pipeline. Invalid: it has no such parameter.
        """
        engine = self._local_engine() if wait else None
        if isinstance(pipeline, Pipeline):
            if engine is not None:
                engine.offer(pipeline)
            pipeline = pipeline.name
        elif engine is not None:
            engine.register()
        wish = r.RunPipeline(
            pipeline=pipeline,
            params=_plain(params or {}),
            seed=seed,
            use_cache=use_cache,
            cause=cause or r.Cause(),
            held=engine.owner if engine else None,
            executor=executor,
            priority=priority,
            audit=audit,
            concurrency_group=concurrency_group,
            concurrency_limit=concurrency_limit,
            package=package,
            within=asking.pipeline_run if (asking := current_step.get()) else None,
        )
        return self._followed(self._transport.call(wish), engine, wait=wait, listener=listener)

    def rerun(self, run: str, *steps: str, wait: bool = True, listener: Listener | None = None, executor: str = "") -> r.PipelineRun:
        """Run a pipeline again from some steps on: these and all that follow from them run anew, the others keep their results.

        Parameters and seed are those of the earlier run, given by id or as ``pipeline:number``.
        """
        earlier = self.get(run).run
        engine = self._local_engine() if wait else None
        if engine is not None and earlier.pipeline not in engine.offered:
            engine.register()
        wish = r.RunPipeline(
            pipeline=earlier.pipeline, params=earlier.params, seed=earlier.seed, use_cache=earlier.use_cache,
            held=engine.owner if engine else None, executor=executor or earlier.executor, rerun_of=earlier.id, rerun_from=steps,
            package=earlier.package, cause=r.Cause(reason=f"Again from {', '.join(steps)}."[:1000]),
        )  # fmt: skip
        return self._followed(self._transport.call(wish), engine, wait=wait, listener=listener)

    def resume(self, run: str, *, wait: bool = True, listener: Listener | None = None) -> r.PipelineRun:
        """Go on with a run that was interrupted, failed or was cancelled; its finished steps keep their results."""
        engine = self._local_engine() if wait else None
        queued = self._transport.call(r.ResumePipelineRun(id=self.get(run).run.id, held=engine.owner if engine else None))
        return self._followed(queued, engine, wait=wait, listener=listener)

    def reproduce(
        self, run: str, *, tolerance: float = 1e-9, with_effects: bool = False, repeat: Sequence[str] = (), network: bool = False,
        rebuild: bool = False, listener: Listener | None = None,
    ) -> p.Reproduction:  # fmt: skip
        """Execute a finished run again from its own code, isolated and without cache, and compare every output.

        Args:
            run: id, or ``pipeline:number``.
            tolerance: greatest relative difference of numbers that count as equal; a step may declare its own.
            with_effects: repeat steps declared ``cache=False`` too, which are run for their side effects.
            repeat: keys of such steps that are repeated all the same.
            network: let the steps reach the network.
            rebuild: install the libraries anew from the lock even where those found here are the recorded ones.
        """
        engine = self._local_engine()
        wish = p.Reproduce(
            id=run, tolerance=tolerance, with_effects=with_effects, repeat=tuple(repeat), network=network, rebuild=rebuild,
            held=engine.owner if engine else None,
        )  # fmt: skip
        queued = self._transport.call(wish)
        ended = self._followed(queued, engine, wait=True, listener=listener)
        found = [item for item in self.reproductions(str(queued.reproduces)) if item.repeated_as == queued.id]
        if found:
            return found[0]
        if not ended.steps:  # it ended before its plan was made: nothing was repeated, so nothing is compared
            raise Unavailable(
                f"Run {run} cannot be repeated: {ended.error}",
                code="pipelines.not_restored",
                hint="`rung fsck` tells which blobs are lost; a backup may hold them.",
            )
        raise Unavailable(
            f"Run {queued.id} was not compared with run {run}: {ended.error}",
            code="pipelines.no_comparison",
            hint="Look at the worker's log.",
        )

    def reproduce_deployed(
        self, *, tolerance: float = 1e-9, environment: str | None = None, told: Callable[[p.DeployedVersion, p.Reproduction | None], None] | None = None,
        listener: Listener | None = None,
    ) -> p.ReproductionReport:  # fmt: skip
        """Reproduce the run behind every version deployed now, and file the report; errors are entered and do not stop it."""
        from rung.client.deployed import reproduce_deployed  # noqa: PLC0415 - loads the records of serving; only this verb asks them

        def reproduce(run: str) -> p.Reproduction:
            return self.reproduce(run, tolerance=tolerance, listener=listener)

        return reproduce_deployed(self._transport, reproduce, tolerance=tolerance, environment=environment, told=told)

    def reproduction_reports(self, *, limit: int = 20) -> tuple[p.ReproductionReport, ...]:
        """Filed reports of what was deployed, newest first."""
        return self._transport.call(p.ListReproductionReports(limit=limit))

    def reproduction(self, key: str) -> p.Reproduction:
        """One reproduction by its id. Raises NotFound."""
        return self._transport.call(p.GetReproduction(id=key))

    def reproduction_text(self, key: str) -> str:
        """The report of a reproduction for people."""
        found = self.reproduction(key)
        return self._transport.get_blob(found.report).decode() if found.report else ""

    def interrupt(self) -> bool:
        """Ask the runs that execute in this process to stop, without waiting for steps that cannot be stopped; False when none does."""
        return self._engine is not None and bool(self._engine.interrupt())

    def register(self) -> tuple[r.PipelineInfo, ...]:
        """Tell the platform which pipelines the project folder defines; all that it knows."""
        engine = self._local_engine()
        if engine is not None:
            engine.register()
        return self.list()

    def list(self) -> tuple[r.PipelineInfo, ...]:
        """Pipelines the platform knows."""
        return self._transport.call(r.ListPipelines())

    def pipeline(self, name: str) -> r.PipelineInfo:
        """One pipeline with parameters and plan."""
        return self._transport.call(r.GetPipeline(pipeline=name))

    def get(self, run: str) -> r.PipelineRunDetail:
        """A pipeline run with its steps, by id or ``pipeline:number``."""
        return self._transport.call(r.GetPipelineRun(id=run))

    def runs(
        self, pipeline: str | None = None, *, status: r.PipelineRunStatus | None = None, after: str | None = None, limit: int = 50
    ) -> Page[r.PipelineRun]:
        """Pipeline runs, newest first."""
        return self._transport.call(r.ListPipelineRuns(pipeline=pipeline, status=status, after=after, limit=limit))

    def summaries(self, *, runs: int = 50) -> tuple[s.PipelineSummary, ...]:
        """Every pipeline with its newest runs, how many of them succeeded and how long they took."""
        return self._transport.call(s.SummarisePipelines(runs=runs))

    def recent(
        self, pipeline: str | None = None, *, status: r.PipelineRunStatus | None = None, after: str | None = None, limit: int = 50
    ) -> Page[s.RunSummary]:
        """Pipeline runs without their plans, newest first: cheap even where plans are large."""
        return self._transport.call(s.SummariseRuns(pipeline=pipeline, status=status, after=after, limit=limit))

    def items(
        self, run: str, step: str, *, status: r.ItemStatus | None = None, after: int = -1, limit: int = 100
    ) -> tuple[r.StepItem, ...]:
        """Ended items of a map, in the order of its collection."""
        return self._transport.call(r.ListStepItems(pipeline_run=self.get(run).run.id, step=step, status=status, after=after, limit=limit))

    def explain(self, run: str, step: str | None = None) -> tuple[c.StepExplanation, ...]:
        """Why the steps of a run, or one of them, were executed or not. Raises NotFound."""
        return self._transport.call(c.ExplainPipelineRun(id=run, step=step))

    def preview(
        self, pipeline: str | Pipeline[..., Any], params: dict[str, Any] | None = None, *, seed: int = 0, use_cache: bool = True
    ) -> tuple[c.StepPreview, ...]:
        """What a run would do with each step, without one; the pipeline's code is that of the project in this folder."""
        from rung.client.previewing import preview  # noqa: PLC0415 - loads the engine; only this verb needs it here
        from rung.core.settings import load_settings  # noqa: PLC0415 - the same

        platform = getattr(self._transport, "platform", None)
        settings = platform.settings if platform is not None else load_settings()
        return preview(self._transport, settings, pipeline, _plain(params or {}), seed=seed, use_cache=use_cache)

    def cancel(self, run: str) -> r.PipelineRun:
        """Ask a run to stop."""
        return self._transport.call(r.CancelPipelineRun(id=self.get(run).run.id))

    def log(self, run: str, step: str, *, attempt: int | None = None, offset: int = 0) -> r.LogChunk:
        """What a step printed, from a byte offset on."""
        return self._transport.call(r.StepLog(pipeline_run=self.get(run).run.id, step=step, attempt=attempt, offset=offset))

    def output(self, run: str, name: str = "") -> Any:
        """The value a run answered; of several, the one named as in its ``outputs``. Raises NotFound."""
        from rung.core.files import kept_if_used  # noqa: PLC0415
        from rung.pipelines.items import loaded  # noqa: PLC0415

        outputs = self.get(run).run.outputs
        found = next((artifact for artifact in outputs if name in {"", artifact.name}), None)
        if found is None:
            raise NotFound(
                f"Run {run} has no output {name!r}.",
                code="pipelines.no_output",
                hint=f"It has: {', '.join(a.name for a in outputs) or 'none'}.",
            )
        with kept_if_used("rung-") as folder:
            return loaded(found, self._transport.get_blob, folder)

    def reproductions(self, run: str | None = None, *, limit: int = 50) -> tuple[p.Reproduction, ...]:
        """Reproductions of a run, or of all."""
        return self._transport.call(p.ListReproductions(pipeline_run=run, limit=limit))

    def follow(self, run: str, *, listener: Listener | None = None, every_s: float = 0.3, patience_s: float = 120.0) -> r.PipelineRun:
        """Wait until a run that workers execute has ended; ``listener`` hears of each step's changes.

        A server that does not answer is asked again for ``patience_s`` seconds: the run goes on without it.
        """
        told: dict[str, tuple[str, int, int]] = {}
        silent_since: float | None = None
        while True:
            try:
                detail = self.get(run)
            except Unavailable:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > patience_s:
                    raise
                time.sleep(every_s)
                continue
            silent_since = None
            for step in detail.steps:
                mark = (step.status, step.attempts, step.items_done)
                if listener is not None and told.get(step.key, ("waiting", 0, 0)) != mark:
                    told[step.key] = mark
                    listener(step)
            if detail.run.status not in {"queued", "running"}:
                return detail.run
            time.sleep(every_s)

    def _followed(self, queued: r.PipelineRun, engine: Any, *, wait: bool, listener: Listener | None) -> r.PipelineRun:
        if not wait:
            return queued
        if engine is not None:
            ended: r.PipelineRun = engine.execute(queued.id, listener=listener)
            return ended
        return self.follow(queued.id, listener=listener)

    def owner(self) -> str | None:
        """Who executes runs that this process waits for: its own engine; None when a server's workers do."""
        engine = self._local_engine()
        return str(engine.owner) if engine is not None else None

    def finish(self, run: str, *, listener: Listener | None = None) -> r.PipelineRun:
        """Execute a run that is held for this process, or wait until a server's workers have."""
        return self._followed(self.get(run).run, self._local_engine(), wait=True, listener=listener)

    def close(self) -> None:
        """Let go of the engine of this process, if runs were executed in it."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _local_engine(self) -> Any:
        """An engine of this process for the embedded platform; None when a server's workers do the work."""
        transport: Any = self._transport
        platform = getattr(transport, "platform", None)
        if platform is None:
            return None
        if self._engine is None:
            from rung.engine.loop import Engine  # noqa: PLC0415 - loaded only where runs execute

            with self._making:  # runs that threads begin together share one: nobody would close a second
                if self._engine is None:
                    self._engine = Engine(platform, project=transport.caller().project)
        return self._engine


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(params)
    return plain
