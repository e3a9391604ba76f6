"""Pipelines, their runs, triggers and reproductions from Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from rung.client.transports import Transport
from rung.core.errors import NotFound, Unavailable
from rung.core.records import Page
from rung.pipelines import records as r
from rung.pipelines.authoring import Pipeline

Listener = Callable[[r.StepRun], None]


class PipelinesVerbs:
    """Verbs of pipelines. With the embedded platform runs execute in this process; with a server, on its workers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._engine: Any = None

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
    ) -> r.PipelineRun:
        """Run a pipeline and answer the run when it has ended; with ``wait=False`` it is only queued.

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
        )
        return self._followed(self._transport.call(wish), engine, wait=wait, listener=listener)

    def resume(self, run: str, *, wait: bool = True, listener: Listener | None = None) -> r.PipelineRun:
        """Go on with a run that was interrupted, failed or was cancelled; its finished steps keep their results."""
        engine = self._local_engine() if wait else None
        queued = self._transport.call(r.ResumePipelineRun(id=self.get(run).run.id, held=engine.owner if engine else None))
        return self._followed(queued, engine, wait=wait, listener=listener)

    def reproduce(self, run: str, *, tolerance: float = 1e-9, listener: Listener | None = None) -> r.Reproduction:
        """Execute a finished run again from its own code, isolated and without cache, and compare every output."""
        engine = self._local_engine()
        queued = self._transport.call(r.Reproduce(id=run, tolerance=tolerance, held=engine.owner if engine else None))
        self._followed(queued, engine, wait=True, listener=listener)
        for _ in range(200):  # the comparison is stored a moment after the run has ended
            found = [item for item in self.reproductions(str(queued.reproduces)) if item.repeated_as == queued.id]
            if found:
                return found[0]
            time.sleep(0.1)
        raise Unavailable(
            f"The comparison of run {queued.id} was not stored.", code="pipelines.no_comparison", hint="Look at the worker's log."
        )

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

    def cancel(self, run: str) -> r.PipelineRun:
        """Ask a run to stop."""
        return self._transport.call(r.CancelPipelineRun(id=self.get(run).run.id))

    def log(self, run: str, step: str, *, attempt: int | None = None, offset: int = 0) -> r.LogChunk:
        """What a step printed, from a byte offset on."""
        return self._transport.call(r.StepLog(pipeline_run=self.get(run).run.id, step=step, attempt=attempt, offset=offset))

    def output(self, run: str, name: str = "") -> Any:
        """The value a run answered; of several, the one named as in its ``outputs``. Raises NotFound."""
        from pathlib import Path  # noqa: PLC0415
        from tempfile import mkdtemp  # noqa: PLC0415

        from rung.pipelines.materialisers import Payload, load  # noqa: PLC0415 - loads NumPy; only reading an output needs it

        outputs = self.get(run).run.outputs
        found = next((artifact for artifact in outputs if name in {"", artifact.name}), None)
        if found is None:
            raise NotFound(
                f"Run {run} has no output {name!r}.",
                code="pipelines.no_output",
                hint=f"It has: {', '.join(a.name for a in outputs) or 'none'}.",
            )
        data = found.inline if found.inline is not None else self._transport.get_blob(found.digest)
        return load(found.kind, Payload(data, found.meta), Path(mkdtemp(prefix="rung-")))

    def add_trigger(
        self,
        name: str,
        pipeline: str,
        kind: r.TriggerKind,
        *,
        subject: str = "*",
        cron: str = "",
        zone: str = "UTC",
        catch_up: r.CatchUp = "last",
        cooldown_s: float = 0.0,
        params: dict[str, Any] | None = None,
    ) -> r.Trigger:
        """Let a schedule, a dataset, an alert or a decision start a pipeline."""
        return self._transport.call(
            r.AddTrigger(
                name=name,
                pipeline=pipeline,
                kind=kind,
                subject=subject,
                cron=cron,
                zone=zone,
                catch_up=catch_up,
                cooldown_s=cooldown_s,
                params=_plain(params or {}),
            )
        )

    def triggers(self, kind: r.TriggerKind | None = None) -> tuple[r.Trigger, ...]:
        """Triggers of the project."""
        return self._transport.call(r.ListTriggers(kind=kind))

    def remove_trigger(self, name: str) -> r.Trigger:
        """Remove a trigger."""
        return self._transport.call(r.RemoveTrigger(name=name))

    def pause_triggers(self, name: str | None = None, *, paused: bool = True) -> tuple[r.Trigger, ...]:
        """Pause or resume one trigger, or all."""
        return self._transport.call(r.PauseTriggers(name=name, paused=paused))

    def trigger_fires(self, name: str | None = None, *, limit: int = 50) -> tuple[r.TriggerFire, ...]:
        """When triggers fired or were held back, and why."""
        return self._transport.call(r.ListTriggerFires(name=name, limit=limit))

    def reproductions(self, run: str | None = None, *, limit: int = 50) -> tuple[r.Reproduction, ...]:
        """Reproductions of a run, or of all."""
        return self._transport.call(r.ListReproductions(pipeline_run=run, limit=limit))

    def follow(self, run: str, *, listener: Listener | None = None, every_s: float = 0.3) -> r.PipelineRun:
        """Wait until a run that workers execute has ended; ``listener`` hears of each step's changes."""
        told: dict[str, str] = {}
        while True:
            detail = self.get(run)
            for step in detail.steps:
                if listener is not None and told.get(step.key, "waiting") != step.status:
                    told[step.key] = step.status
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

    def _local_engine(self) -> Any:
        """An engine of this process for the embedded platform; None when a server's workers do the work."""
        platform = getattr(self._transport, "platform", None)
        if platform is None:
            return None
        if self._engine is None:
            from rung.engine.loop import Engine  # noqa: PLC0415 - loaded only where runs execute

            self._engine = Engine(platform)
        return self._engine


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(params)
    return plain
