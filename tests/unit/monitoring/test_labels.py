from __future__ import annotations

import io
from datetime import UTC, datetime

import polars as pl
import pytest

from rung.core.errors import Invalid
from rung.monitoring.labels import as_bytes, delivered, numbers
from rung.monitoring.records import Label

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


def _bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def test_labels_without_an_arrival_arrive_now() -> None:
    frame = delivered((Label(prediction_id="a", label=1), Label(prediction_id="b", label=0)), None, NOW)
    assert frame["arrived_at"].to_list() == [NOW, NOW]
    assert frame["label"].to_list() == [1.0, 0.0]


def test_the_last_arrival_in_a_delivery_wins() -> None:
    rows = (Label(prediction_id="a", label=1, arrived_at=LATER), Label(prediction_id="a", label=0, arrived_at=NOW))
    assert delivered(rows, None, NOW)["label"].to_list() == [1.0]


def test_the_order_of_rows_does_not_change_the_bytes() -> None:
    rows = tuple(Label(prediction_id=str(i), label=i % 2) for i in range(50))
    assert as_bytes(delivered(rows, None, NOW)) == as_bytes(delivered(rows[::-1], None, NOW))


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (pl.DataFrame({"id": ["a"], "label": [1]}), "monitoring.label_columns"),
        (pl.DataFrame({"prediction_id": ["a"], "label": [None]}), "monitoring.null_labels"),
        (pl.DataFrame({"prediction_id": [], "label": []}, schema={"prediction_id": pl.String, "label": pl.Int64}), "monitoring.no_labels"),
        (pl.DataFrame({"prediction_id": ["a"], "label": [1], "arrived_at": ["noon"]}), "monitoring.label_times"),
    ],
)
def test_a_delivery_that_cannot_be_joined_is_refused(frame: pl.DataFrame, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        delivered((), _bytes(frame), NOW)
    assert refused.value.code == code


def test_bytes_that_are_not_parquet_are_refused() -> None:
    with pytest.raises(Invalid, match="not Parquet"):
        delivered((), b"prediction_id,label\na,1\n", NOW)


@pytest.mark.parametrize(
    ("labels", "positive", "expected"),
    [
        (pl.Series(["yes", "no"]), None, [1.0, 0.0]),
        (pl.Series(["late", "fine"]), "late", [1.0, 0.0]),
        (pl.Series([1.0, 0.0]), 1, [1.0, 0.0]),
        (pl.Series([2.0, 1.0]), 2, [1.0, 0.0]),
        (pl.Series([12.5, 3.0]), None, [12.5, 3.0]),
    ],
)
def test_labels_become_numbers(labels: pl.Series, positive: object, expected: list[float]) -> None:
    assert numbers(labels, positive).to_list() == expected  # type: ignore[arg-type]
