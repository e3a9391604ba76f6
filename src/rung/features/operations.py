"""Handlers of features."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import polars as pl

from rung.core.digests import digest_of_value
from rung.core.errors import Invalid, NotFound
from rung.core.records import Page
from rung.core.requests import handles
from rung.data.frames import scan
from rung.data.lookup import version_of
from rung.data.operations import add_version
from rung.data.records import AddVersion, DatasetRef, FileEntry
from rung.data.store import DataStore
from rung.features import records as r
from rung.features.asof import join_prepared
from rung.features.online import read
from rung.features.sources import Opened, opened
from rung.features.store import FeatureStore
from rung.governance.lineage import link, node
from rung.storage.scope import Scope


@handles(r.ApplyView)
def apply_view(request: r.ApplyView, scope: Scope) -> r.AppliedView:
    """The definition with its number; the same one again keeps its number. Raises Invalid for unknown columns or zones."""
    view = request.view
    store = FeatureStore(scope.connection, scope.project)
    store.take_turn(view.name)
    digest = digest_of_value(view)
    same = store.find_view(view.name, digest=digest)
    if same is not None:
        return same
    newest = DataStore(scope.connection, scope.project).find_version(view.dataset)
    if newest is not None:
        _refuse_absent(view, {column.name for column in newest.schema})
    applied = r.AppliedView(
        view=view,
        number=store.newest_number(view.name) + 1,
        digest=digest,
        applied_at=scope.now,
        applied_by=scope.who,
    )
    store.add_view(applied)
    link(scope, node("principal", applied.applied_by), "applied", node("feature_view", view.name))
    return applied


@handles(r.GetView)
def get_view(request: r.GetView, scope: Scope) -> r.AppliedView:
    """A definition. Raises NotFound."""
    return FeatureStore(scope.connection, scope.project).view(request.name, request.number)


@handles(r.ListViews)
def list_views(request: r.ListViews, scope: Scope) -> Page[r.AppliedView]:
    """One page of views."""
    found = FeatureStore(scope.connection, scope.project).views(after=request.after, limit=request.limit)
    return Page(items=tuple(found), next=found[-1].view.name if len(found) == request.limit else None)


@handles(r.JoinFeatures)
def join_features(request: r.JoinFeatures, scope: Scope) -> Callable[[Scope], r.Joined]:
    """The joined rows as a blob. Raises NotFound, Invalid."""
    joined, uses = _joined(scope, _labels(scope, request.labels), request.views, request.time_column, request.zone)
    content = _parquet(joined)
    answer = r.Joined(digest=scope.blobs.put(content), size_bytes=len(content), rows=joined.height, uses=uses)
    return lambda _: answer


@handles(r.MakeTrainingSet)
def make_training_set(request: r.MakeTrainingSet, scope: Scope) -> Callable[[Scope], r.TrainingSetMade]:
    """The joined rows as a dataset version with lineage and manifest. Raises NotFound, Invalid."""
    origin, labels, digest = _label_rows(scope, request)
    views = opened(scope, request.views)
    joined, uses = _joined(scope, labels, request.views, request.time_column, request.zone, views)
    content = _parquet(joined)
    used = (DatasetRef(dataset=version.dataset, number=version.number) for item in views for version in item.versions)
    adding = AddVersion(
        dataset=request.name, reading="parquet", time_column=request.time_column, note=request.note, run=request.run,
        files=(FileEntry(path="part-0.parquet", digest=scope.blobs.put(content), size_bytes=len(content)),),
        derived_from=tuple(dict.fromkeys([*origin, *used])),
    )  # fmt: skip
    save_version = add_version(adding, scope)

    def save(inside: Scope) -> r.TrainingSetMade:
        version = save_version(inside)
        for use in uses:
            link(inside, node("feature_view", use.view), "joined_into", node("dataset_version", str(version.ref)))
        FeatureStore(inside.connection, inside.project).keep_training_set(
            r.TrainingSet(
                dataset=version.dataset, number=version.number, labels=digest, label_rows=joined.height, time_column=request.time_column,
                uses=uses, created_at=inside.now, created_by=version.created_by,
            )
        )  # fmt: skip
        return r.TrainingSetMade(dataset=version.dataset, number=version.number)

    return save


@handles(r.GetTrainingSet)
def get_training_set(request: r.GetTrainingSet, scope: Scope) -> r.TrainingSet:
    """The manifest of a training set. Raises NotFound."""
    version = DataStore(scope.connection, scope.project).version(request.dataset, request.number)
    found = FeatureStore(scope.connection, scope.project).find_training_set(version.dataset, version.number)
    if found is None:
        raise NotFound(
            f"{version.ref} is not a training set.", code="features.no_training_set", hint="Name one that features were joined into."
        )
    return found


@handles(r.ReadFeatures)
def read_features(request: r.ReadFeatures, scope: Scope) -> Callable[[Scope], tuple[r.FeatureRow, ...]]:
    """Features of keys as of an instant. Raises NotFound, Invalid."""
    answer = read(scope, request.views, request.keys, request.as_of or scope.now)
    return lambda _: answer


def _joined(
    scope: Scope, labels: pl.DataFrame, refs: Sequence[r.ViewRef], time_column: str, zone: str | None, views: Sequence[Opened] | None = None
) -> tuple[pl.DataFrame, tuple[r.ViewUse, ...]]:
    views = opened(scope, refs) if views is None else views
    joined, found = join_prepared(labels, [item.source for item in views], time_column, zone=zone)
    return joined, tuple(item.use(met) for item, met in zip(views, found, strict=True))


def _labels(scope: Scope, digest: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(scope.blobs.get(digest)))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Invalid(
            f"The label rows are not Parquet: {str(error).splitlines()[0]}.", code="features.not_parquet", hint="Send a Parquet blob."
        ) from None


def _label_rows(scope: Scope, request: r.MakeTrainingSet) -> tuple[list[DatasetRef], pl.DataFrame, str]:
    if request.labels is not None:
        return [], _labels(scope, request.labels), request.labels
    version = version_of(scope, request.labels_dataset or "", request.labels_number)
    return [version.ref], scan(scope.blobs, version).collect(), version.digest


def _parquet(frame: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.write_parquet(sink, compression="zstd", statistics=True)
    return sink.getvalue()


def _refuse_absent(view: r.FeatureView, held: set[str]) -> None:
    wanted = [*view.entity, view.time_column, *([view.created_column] if view.created_column else [])]
    wanted += [f.source for f in view.features if f.aggregate is None or f.column]
    for name in wanted:
        if name not in held:
            raise Invalid(
                f"Dataset {view.dataset!r} has no column {name!r}, which view {view.name!r} needs.",
                code="features.no_column",
                hint=f"Columns: {', '.join(sorted(held))}.",
            )
