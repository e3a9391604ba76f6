"""Hand-over to Ray from inside a step: a training function to Ray Train, the partitions of a batch to Ray Data.

What the training reports becomes the step's: metrics go to its tracking run, the newest checkpoint is the step's own,
so a retry, or a run that was killed, goes on from there wherever it runs.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from rung.client.inside import context
from rung.core.errors import Invalid
from rung.core.settings import load_settings
from rung.engine.executors.ray import imported, joined
from rung.pipelines.artifacts import Metrics
from rung.pipelines.context import StepContext
from rung.pipelines.materialisers import Payload, load, materialise

_EVERY_S = 0.5
_NAME = "reports-"  # a checkpoint's folder says after how many reports it was made
_restored: list[Any] = []


@dataclass(frozen=True)
class TrainedOnRay:
    """What a training came to: the last metrics that its first worker reported, and the folder of its last checkpoint."""

    metrics: Metrics = field(default_factory=Metrics)
    checkpoint: Path | None = None
    reports: int = 0


def train_on_ray(
    fn: Callable[..., Any],
    *,
    config: Mapping[str, Any] | None = None,
    workers: int = 2,
    cpus: float = 1,
    gpus: float = 0,
    failures: int = 0,
    storage: str = "",
) -> TrainedOnRay:
    """Inside of a step: train by Ray Train on the cluster of the settings, or on one of this machine.

    Args:
        fn: runs on every worker, with ``config`` if it takes an argument; it calls ``ray.train.report``, and begins from
            ``rung.train_checkpoint()`` where there is one. The training is a ``TorchTrainer`` where torch is installed.
        workers: how many, each with so many ``cpus`` and ``gpus``.
        failures: how often workers that failed are started again before the step fails; the step's retries come on top.
        storage: folder or URL that all nodes reach, for checkpoints; default a folder of this machine.

    Raises:
        Unavailable: Ray is not installed, or the cluster cannot be reached. Invalid: the numbers make no sense, or a
            cluster of several nodes has no storage. ray.train.TrainingFailedError: it failed more often than allowed.
    """
    if workers < 1 or cpus < 0 or gpus < 0 or failures < 0:
        raise Invalid(f"No training has {workers} workers of {cpus} CPUs and {gpus} GPUs.", code="scale.bad_size", hint="Give 1 or more.")
    here, ray = context(), imported()
    own = joined(ray, load_settings().engine.ray_address, max(2, round(workers * cpus)))
    scratch = Path(tempfile.mkdtemp(prefix="rung-ray-"))
    try:
        if not storage and sum(node["Alive"] for node in ray.nodes()) > 1:
            raise Invalid("A cluster of several nodes needs storage.", code="scale.no_storage", hint="Give storage= that all nodes reach.")
        return _trained(ray, here, fn, config, workers, {"CPU": cpus, **({"GPU": gpus} if gpus else {})}, failures, storage or str(scratch))
    finally:
        if own:
            ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def train_checkpoint() -> Any:
    """On a worker of ``train_on_ray``: the ``ray.train.Checkpoint`` to begin from; None at the very beginning."""
    found = imported().train.get_checkpoint()
    return found or (_restored[0] if _restored else None)


def mapped_by_ray(tables: Sequence[pl.DataFrame], fn: Callable[..., pl.DataFrame], *arguments: Any) -> list[pl.DataFrame]:
    """``fn(table, *arguments)`` of each table by Ray Data, a task each, in any order. Raises Unavailable without Ray."""
    ray = imported()
    import ray.data as ray_data  # noqa: PLC0415 - an extra, and heavy

    try:
        held = ray.put(arguments)
    except TypeError as error:
        raise Invalid(f"The model cannot travel to Ray: {error}", code="scale.unpicklable", hint="Use --executor ray instead.") from None

    def mapped(table: Any) -> Any:
        made = pl.from_arrow(table)
        return fn(made, *ray.get(held)).to_arrow()

    ray_data.DataContext.get_current().enable_progress_bars = False
    found = ray_data.from_arrow([table.to_arrow() for table in tables]).map_batches(mapped, batch_size=None, batch_format="pyarrow")
    frames = [pl.DataFrame(pl.from_arrow(table)) for table in ray.get(found.to_arrow_refs())]
    return [frame for frame in frames if frame.height]


def _trained(
    ray: Any, here: StepContext, fn: Callable[..., Any], config: Mapping[str, Any] | None, workers: int, each: dict[str, float],
    failures: int, storage: str,
) -> TrainedOnRay:  # fmt: skip
    from ray import train  # noqa: PLC0415 - an extra, and heavy

    before = here.checkpoint.latest()
    mailbox = ray.remote(num_cpus=0)(_Mailbox).remote()

    class Told(train.UserCallback):
        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            ray.get(mailbox.put.remote((metrics[0] if metrics else {}, checkpoint)))

    trainer = _trainer()(
        _function(ray, fn, before),
        train_loop_config=dict(config or {}),
        scaling_config=train.ScalingConfig(num_workers=workers, use_gpu="GPU" in each, resources_per_worker=each),
        run_config=train.RunConfig(
            name="training", storage_path=storage, callbacks=list[Any]([Told()]),
            failure_config=train.FailureConfig(max_failures=failures), checkpoint_config=train.CheckpointConfig(num_to_keep=3),
        ),
    )  # fmt: skip
    relay = _Relay(ray, mailbox, here, before)
    relay.start()
    try:
        trainer.fit()
    finally:
        relay.end()
        ray.kill(mailbox)
    if relay.error is not None:
        raise relay.error
    return TrainedOnRay(Metrics(relay.last), relay.folder, relay.reports)


def _function(ray: Any, fn: Callable[..., Any], before: Path | None) -> Callable[[dict[str, Any]], Any]:
    """The function as workers run it: the project's modules travel by value, the checkpoint through Ray."""
    home = getattr(sys.modules.get(fn.__module__), "__file__", None)
    for module in list(sys.modules.values()):
        place = getattr(module, "__file__", None)
        if home and place and Path(place).is_relative_to(Path(home).parent) and not module.__name__.startswith("rung."):
            ray.cloudpickle.register_pickle_by_value(module)
    packed = None if before is None else materialise(before, where="checkpoint of a training")
    held = None if packed is None else ray.put(packed)
    takes = fn.__code__.co_argcount if hasattr(fn, "__code__") else 1

    def worker(config: dict[str, Any]) -> Any:
        begin_from(None if held is None else ray.get(held))
        return fn(config) if takes else fn()

    return worker


