"""Called by an alert, before anybody has looked at its cause."""

from __future__ import annotations

from rung.core.records import Id, Line, Name, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck


class Options(Record):
    """``rules`` are the monitor's rules whose alerts count: quality, drift, score, performance; empty: all."""

    rules: tuple[Line, ...] = ()


class Facts(Record):
    """The alert and its incident."""

    deployment: Name
    alert: Id
    incident: Id
    rule: Line


@TRIGGERS.member("alert")
class Alert(TriggerMember[Options, Facts]):
    """Started when a monitor crosses its line, for pipelines that look or report rather than retrain."""

    word = "alert"
    about = "deployment"
    options = Options
    facts = Facts
    by_name = ("deployment", "incident")
    example = Example(
        options={"rules": ["drift"]},
        met={"deployment": "flights", "alert": "0" * 32, "incident": "0" * 32, "rule": "drift"},
        unmet={"deployment": "flights", "alert": "0" * 32, "incident": "0" * 32, "rule": "quality"},
    )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met by the rules that count."""
        if options.rules and facts.rule not in options.rules:
            return not_met(f"The alert is one of {facts.rule}; {', '.join(options.rules)} count.")
        return met(f"Deployment {facts.deployment} raised the alert {facts.rule}.")
