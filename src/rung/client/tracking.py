"""Experiments, runs, metrics and artifacts from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rung.client.transports import Transport
from rung.core.digests import digest_of, digest_of_file
from rung.core.errors import Invalid
from rung.core.ids import new_id
from rung.core.records import Page
from rung.core.references import DatasetUse
from rung.tracking import artifacts as a
from rung.tracking import records as r
from rung.tracking import views as v
from rung.tracking.capture import capture, find_lock
from rung.tracking.logged import GetLoggedModel, LoggedModel, MeasuredOn, SearchLoggedModels


class TrackingVerbs:
    """Verbs of tracking. The fluent functions (``rung.start_run``, ``rung.log_metric`` …) stand on these."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._locks: dict[str, str] = {}

    def create_experiment(self, name: str, *, note: str = "", tags: Mapping[str, str] | None = None) -> r.Experiment:
        """A new experiment with a note."""
        return self._transport.call(r.CreateExperiment(name=name, note=note, tags=dict(tags or {})))

    def experiments(self) -> tuple[r.Experiment, ...]:
        """Experiments, newest first."""
        return self._transport.call(r.ListExperiments())

    def experiment(self, experiment: str | int) -> r.Experiment:
        """One experiment by its name, or by its number; deleted ones too. Raises NotFound."""
        if isinstance(experiment, int):
            return self._transport.call(r.GetExperiment(number=experiment))
        return self._transport.call(r.GetExperiment(name=experiment))

    def search_experiments(
        self, filter: str = "", *, order_by: Sequence[str] | str = (), after: str | None = None, limit: int = 100, view: r.View = "active"
    ) -> Page[r.Experiment]:
        """Experiments that a filter finds, a page at a time: ``search_experiments("tags.team = 'risk'")``."""
        return self._transport.call(r.SearchExperiments(filter=filter, order_by=_texts(order_by), after=after, limit=limit, view=view))

    def update_experiment(
        self, number: int, *, name: str | None = None, note: str | None = None, tags: Mapping[str, str | None] | None = None
    ) -> r.Experiment:
        """Rename an experiment, change its note or tags; None takes a tag away."""
        return self._transport.call(r.UpdateExperiment(number=number, name=name, note=note, tags=dict(tags or {})))

    def delete_experiment(self, number: int) -> r.Experiment:
        """Put an experiment aside."""
        return self._transport.call(r.DeleteExperiment(number=number))

    def restore_experiment(self, number: int) -> r.Experiment:
        """Bring a deleted experiment back."""
        return self._transport.call(r.RestoreExperiment(number=number))

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
        media_type = a.media_type_of(name)
        digest = self._transport.put_blob(content)
        return self._transport.call(a.LogArtifact(owner=run, path=name, digest=digest, size_bytes=size, media_type=media_type))

    def artifacts(self, owner: str, under: str = "") -> tuple[r.Artifact, ...]:
        """Outputs of a run, or of a logged model (``m-<id>``); only those below the folder ``under`` if given."""
        return self._transport.call(a.ListArtifacts(owner=owner, under=under))

    def read_artifact(self, owner: str, path: str) -> bytes:
        """The bytes of an output. Raises NotFound for a path that is not there."""
        return self._transport.get_blob(self._transport.call(a.GetArtifact(owner=owner, path=path)).digest)

    def delete_artifact(self, owner: str, path: str) -> tuple[r.Artifact, ...]:
        """Forget an output, or all below a folder."""
        return self._transport.call(a.DeleteArtifact(owner=owner, path=path))

    def download_artifacts(self, owner: str, target: Path | str, under: str = "") -> tuple[Path, ...]:
        """Write outputs into a folder, with their paths below it; the files written."""
        root, written = Path(target), []
        for item in self.artifacts(owner, under):
            file = root / item.path
            if not file.resolve().is_relative_to(root.resolve()):
                raise Invalid(f"{item.path!r} leaves the folder.", code="tracking.bad_path", hint="Read it by read_artifact.")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self._transport.get_blob(item.digest))
            written.append(file)
        return tuple(written)

    def get(self, run: str, *, points: bool = False) -> r.Run:
        """A run by its id or as ``experiment:number``; with ``points`` its ``latest`` tells steps and extremes too."""
        return self._transport.call(r.GetRun(run=run, points=points))

    def search(
        self,
        filter: str = "",
        *,
        experiments: Sequence[str | int] | str | int = (),
        order_by: Sequence[str] | str = (),
        after: str | None = None,
        limit: int = 50,
        view: r.View = "active",
        points: bool = False,
    ) -> Page[r.Run]:
        """Runs that a filter finds, sorted, a page at a time: ``search("metrics.auc > 0.7", order_by="metrics.auc DESC")``."""
        return self._transport.call(
            r.SearchRuns(
                experiments=(experiments,) if isinstance(experiments, (str, int)) else tuple(experiments), filter=filter,
                order_by=_texts(order_by), after=after, limit=limit, view=view, points=points,
            )
        )  # fmt: skip

    def history(self, run: str, key: str, *, limit: int = 1000, first: int | None = None, last: int | None = None) -> r.MetricSeries:
        """The points of one metric, thinned if there are more than ``limit``; only steps from ``first`` to ``last``."""
        return self._transport.call(r.MetricHistory(run=run, key=key, limit=limit, first=first, last=last))

    def rename(self, run: str, name: str) -> r.Run:
        """Give a run another name."""
        return self._transport.call(r.UpdateRun(run=self.get(run).id, name=name))

    def reopen(self, run: str) -> r.Run:
        """Open an ended run again; it forgets when it ended."""
        return self._transport.call(r.UpdateRun(run=self.get(run).id, status="running"))

    def delete_tag(self, run: str, key: str) -> None:
        """Take a tag off a run."""
        self._transport.call(r.DeleteTag(run=self.get(run).id, key=key))

    def logged_models(
        self,
        filter: str = "",
        *,
        experiments: Sequence[int] = (),
        datasets: Sequence[MeasuredOn] = (),
        order_by: Sequence[str] | str = (),
        after: str | None = None,
        limit: int = 100,
    ) -> Page[LoggedModel]:
        """Models that runs wrote down, a page at a time: ``logged_models("metrics.auc > 0.7")``; metrics of ``datasets`` where given."""
        return self._transport.call(
            SearchLoggedModels(
                filter=filter, experiments=tuple(experiments), datasets=tuple(datasets), order_by=_texts(order_by), after=after, limit=limit
            )
        )  # fmt: skip

    def logged_model(self, model: str) -> LoggedModel:
        """One logged model by its id. Raises NotFound."""
        return self._transport.call(GetLoggedModel(model=model.removeprefix("m-")))

    def save_view(
        self, name: str, filter: str = "", *, order_by: str = "", columns: Sequence[str] = (), experiment: int | None = None
    ) -> v.SavedView:
        """Keep a way of looking at runs under a name, for yourself; the same name again replaces it."""
        return self._transport.call(v.SaveView(name=name, filter=filter, order_by=order_by, columns=tuple(columns), experiment=experiment))

    def list_views(self) -> tuple[v.SavedView, ...]:
        """Your views of this project, by name."""
        return self._transport.call(v.ListViews())

    def delete_view(self, name: str) -> None:
        """Forget a view of yours. Raises NotFound."""
        self._transport.call(v.DeleteView(name=name))

    def keys(self, kind: v.KeyKind, *, experiments: Sequence[int] = (), contains: str = "", limit: int = 100) -> tuple[str, ...]:
        """Names of the metrics, params or tags that runs have."""
        return self._transport.call(v.ListKeys(kind=kind, experiments=tuple(experiments), contains=contains, limit=limit))

    def sizes(self, experiments: Sequence[int]) -> tuple[v.ExperimentSize, ...]:
        """How many runs experiments have, by their numbers."""
        return self._transport.call(v.SizeExperiments(experiments=tuple(experiments)))

    def metric_of_runs(self, runs: Sequence[str], key: str, *, limit: int = 200) -> tuple[r.MetricSeries, ...]:
        """One metric of many runs, each thinned to about ``limit`` points; runs without it are left out."""
        return self._transport.call(v.MetricOfRuns(runs=tuple(runs), key=key, limit=limit))

    def delete(self, run: str) -> r.Run:
        """Put a run aside."""
        return self._transport.call(r.DeleteRun(run=run))

    def restore(self, run: str) -> r.Run:
        """Bring a deleted run back."""
        return self._transport.call(r.RestoreRun(run=run))


def _texts(given: Sequence[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
