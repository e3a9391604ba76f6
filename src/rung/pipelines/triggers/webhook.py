"""Called over HTTP, at an address of its own, with a signed body."""

from __future__ import annotations

from typing import Any

from rung.core.records import Key, Line, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck


class Options(Record):
    """``accept`` names the parameters that the sender may set; ``require`` fields of the body and the values they must have."""

    accept: tuple[Key, ...] = ()
    require: dict[Key, Any] = {}


class Facts(Record):
    """The body, as it was sent, and how it was signed."""

    body: dict[str, Any] = {}
    signed_as: Line = ""


@TRIGGERS.member("webhook")
class Webhook(TriggerMember[Options, Facts]):
    """Started by a signed POST to the trigger's own address."""

    word = "webhook"
    over_http = True
    options = Options
    facts = Facts
    example = Example(
        options={"require": {"ready": True}},
        met={"body": {"ready": True}, "signed_as": "rung"},
        unmet={"body": {}, "signed_as": "rung"},
    )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met when the body has what is required of it."""
        for name, wanted in sorted(options.require.items()):
            given = facts.body.get(name)
            if given != wanted:
                return not_met(f"The body says {name} = {given!r}; {wanted!r} is required.")
        return met("A signed webhook called it.")
