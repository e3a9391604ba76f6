"""Labels: deliveries kept as Parquet blobs, read back as of an instant, later arrivals correcting earlier ones."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import polars as pl

from rung.core.errors import Invalid
from rung.core.records import Scalar
from rung.monitoring.records import Label, LabelBatch
from rung.monitoring.store import MonitoringStore
from rung.storage.blobs import BlobStore
from rung.storage.scope import Scope

_INSTANT = pl.Datetime("us", "UTC")
_COLUMNS = ("prediction_id", "label", "event_time", "arrived_at")
_TRUE = {"true", "1", "yes"}


def delivered(request_labels: tuple[Label, ...], blob: bytes | None, now: datetime) -> pl.DataFrame:
    """A delivery in the form it is kept in: one row a prediction, sorted, labels numbers where they all are. Raises Invalid."""
    frame = _of_rows(request_labels) if blob is None else _of_parquet(blob)
    if frame.is_empty():
        raise Invalid("The delivery holds no label.", code="monitoring.no_labels", hint="Send at least one row.")
    missing = {"prediction_id", "label"} - set(frame.columns)
    if missing:
        raise Invalid(
            f"The labels lack {' and '.join(sorted(missing))}.",
            code="monitoring.label_columns",
            hint=f"Name the columns {', '.join(_COLUMNS)}.",
        )
    for name in ("event_time", "arrived_at"):
        if name not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=_INSTANT).alias(name))
    frame = frame.select(
        pl.col("prediction_id").cast(pl.String),
        _plain_label(frame["label"]),
        _instant("event_time", frame),
        _instant("arrived_at", frame).fill_null(now),
    )
    bad = frame.filter(pl.col("prediction_id").is_null() | pl.col("label").is_null())
    if len(bad):
        raise Invalid(
            f"{len(bad)} of {len(frame)} labels lack an id or a value.", code="monitoring.null_labels", hint="Leave those rows out."
        )
    return frame.sort("prediction_id", "arrived_at", maintain_order=True).unique("prediction_id", keep="last", maintain_order=True)


def _of_rows(labels: tuple[Label, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "prediction_id": [label.prediction_id for label in labels],
            "label": pl.Series([label.label for label in labels], strict=False),
            "event_time": pl.Series([label.event_time for label in labels], dtype=_INSTANT),
            "arrived_at": pl.Series([label.arrived_at for label in labels], dtype=_INSTANT),
        }
    )


def _of_parquet(blob: bytes) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(blob))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Invalid(
            f"The labels are not Parquet: {error}.", code="monitoring.labels_unreadable", hint="Write them with write_parquet."
        ) from None


def _plain_label(series: pl.Series) -> pl.Series:
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        series = series.cast(pl.Float64)
        return series.fill_nan(None).alias("label")
    return series.cast(pl.String).alias("label")


def _instant(name: str, frame: pl.DataFrame) -> pl.Expr:
    dtype = frame[name].dtype
    if dtype == pl.Null:
        return pl.lit(None, dtype=_INSTANT).alias(name)
    if not isinstance(dtype, pl.Datetime):
        raise Invalid(f"{name} of the labels is {dtype}, not a time.", code="monitoring.label_times", hint="Send aware datetimes.")
    column = pl.col(name).dt.cast_time_unit("us")
    return column.dt.replace_time_zone("UTC") if dtype.time_zone is None else column.dt.convert_time_zone("UTC")


def as_bytes(frame: pl.DataFrame) -> bytes:
    """A delivery as Parquet; the same rows give the same bytes."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()


def known(scope: Scope, deployment: str, as_of: datetime, *, since: datetime | None = None) -> pl.DataFrame:
    """The label of every prediction as known at ``as_of``: prediction_id, label, event_time, arrived_at.

    ``since`` leaves out deliveries that had all arrived before the first prediction in question.
    """
    batches = scope_read(scope, deployment)
    wanted = [b for b in batches if b.first_arrival <= as_of and (since is None or b.last_arrival >= since)]
    frames = [_read(scope.blobs, batch.digest) for batch in wanted]
    if not frames:
        return pl.DataFrame(schema={"prediction_id": pl.String, "label": pl.Float64, "event_time": _INSTANT, "arrived_at": _INSTANT})
    joined = pl.concat(frames, how="vertical_relaxed").filter(pl.col("arrived_at") <= as_of)
    return joined.sort("arrived_at", maintain_order=True).unique("prediction_id", keep="last")


def of_prediction(scope: Scope, deployment: str, prediction: str, as_of: datetime) -> Label | None:
    """The label of one prediction as known at ``as_of``; None while none has arrived."""
    wanted = (pl.col("prediction_id") == prediction) & (pl.col("arrived_at") <= as_of)
    newest: Label | None = None
    for batch in scope_read(scope, deployment):
        if batch.first_arrival > as_of:
            continue
        for row in _scanned(scope.blobs, batch.digest).filter(wanted).collect().iter_rows(named=True):
            if newest is None or newest.arrived_at is None or row["arrived_at"] >= newest.arrived_at:
                newest = Label(**{name: row[name] for name in _COLUMNS})
    return newest


def scope_read(scope: Scope, deployment: str) -> tuple[LabelBatch, ...]:
    """Deliveries of a deployment, in whatever phase the handler is."""
    if scope.open_connection is not None:
        return MonitoringStore(scope.connection, scope.project).label_batches(deployment)
    return scope.read(lambda inside: MonitoringStore(inside.connection, inside.project).label_batches(deployment))


def _read(blobs: BlobStore, digest: str) -> pl.DataFrame:
    return _scanned(blobs, digest).collect()


def _scanned(blobs: BlobStore, digest: str) -> pl.LazyFrame:
    address = blobs.url(digest)
    return pl.scan_parquet(io.BytesIO(blobs.get(digest)) if "://" in address else Path(address))


def numbers(labels: pl.Series, positive: Scalar) -> pl.Series:
    """Labels as numbers: 1 where they are the positive value, 0 elsewhere; without one, numbers stay and texts that say yes are 1."""
    if positive is not None:
        if labels.dtype == pl.String:
            return (labels == str(positive)).cast(pl.Float64)
        wanted = float(positive) if not isinstance(positive, str) else float(str(positive).lower() in _TRUE)
        return (labels == wanted).cast(pl.Float64)
    if labels.dtype == pl.String:
        return labels.str.to_lowercase().is_in(list(_TRUE)).cast(pl.Float64)
    return labels.cast(pl.Float64)
