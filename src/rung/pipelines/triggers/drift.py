"""Called by a monitor's window whose columns have drifted."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from rung.core.errors import Invalid
from rung.core.records import Count, Id, Instant, Line, Name, Record, Share
from rung.pipelines.trigger_family import TRIGGERS, WINDOW, Example, Past, TriggerMember, met, not_met
from rung.pipelines.triggering import TriggerCheck


class Options(Record):
    """``share`` of the columns, or one of the named ``columns``, must have drifted, with an effect of at least ``effect``.

    ``broken`` says whether a window with a quality fault counts: by default not, because a fault in the data is no drift.
    """

    share: Annotated[float, Meta(gt=0, le=1)] | None = None
    columns: tuple[Line, ...] = ()
    effect: Share = 0.0
    broken: bool = False


class DriftedColumn(Record):
    """How far a column has moved: the Kolmogorov-Smirnov or total variation distance."""

    column: Line
    effect: float
    drifted: bool
    importance: float | None = None


class Facts(Record):
    """The measured window and its columns."""

    deployment: Name
    window: Id
    start: Instant
    end: Instant
    as_of: Instant
    rows: Count = 0
    model: Line = ""
    version: Count = 0
    columns: tuple[DriftedColumn, ...] = ()
    broken: bool = False


@TRIGGERS.member("drift")
class Drift(TriggerMember[Options, Facts]):
    """Started when inputs have moved away from the training data, whatever the cause; a decision is the better reason."""

    word = "drift"
    about = "deployment"
    options = Options
    facts = Facts
    by_name = ("deployment", "start", "end", "as_of")
    example = Example(
        options={"share": 0.5},
        met={
            **WINDOW,
            "columns": [{"column": "distance", "effect": 0.3, "drifted": True}],
        },
        unmet={
            **WINDOW,
            "columns": [{"column": "distance", "effect": 0.3, "drifted": False}],
        },
    )

    @classmethod
    def checked(cls, subject: str, pipeline: str, options: Options) -> None:
        """Raise Invalid without a share and columns."""
        if options.share is None and not options.columns:
            raise Invalid(
                "A drift trigger needs a line.", code="pipelines.bad_trigger", hint="Give share (0.3), or the columns that count."
            )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Met when enough has drifted far enough."""
        where = f"{facts.deployment}, {facts.start:%Y-%m-%d} to {facts.end:%Y-%m-%d}"
        if facts.broken and not options.broken:
            return not_met(f"{where}: the data have a quality fault; what moved is no drift until that is repaired.")
        counted = [c for c in facts.columns if not options.columns or c.column in options.columns]
        if not counted:
            return not_met(f"{where}: none of {', '.join(options.columns) or 'its columns'} was compared.")
        moved = sorted((c for c in counted if c.drifted and c.effect >= options.effect), key=lambda c: -c.effect)
        share, line = len(moved) / len(counted), options.share or 1 / len(counted)
        names = ", ".join(f"{c.column} {c.effect:.2f}" for c in moved[:5])
        told = f"{where}: {len(moved)} of {len(counted)} columns have drifted ({share:.0%}){': ' + names if names else ''}"
        if moved and share >= line - 1e-12:
            return met(f"{told}.", value=share, line=line)
        return not_met(f"{told}; the line is {line:.0%}.", value=share, line=line)
