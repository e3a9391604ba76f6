"""Feature views from Python: apply, join to label rows, make training sets, read single keys."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from rung.client.current import current_run_id
from rung.client.data import as_polars
from rung.client.transports import Transport
from rung.core.records import Page
from rung.data.records import DatasetVersion, GetVersion
from rung.features import records as r

View = str | r.FeatureView | r.AppliedView | r.ViewRef


class FeaturesVerbs:
    """Verbs of features."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def apply(self, view: r.FeatureView) -> r.AppliedView:
        """Declare a view; the same definition again keeps its number. Raises Invalid for columns its dataset lacks."""
        return self._transport.call(r.ApplyView(view=view))

    def get(self, name: str, number: int | None = None) -> r.AppliedView:
        """A view, or its definition at a number. Raises NotFound."""
        return self._transport.call(r.GetView(name=name, number=number))

    def list(self, *, limit: int = 100, after: str | None = None) -> Page[r.AppliedView]:
        """The latest definition of every view, by name."""
        return self._transport.call(r.ListViews(limit=limit, after=after))

    def join(self, frame: Any, views: Sequence[View], time_column: str, *, zone: str | None = None) -> pl.DataFrame:
        """Label rows with the features of views, point-in-time correct; computed where the data is.

        Args:
            frame: a Polars or pandas frame with the views' keys and ``time_column``.
            views: names, definitions that were applied, or references that pin numbers.
            time_column: the instant at which each row asks.
            zone: the zone of label times without one; without it they are refused.

        Raises:
            NotFound: a view or its dataset is unknown. Invalid: columns, times or keys do not fit.
        """
        joined = self._transport.call(
            r.JoinFeatures(labels=self._put(frame), views=tuple(map(_ref, views)), time_column=time_column, zone=zone)
        )
        return pl.read_parquet(io.BytesIO(self._transport.get_blob(joined.digest)))

    def training_set(
        self, name: str, *, labels: Any, views: Sequence[View], time_column: str, zone: str | None = None, note: str = ""
    ) -> DatasetVersion:
        """A dataset version of label rows joined with views, with lineage and a manifest.

        Args:
            name: the dataset it becomes a version of.
            labels: a frame, or a dataset version (its record, or its dataset's name for the latest).
            views: as for ``join``.
            time_column: the instant at which each row asks.
            zone: the zone of label times without one.
            note: what is special about it.

        Raises:
            NotFound, Invalid: as ``join``.
        """
        dataset = labels.dataset if isinstance(labels, DatasetVersion) else labels if isinstance(labels, str) else None
        request = r.MakeTrainingSet(
            name=name,
            labels=self._put(labels) if dataset is None else None,
            labels_dataset=dataset,
            labels_number=labels.number if isinstance(labels, DatasetVersion) else None,
            views=tuple(map(_ref, views)),
            time_column=time_column,
            zone=zone,
            note=note,
            run=current_run_id(),
        )
        made = self._transport.call(request)
        return self._transport.call(GetVersion(dataset=made.dataset, number=made.number))

    def manifest(self, dataset: str, number: int | None = None) -> r.TrainingSet:
        """Which labels met which views in a training set. Raises NotFound."""
        return self._transport.call(r.GetTrainingSet(dataset=dataset, number=number))

    def read(self, views: Sequence[View], keys: Sequence[Mapping[str, Any]], *, as_of: datetime | None = None) -> tuple[r.FeatureRow, ...]:
        """Features of entity keys as of an instant, now by default."""
        return self._transport.call(r.ReadFeatures(views=tuple(map(_ref, views)), keys=tuple(map(dict, keys)), as_of=as_of))

    def _put(self, frame: Any) -> str:
        sink = io.BytesIO()
        as_polars(frame).write_parquet(sink, compression="zstd", statistics=True)
        return self._transport.put_blob(sink.getvalue())


def _ref(view: View) -> r.ViewRef:
    if isinstance(view, r.ViewRef):
        return view
    if isinstance(view, r.AppliedView):
        return r.ViewRef(name=view.view.name, number=view.number)
    return r.ViewRef(name=view if isinstance(view, str) else view.name)
