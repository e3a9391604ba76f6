"""A run of which another scheduler asks one step at a time: what it did not ask for stays waiting, and the run stays open."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from rung.engine.driving.driver import Driver
from rung.engine.driving.judging import Judge
from rung.engine.driving.sources import Source
from rung.engine.driving.states import DONE, Live
from rung.engine.wiring import changed
from rung.pipelines.records import PipelineRun
from rung.pipelines.store import PipelineStore
from rung.storage.queue import Job, QueueStore
from rung.storage.scope import Scope

ONLY = "only"


class PartialJudge(Judge):
    """Lets only the steps asked for begin; those that are done already tell their results."""

    def __init__(self, only: frozenset[str], **parts: Any) -> None:
        super().__init__(**parts)
        self._only = only

    def known(self, comers: Iterable[Live]) -> tuple[list[Live], list[Live]]:
        """As of every run, for the steps asked for."""
        return super().known([live for live in comers if live.key in self._only or live.row.status in DONE])


class PartialDriver(Driver):
    """Drives the steps named in the job; the run ends when no step is left."""

    def __init__(self, host: Any, job: Job, *parts: Any, **options: Any) -> None:
        super().__init__(host, job, *parts, **options)
        self._judge = partial(PartialJudge, frozenset(job.payload[ONLY]))

    def _end(self, run: PipelineRun, source: Source | None, error: str, failed: str) -> PipelineRun:
        left = [live for live in self._live.values() if live.state == "waiting"]
        if error or not left or self._cancelled.is_set():
            return super()._end(run, source, error, failed)

        def park(scope: Scope) -> PipelineRun:
            progress, store = self.claim.proven(scope), PipelineStore(scope.connection, scope.project)
            ended = {step.key for step in store.steps(run.id) if step.status == "failed"}
            # a branch that has failed stays so until it is asked for again
            progress.put_steps([changed(live.row, status="waiting", ended_at=None) for live in left if live.key not in ended])
            status = "failed" if ended else "running"
            store.update_run(run.id, status=status, error=f"Step {min(ended)!r} failed." if ended else "")
            QueueStore(scope.connection).finish(self.job, now=scope.now, state="failed" if ended else "done")
            return store.run(run.id)

        return self.transport.scope().write(park)
