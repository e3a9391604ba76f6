"""Experiments, runs, metrics and artifacts from Python."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rung.client.transports import Transport
from rung.core.digests import digest_of, digest_of_file
from rung.core.ids import new_id
from rung.core.records import Page
from rung.core.references import DatasetUse
from rung.tracking import records as r
from rung.tracking.capture import capture, find_lock


class TrackingVerbs:
    """Verbs of tracking. The fluent functions (``rung.start_run``, ``rung.log_metric`` …) stand on these."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._locks: dict[str, str] = {}

    def create_experiment(self, name: str, *, note: str = "") -> r.Experiment:
        """A new experiment with a note."""
        return self._transport.call(r.CreateExperiment(name=name, note=note))

    def experiments(self) -> tuple[r.Experiment, ...]:
        """Experiments, newest first."""
        return self._transport.call(r.ListExperiments())

    def start(
        self,
        experiment: str = "default",
        *,
        name: str = "",
        params: Mapping[str, r.ParamValue] | None = None,
        tags: Mapping[str, str] | None = None,
        seeds: Mapping[str, int] | None = None,
        datasets: Sequence[DatasetUse] = (),
        parent: str | None = None,
        context: r.RunContext | None = None,
    ) -> r.Run:
        """An open run with the context of this process; close it with ``finish``. The id is chosen here, so a retry opens no second one."""
        return self._transport.call(
            r.StartRun(
                experiment=experiment, name=name, id=new_id(), params=dict(params or {}), tags=dict(tags or {}),
                context=context or self.context(seeds), datasets=tuple(datasets), parent=parent,
            )
        )  # fmt: skip

    def context(self, seeds: Mapping[str, int] | None = None) -> r.RunContext:
        """What this process runs with; the lock is stored as a blob on the way."""
        lock = find_lock()
        digest = digest_of(lock.content)
        if digest not in self._locks:
            self._locks[digest] = self._transport.put_blob(lock.content)
        return capture(seeds=dict(seeds or {}), lock_digest=digest, lock_kind=lock.kind)

    def log(
        self,
        run: str,
        *,
        params: Mapping[str, r.ParamValue] | None = None,
        metrics: Mapping[str, float] | Iterable[r.MetricPoint] = (),
        tags: Mapping[str, str] | None = None,
        datasets: Sequence[DatasetUse] = (),
        step: int = 0,
    ) -> None:
        """Log it all or nothing; ``metrics`` is a dict of values at ``step``, or points."""
        points = [r.MetricPoint(key=k, value=float(v), step=step) for k, v in metrics.items()] if isinstance(metrics, Mapping) else metrics
        self._transport.call(
            r.LogBatch(
                run=run, batch=new_id(), params=dict(params or {}), metrics=tuple(points), tags=dict(tags or {}), datasets=tuple(datasets)
            )
        )

    def finish(self, run: str, status: Literal["succeeded", "failed", "cancelled"] = "succeeded", *, error: str = "") -> r.Run:
        """Close a run."""
        return self._transport.call(r.FinishRun(run=run, status=status, error=error))

    def log_artifact(self, run: str, source: Path | str | bytes, path: str | None = None) -> r.Artifact:
        """Store a file or bytes as an output of a run; ``path`` defaults to the file's name."""
        if isinstance(source, bytes):
            content: bytes | Path = source
            name, size = path or "artifact", len(source)
        else:
            content = Path(source)
            name, size = path or content.name, digest_of_file(content)[1]
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        digest = self._transport.put_blob(content)
        return self._transport.call(r.LogArtifact(owner=run, path=name, digest=digest, size_bytes=size, media_type=media_type))

    def artifacts(self, run: str) -> tuple[r.Artifact, ...]:
        """Outputs of a run."""
        return self._transport.call(r.ListArtifacts(owner=run))

    def read_artifact(self, run: str, path: str) -> bytes:
        """The bytes of an output. Raises KeyError for a path the run has not."""
        return self._transport.get_blob({item.path: item.digest for item in self.artifacts(run)}[path])

    def get(self, run: str) -> r.Run:
        """A run by its id or as ``experiment:number``."""
        return self._transport.call(r.GetRun(run=run))

    def search(
        self,
        filter: str = "",
        *,
        experiments: Sequence[str | int] | str = (),
        order_by: Sequence[str] | str = (),
        after: str | None = None,
        limit: int = 50,
        view: r.View = "active",
        points: bool = False,
    ) -> Page[r.Run]:
        """Runs that a filter finds, sorted, a page at a time: ``search("metrics.auc > 0.7", order_by="metrics.auc DESC")``."""
        return self._transport.call(
            r.SearchRuns(
                experiments=(experiments,) if isinstance(experiments, str) else tuple(experiments), filter=filter,
                order_by=(order_by,) if isinstance(order_by, str) else tuple(order_by), after=after, limit=limit, view=view, points=points,
            )
        )  # fmt: skip

    def history(self, run: str, key: str, *, limit: int = 1000) -> r.MetricSeries:
        """The points of one metric, thinned if there are more than ``limit``."""
        return self._transport.call(r.MetricHistory(run=run, key=key, limit=limit))

    def delete(self, run: str) -> r.Run:
        """Put a run aside."""
        return self._transport.call(r.DeleteRun(run=run))

    def restore(self, run: str) -> r.Run:
        """Bring a deleted run back."""
        return self._transport.call(r.RestoreRun(run=run))
