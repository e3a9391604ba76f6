"""The driver: executes one claimed pipeline run, from its plan to its end, a durable state at every step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from rung.core.errors import RungError
from rung.engine.admission import Admission
from rung.engine.driving.attempts import Tasks
from rung.engine.driving.judging import Judge
from rung.engine.driving.opening import open_run
from rung.engine.driving.recording import Recorder, told
from rung.engine.driving.rounds import Rounds
from rung.engine.driving.sources import Restored, Source, source_of
from rung.engine.driving.states import Claim, LeaseLost, Listener, Live
from rung.engine.executors import Executor
from rung.engine.host import Host, ServiceTransport
from rung.engine.wiring import answered, changed
from rung.pipelines.authoring import Pipeline
from rung.pipelines.checkpoint_store import CheckpointStore
from rung.pipelines.operations import finished
from rung.pipelines.records import Artifact, PipelineRun, StepRun
from rung.pipelines.store import PipelineStore
from rung.storage.outbox import emit
from rung.storage.queue import Job, QueueStore
from rung.storage.scope import Scope
from rung.tracking.records import FinishRun

Concluding = Callable[[PipelineRun, dict[str, StepRun]], Callable[[Scope], object]]
_PASSING = {"storage.locked", "storage.busy", "storage.unavailable", "storage.lost_race"}


class Driver:
    """Executes one claimed run. Whoever keeps its lease calls ``lose`` and ``cancel``.

    With ``returns`` the run outlives a database that is away for a while: the fault is raised, and whoever called gives the run back.
    """

    _judge: Callable[..., Judge] = Judge

    def __init__(
        self, host: Host, job: Job, executors: Callable[[str], Executor], admission: Admission, worker: str, *,
        offered: dict[str, Pipeline[..., Any]] | None = None, listener: Listener | None = None, returns: bool = False,
    ) -> None:  # fmt: skip
        self.host = host
        self.claim = Claim(job)
        self.transport = ServiceTransport(host, job.project)
        self.worker = worker
        self._executors = executors
        self._admission = admission
        self._offered = offered or {}
        self._listener = listener
        self._returns = returns
        self._restored: Restored | None = None
        self._conclude: Concluding | None = None
        self._home = host.settings.home_path
        # of this claim alone: a driver that has lost its claim clears away what is its own, not what the next one works with
        self._scratch = self._home / "work" / f"{job.subject}.{job.fence}"
        self._live: dict[str, Live] = {}
        self._rounds: Rounds | None = None
        self._cancelled = threading.Event()
        self._leaving = False

    @property
    def job(self) -> Job:
        """The claim's job."""
        return self.claim.job

    def lose(self) -> None:
        """Stop at once and write nothing more: the claim does not stand, or this process is to end."""
        self.claim.lost.set()
        if self._rounds is not None:
            self._rounds.wake()

    def cancel(self) -> None:
        """Stop what runs and begin only what runs in any case."""
        self._cancelled.set()
        if self._rounds is not None:
            self._rounds.wake()

    def leave(self) -> None:
        """Like ``cancel``, and do not wait for steps that cannot be stopped: this process ends."""
        self._leaving = True
        if self._rounds is not None:
            self._rounds.leaving = True
        self.cancel()

    def execute(self, restored: Restored | None = None, conclude: Concluding | None = None) -> PipelineRun:
        """Bring the run to its end, with the code of now or one that was restored.

        ``conclude`` gets the run and its steps as they are about to be stored; what it answers stores what it found in the
        transaction that ends the run, so that neither is ever there without the other. Raises LeaseLost when another worker has
        taken the run.
        """
        self._restored, self._conclude = restored, conclude
        try:
            for left in self._scratch.parent.glob(f"{self.job.subject}.*"):
                if int(left.suffix[1:]) < self.job.fence:  # by a worker that died, or has lost its claim
                    _delete(left)
            self._scratch.mkdir(parents=True, exist_ok=True)
            return self._execute()
        except LeaseLost:
            raise
        except RungError as error:
            return self.refuse(error)
        except KeyboardInterrupt:
            self.cancel()
            self._conclude = None  # whoever breaks off does not wait for it
            self._end(self._row(), None, "It was interrupted.", "")
            raise
        finally:
            _delete(self._scratch)

    def refuse(self, problem: RungError) -> PipelineRun:
        """End the run, which cannot be driven, with the reason; where it outlives that, the reason is raised."""
        if self._returns and problem.code in _PASSING:
            raise problem
        return self._end(self._row(), None, str(problem), "")

    def _execute(self) -> PipelineRun:
        run = self._row()
        source = source_of(self.host, run, {} if self._restored else self._offered, self._restored, self._scratch)
        opened = open_run(self.transport, self.host.blobs, run, source, self.claim)
        run, self._live = opened.run, opened.live
        tasks = Tasks(
            run, source, self.host.settings, self.transport, self.host.blobs, self._scratch, self._outputs, self._home,
            opened.codes, nested="within" in self.job.payload,
        )  # fmt: skip
        judge = self._judge(
            run=run, source=source, codes=opened.codes, recent=opened.recent, anew=opened.anew, live=self._live, transport=self.transport,
            blobs=self.host.blobs, scratch=self._scratch, outputs=self._outputs, now=self.host.clock.now,
        )  # fmt: skip
        recorder = Recorder(run, self.worker, self._home, self.host.blobs, not source.repeats, self.claim, opened.codes)
        self._rounds = Rounds(
            source.plan, self._live, self.transport.scope, self.claim, self._cancelled, judge=judge, tasks=tasks, recorder=recorder,
            executors=self._executors, admission=self._admission, blobs=self.host.blobs, listener=self._listener,
        )  # fmt: skip
        if self._leaving:  # never set to False: somebody may just have set it
            self._rounds.leaving = True
        error, failed = self._rounds.run()
        return self._end(run, source, error, failed)

    def _row(self) -> PipelineRun:
        return self.transport.scope().read(lambda s: PipelineStore(s.connection, s.project).run(self.job.subject))

    def _outputs(self, key: str) -> tuple[Artifact, ...] | None:
        live = self._live[key]
        return live.row.outputs if live.state == "done" else None

    def _end(self, run: PipelineRun, source: Source | None, error: str, failed: str) -> PipelineRun:
        cancelled = self._cancelled.is_set() and not failed
        status: Literal["cancelled", "failed", "succeeded"] = "cancelled" if cancelled else "failed" if error else "succeeded"
        outputs = answered(source.plan, self._outputs) if source and not error else ()
        error = told(error)
        left = [live.row for live in self._live.values() if live.row.status in {"waiting", "running"}]
        stopped: Literal["cancelled", "skipped"] = "cancelled" if cancelled else "skipped"
        concluded: Callable[[Scope], object] | None = None

        def save(scope: Scope) -> PipelineRun:
            progress, store = self.claim.proven(scope), PipelineStore(scope.connection, scope.project)
            progress.put_steps([changed(row, status=stopped, ended_at=scope.now) for row in left])
            if status == "succeeded":
                CheckpointStore(scope.connection, scope.project).forget(run.id)
            steps = store.steps(run.id)
            began = run.started_at or scope.now
            store.update_run(
                run.id, status=status, ended_at=scope.now, error=error, failed_step=failed, outputs=outputs,
                wall_s=(scope.now - began) / timedelta(seconds=1), cpu_s=sum(step.cpu_s for step in steps),
                gpu_s=sum(step.gpu_s for step in steps), peak_bytes=max((step.peak_bytes for step in steps), default=0),
            )  # fmt: skip
            if concluded is not None:
                concluded(scope)
            ended = store.run(run.id)
            emit(scope, finished(ended))
            QueueStore(scope.connection).finish(
                self.job, now=scope.now, state="cancelled" if cancelled else "failed" if error else "done", error=error[:1000] or None
            )
            return ended

        logs = self._home / "logs" / run.id
        told_so_far = (
            list(logs.iterdir()) if logs.is_dir() else []
        )  # a run that is resumed as soon as it has ended makes logs of its own there
        row = self._row()
        if self._conclude is not None:
            steps = {step.key: step for step in self.transport.scope().read(lambda s: PipelineStore(s.connection, s.project).steps(run.id))}
            steps |= {step.key: changed(step, status=stopped) for step in left}
            try:
                concluded = self._conclude(changed(row, status=status, error=error, failed_step=failed), steps)
            except RungError as problem:
                if self._returns and problem.code in _PASSING:
                    raise
                status, error = "failed", told(f"It cannot be compared: {problem}")
        if row.run_id:
            # before the job ends: should this process die in between, the next worker closes the tracking run again
            self.transport.call(FinishRun(run=row.run_id, status=status, error=error))
        ended = self.transport.scope().write(save)
        for file in told_so_far:
            file.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty, or was never made
            logs.rmdir()
        return ended


def _delete(folder: Path) -> None:
    try:
        folder.rmdir()  # most runs leave nothing there
    except OSError:
        import shutil  # noqa: PLC0415 - it loads three compressors

        shutil.rmtree(folder, ignore_errors=True)
