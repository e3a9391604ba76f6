"""Recording: ends, results of the cache and begins of one round, in one transaction that proves the claim first."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from rung.core.clock import to_micros
from rung.core.errors import RungError, Unavailable
from rung.engine.driving.keys import Codes
from rung.engine.driving.states import DONE, Claim, Ended, Live, Work
from rung.engine.wiring import changed
from rung.pipelines.cache_store import CacheStore
from rung.pipelines.measured import metric_points
from rung.pipelines.operations import log_path
from rung.pipelines.progress_store import ProgressStore
from rung.pipelines.records import Artifact, PipelineRun, StepAttempt, StepFinished, StepItem, StepStatus
from rung.pipelines.store import CacheEntry
from rung.storage.blobs import BlobStore
from rung.storage.outbox import emit
from rung.storage.queue import SlotStore
from rung.storage.scope import Scope
from rung.tracking.operations import write_batch

_LONGEST_ERROR = 100_000
_log = logging.getLogger("rung.engine")


class Round(msgspec.Struct):
    """What one transaction writes.

    ``begun`` are attempts that have what they need of this machine; those whose group has no room are found in
    ``refused`` when the transaction is over. ``finished`` are steps that ended, their rows changed already.
    """

    ended: list[Ended] = msgspec.field(default_factory=list)
    hits: list[Live] = msgspec.field(default_factory=list)
    finished: list[Live] = msgspec.field(default_factory=list)
    touched: list[Live] = msgspec.field(default_factory=list)
    begun: list[Work] = msgspec.field(default_factory=list)
    refused: list[Work] = msgspec.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.ended or self.hits or self.finished or self.touched or self.begun)


class Recorder(msgspec.Struct):
    """Writes the rounds of one run."""

    run: PipelineRun
    worker: str
    home: Path
    blobs: BlobStore
    keeps: bool
    claim: Claim
    codes: Codes

    def write(self, scope_of: Callable[[], Scope], what: Round) -> None:
        """Write a round. Raises LeaseLost, and has written nothing then."""
        logs = {ended.work.id: self._kept_log(ended.work) for ended in what.ended}
        held = [self._items(ended, logs[ended.work.id]) for ended in what.ended]
        details = self.codes.take_details() if self.keeps and what.finished else {}
        measured = [(live.row.id, points) for live in (*what.hits, *what.finished) if (points := self._measured(live))]

        def save(scope: Scope) -> tuple[list[Work], list[Work]]:
            progress = self.claim.proven(scope)
            begun, refused = self._room(scope, what.begun)
            self._save_ended(scope, progress, what, logs)
            self._save_items(scope, progress, what, held)
            if details:
                CacheStore(scope.connection, scope.project).describe(details)
            for row, points in measured:
                self._log(scope, row, points)
            for work in begun:
                self._begin(scope, work)
            rows = {live.row.id: live.row for live in (*what.hits, *what.finished, *what.touched, *(work.live for work in begun))}
            progress.put_steps(rows.values())
            progress.add_attempts([self._attempt(scope, work) for work in begun])
            if what.finished:
                self.claim.progressed(scope)
            return begun, refused

        what.begun, what.refused = scope_of().write(save)  # which may call it again: what it changes is changed to the same again
        for live in (*what.hits, *what.touched, *what.finished):
            if live.mapped is not None:
                live.mapped.unwritten = []
        for ended in what.ended:  # only now: until then whoever reads a log finds it here
            with suppress(OSError):
                self._log_file(ended.work).unlink(missing_ok=True)
        self.claim.noted |= bool(what.finished)

    def _room(self, scope: Scope, wished: list[Work]) -> tuple[list[Work], list[Work]]:
        """Which attempts have room in the groups of their steps, over all runs and workers."""
        rooms: dict[str, bool] = {}
        # sorted: all who take of several groups wait in one order
        for work in sorted(wished, key=lambda work: work.live.node.step.options.concurrency_group):
            options = work.live.node.step.options
            group = options.concurrency_group
            room = not group or SlotStore(scope.connection, scope.project).take(
                f"step {group}", limit=options.concurrency_limit, job=self.claim.job.id, fence=self.claim.job.fence, holder=work.id
            )
            work.slot = bool(group) and room
            rooms[work.id] = room
        return [work for work in wished if rooms[work.id]], [work for work in wished if not rooms[work.id]]

    def _save_ended(self, scope: Scope, progress: ProgressStore, what: Round, logs: dict[str, str]) -> None:
        rows = []
        for ended in what.ended:
            work, outcome = ended.work, ended.outcome
            rows.append(
                StepAttempt(
                    id=work.id, step_run=work.live.row.id, number=work.number, status=outcome.status, executor=work.executor,
                    worker=self.worker, started_at=scope.now, ended_at=scope.now, wall_s=outcome.wall_s, cpu_s=outcome.cpu_s,
                    peak_bytes=outcome.peak_bytes, error=told(outcome.error), log=logs[work.id],
                )
            )  # fmt: skip
            if work.slot:
                group = work.live.node.step.options.concurrency_group
                SlotStore(scope.connection, scope.project).give_up(f"step {group}", work.id)
        progress.end_attempts(rows)
        entries = []
        for live in what.finished:
            live.row = changed(live.row, ended_at=scope.now)
            if live.row.status == "succeeded" and self.keeps and live.node.step.options.cache:
                entry = CacheEntry(cache_key=live.row.cache_key, step_run=live.row.id, outputs=live.row.outputs, parts=live.parts)
                entries.append((entry, live.row.step))
            if live.row.attempts:
                self._tell(scope, live)
        progress.keep(entries, scope.now)

    def _tell(self, scope: Scope, live: Live) -> None:
        emit(
            scope,
            StepFinished(
                pipeline=self.run.pipeline, pipeline_run=self.run.id, step_run=live.row.id, step=live.row.step, status=live.row.status,
                cpu_s=live.row.cpu_s, wall_s=live.row.wall_s, ended_at=scope.now, run_id=self.run.run_id,
            ),
        )  # fmt: skip

    def _items(self, ended: Ended, log: str) -> list[StepItem]:
        """Rows of the items that an attempt has ended for good."""
        work, mapped = ended.work, ended.work.live.mapped
        if mapped is None:
            return []
        found = []
        for place, item in zip(work.positions, ended.outcome.items, strict=False):
            done = item.status == "succeeded"
            if not done and place not in mapped.failed:
                continue  # it is tried again
            found.append(
                StepItem(
                    step_run=work.live.row.id, position=place, status="succeeded" if done else "failed", attempts=mapped.tries.get(place, 1),
                    cache_key=mapped.keys[place], outputs=item.outputs, wall_s=item.wall_s, cpu_s=item.cpu_s, peak_bytes=item.peak_bytes,
                    error=told(item.error), log=log, worker=self.worker,
                )
            )  # fmt: skip
        if not ended.outcome.items:
            found += [
                StepItem(
                    step_run=work.live.row.id, position=place, status="failed", attempts=mapped.tries.get(place, 1),
                    cache_key=mapped.keys[place], error=told(ended.outcome.error), log=log, worker=self.worker,
                )
                for place in work.positions
                if place in mapped.failed
            ]  # fmt: skip
        return found

    def _save_items(self, scope: Scope, progress: ProgressStore, what: Round, held: list[list[StepItem]]) -> None:
        for ended, items in zip(what.ended, held, strict=True):
            live = ended.work.live
            if live.mapped is None or not items:
                continue
            progress.put_items(live.row.id, [changed(item, ended_at=scope.now) for item in items], replace=live.mapped.has_rows)
            if self.keeps and live.node.step.options.cache:
                progress.keep([(self._entry(live, item), f"{live.row.step}[]") for item in items if item.status == "succeeded"], scope.now)
        for live in {live.row.id: live for live in (*what.hits, *what.touched, *what.finished)}.values():
            if live.mapped is not None and live.mapped.unwritten:
                rows = [changed(item, step_run=live.row.id, ended_at=scope.now) for item in live.mapped.unwritten]
                progress.put_items(live.row.id, rows, replace=live.mapped.has_rows)

    @staticmethod
    def _entry(live: Live, item: StepItem) -> CacheEntry:
        assert live.mapped is not None  # noqa: S101 - asked of maps only
        parts = {"map": live.mapped.base, "item": live.mapped.contents[item.position]}
        return CacheEntry(cache_key=item.cache_key, step_run=live.row.id, outputs=item.outputs, parts=parts)

    def _measured(self, live: Live) -> list[tuple[str, int, float]]:
        """The metrics that a step answered, anew or out of the cache."""
        if live.row.status not in DONE or self.run.run_id is None:
            return []
        return metric_points(live.node.step.function, live.row.outputs, lambda artifact: read(artifact, self.blobs))

    def _log(self, scope: Scope, row: str, points: list[tuple[str, int, float]]) -> None:
        """Log metrics to the tracking run, once for each step run."""
        now = to_micros(scope.now)
        try:
            write_batch(scope, str(self.run.run_id), [(name, step, now, value) for name, step, value in points], {}, {}, batch=row)
        except RungError as error:  # the tracking run was deleted meanwhile: the pipeline's own run goes on
            _log.warning("metrics of run %s were not logged: %s", self.run.id, error)

    @staticmethod
    def _begin(scope: Scope, work: Work) -> None:
        live = work.live
        began = live.row.started_at if live.row.status == "running" or live.failures else None
        live.row = changed(
            live.row, status="running", attempts=work.number, started_at=began or scope.now, executor=work.executor,
            error=live.row.error if live.failures else "",
        )  # fmt: skip

    def _attempt(self, scope: Scope, work: Work) -> StepAttempt:
        return StepAttempt(
            id=work.id, step_run=work.live.row.id, number=work.number, status="running", executor=work.executor, worker=self.worker,
            started_at=scope.now,
        )  # fmt: skip

    def _kept_log(self, work: Work) -> str:
        """Keep a finished attempt's log as a blob; empty when it said nothing."""
        file = self._log_file(work)
        try:
            return self.blobs.put(file) if file.stat().st_size else ""
        except FileNotFoundError:
            return ""
        except (OSError, Unavailable) as error:  # a full disk: what the step has made counts, what it said is lost
            _log.warning("the log of step %s of run %s was not kept: %s", work.live.key, self.run.id, error)
            return ""

    def _log_file(self, work: Work) -> Path:
        return log_path(self.home, self.run.id, work.live.key, work.number)


def read(artifact: Artifact, blobs: BlobStore) -> bytes:
    """The bytes of an artifact."""
    return artifact.inline if artifact.inline is not None else blobs.get(artifact.digest)


def told(error: str) -> str:
    """An error's text as any database takes it, and not without end."""
    return error[:_LONGEST_ERROR].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def ending(status: str) -> StepStatus:
    """The status of a step whose last attempt ended like this."""
    return "succeeded" if status == "succeeded" else "cancelled" if status == "cancelled" else "failed"
