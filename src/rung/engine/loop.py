"""The engine: delivers events, fires schedules, gives back what dead workers held, and executes queued runs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from rung.core.clock import EPOCH
from rung.core.errors import Conflict, RungError
from rung.core.events import SUBSCRIBERS
from rung.engine.admission import Admission, machine_of
from rung.engine.driving import Driver, LeaseLost, Listener
from rung.engine.driving.parts import ONLY, PartialDriver
from rung.engine.executors import EXECUTORS, Executor
from rung.engine.host import Host, ServiceTransport
from rung.engine.leases import LeaseWatch
from rung.engine.trigger_sync import TriggerSync
from rung.engine.wiring import changed
from rung.pipelines.authoring import Pipeline
from rung.pipelines.describing import described
from rung.pipelines.operations import QUEUE, abandon
from rung.pipelines.owners import is_dead, this_owner
from rung.pipelines.project import Project, load_project
from rung.pipelines.records import ListPipelines, PipelineInfo, PipelineRun, RegisterPipelines
from rung.pipelines.store import PipelineStore
from rung.storage.outbox import OutboxEntry, as_event, mark, waiting
from rung.storage.queue import Job, QueueStore
from rung.tracking.records import PackMetrics
from rung.tracking.store import PointStore

if TYPE_CHECKING:
    from rung.engine.chores import Chores
    from rung.engine.reproducing.restoring import Restored
    from rung.storage.connection import Connection

_log = logging.getLogger("rung.engine")
_MOST_TRIES = 20
_LONGEST_PAUSE_S = 300.0
_SINGLETON = timedelta(seconds=15)
_PACK_S = 5.0
_ROOM_S = 0.2
_MOST_FAULTS = 3


class Engine:
    """Background work of one process. Several may run on one database: leases keep them apart."""

    def __init__(self, platform: Host, *, project: str | None = None) -> None:
        self.platform = platform
        self.owner = this_owner()
        self._project = project or platform.settings.project
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._drivers: dict[str, Driver] = {}
        self._executors: dict[str, Executor] = {}
        self._admission = Admission(machine_of(platform.settings.engine))
        self._pool = ThreadPoolExecutor(max_workers=max(2, platform.settings.engine.workers), thread_name_prefix="rung-run")
        self._active: set[Future[None]] = set()
        self._owed: list[Job] = []
        self._lock = threading.RLock()
        self._offered: dict[str, Pipeline[..., Any]] = {}
        self._known: tuple[PipelineInfo, ...] = ()
        self._described: Project | None = None
        self._watch = LeaseWatch()
        self._pack_at = 0.0
        self._triggers = TriggerSync(platform, self._project)

    @cached_property
    def _chores(self) -> Chores:
        from rung.engine.chores import Chores  # noqa: PLC0415 - a command that drives one run never loads it

        return Chores(self.platform, self.owner)

    def start(self) -> None:
        """Begin work in threads of this process."""
        self._chores  # noqa: B018 - loaded before anything runs beside it
        for target, name in ((self._forever, "rung-engine"), (self._keep_leases, "rung-leases")):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop taking work; what runs is cancelled where it can be, else given back to the queue."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)
        with self._lock:
            drivers = list(self._drivers.values())
        for driver in drivers:
            driver.lose()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if "_chores" in self.__dict__:
            self._chores.close()
        for name, executor in self._executors.items():
            try:
                executor.close()
            except Exception:  # a cluster that has gone keeps no run from being given back
                _log.exception("executor %s could not be closed", name)
        now = self.platform.clock.now()
        for driver in drivers:
            with contextlib.suppress(RungError):
                self.platform.database.write(lambda c, job=driver.job: QueueStore(c).give_back(job, now=now, died=False))  # type: ignore[misc]

    def run_until_idle(self, timeout_s: float = 600.0) -> int:
        """Work until no event, fire time or queued run is due; the number of rounds that found work."""
        keeper = threading.Thread(target=self._keep_leases, name="rung-leases", daemon=True)
        keeper.start()
        self._threads.append(keeper)
        rounds, until = 0, time.monotonic() + timeout_s
        while time.monotonic() < until:
            with self._lock:
                busy = bool(self._active)
            worked = self.tick()  # a run that ends during it leaves events that only the next round sees
            if not worked and not busy:
                return rounds
            rounds += worked
            if not worked:
                time.sleep(0.01)
        return rounds

    def tick(self) -> bool:
        """One round; whether it found anything to do."""
        chores = self._chores
        worked = self._deliver()
        worked |= chores.fire()
        worked |= self._reap()
        worked |= self._pack()
        worked |= chores.send()
        return self._claim() or worked

    def register(self) -> tuple[PipelineInfo, ...]:
        """Tell the platform which pipelines the project folder defines, when they have changed. Raises Invalid."""
        project = load_project(self.platform.settings)
        if project is not self._described:
            infos = tuple(described(p, code="", now=EPOCH) for p in project.pipelines.values())
            if infos != self._known:
                self._make_known(infos)
                self._known = infos
            self._described = project
        self._triggers.sync_or_warn()
        return self._known

    def _make_known(self, infos: tuple[PipelineInfo, ...]) -> None:
        """Tell the platform of pipelines, unless it knows all of them just so."""
        transport = ServiceTransport(self.platform, self._project)
        known = {info.name: changed(info, seen_at=EPOCH) for info in transport.call(ListPipelines())}
        if any(known.get(info.name) != info for info in infos):
            now = self.platform.clock.now()
            transport.call(RegisterPipelines(pipelines=tuple(changed(info, seen_at=now) for info in infos)))

    def offer(self, pipeline: Pipeline[..., Any]) -> PipelineInfo:
        """Make a pipeline object of this process known, besides those of the project folder."""
        self._offered[pipeline.name] = pipeline
        info = described(pipeline, code="", now=self.platform.clock.now())
        ServiceTransport(self.platform, self._project).call(RegisterPipelines(pipelines=(info,)))
        return info

    @property
    def offered(self) -> frozenset[str]:
        """Names of the pipelines that this process has offered."""
        return frozenset(self._offered)

    def execute(self, run: str, *, listener: Listener | None = None) -> PipelineRun:
        """Execute, here and now, a run that was queued ``held`` by this process. Raises Conflict when another has it."""
        job = self.platform.database.read(lambda c: QueueStore(c).of_subject(run))
        if job is None:
            raise Conflict(f"Pipeline run {run} has no job.", code="pipelines.no_job", hint="Start a new run.")
        job = self._when_free(job)
        done = threading.Event()
        keeper = threading.Thread(target=self._keep_leases, args=(done,), name="rung-leases", daemon=True)
        keeper.start()
        try:
            return self._drive(job, listener)
        except LeaseLost:
            raise Conflict(
                f"Pipeline run {run} was taken by another worker.",
                code="pipelines.being_executed",
                hint="`rung pipeline status` follows it.",
            ) from None
        finally:
            done.set()

    def _when_free(self, job: Job) -> Job:
        """The job, leased to this process: at once, or when its group has room. Raises Conflict when another has it."""
        lease = timedelta(seconds=self.platform.settings.engine.lease_s)
        while job.state == "queued" and not self._stop.is_set():
            claimed = self.platform.database.write(lambda c, one=job.id: QueueStore(c).claim(QUEUE, owner=self.owner, lease=lease, job=one))  # type: ignore[misc]
            if claimed is not None:
                return claimed
            time.sleep(_ROOM_S)
            job = self.platform.database.read(lambda c, one=job.id: QueueStore(c).get(one))  # type: ignore[misc]
        _refuse_foreign(job, self.owner)
        return job

    def interrupt(self) -> bool:
        """Stop the runs that are driven here, without waiting for steps that cannot be stopped; whether there was one."""
        with self._lock:
            drivers = list(self._drivers.values())
        for driver in drivers:
            driver.leave()
        return bool(drivers)

    def close(self) -> None:
        """Let go of the executors of a foreground engine."""
        self.stop()

    def _forever(self) -> None:
        settings = self.platform.settings.engine
        looked = time.monotonic() - 1.0  # a second later: the server is to be ready first
        while not self._stop.is_set():
            try:
                if time.monotonic() - looked > 2:  # noqa: PLR2004 - often enough for a person who saves a file
                    looked = time.monotonic()
                    with contextlib.suppress(RungError):  # a broken module is told to whoever runs its pipeline
                        self.register()
                worked = self.tick()
            except Exception:
                _log.exception("a round of the engine failed")
                worked = False
            self._stop.wait(0.02 if worked else settings.tick_s)

    def _deliver(self) -> bool:
        now = self.platform.clock.now()
        if not self.platform.database.read(lambda c: bool(waiting(c, now, limit=1))):
            return False
        self._chores  # noqa: B018 - loading them subscribes whoever is to hear; an event nobody hears is put aside for good
        if not self._holds("outbox"):
            return False
        entries = self.platform.database.read(lambda c: waiting(c, now, limit=200))
        quiet = [entry for entry in entries if not self._heard(entry)]
        if quiet:
            self.platform.database.write(lambda c: _mark_all(c, quiet, now))
        for entry in entries:
            if entry not in quiet:
                self._hand_over(entry)
        return bool(entries)

    def _holds(self, name: str) -> bool:
        """Take or renew a singleton lease; that of a dead process of this machine is free at once."""
        database = self.platform.database
        if database.write(lambda c: QueueStore(c).hold(name, owner=self.owner, lease=_SINGLETON)) is not None:
            return True
        holder = database.read(lambda c: QueueStore(c).holder(name))
        if holder is None or not is_dead(holder):
            return False
        database.write(lambda c: QueueStore(c).release(name, owner=holder))
        return database.write(lambda c: QueueStore(c).hold(name, owner=self.owner, lease=_SINGLETON)) is not None

    @staticmethod
    def _heard(entry: OutboxEntry) -> bool:
        event = as_event(entry)
        return event is not None and bool(SUBSCRIBERS.get(type(event)))

    def _hand_over(self, entry: OutboxEntry) -> None:
        event = as_event(entry)
        error: str | None = None
        transport = ServiceTransport(self.platform, entry.project)
        for subscriber in SUBSCRIBERS.get(type(event), ()) if event else ():
            try:
                subscriber(event, transport)
            except Exception as failure:
                error = f"{subscriber.__module__}.{subscriber.__qualname__}: {type(failure).__name__}: {failure}"
                _log.warning("event %s %s: %s", entry.kind, entry.id, error)
        now = self.platform.clock.now()
        pause = min(_LONGEST_PAUSE_S, 0.5 * 2**entry.attempts)
        if error is not None and entry.attempts + 1 >= _MOST_TRIES:
            _log.error("event %s %s is given up after %d tries", entry.kind, entry.id, _MOST_TRIES)
            pause = 10 * 365 * 86400.0
        self.platform.database.write(lambda c: mark(c, entry, now=now, due_at=now + timedelta(seconds=pause), error=error))

    def _pack(self) -> bool:
        """Pack metric points that have gathered; looked at every few seconds, since nothing waits for it."""
        if time.monotonic() < self._pack_at:
            return False
        full = self.platform.database.read(lambda c: PointStore(c).full_tails(1))
        if full:
            ServiceTransport(self.platform, self._project).call(PackMetrics())
        else:
            self._pack_at = time.monotonic() + _PACK_S
        return bool(full)

    def _reap(self) -> bool:
        """Give back jobs whose holder has shown no life for the length of its lease or is a dead process of this machine."""
        jobs = self.platform.database.read(lambda c: QueueStore(c).leased(QUEUE))
        silent = {job.id for job in self._watch.silent(jobs)}
        given = False
        while self._owed:
            given |= self._give_back(self._owed[0], died=False)
            del self._owed[0]
        for job in jobs:
            if job.id not in self._drivers and job.owner != self.owner and (job.id in silent or is_dead(job.owner or "")):
                given |= self._give_back(job)
        return given

    def _give_back(self, job: Job, *, died: bool = True) -> bool:
        transport = ServiceTransport(self.platform, job.project)

        def save(scope: Any) -> bool:
            state = QueueStore(scope.connection).give_back(job, now=scope.now, died=died)
            if state == "failed":
                abandon(scope, [job.subject], f"Its worker died {job.attempts} times.")
            return state is not None

        return transport.scope().write(save)

    def _claim(self) -> bool:
        """Take queued runs as long as there is room for them."""
        taken = False
        while not self._stop.is_set():
            with self._lock:
                if len(self._active) >= self._pool._max_workers:  # noqa: SLF001 - the pool has no public width
                    return taken
            if not self.platform.database.read(lambda c: QueueStore(c).has_queued(QUEUE)):
                return taken
            lease = timedelta(seconds=self.platform.settings.engine.lease_s)
            job = self.platform.database.write(lambda c: QueueStore(c).claim(QUEUE, owner=self.owner, lease=lease))  # noqa: B023 - called at once
            if job is None:
                return taken
            taken = True
            try:
                future = self._pool.submit(self._background, job)
            except RuntimeError:  # this engine has stopped meanwhile
                self._give_back(job, died=False)
                return taken
            with self._lock:
                self._active.add(future)
            future.add_done_callback(partial(self._forget, job))
        return taken

    def _forget(self, job: Job, future: Future[None]) -> None:
        with self._lock:
            self._active.discard(future)
        if future.cancelled():  # this engine stops, and it had not begun
            self._give_back(job, died=False)

    def _background(self, job: Job) -> None:
        try:
            self._drive(job, None, returns=True)
        except LeaseLost:
            if self._stop.is_set():  # it may have been claimed when this engine had begun to stop
                self._give_back(job, died=False)
            else:
                _log.warning("run %s was taken by another worker", job.subject)
        except Exception as error:
            _log.exception("run %s could not be driven", job.subject)
            again = changed(job, attempts=job.attempts + 1)  # so that this claim counts, though its holder lives
            try:
                if job.attempts < _MOST_FAULTS:
                    self._give_back(again, died=False)
                else:
                    self._give_up(job, f"The engine failed: {type(error).__name__}: {error}")
            except Exception:  # the database that kept it from being driven is still away: a later round gives it back
                _log.exception("run %s could not be given back yet", job.subject)
                self._owed.append(again)

    def _give_up(self, job: Job, why: str) -> None:
        def save(scope: Any) -> None:
            if QueueStore(scope.connection).finish(job, now=scope.now, state="failed", error=why[:1000]):
                abandon(scope, [job.subject], why)

        ServiceTransport(self.platform, job.project).scope().write(save)

    def _drive(self, job: Job, listener: Listener | None, *, returns: bool = False) -> PipelineRun:
        transport = ServiceTransport(self.platform, job.project)
        driver = (PartialDriver if ONLY in job.payload else Driver)(
            self.platform, job, self._executor, self._admission, self.owner, offered=self._offered, listener=listener, returns=returns,
        )  # fmt: skip
        with self._lock:
            self._drivers[job.id] = driver  # its lease is renewed from now on: to restore code may take longer than a lease
        if self._stop.is_set():  # and who stops may have looked for drivers already
            driver.lose()
        restored = None
        try:
            try:
                restored = _restored(transport, job)
            except RungError as error:
                return driver.refuse(error)
            if restored is None or not restored.repeats:
                return driver.execute(restored, None)
            from rung.engine.reproducing.comparing import compare_runs  # noqa: PLC0415 - for reproductions alone

            return driver.execute(restored, partial(compare_runs, transport, restored))
        finally:
            if restored is not None:
                restored.discard()
            with self._lock:
                if self._drivers.get(job.id) is driver:  # not one that has taken the job up again after this one lost it
                    del self._drivers[job.id]

    def _executor(self, name: str) -> Executor:
        with self._lock:
            if name not in self._executors:
                self._executors[name] = EXECUTORS.get(name)(
                    self.platform.blobs, self.platform.settings.engine.workers, self.platform.settings
                )
            return self._executors[name]

    def _keep_leases(self, done: threading.Event | None = None) -> None:
        """Renew every third of a lease; a lost one stops its driver at once, a wish to cancel is passed on."""
        lease_s = self.platform.settings.engine.lease_s
        ended = done or self._stop
        while not ended.wait(min(lease_s / 3, 1.0)) and not self._stop.is_set():
            with self._lock:
                drivers = list(self._drivers.values())
            for driver in drivers:
                try:
                    answer = self.platform.database.write(
                        lambda c, job=driver.job: QueueStore(c).heartbeat(job, lease=timedelta(seconds=lease_s))  # type: ignore[misc]
                    )
                except Exception as error:  # without this thread every run of this process would be taken from it
                    _log.warning("the lease of run %s was not renewed: %s: %s", driver.job.subject, type(error).__name__, error)
                    continue
                if answer == "lost":
                    driver.lose()
                elif answer == "cancel":
                    driver.cancel()


def _mark_all(connection: Connection, entries: list[OutboxEntry], now: datetime) -> None:
    for entry in entries:
        mark(connection, entry, now=now)


def _refuse_foreign(job: Job, worker: str) -> None:
    """Raise Conflict unless a job is leased to this worker."""
    if job.state != "leased" or job.owner != worker:
        raise Conflict(
            f"Pipeline run {job.subject} is held by {job.owner or 'nobody'}.", code="pipelines.being_executed", hint="Wait for it."
        )


def _restored(transport: ServiceTransport, job: Job) -> Restored | None:
    """What a reproduction's or a package's run is made from; None for a run of the project's folder. Raises NotFound, Unavailable."""
    run = transport.scope().read(lambda s: PipelineStore(s.connection, s.project).run(job.subject))
    if run.reproduces is None and not run.package:
        return None
    from rung.engine.reproducing.restoring import restored_for  # noqa: PLC0415 - most runs are of the project's folder

    return restored_for(transport, run, job)
