"""From a view's name to its rows made ready for joins, kept in memory for the next ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import polars as pl

from rung.core.errors import Invalid, NotFound
from rung.data.frames import scan
from rung.data.records import DatasetVersion
from rung.data.store import DataStore
from rung.features.asof import Found, Source
from rung.features.records import AppliedView, ViewRef, ViewUse
from rung.features.store import FeatureStore
from rung.storage.scope import Scope

_KEPT = 8
_held: OrderedDict[tuple[str, ...], Source] = OrderedDict()  # memory only: sources are made from immutable content, named by its digests
_lock = threading.Lock()


class Opened:
    """A view with the dataset versions it is read from, ready for a join."""

    def __init__(self, applied: AppliedView, versions: tuple[DatasetVersion, ...], source: Source) -> None:
        self.applied = applied
        self.versions = versions
        self.source = source

    def use(self, found: Found) -> ViewUse:
        """What a join did with it, for the manifest."""
        view = self.applied.view
        note = "" if view.created_column else "no created column: rows count as known at their event time"
        return ViewUse(
            view=view.name, number=self.applied.number, digest=self.applied.digest, dataset=view.dataset,
            dataset_numbers=tuple(version.number for version in self.versions), mode=view.effective_mode, ttl_s=view.ttl_s,
            matched=int(found.present.sum()), note=note,
        )  # fmt: skip


def opened(scope: Scope, refs: Sequence[ViewRef]) -> list[Opened]:
    """Views by reference, their rows read and sorted. Raises NotFound for unknown views or versions, Invalid for unfit rows."""
    return [_opened(scope, *scope.read(lambda inside, ref=ref: _resolved(inside, ref))) for ref in refs]  # type: ignore[misc]


def _resolved(scope: Scope, ref: ViewRef) -> tuple[AppliedView, tuple[DatasetVersion, ...]]:
    applied = FeatureStore(scope.connection, scope.project).view(ref.name, ref.number)
    data = DataStore(scope.connection, scope.project)
    newest = data.version(applied.view.dataset, ref.dataset_number)
    if applied.view.versions == "latest":
        return applied, (newest,)
    history = data.versions(applied.view.dataset, before=newest.number + 1)
    return applied, tuple(reversed(history))


def _opened(scope: Scope, applied: AppliedView, versions: tuple[DatasetVersion, ...]) -> Opened:
    key = (applied.digest, *(version.digest for version in versions))
    with _lock:
        source = _held.get(key)
        if source is not None:
            _held.move_to_end(key)
    if source is None:
        source = Source(applied.view, _rows(scope, applied, versions))
        with _lock:
            _held[key] = source
            while len(_held) > _KEPT:
                _held.popitem(last=False)
    return Opened(applied, versions, source)


def _rows(scope: Scope, applied: AppliedView, versions: tuple[DatasetVersion, ...]) -> pl.LazyFrame:
    view = applied.view
    wanted = [*view.entity, view.time_column, *([view.created_column] if view.created_column else [])]
    wanted = list(dict.fromkeys([*wanted, *(f.source for f in view.features if f.aggregate is None or f.column)]))
    parts = []
    for version in versions:
        part = scan(scope.blobs, version)
        absent = [name for name in wanted if name not in {column.name for column in version.schema}]
        if absent:
            raise Invalid(
                f"View {view.name!r} needs column {absent[0]!r}, which {version.ref} does not have.",
                code="features.no_column",
                hint=f"Columns: {', '.join(column.name for column in version.schema)}.",
            )
        parts.append(part.select(wanted))
    if not parts:
        raise NotFound(f"Dataset {view.dataset!r} has no version yet.", code="data.no_version", hint="Add one with `rung data add`.")
    return pl.concat(parts, how="vertical_relaxed")
