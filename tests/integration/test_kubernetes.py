"""Manifests that the schemas of the Kubernetes API accept, and what becomes of attempts whose pods fare badly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import Invalid, Unavailable
from rung.core.ids import new_id
from rung.core.settings import EngineSettings, Settings
from rung.engine.executors import Task
from rung.engine.executors.kubernetes import Kubernetes, _Job
from rung.engine.kubernetes.manifests import attempt_job, job_name, label
from rung.pipelines.context import StepContext
from rung.storage.blobs import open_blobs
from tests.conformance import executor_steps as steps
from tests.conformance.fake_kubernetes import FakeCluster, fake_kubernetes
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]


def _task(folder: Path, function: Any, **options: Any) -> Task:
    arguments = options.pop("arguments", {})
    return Task(
        id=new_id(), step=function.__name__, target=f"{steps.__name__}:{function.__name__}", outputs=("output",), arguments=arguments,
        context=StepContext(pipeline="p", pipeline_run="0" * 32, step="sub/train.2", attempt=options.pop("attempt", 1), seed=7),
        log=folder / "logs" / "log", scratch=folder / "scratch", folder=ROOT,
        environ={"RUNG_STORAGE_BLOBS": f"file://{folder / 'blobs'}"}, **options,
    )  # fmt: skip


@pytest.fixture
def cluster() -> Iterator[tuple[str, FakeCluster]]:
    with fake_kubernetes() as made:
        yield made


@pytest.fixture
def executor(cluster: tuple[str, FakeCluster], tmp_path: Path) -> Iterator[Kubernetes]:
    settings = Settings(engine=EngineSettings(kubernetes_url=cluster[0], kubernetes_image="registry.example/steps:1"))
    made = Kubernetes(open_blobs(f"file://{tmp_path / 'blobs'}"), 2, settings, poll_s=0.05)
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore")  # the validator's own imports
@pytest.mark.parametrize("version", ["1.27.0", "1.31.0"])
def test_manifests_are_what_the_schemas_say(tmp_path: Path, version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    options = {"cpus": 1.5, "gpus": 1.0, "memory_bytes": 1 << 30, "resources": {"licences": 2.0}, "secrets": ("TOKEN",)}
    job = attempt_job(_task(tmp_path, steps.double, **options), "blake3:" + "0" * 64, image="i:1", blobs="s3://b", owner="host-1")
    validator.validate(job, version, strict=True)
    job["spec"]["template"]["spec"]["containers"][0]["imagee"] = "typo"
    with pytest.raises(Exception, match="imagee"):
        validator.validate(job, version, strict=True)


def test_what_a_step_asks_for_is_what_its_container_gets(tmp_path: Path) -> None:
    task = _task(tmp_path, steps.double, cpus=1.5, gpus=1.0, memory_bytes=1 << 30, resources={"licences": 2.0}, secrets=("TOKEN",))
    job = attempt_job(task, "blake3:0", image="i:1", blobs="s3://b", owner="host-1")
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": "1500m", "memory": "1073741824"},
        "limits": {"nvidia.com/gpu": "1", "rung.dev/licences": "2", "memory": str((1 << 30) + (512 << 20))},
    }
    assert container["env"][1]["valueFrom"]["secretKeyRef"]["key"] == "TOKEN"  # a secret's value is in no manifest
    assert (job["spec"]["backoffLimit"], job["metadata"]["labels"]["rung.dev/step"]) == (0, "sub-train.2")


def test_labels_are_short_and_told_apart() -> None:
    assert len(label("x" * 200)) == 63
    assert label("x" * 200) != label("x" * 201)


def test_what_the_cluster_refuses_is_told_in_its_words(executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path) -> None:
    cluster[1].refusal = "jobs.batch is forbidden: User cannot create resource"
    outcome = executor.submit(_task(tmp_path, steps.double, arguments={"x": 1})).result(timeout=120)
    assert (outcome.status, "User cannot create resource" in outcome.error) == ("failed", True)


def test_a_pod_that_dies_with_its_node_is_lost_and_blameless(
    executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path
) -> None:
    task = _task(tmp_path, steps.sleep, arguments={"seconds": 60.0})
    future = executor.submit(task)
    time.sleep(1.0)
    cluster[1].lose(job_name(task))
    outcome = future.result(timeout=120)
    assert (outcome.status, outcome.blameless) == ("lost", True)


def test_a_job_that_somebody_deleted_is_lost(executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path) -> None:
    task = _task(tmp_path, steps.sleep, arguments={"seconds": 60.0})
    future = executor.submit(task)
    time.sleep(0.5)
    cluster[1].delete(job_name(task))
    assert future.result(timeout=120).status == "lost"


def test_a_cluster_that_is_slow_to_take_a_job_has_not_lost_it(
    executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path
) -> None:
    cluster[1].slow_s = 1.0  # twenty looks
    assert executor.submit(_task(tmp_path, steps.double, arguments={"x": 1})).result(timeout=120).status == "succeeded"


def _once_submitted(executor: Kubernetes, act: Callable[[], object]) -> None:
    """Act as soon as an attempt is entered, which a slow cluster has not taken yet."""

    def wait() -> None:
        wait_until(lambda: bool(executor._jobs), 120, lambda: "nothing was submitted")
        act()

    threading.Thread(target=wait, daemon=True).start()


def test_a_job_that_is_cancelled_while_the_cluster_takes_it_is_ended(
    executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path
) -> None:
    cluster[1].slow_s = 1.0
    task = _task(tmp_path, steps.sleep, arguments={"seconds": 60.0})
    _once_submitted(executor, lambda: executor.cancel(task.id))
    assert executor.submit(task).result(timeout=120).status == "cancelled"
    assert job_name(task) not in cluster[1].jobs


def test_a_refusal_that_comes_after_closing_changes_nothing(cluster: tuple[str, FakeCluster], tmp_path: Path) -> None:
    settings = Settings(engine=EngineSettings(kubernetes_url=cluster[0], kubernetes_image="registry.example/steps:1"))
    made = Kubernetes(open_blobs(f"file://{tmp_path / 'blobs'}"), 2, settings, poll_s=0.05)
    cluster[1].slow_s, cluster[1].refusal = 1.0, "forbidden"
    _once_submitted(made, made.close)
    assert made.submit(_task(tmp_path, steps.double, arguments={"x": 1})).result(timeout=120).status == "cancelled"


def test_an_image_that_cannot_be_pulled_fails_the_attempt(executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path) -> None:
    cluster[1].waiting_reason = "ImagePullBackOff"
    outcome = executor.submit(_task(tmp_path, steps.double, arguments={"x": 1})).result(timeout=120)
    assert (outcome.status, "ImagePullBackOff" in outcome.error) == ("failed", True)


def test_a_retry_first_ends_the_job_that_a_dead_engine_left(executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path) -> None:
    left = _task(tmp_path, steps.sleep, arguments={"seconds": 60.0})
    cluster[1].waiting_reason = "ContainerCreating"
    cluster[1].create(attempt_job(left, "blake3:0", image="i:1", blobs="", owner="dead-engine"))
    cluster[1].waiting_reason = ""
    assert executor.submit(_task(tmp_path, steps.double, attempt=2, arguments={"x": 1})).result(timeout=120).status == "succeeded"
    assert job_name(left) not in cluster[1].jobs


def test_an_image_has_to_be_set(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No container image"):
        Kubernetes(open_blobs(f"file://{tmp_path}"), 2, Settings())


def test_a_cancel_that_the_cluster_does_not_hear_is_said_again(
    executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, delete, unheard = _task(tmp_path, steps.sleep, arguments={"seconds": 60.0}), executor._api.delete, list[str]()

    def deaf_once(name: str) -> None:
        if not unheard:
            unheard.append(name)
            raise Unavailable("The Kubernetes API does not answer.", code="engine.no_kubernetes")
        delete(name)

    monkeypatch.setattr(executor._api, "delete", deaf_once)
    future = executor.submit(task)
    executor.cancel(task.id)
    assert future.result(timeout=120).status == "cancelled"
    assert unheard == [job_name(task)]


def test_a_job_whose_taking_is_not_answered_is_not_left_behind(
    executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = executor._api.create

    def unanswered(job: dict[str, Any]) -> None:
        create(job)
        raise Unavailable("The Kubernetes API does not answer.", code="engine.no_kubernetes")

    monkeypatch.setattr(executor._api, "create", unanswered)
    assert executor.submit(_task(tmp_path, steps.sleep, arguments={"seconds": 60.0})).result(timeout=120).status == "failed"
    assert cluster[1].jobs == {}


def test_an_attempt_whose_pod_was_cleared_away_with_its_node_is_lost(
    executor: Kubernetes, cluster: tuple[str, FakeCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _task(tmp_path, steps.sleep, arguments={"seconds": 60.0})
    future = executor.submit(task)
    cluster[1].jobs[job_name(task)]["status"] = {"failed": 1, "conditions": [{"type": "Failed", "status": "True"}]}
    monkeypatch.setattr(executor._api, "pods", lambda _: [])
    outcome = future.result(timeout=120)
    assert (outcome.status, outcome.blameless) == ("lost", True)


def test_jobs_missed_now_and_then_are_not_lost(executor: Kubernetes, tmp_path: Path) -> None:
    job = _Job(_task(tmp_path, steps.double), Future())
    executor._jobs[job_name(job.task)] = job
    seen: tuple[dict[str, Any] | None, ...] = (None, {}, None, {}, None)
    for held in seen:  # lists that are older than the job, each followed by one that is not
        executor._looked(job_name(job.task), job, None, held)
    assert not job.done.done()
    executor._looked(job_name(job.task), job, None, None)
    assert job.done.result(timeout=1).status == "lost"
