"""Called by a decision to retrain: the recommended reason for a training run."""

from __future__ import annotations

from rung.core.records import Id, Instant, Line, Name, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck


class Options(Record):
    """The ``action`` that was decided."""

    action: Line = "retrain"


class Facts(Record):
    """The decision."""

    decision: Id
    deployment: Name
    model: Line
    action: Line = "retrain"
    incident: Id | None = None
    as_of: Instant


@TRIGGERS.member("decision")
class Decision(TriggerMember[Options, Facts]):
    """Started when the retraining policy has decided: after a diagnosis, with gain and cost weighed."""

    word = "decision"
    about = "deployment"
    options = Options
    facts = Facts
    by_name = ("decision", "deployment", "model", "as_of")
    example = Example(
        options={},
        met={"decision": "0" * 32, "deployment": "flights", "model": "late", "as_of": "2026-03-09T00:00:00Z"},
        unmet={"decision": "0" * 32, "deployment": "flights", "model": "late", "action": "wait", "as_of": "2026-03-09T00:00:00Z"},
    )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met by the action."""
        if facts.action != options.action:
            return not_met(f"The decision about {facts.deployment} is {facts.action!r}; this waits for {options.action!r}.")
        return met(f"The decision about {facts.model} of {facts.deployment} is {facts.action!r}.")
