"""Rounds: nodes come up, are judged and begin; attempts end, and are tried again. What a round decides is written at once."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import count

from msgspec.structs import replace

from rung.core.errors import RungError
from rung.core.ids import new_id
from rung.engine.admission import Admission, Grant
from rung.engine.driving.attempts import Tasks
from rung.engine.driving.ending import ended_item_by_item, map_answer, retry_pause
from rung.engine.driving.frontier import Frontier
from rung.engine.driving.judging import Judge
from rung.engine.driving.mapping import failure
from rung.engine.driving.recording import Recorder, Round, ending, told
from rung.engine.driving.states import DONE, LOSSES, Claim, Ended, LeaseLost, Listener, Live, Work
from rung.engine.executors import Executor, Outcome
from rung.engine.secrets import without_secrets
from rung.engine.wiring import changed
from rung.pipelines.fates import State
from rung.pipelines.retrying import is_retried
from rung.pipelines.tracing import Plan
from rung.storage.blobs import BlobStore
from rung.storage.scope import Scope

_LOOK_S = 0.25  # how often groups and resources that others hold are asked for again
_FOREVER_S = 5.0
_MOST_DEATHS = 100


class Rounds:
    """The steps of one run under way."""

    def __init__(
        self, plan: Plan, live: dict[str, Live], scope: Callable[[], Scope], claim: Claim, cancelled: threading.Event, *, judge: Judge,
        tasks: Tasks, recorder: Recorder, executors: Callable[[str], Executor], admission: Admission, blobs: BlobStore,
        listener: Listener | None,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._live = live
        self._scope = scope
        self._claim = claim
        self._cancelled = cancelled
        self._judge = judge
        self._tasks = tasks
        self._recorder = recorder
        self._executors = executors
        self._admission = admission
        self._blobs = blobs
        self._listener = listener
        self._frontier = Frontier({node.key: node.needs for node in plan.nodes.values()})
        self._ready: list[tuple[int, int, int, Live]] = []
        self._paused: list[tuple[float, int, Live, tuple[int, ...]]] = []
        self._running: dict[str, Work] = {}
        self._inbox: queue.SimpleQueue[tuple[Work, Outcome] | None] = queue.SimpleQueue()
        self._order = count()
        self._round = Round()
        self._wanting = False
        self.leaving = False
        self.error = ""
        self.failed = ""

    def run(self) -> tuple[str, str]:
        """Run every step; the error and the step that failed, both empty when all succeeded."""
        try:
            while True:
                self._come_up()
                self._round.begun = self._admit()
                self._write()
                if self._frontier.has_come_up:
                    continue
                if not (self._running or self._ready or self._paused):
                    return self.error, self.failed
                self._wait()
        except BaseException:
            self.abandon()  # nobody takes in what they answer any more
            raise
        finally:
            for work in self._running.values():
                self._admission.give(work.grant)
            self._running.clear()

    def wake(self) -> None:
        """Look at ``lost`` and ``cancelled`` now."""
        self._inbox.put(None)

    def abandon(self) -> None:
        """Stop what runs, without waiting for it."""
        for work in list(self._running.values()):
            with suppress(Exception):  # a cluster that does not answer keeps no other attempt going
                self._executors(work.executor).cancel(work.id)

    def _come_up(self) -> None:
        """Judge what has come up until nothing more does: what is skipped, held back or cached lets others come up."""
        while comers := self._frontier.come_up():
            must: list[Live] = []
            for key in comers:
                live = self._live[key]
                try:
                    found = self._judge.fate(live, stopped=self._stopped())
                except RungError as error:
                    self._fail(live, f"Step {live.key!r} failed: {error}")
                    continue
                if found == "run":
                    must.append(live)
                else:
                    self._put_aside(live, "blocked" if found == "block" else "skipped")
            before = {live.key: live.row for live in must}
            hits, must = self._judge.known(must)
            for live in hits:
                if live.row is not before[live.key] and before[live.key].status not in DONE:
                    self._round.hits.append(live)
                self._end_node(live, "done")
            for live in must:
                self._prepare(live)

    def _prepare(self, live: Live) -> None:
        """Make a node that must run ready to begin."""
        if live.row.error:
            self._fail(live, f"Step {live.key!r} failed: {live.row.error}")
            return
        if live.deaths >= _MOST_DEATHS:
            self._fail(live, f"Step {live.key!r} was running {live.deaths} times in a row when its worker died.")
            return
        name = self._tasks.executor_of(live)
        try:
            if self._executors(name).local and (refusal := self._admission.refusal(live.key, live.node.step.options)):
                self._fail(live, refusal)
                return
            if live.node.kind == "map":
                self._judge.open_map(live)
                self._round.touched.append(live)
                if live.mapped is not None and live.mapped.idle:
                    self._finish_map(live)
                    return
        except RungError as error:
            self._fail(live, f"Step {live.key!r} failed: {error}")
            return
        self._push(live)

    def _push(self, live: Live) -> None:
        heapq.heappush(self._ready, (-live.node.step.options.priority, live.row.position, next(self._order), live))

    def _admit(self) -> list[Work]:
        """Attempts that can begin now, by priority; what must wait for slots, resources or groups stays ready."""
        begun: list[Work] = []
        waiting: list[tuple[int, int, int, Live]] = []
        full: set[tuple[str, float | None, int | None, float | None, bool]] = set()
        while self._ready:
            entry = heapq.heappop(self._ready)
            live, options = entry[3], entry[3].node.step.options
            if self._stopped() and options.run == "on_success":
                self._drop(live)
                continue
            name = self._tasks.executor_of(live)
            draws = name == "inline" and self._tasks.draws(live)
            wish = (name, options.cpus, options.memory_bytes, options.gpus, draws)
            grant = None if wish in full else self._take(name, live, draws=draws)
            if grant is None:
                full.add(wish)  # another of the same size need not ask
                waiting.append(entry)
                continue
            positions = live.mapped.next_batch(self._executors(name).slots) if live.mapped is not None else ()
            live.number += 1
            if live.mapped is not None:
                live.mapped.running += 1
                if live.mapped.can_begin:
                    heapq.heappush(self._ready, entry)
            work = Work(live=live, id=new_id(), number=live.number, executor=name, grant=grant, positions=positions)
            self._running[work.id] = work  # from now on: what it was granted is given back however this run goes on
            begun.append(work)
        self._ready = waiting
        heapq.heapify(self._ready)
        self._wanting = bool(waiting)
        return begun

    def _take(self, name: str, live: Live, *, draws: bool) -> Grant | None:
        executor = self._executors(name)
        return self._admission.take(name, executor.slots, live.node.step.options, local=executor.local, draws=draws)

    def _write(self) -> None:
        what, self._round = self._round, Round()
        if not what:
            return
        self._recorder.write(self._scope, what)
        for work in what.refused:
            del self._running[work.id]
            self._give_back(work)
        for work in what.begun:
            self._submit(work)
        self._tell(what)

    def _tell(self, what: Round) -> None:
        if self._listener is None:
            return
        said = (*what.finished, *what.hits, *what.touched, *(work.live for work in what.begun))
        for live in {live.key: live for live in said}.values():
            self._listener(live.row)

    def _submit(self, work: Work) -> None:
        def tell(future: Future[Outcome]) -> None:
            try:
                outcome = future.result()
            except BaseException as error:
                outcome = Outcome("lost", error=f"Executor {work.executor!r} failed: {type(error).__name__}: {error}")
            self._inbox.put((work, without_secrets(outcome, task) if task.secrets else outcome))

        try:
            task = self._tasks.task(work)
            future = self._executors(work.executor).submit(task)
        except RungError as error:
            self._inbox.put((work, Outcome("failed", error=f"Step {work.live.key!r} failed: {error}")))
            return
        future.add_done_callback(tell)

    def _give_back(self, work: Work) -> None:
        """An attempt that found no room in its group: as if it had not been."""
        self._admission.give(work.grant)
        live = work.live
        live.number -= 1
        if live.mapped is not None:
            live.mapped.running -= 1
            live.mapped.waiting.extendleft(reversed(work.positions))
        if all(entry[3] is not live for entry in self._ready):
            self._push(live)
        self._wanting = True

    def _wait(self) -> None:
        """Wait until an attempt ends, a pause is over or something is to be asked for again; take in what has ended."""
        self._look()
        try:
            item = self._inbox.get(timeout=self._patience())
        except queue.Empty:
            item = None
        ended: list[tuple[Work, Outcome]] = []
        while True:
            if item is not None:
                ended.append(item)
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
        self._look()
        for work, outcome in ended:
            if self._running.pop(work.id, None) is not None:  # of one that was left behind nothing counts any more
                self._admission.give(work.grant)
                self._take_in(work, outcome)
        self._resume_paused()

    def _look(self) -> None:
        if self._claim.lost.is_set():
            raise LeaseLost
        if self._cancelled.is_set():
            self.error = self.error or "It was cancelled."
            for work in self._running.values():
                if not work.stopped and work.live.node.step.options.run == "on_success":
                    work.stopped = True
                    self._executors(work.executor).cancel(work.id)
                    if self.leaving and not self._executors(work.executor).can_stop:
                        self._inbox.put((work, Outcome("cancelled", error="It was interrupted.")))
            for _, _, live, positions in self._paused:
                self._unpause(live, positions)
            self._paused = []

    def _patience(self) -> float:
        patience = _LOOK_S if self._wanting else _FOREVER_S
        if self._paused:
            patience = min(patience, self._paused[0][0] - time.monotonic())
        return max(0.0, patience) if self._running or self._paused or self._wanting else 0.0

    def _resume_paused(self) -> None:
        now = time.monotonic()
        while self._paused and self._paused[0][0] <= now:
            _, _, live, positions = heapq.heappop(self._paused)
            self._unpause(live, positions)

    def _unpause(self, live: Live, positions: tuple[int, ...]) -> None:
        if live.mapped is not None:
            live.mapped.later -= len(positions)
            live.mapped.alone.extend(positions)
            if any(entry[3] is live for entry in self._ready):
                return
        self._push(live)

    def _take_in(self, work: Work, outcome: Outcome) -> None:
        live, outcome = work.live, replace(outcome, error=told(outcome.error))
        if outcome.undeclared:
            from rung.pipelines.audit import undeclared  # noqa: PLC0415 - few runs are audited

            options = live.node.step.options
            more = undeclared(outcome.undeclared, files=options.files, variables=options.variables)
            live.undeclared = tuple(dict.fromkeys((*live.undeclared, *more)))
        live.row = changed(
            live.row, wall_s=live.row.wall_s + outcome.wall_s, cpu_s=live.row.cpu_s + outcome.cpu_s,
            gpu_s=live.row.gpu_s + outcome.wall_s * sum(work.grant.gpus.values()),
            peak_bytes=max(live.row.peak_bytes, outcome.peak_bytes), undeclared=live.undeclared,
        )  # fmt: skip
        if live.mapped is not None:
            self._take_in_batch(work, outcome)
            return
        pause = None
        if outcome.status != "succeeded" and not self._stops(live):
            options = live.node.step.options
            if outcome.blameless and live.losses < LOSSES:
                live.losses += 1
                pause = retry_pause(options, live.losses)
            elif is_retried(options, outcome.status, outcome.error_types, live.failures + 1):
                live.failures += 1
                pause = retry_pause(options, live.failures)
        self._round.ended.append(Ended(work, outcome, pause))
        if pause is not None:
            live.row = changed(live.row, status="waiting", error=outcome.error)
            self._round.touched.append(live)
            heapq.heappush(self._paused, (time.monotonic() + pause, next(self._order), live, ()))
            return
        live.row = changed(live.row, status=ending(outcome.status), outputs=outcome.outputs, error=outcome.error)
        self._round.finished.append(live)
        if outcome.status == "succeeded":
            self._end_node(live, "done")
            return
        self._note_failure(live)
        self._end_node(live, "failed")

    def _take_in_batch(self, work: Work, outcome: Outcome) -> None:
        live = work.live
        assert live.mapped is not None  # noqa: S101 - a batch is one of a map
        stops = self._stops(live)
        pauses = ended_item_by_item(work, outcome, stops=stops, goes_on=self._plan.on_failure == "continue")
        self._round.ended.append(Ended(work, outcome))
        for pause, place in pauses:
            live.mapped.later += 1
            heapq.heappush(self._paused, (time.monotonic() + pause, next(self._order), live, (place,)))
        live.mapped.stopped |= stops
        found = live.mapped
        live.row = changed(live.row, items_done=len(found.outputs), items_cached=found.cached, items_failed=len(found.failed))
        if found.idle:
            self._finish_map(live)
            return
        self._round.touched.append(live)
        if found.can_begin and all(entry[3] is not live for entry in self._ready):
            self._push(live)

    def _finish_map(self, live: Live) -> None:
        """End a map: all its items have ended, or nothing more of it begins."""
        found = live.mapped
        assert found is not None  # noqa: S101 - asked of maps only
        self._round.finished.append(live)
        if len(found.outputs) == len(found.items):
            ran = live.row.attempts or not found.items
            live.row = changed(
                live.row, status="succeeded" if ran or not found.cached else "cached", outputs=map_answer(live, self._blobs),
                reason=live.row.reason if ran else "Cached: every item is known.", started_at=live.row.started_at or self._scope().now,
            )  # fmt: skip
            self._end_node(live, "done")
            return
        if found.failed:
            live.row = changed(live.row, status="failed", error=told(failure(live)))
            self._note_failure(live)
        else:
            live.row = changed(
                live.row, status="cancelled", error="It was cancelled." if self._cancelled.is_set() else "The run had stopped."
            )
        self._end_node(live, "failed")

    def _fail(self, live: Live, error: str) -> None:
        """End a node that could not even begin."""
        now = self._scope().now
        live.row = changed(live.row, status="failed", error=told(error), started_at=live.row.started_at or now, ended_at=now)
        self._round.finished.append(live)
        self._note_failure(live)
        self._end_node(live, "failed")

    def _note_failure(self, live: Live) -> None:
        if not self.failed and not (self._cancelled.is_set() and live.row.status == "cancelled"):
            self.error, self.failed = live.row.error, live.key

    def _drop(self, live: Live) -> None:
        """A node that was ready when the run stopped begins no more; a map under way ends with what it has."""
        if live.mapped is not None:
            live.mapped.stopped = True
            if not live.mapped.running:
                self._finish_map(live)
            return
        if live.failures:
            live.row = changed(live.row, status="cancelled" if self._cancelled.is_set() else "failed")
            self._round.finished.append(live)
            self._end_node(live, "failed")
            return
        live.row = changed(live.row, reason="Skipped: the run had stopped.")
        self._put_aside(live, "blocked")

    def _put_aside(self, live: Live, state: State) -> None:
        cancelled = state == "blocked" and self._cancelled.is_set()
        live.row = changed(live.row, status="cancelled" if cancelled else "skipped", ended_at=self._scope().now)
        self._round.touched.append(live)
        self._end_node(live, state)

    def _end_node(self, live: Live, state: State) -> None:
        live.state = state
        self._frontier.end(live.key)

    def _stopped(self) -> bool:
        return self._cancelled.is_set() or (bool(self.failed) and self._plan.on_failure == "stop")

    def _stops(self, live: Live) -> bool:
        """Whether nothing more of a node is to begin."""
        return self._stopped() and live.node.step.options.run == "on_success"
