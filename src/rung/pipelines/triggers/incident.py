"""Called by an incident whose cause was found."""

from __future__ import annotations

from rung.core.errors import Invalid
from rung.core.records import Id, Instant, Line, Name, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck

CAUSES = (
    "data_break", "training_serving_skew", "leakage", "immature_labels", "concept_drift", "prior_shift", "covariate_shift", "none",
)  # fmt: skip


class Options(Record):
    """``causes`` that count, and those that do ``not``; by default only what a retraining can cure."""

    causes: tuple[Line, ...] = ()
    but_not: tuple[Line, ...] = ()
    curable: bool | None = True


class Facts(Record):
    """The incident, its diagnosis and what it found."""

    incident: Id
    diagnosis: Id
    deployment: Name
    cause: Line
    curable: bool
    as_of: Instant


@TRIGGERS.member("incident")
class Incident(TriggerMember[Options, Facts]):
    """Started when an incident is diagnosed with a cause that counts, such as concept drift but not broken data."""

    word = "incident"
    about = "deployment"
    options = Options
    facts = Facts
    by_name = ("incident", "deployment", "as_of")
    example = Example(
        options={"causes": ["concept_drift"]},
        met={
            "incident": "0" * 32,
            "diagnosis": "0" * 32,
            "deployment": "flights",
            "cause": "concept_drift",
            "curable": True,
            "as_of": "2026-03-09T00:00:00Z",
        },
        unmet={
            "incident": "0" * 32,
            "diagnosis": "0" * 32,
            "deployment": "flights",
            "cause": "data_break",
            "curable": False,
            "as_of": "2026-03-09T00:00:00Z",
        },
    )

    @classmethod
    def checked(cls, subject: str, pipeline: str, options: Options) -> None:
        """Raise Invalid for a cause that no diagnosis gives."""
        if strange := [name for name in (*options.causes, *options.but_not) if name not in CAUSES]:
            raise Invalid(f"No diagnosis is called {strange[0]!r}.", code="pipelines.bad_trigger", hint=f"Known: {', '.join(CAUSES)}.")

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met by a cause that counts."""
        if facts.cause in options.but_not or (options.causes and facts.cause not in options.causes):
            wanted = ", ".join(options.causes) if options.causes else f"any but {', '.join(options.but_not)}"
            return not_met(f"The incident of {facts.deployment} is one of {facts.cause}; what counts is {wanted}.")
        if options.curable is not None and facts.curable != options.curable:
            able = "can" if facts.curable else "cannot"
            return not_met(f"The incident of {facts.deployment} is one of {facts.cause}, which a retraining {able} cure.")
        return met(f"The incident of {facts.deployment} was diagnosed as {facts.cause}.")
