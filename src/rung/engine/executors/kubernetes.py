"""Steps as jobs of Kubernetes: one job an attempt, never retried by the cluster; errand and reply lie in the blob store."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rung.core.errors import Invalid, NotFound, RungError, Unavailable
from rung.core.ids import new_id
from rung.engine.executors.family import EXECUTORS, Outcome, Task
from rung.engine.kubernetes.api import Api
from rung.engine.kubernetes.manifests import attempt_job, job_name
from rung.engine.remote import outcome_of_reply
from rung.engine.wire import packed
from rung.storage.blobs import BlobStore

_POLL_S = 1.0
_LOG_EVERY = 3
_WAITS = 20  # polls that a pod may be without an image before the attempt fails
_SLOTS = 100
_STUCK = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
_MEMORY = ("builtins.MemoryError", "builtins.Exception", "builtins.BaseException")


@dataclass
class _Job:
    """An attempt that is in the cluster."""

    task: Task
    done: Future[Outcome]
    began: float = field(default_factory=time.perf_counter)
    created: bool = False
    cancelled: bool = False
    polls: int = 0
    stuck: int = 0
    missed: int = 0


@EXECUTORS.member("kubernetes")
class Kubernetes:
    """The executor of one job an attempt."""

    can_stop = True
    local = False
    slots = _SLOTS

    def __init__(self, blobs: BlobStore, width: int, settings: Any = None, *, poll_s: float = _POLL_S) -> None:
        engine = settings.engine if settings is not None else None
        self._image = engine.kubernetes_image if engine else ""
        if not self._image:
            raise Invalid("No container image is set for Kubernetes.", code="engine.no_image", hint="Set engine.kubernetes_image.")
        self._api = Api(engine.kubernetes_url if engine else "", engine.kubernetes_namespace if engine else "default")
        self._blobs = blobs
        self._poll_s = poll_s
        self._owner = f"{socket.gethostname()[:30]}-{new_id()[-12:]}"
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="rung-kubernetes", daemon=True)
        self._poller.start()

    def submit(self, task: Task) -> Future[Outcome]:
        """Start an attempt."""
        done: Future[Outcome] = Future()
        done.set_running_or_notify_cancel()
        job, entered = _Job(task, done), False
        try:
            if task.context.attempt > 1 and not task.items:
                self._end_earlier(task)
            errand = self._blobs.put(packed(task, isolated=True))
            with self._lock:
                self._jobs[job_name(task)] = job
                entered = True
            store = task.environ.get("RUNG_STORAGE_BLOBS", "")
            try:
                self._api.create(attempt_job(task, errand, image=self._image, blobs=store, owner=self._owner))
            except Unavailable:
                self._delete(job_name(task))  # the cluster may have taken it, and only its answer is lost
                raise
            job.created = True
            if job.cancelled:  # meanwhile, when there was nothing to delete yet
                self._delete(job_name(task))
        except RungError as error:
            with self._lock:  # who takes it out of the table answers for it; closing may have done so
                mine = not entered or self._jobs.pop(job_name(task), None) is not None
            if mine:
                done.set_result(Outcome("failed", error=f"Step {task.step!r} could not begin: {error}"))
        return done

    def cancel(self, task: str) -> None:
        """Delete the attempt's job."""
        with self._lock:
            job = next((job for job in self._jobs.values() if job.task.id == task), None)
            if job is not None:
                job.cancelled = True
        if job is not None:
            self._delete(job_name(job.task))

    def _delete(self, name: str) -> None:
        # while the cluster does not answer the next look tries again, or the job's own end comes; a closed client says RuntimeError
        with suppress(RungError, RuntimeError):
            self._api.delete(name)

    def close(self) -> None:
        """Delete what runs."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            self.cancel(job.task.id)
            self._finish(job, Outcome("cancelled", error=f"Step {job.task.step!r} was cancelled."))
        self._stop.set()
        self._poller.join()
        self._api.close()

    def _end_earlier(self, task: Task) -> None:
        """Delete a job that an engine which has died left behind, so that no step runs twice side by side."""
        probe = attempt_job(task, "", image=self._image, blobs="", owner="")["metadata"]["labels"]
        for held in self._api.jobs(f"rung.dev/run={probe['rung.dev/run']},rung.dev/step={probe['rung.dev/step']}"):
            name = str(held["metadata"]["name"])
            if name not in self._jobs:
                self._api.delete(name)

    def _poll(self) -> None:
        while not self._stop.wait(self._poll_s):
            with self._lock:
                jobs = {name: job for name, job in self._jobs.items() if job.created}  # others may well not be there
            if not jobs:
                continue
            try:
                pods = {str(pod["metadata"]["labels"].get("job-name", "")): pod for pod in self._api.pods(f"rung.dev/owner={self._owner}")}
                known = {str(held["metadata"]["name"]): held for held in self._api.jobs(f"rung.dev/owner={self._owner}")}
            except RungError:
                continue  # the cluster does not answer now; what it has done it will tell later
            for name, job in jobs.items():
                try:
                    self._looked(name, job, pods.get(name), known.get(name))
                except Exception as error:  # an answer no schema allows must not end the poller
                    self._finish(job, self._outcome(job, "lost", f"cannot be followed: {type(error).__name__}: {error}"))

    def _looked(self, name: str, job: _Job, pod: dict[str, Any] | None, held: dict[str, Any] | None) -> None:
        job.polls += 1
        if job.cancelled and held is not None:  # when it was cancelled the cluster may not have answered
            self._delete(name)
        gone = pod is None and (held is None or _has_ended(held))
        job.missed = job.missed + 1 if gone else 0
        if pod is None:
            if job.missed > 1:  # once could be a list that is older than the job
                what = "job is no longer in the cluster" if held is None else "pod has gone, and no other comes"
                self._finish(job, self._outcome(job, "lost", f"was lost: its {what}"))
                self._delete(name)
            return
        status = pod.get("status", {})
        state: dict[str, Any] = next((c.get("state", {}) for c in status.get("containerStatuses", ())), {})
        ended = state.get("terminated")
        if ended is None and status.get("phase") not in {"Succeeded", "Failed"}:
            job.stuck = job.stuck + 1 if state.get("waiting", {}).get("reason") in _STUCK else 0
            if job.stuck > _WAITS:
                why = f"{state['waiting']['reason']}: {state['waiting'].get('message', '')}"
                self._finish(job, self._outcome(job, "failed", f"could not begin: {why}"))
                self._delete(name)
            elif status.get("phase") == "Running" and job.polls % _LOG_EVERY == 0:
                self._keep_log(job, pod)
            return
        self._keep_log(job, pod)
        self._finish(job, self._told(job, status, ended or {}))
        self._delete(name)

    def _told(self, job: _Job, status: dict[str, Any], ended: dict[str, Any]) -> Outcome:
        message = str(ended.get("message", "")).strip()
        if message.startswith("blake3:"):
            try:
                return outcome_of_reply(self._blobs.get(message), job.task, self._blobs)
            except NotFound as error:
                return self._outcome(job, "lost", f"was lost: {error}")
        if ended.get("reason") == "OOMKilled":
            return self._outcome(job, "failed", "used more memory than its container may", _MEMORY)
        why = status.get("reason") or ended.get("reason") or "no reason told"
        code = ended.get("exitCode")
        if status.get("reason") or code in {None, 137, 143}:  # evicted, its node gone or shut down
            return self._outcome(job, "lost", f"was lost with its pod: {why} {status.get('message', '')}".rstrip())
        return self._outcome(job, "failed", f"could not begin: its container ended with exit code {code} ({why}), see the log")

    @staticmethod
    def _outcome(job: _Job, status: Any, said: str, types: tuple[str, ...] = ()) -> Outcome:
        if job.cancelled:
            status, said, types = "cancelled", "was cancelled", ()
        wall_s = time.perf_counter() - job.began
        return Outcome(status, error=f"Step {job.task.step!r} {said}.", wall_s=wall_s, error_types=types, blameless=status == "lost")

    def _keep_log(self, job: _Job, pod: dict[str, Any]) -> None:
        said = self._api.log(str(pod["metadata"]["name"]))
        if said:
            job.task.log.parent.mkdir(parents=True, exist_ok=True)
            job.task.log.write_bytes(said)

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        with self._lock:
            if self._jobs.pop(job_name(job.task), None) is None:
                return
        job.done.set_result(outcome)


def _has_ended(held: dict[str, Any]) -> bool:
    """Whether a job makes no pod any more."""
    conditions = held.get("status", {}).get("conditions") or ()
    return any(one.get("type") in {"Failed", "Complete"} and one.get("status") == "True" for one in conditions)
