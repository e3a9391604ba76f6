"""The prediction log from Python: rows as frames, with labels where they are known, counts, and what keeps the log."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from rung.client.transports import Transport
from rung.core.errors import Invalid
from rung.governance.records import Trace
from rung.monitoring.export_records import ExportLabels
from rung.serving import log_records as lr
from rung.serving import records as r


class PredictionVerbs:
    """Verbs of the prediction log."""

    _transport: Transport

    def find(self, prediction_id: str, deployment: str | None = None) -> r.Prediction:
        """One logged prediction. Raises NotFound."""
        return self._transport.call(r.FindPrediction(id=prediction_id, deployment=deployment))

    def trace(self, prediction_id: str, deployment: str | None = None) -> Trace:
        """What a prediction came from."""
        return self._transport.call(r.TracePrediction(id=prediction_id, deployment=deployment))

    def explain(self, prediction_id: str, deployment: str | None = None) -> lr.PredictionExplanation:
        """What each input contributed to a logged prediction's score. Raises NotFound, Conflict, Invalid."""
        return self._transport.call(lr.ExplainPrediction(id=prediction_id, deployment=deployment))

    def predictions(
        self, deployment: str, start: datetime | None = None, end: datetime | None = None, *, arm: str | None = None,
        number: int | None = None, revision: int | None = None, flag: str = "", caller: str = "", ids: Sequence[str] = (),
        where: str = "", columns: Sequence[str] = (), details: bool = False, labels: bool = False,
    ) -> pl.DataFrame:  # fmt: skip
        """Logged predictions by event time [start, end), in order of event time.

        Args:
            deployment: its name.
            start: first event time wanted; end: first one no longer wanted.
            arm, number, revision, flag, caller, ids: only rows of these.
            where: a condition on columns, such as ``distance > 1000 and carrier in ('AA', 'UA')``.
            columns: input columns wanted; all without them. The log's own columns are always there.
            details: with latency, caller, flags, all scores, ids of request and trace.
            labels: with the column ``label``, missing where none has arrived.
        """
        request = r.ExportPredictions(
            deployment=deployment, start=start, end=end, arm=arm, number=number, revision=revision, flag=flag, caller=caller, ids=tuple(ids),
            where=where, columns=tuple(columns), details=details,
        )  # fmt: skip
        blob = self._transport.call(request)
        frame = pl.read_parquet(io.BytesIO(self._transport.get_blob(blob)))
        return frame.join(self._labels(deployment), on="prediction_id", how="left", maintain_order="left") if labels else frame

    def sql(self, deployment: str, query: str, *, labels: bool = True, **chosen: Any) -> pl.DataFrame:
        """The answer of a query in SQL over the table ``predictions``, computed here: by DuckDB if it is installed, else by Polars.

        The other arguments choose rows as ``predictions`` does. Raises Invalid for a query that cannot be answered.

        ``select version, avg(score) from predictions group by version``
        """
        frame = self.predictions(deployment, details=True, labels=labels, **chosen)
        try:
            import duckdb  # noqa: PLC0415 - an optional extra
        except ImportError:
            return _by_polars(frame, query)
        with duckdb.connect(config={"enable_external_access": False}) as connection:
            connection.register("predictions", frame.to_arrow())
            try:
                answered: pl.DataFrame = connection.sql(query).pl()
            except duckdb.Error as error:
                raise _refused(str(error)) from None
            return answered

    def query_predictions(self, deployment: str, **chosen: Any) -> lr.PredictionTable:
        """The newest, or oldest, predictions that meet every condition, as a table; see ``QueryPredictions`` for the conditions."""
        return self._transport.call(lr.QueryPredictions(deployment=deployment, **chosen))

    def count_predictions(self, deployment: str) -> tuple[lr.PredictionCount, ...]:
        """Rows answered, by day, version, revision and arm; those not logged or removed since are counted too."""
        return self._transport.call(lr.CountPredictions(deployment=deployment))

    def served(self, deployment: str) -> tuple[r.ServedRows, ...]:
        """Rows served by version, arm and day."""
        return self._transport.call(r.CountServed(deployment=deployment))

    def compact_log(self) -> int:
        """Move what this home has logged into Parquet now; the engine does it by itself."""
        return self._transport.call(r.CompactLog())

    def prune_predictions(self, days: int | None = None) -> int:
        """Remove predictions answered longer ago than that; how many there were. Raises Invalid when nothing says how long ago."""
        return self._transport.call(lr.PrunePredictions(days=days))

    def erase_predictions(
        self, *, deployment: str | None = None, column: str = "", value: str | float | bool | None = None, ids: Sequence[str] = (),
        reason: str = "",
    ) -> int:  # fmt: skip
        """Take predictions with a value in a column, or with some ids, out of the log; how many there were. Raises Invalid."""
        request = lr.ErasePredictions(deployment=deployment, column=column, value=value, ids=tuple(ids), reason=reason)
        return self._transport.call(request)

    def removals(self, deployment: str | None = None) -> tuple[lr.Removal, ...]:
        """What was taken out of the log, newest first."""
        return self._transport.call(lr.ListRemovals(deployment=deployment))

    def sinks(self) -> tuple[lr.SinkState, ...]:
        """Where answers are told besides, and how far."""
        return self._transport.call(lr.ListSinks())

    def tell_sinks(self, deployment: str | None = None) -> int:
        """Tell sinks what is new now; the engine does it by itself."""
        return self._transport.call(lr.TellSinks(deployment=deployment))

    def _labels(self, deployment: str) -> pl.DataFrame:
        """The newest label of every prediction, as a number."""
        blob = self._transport.call(ExportLabels(deployment=deployment))
        return pl.read_parquet(io.BytesIO(self._transport.get_blob(blob))).select("prediction_id", "label")


def _by_polars(frame: pl.DataFrame, query: str) -> pl.DataFrame:
    try:
        return pl.SQLContext(predictions=frame, eager=True).execute(query)
    except pl.exceptions.PolarsError as error:
        raise _refused(str(error)) from None


def _refused(why: str) -> Invalid:
    return Invalid(
        f"The query cannot be answered: {why.splitlines()[0]}",
        code="serving.bad_query",
        hint="Ask the table predictions, e.g. select * from predictions.",
    )
