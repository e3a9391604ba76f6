"""Called by a monitor's window whose realised performance has dropped."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from rung.core.errors import Invalid
from rung.core.records import Count, Id, Instant, Key, Line, Name, Record, Share
from rung.pipelines.trigger_family import TRIGGERS, WINDOW, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck

_LESS_IS_BETTER = {"log_loss", "brier", "mae", "rmse"}


class Options(Record):
    """A line: ``worst`` is the value that ``metric`` must not be worse than, ``drop`` the share of the reference it may lose.

    ``over`` looks at the ``window`` itself or at the ``recent`` windows together; ``metric`` is the monitor's when empty.
    ``min_labelled`` rows of the window must have labels, and with ``final`` every label must be due.
    """

    metric: Key | Literal[""] = ""
    worst: float | None = None
    drop: Annotated[float, Meta(gt=0, le=1)] | None = None
    over: Literal["window", "recent"] = "recent"
    min_labelled: Count = 100
    final: bool = False


class Facts(Record):
    """The measured window; ``metrics`` and ``recent`` by name, ``reference`` for the monitor's own metric."""

    deployment: Name
    window: Id
    start: Instant
    end: Instant
    as_of: Instant
    model: Line = ""
    version: Count = 0
    metric: Key
    metrics: dict[str, float] = {}
    recent: dict[str, float] = {}
    reference: float | None = None
    labelled: Count = 0
    labelled_share: Share = 0.0
    final: bool = False


@TRIGGERS.member("performance")
class PerformanceDrop(TriggerMember[Options, Facts]):
    """Started when labels say that a deployment has become worse than a line, or than it was."""

    word = "performance"
    about = "deployment"
    options = Options
    facts = Facts
    by_name = ("deployment", "start", "end", "as_of")
    example = Example(
        options={"worst": 0.7},
        met={
            **WINDOW,
            "metric": "auc",
            "recent": {"auc": 0.65},
            "labelled": 500,
        },
        unmet={
            **WINDOW,
            "metric": "auc",
            "recent": {"auc": 0.75},
            "labelled": 500,
        },
    )

    @classmethod
    def checked(cls, subject: str, pipeline: str, options: Options) -> None:
        """Raise Invalid without a line."""
        if options.worst is None and options.drop is None:
            raise Invalid(
                "A performance trigger needs a line.", code="pipelines.bad_trigger", hint="Give worst (a value) or drop (a share, 0.05)."
            )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met when the metric is on the wrong side of the line."""
        name = options.metric or facts.metric
        value = (facts.recent if options.over == "recent" else facts.metrics).get(name)
        where = f"{facts.deployment}, {facts.start:%Y-%m-%d} to {facts.end:%Y-%m-%d}"
        if value is None:
            return not_met(f"{where}: {name} was not measured.")
        if facts.labelled < options.min_labelled:
            return not_met(
                f"{where}: {facts.labelled} labels; {options.min_labelled} are asked for.",
                value=float(facts.labelled), line=float(options.min_labelled),
            )  # fmt: skip
        if options.final and not facts.final:
            return not_met(f"{where}: labels are still due, and a final window is asked for.")
        less = name in _LESS_IS_BETTER
        reference = facts.reference if name == facts.metric else None
        if options.worst is not None and (value > options.worst if less else value < options.worst):
            return met(f"{where}: {name} is {value:.4g}, worse than {options.worst:g}.", value=value, line=options.worst)
        if options.drop is not None and reference:
            line = reference * (1 + options.drop if less else 1 - options.drop)
            if value > line if less else value < line:
                told = f"{where}: {name} is {value:.4g}, more than {options.drop:.0%} worse than the {reference:.4g} of its evaluation."
                return met(told, value=value, line=line)
            return not_met(f"{where}: {name} is {value:.4g}; the line is {line:.4g}.", value=value, line=line)
        if options.drop is not None and options.worst is None:
            return not_met(f"{where}: there is no reference for {name} to measure a drop from.", value=value)
        return not_met(f"{where}: {name} is {value:.4g}; the line is {options.worst:g}.", value=value, line=options.worst)
