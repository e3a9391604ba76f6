"""Called by a model version that was registered, or that an alias was moved to."""

from __future__ import annotations

from typing import Literal

from rung.core.records import Count, Id, Line, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck


class Options(Record):
    """Which ``change`` counts, and of a promotion which ``alias``; empty: any."""

    change: Literal["registered", "promoted"] = "registered"
    alias: Line = ""


class Facts(Record):
    """The version."""

    model: Line
    number: Count
    change: Line
    alias: Line = ""
    run_id: Id | None = None


@TRIGGERS.member("model")
class Model(TriggerMember[Options, Facts]):
    """Started by a new model version, or by one that was promoted."""

    word = "model"
    about = "model"
    options = Options
    facts = Facts
    by_name = ("model",)
    example = Example(
        options={},
        met={"model": "flights", "number": 3, "change": "registered"},
        unmet={"model": "flights", "number": 3, "change": "promoted", "alias": "champion"},
    )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met by the change and its alias."""
        told = f"Model version {facts.model}:{facts.number} was {facts.change}{f' to {facts.alias}' if facts.alias else ''}"
        if facts.change != options.change:
            return not_met(f"{told}; {options.change} is what counts.")
        if options.alias and facts.alias != options.alias:
            return not_met(f"{told}; {options.alias} is what counts.")
        return met(f"{told}.")
