"""Called by a person, or by a program that holds a token."""

from __future__ import annotations

from rung.core.records import Line, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, NoOptions, Past, TriggerMember, met
from rung.pipelines.triggering import TriggerCheck


class Facts(Record):
    """Who called."""

    caller: Line = ""


@TRIGGERS.member("manual")
class Manual(TriggerMember[NoOptions, Facts]):
    """Started by ``rung trigger fire``: the pipeline with fixed parameters, under the same guard rails as all others."""

    word = "manual"
    options = NoOptions
    facts = Facts
    example = Example(
        options={},
        met={"caller": "ada"},
    )

    @classmethod
    def condition(cls, options: NoOptions, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Always met."""
        return met(f"{facts.caller or 'Somebody'} called it.")