def begin_from(packed: tuple[str, Payload] | None) -> None:
    """On a worker: what ``train_checkpoint`` answers until the training has saved one of its own."""
    _restored.clear()
    if packed is not None:
        imported()
        from ray.train import Checkpoint  # noqa: PLC0415 - an extra, and heavy

        _restored.append(Checkpoint.from_directory(load(*packed, Path(tempfile.mkdtemp(prefix="rung-checkpoint-")))))


def _trainer() -> Any:
    if find_spec("torch") is not None:
        from ray.train.torch import TorchTrainer  # noqa: PLC0415 - an extra, and heavy

        return TorchTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # noqa: PLC0415 - an extra, and heavy

    return DataParallelTrainer


class _Mailbox:
    """An actor between the training, which may run on any node, and the step."""

    def __init__(self) -> None:
        self._held: list[Any] = []

    def put(self, report: Any) -> None:
        self._held.append(report)

    def take(self) -> list[Any]:
        held, self._held = self._held, []
        return held


class _Relay(threading.Thread):
    """Brings reports from the mailbox to the step: metrics to its tracking run, the newest checkpoint to its own."""

    def __init__(self, ray: Any, mailbox: Any, here: StepContext, before: Path | None) -> None:
        super().__init__(daemon=True, name="rung-ray-relay")
        self._ray, self._mailbox, self._here = ray, mailbox, here
        self._ended = threading.Event()
        self.reports = int(before.name.removeprefix(_NAME)) if before is not None and before.name.startswith(_NAME) else 0
        self.last: dict[str, float] = {}
        self.folder = before
        self.error: Exception | None = None

    def run(self) -> None:
        """Until the end, and what came just before it."""
        try:
            while not self._ended.wait(_EVERY_S):
                self._bring()
            self._bring()
        except Exception as error:
            self.error = error

    def end(self) -> None:
        """Wait until everything was brought."""
        self._ended.set()
        self.join()

    def _bring(self) -> None:
        newest: tuple[int, Any] | None = None
        for metrics, checkpoint in self._ray.get(self._mailbox.take.remote()):
            self.reports += 1
            numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}
            if numbers:
                self.last = numbers
                self._here.log_metrics(numbers, self.reports)
            newest = (self.reports, checkpoint) if checkpoint is not None else newest
        if newest is not None:
            folder = Path(tempfile.mkdtemp(prefix="rung-checkpoint-")) / f"{_NAME}{newest[0]}"
            newest[1].to_directory(str(folder))
            self._here.checkpoint.save(folder)
            if self.folder is not None:
                shutil.rmtree(self.folder.parent, ignore_errors=True)
            self.folder = folder
