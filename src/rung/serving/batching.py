"""The record of a dataset version that was scored as a whole."""

from __future__ import annotations

from typing import ClassVar

from rung.core.records import Count, Id, ModelName, Name, Number, Record
from rung.core.requests import Effect, Request


class Scored(Record):
    """Which version's scores a dataset version holds, and of which rows."""

    model: ModelName
    number: Number
    dataset: Name
    dataset_number: Number
    result: Name
    result_number: Number
    rows: Count


class RecordScored(Request[Scored]):
    """Say that a dataset version holds one score for each row of another, by a model version; asking twice says it once.

    Raises Conflict when it has not as many rows.
    """

    operation = "serving.record_scored"
    permission = "prediction:predict"
    effect: ClassVar[Effect] = "write"
    model: ModelName
    number: Number
    dataset: Name
    dataset_number: Number
    result: Name
    result_number: Number
    pipeline_run: Id | None = None
