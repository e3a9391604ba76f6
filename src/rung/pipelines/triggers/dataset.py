"""Called by a new version of a dataset."""

from __future__ import annotations

from typing import Literal

from rung.core.records import Count, Line, Name, Number, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck


class Options(Record):
    """``min_rows`` new rows must have come since the last start.

    ``rows_are`` says how versions grow: ``all`` of them hold everything so far, or each holds only ``new`` rows.
    """

    min_rows: Count = 0
    rows_are: Literal["all", "new"] = "all"
    unvalidated: bool = True


class Facts(Record):
    """The version as ``name:number``, and its rows."""

    dataset: Line
    name: Name
    number: Number
    rows: Count | None = None
    validation: Line = "unchecked"


@TRIGGERS.member("dataset")
class Dataset(TriggerMember[Options, Facts]):
    """Started by a new dataset version, or by enough new rows; never by a version whose validation failed."""

    word = "dataset"
    about = "dataset"
    looks_back = True
    options = Options
    facts = Facts
    by_name = ("dataset",)
    example = Example(
        options={"min_rows": 100, "rows_are": "new"},
        met={"dataset": "flights:2", "name": "flights", "number": 2, "rows": 150},
        unmet={"dataset": "flights:2", "name": "flights", "number": 2, "rows": 50},
    )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met by a version that is valid and brings rows enough."""
        if facts.validation == "failed":
            return not_met(f"Dataset version {facts.dataset} failed its validation.")
        if facts.validation == "unchecked" and not options.unvalidated:
            return not_met(f"Dataset version {facts.dataset} has not been validated.")
        if not options.min_rows:
            return met(f"Dataset version {facts.dataset} was added.")
        fresh = _fresh(options, facts, past)
        told = f"{fresh} new rows have come with {facts.dataset} since {past.started.dataset if past.started else 'the beginning'}"
        if fresh < options.min_rows:
            return not_met(f"{told}; {options.min_rows} are asked for.", value=float(fresh), line=float(options.min_rows))
        return met(f"{told}.", value=float(fresh), line=float(options.min_rows))


def _fresh(options: Options, facts: Facts, past: Past[Facts]) -> int:
    if options.rows_are == "new":
        came = {call.number: call.rows or 0 for call in past.since if call.name == facts.name}
        return sum((came | {facts.number: facts.rows or 0}).values())
    held = past.started.rows or 0 if past.started and past.started.name == facts.name else 0
    return max((facts.rows or 0) - held, 0)
