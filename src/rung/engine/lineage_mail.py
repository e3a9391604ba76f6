"""Tells an OpenLineage endpoint what happens to runs: durable messages, sent in order by a thread of its own, again until taken.

Nothing waits for the endpoint. A message that it refuses (4xx) twenty times stays in its queue as failed, with the reason.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from rung.core.errors import NotFound, RungError, Unavailable
from rung.core.events import on
from rung.core.settings import OpenLineageSettings
from rung.engine import openlineage
from rung.engine.history import history_of
from rung.engine.host import Host, ServiceTransport
from rung.engine.leases import LeaseWatch
from rung.pipelines.owners import is_dead
from rung.pipelines.records import PipelineRunFinished, PipelineRunStarted, StepFinished
from rung.storage.queue import Job, QueueStore

_log = logging.getLogger("rung.engine")
QUEUE = "openlineage"
_LEASE = timedelta(seconds=60)
_LOOK_S, _SHORTEST_S, _LONGEST_S = 1.0, 1.0, 300.0
_MOST_REFUSALS = 20


@on(PipelineRunStarted)
def tell_started(event: PipelineRunStarted, transport: Any) -> None:
    """Queue the message of a run that has begun, or goes on."""
    _queue(transport, "start", event.pipeline_run, {"run": event.pipeline_run}, mark=event.at.isoformat())


@on(StepFinished)
def tell_step(event: StepFinished, transport: Any) -> None:
    """Queue the message of a step that has ended."""
    _queue(transport, "step", event.step_run, {"run": event.pipeline_run, "step": event.step_run}, mark=event.ended_at.isoformat())


@on(PipelineRunFinished)
def tell_ended(event: PipelineRunFinished, transport: Any) -> None:
    """Queue the message of a run that has ended."""
    _queue(transport, "end", event.pipeline_run, {"run": event.pipeline_run}, mark=event.ended_at.isoformat())


def _queue(transport: Any, kind: str, subject: str, payload: dict[str, str], *, mark: str) -> None:
    scope = transport.scope()
    if not scope.settings.openlineage.url:
        return
    key = f"{QUEUE}/{kind}/{subject}/{mark}"
    scope.write(
        lambda s: QueueStore(s.connection).add(
            s.project, queue=QUEUE, kind=kind, subject=subject, now=s.now, payload=payload, max_attempts=10_000, dedup_key=key
        )
    )


class LineageMail:
    """Sends what is queued, one message after the other; while the endpoint is down it is tried ever less often."""

    def __init__(self, platform: Host, owner: str) -> None:
        self._platform = platform
        self._owner = owner
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rung-openlineage")
        self._out: Future[bool] | None = None
        self._look_at = 0.0
        self._pause_s = _SHORTEST_S
        self._watch = LeaseWatch()

    @property
    def _settings(self) -> OpenLineageSettings:
        return self._platform.settings.openlineage

    def tick(self) -> bool:
        """One look; whether a message is under way, or was sent since the last one."""
        if not self._settings.url:
            return False
        if self._out is not None:
            if not self._out.done():
                return False  # the engine does not wait for it
            out, self._out = self._out, None  # whatever it raises is told of once
            if out.result():
                self._look_at, self._pause_s = 0.0, _SHORTEST_S
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_S
        self._reap()
        if not self._platform.database.read(lambda c: QueueStore(c).has_queued(QUEUE)):
            return False
        self._out = self._pool.submit(self._send_one)
        return True

    def close(self) -> None:
        """Let the message under way end; what is not sent stays queued."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _reap(self) -> None:
        """Queue again what an engine had taken that was killed before it was sent."""
        jobs = self._platform.database.read(lambda c: QueueStore(c).leased(QUEUE))
        silent = {job.id for job in self._watch.silent(jobs)}
        now = self._platform.clock.now()
        for job in jobs:
            if job.id in silent or is_dead(job.owner or ""):
                self._platform.database.write(lambda c, one=job: QueueStore(c).give_back(one, now=now))  # type: ignore[misc]

    def _send_one(self) -> bool:
        job = self._platform.database.write(lambda c: QueueStore(c).claim(QUEUE, owner=self._owner, lease=_LEASE))
        if job is None:
            return False
        try:
            beaten = time.monotonic()
            for event in events_of(ServiceTransport(self._platform, job.project), job, self._settings.namespace):
                post(self._settings, event)
                if time.monotonic() - beaten > _LEASE.total_seconds() / 4:
                    self._platform.database.write(lambda c: QueueStore(c).heartbeat(job, lease=_LEASE))
                    beaten = time.monotonic()
        except NotFound as error:
            self._finish(job, str(error))  # the run was erased
        except Unavailable as error:
            if error.code == "openlineage.refused" and int(job.payload.get("refused", 0)) + 1 >= _MOST_REFUSALS:
                _log.error("OpenLineage message %s of %s is given up: %s", job.kind, job.subject, error)
                self._finish(job, str(error))
                return True
            _log.warning("OpenLineage: %s", error)
            refused = int(job.payload.get("refused", 0)) + (error.code == "openlineage.refused")
            payload = {**job.payload, "refused": refused}
            self._platform.database.write(lambda c: QueueStore(c).requeue(job.id, attempts=0, payload=payload, run_at=job.run_at))
            self._look_at = time.monotonic() + self._pause_s
            self._pause_s = min(_LONGEST_S, self._pause_s * 2)
            return False
        except RungError as error:
            self._finish(job, str(error))
        else:
            self._finish(job, None)
        return True

    def _finish(self, job: Job, error: str | None) -> None:
        now = self._platform.clock.now()
        state = "done" if error is None else "failed"
        self._platform.database.write(lambda c: QueueStore(c).finish(job, now=now, state=state, error=error))  # type: ignore[arg-type]


def events_of(transport: Any, job: Job, namespace: str) -> list[openlineage.Event]:
    """What a message says. Raises NotFound for a run that has gone."""
    history = history_of(transport, job.payload["run"])
    if job.kind == "start":
        return [openlineage.begun(history, namespace)]
    steps = [step for step in history.steps if (step.status == "cached" if job.kind == "end" else step.id == job.payload["step"])]
    found = [event for step in steps for event in openlineage.step_events(history, step, namespace)]
    return found if job.kind == "step" else [*found, openlineage.ended(history, namespace)]


def post(settings: OpenLineageSettings, event: openlineage.Event) -> None:
    """Send one event. Raises Unavailable: nothing answers, or the endpoint refuses it."""
    import httpx  # noqa: PLC0415 - a fifth of a second that engines without an endpoint need not pay

    url = f"{settings.url.rstrip('/')}/{settings.endpoint.lstrip('/')}"
    headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    try:
        answer = httpx.post(url, json=event, headers=headers, timeout=settings.timeout_s)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise Unavailable(f"{url} does not answer: {error}.", code="openlineage.unreachable", hint="Check [openlineage] url.") from None
    if answer.is_server_error:
        raise Unavailable(f"{url} answered {answer.status_code}.", code="openlineage.unreachable", hint="Look at its log.")
    if not answer.is_success:
        raise Unavailable(
            f"{url} answered {answer.status_code}: {answer.text[:300]}.",
            code="openlineage.refused",
            hint="Check url, endpoint and api_key.",
        )
