"""Records and requests of the prediction log."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.records import AnyFloat, Count, Id, Instant, Key, Line, ModelName, Name, Number, Record, Text
from rung.core.requests import Effect, Request

Order = Literal["newest", "oldest"]


class PredictionTable(Record):
    """Logged predictions as a table: one mapping a row, its keys the columns."""

    deployment: Name
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    more: bool


class PredictionCount(Record):
    """What one arm of one revision answered on one UTC day, by the time of the answer.

    ``logged`` rows are in the log unless they were removed since; ``unlogged`` were left out by the deployment's share,
    ``shed`` for want of room.
    """

    deployment: Name
    day: Line
    model: ModelName
    number: Number
    revision: Number
    arm: Line
    logged: Count
    unlogged: Count
    shed: Count
    errors: Count
    busy_s: float

    @property
    def answered(self) -> int:
        """Rows that were answered."""
        return self.logged + self.unlogged + self.shed


class Removal(Record):
    """Predictions that were taken out of the log: why, how many, by whom. An erased value itself is not kept, its keyed hash is."""

    id: Id
    deployment: Name
    cause: Literal["retention", "erasure"]
    rows: Count
    at: Instant
    by: Line
    before: Instant | None = None
    column: Line = ""
    value_hash: Line = ""
    reason: Text = ""


class SinkState(Record):
    """How far the predictions of a deployment were told to its sink. ``positions`` are the bytes read of each segment."""

    deployment: Name
    key: Line
    address: Line
    positions: dict[str, int] = {}
    sent: Count = 0
    failures: Count = 0
    error: Text = ""
    changed_at: Instant | None = None
    waiting_bytes: Count = 0


class PredictionExplanation(Record):
    """What each input contributed to a logged score: with ``base``, the mean score of background rows, they add up to it."""

    id: Key
    deployment: Name
    model: ModelName
    number: Number
    score: AnyFloat
    base: AnyFloat
    contributions: dict[str, AnyFloat]


class ExplainPrediction(Request[PredictionExplanation]):
    """What each input contributed to a logged prediction's score, computed now; its version must still serve in the deployment."""

    operation = "serving.explain_prediction"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    id: Key
    deployment: Name | None = None


class QueryPredictions(Request[PredictionTable]):
    """Logged predictions that meet every condition given, newest or oldest answer first.

    ``where`` compares columns with values: ``distance > 1000 and carrier in ('AA', 'UA') and not dep_delay is null``.
    """

    operation = "serving.query_predictions"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    start: Instant | None = None
    end: Instant | None = None
    answered_after: Instant | None = None
    arm: Line = ""
    model: Line = ""
    number: Number | None = None
    revision: Number | None = None
    flag: Line = ""
    caller: Line = ""
    ids: tuple[Key, ...] = ()
    where: Text = ""
    columns: tuple[Line, ...] = ()
    order: Order = "newest"
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100


class CountPredictions(Request[tuple[PredictionCount, ...]]):
    """How many rows a deployment answered, by day, version, revision and arm; those not logged or removed since are counted too."""

    operation = "serving.count_predictions"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class ErasePredictions(Request[Count]):
    """Take every prediction with that value in an input column, or with those ids, out of the log; answers how many there were.

    Files are written anew without the rows; the old ones go with the next garbage collection. A column that is masked is
    searched for the value's hash.
    """

    operation = "serving.erase_predictions"
    permission = "prediction:manage"
    effect: ClassVar[Effect] = "work"
    deployment: Name | None = None
    column: Line = ""
    value: str | int | float | bool | None = None
    ids: tuple[Key, ...] = ()
    reason: Text = ""


class PrunePredictions(Request[Count]):
    """Remove predictions answered longer ago than that many days, by the retention setting without them; answers how many rows went."""

    operation = "serving.prune_predictions"
    permission = "prediction:manage"
    effect: ClassVar[Effect] = "work"
    days: Number | None = None


class ListRemovals(Request[tuple[Removal, ...]]):
    """What was taken out of the log, newest first."""

    operation = "serving.list_removals"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name | None = None


class ListSinks(Request[tuple[SinkState, ...]]):
    """Sinks of deployments with what they were told."""

    operation = "serving.list_sinks"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "read"


class TellSinks(Request[Count]):
    """Tell every sink of the project what it has not been told yet; answers how many predictions were taken."""

    operation = "serving.tell_sinks"
    permission = "prediction:write"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    deployment: Name | None = None
