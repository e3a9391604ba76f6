"""Called by another pipeline's run that has ended."""

from __future__ import annotations

from typing import Literal

from rung.core.errors import Invalid
from rung.core.records import Id, Line, Name, Number, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck


class Options(Record):
    """How the other run must have ended."""

    status: Literal["succeeded", "failed", "cancelled", "any"] = "succeeded"


class Facts(Record):
    """The run that has ended."""

    after: Name
    pipeline_run: Id
    number: Number
    status: Line
    run_id: Id | None = None
    cause: Line = ""


@TRIGGERS.member("after")
class After(TriggerMember[Options, Facts]):
    """Started when a run of another pipeline has succeeded, or failed."""

    word = "after"
    about = "pipeline"
    options = Options
    facts = Facts
    by_name = ("after",)
    example = Example(
        options={},
        met={"after": "flights", "pipeline_run": "0" * 32, "number": 1, "status": "succeeded"},
        unmet={"after": "flights", "pipeline_run": "0" * 32, "number": 1, "status": "failed"},
    )

    @classmethod
    def checked(cls, subject: str, pipeline: str, options: Options) -> None:
        """Raise Invalid for a pipeline that would follow itself."""
        if subject in {"*", pipeline}:
            raise Invalid(
                f"Pipeline {pipeline!r} would start itself after {subject!r}.",
                code="pipelines.trigger_circle",
                hint="Name another pipeline to follow.",
            )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met by the status; a reproduction is no new run."""
        told = f"Run {facts.after}:{facts.number} has {facts.status}"
        if facts.cause == "reproduction":
            return not_met(f"{told}, but it only reproduces another.")
        if options.status not in {"any", facts.status}:
            return not_met(f"{told}; {options.status} is what counts.")
        return met(f"{told}.")
