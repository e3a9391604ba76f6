"""The input itself is broken: a wrong unit, nulls, values never seen, a stuck value, a missing column."""

from __future__ import annotations

from rung.monitoring.evidence import DIAGNOSES, Evidence
from rung.monitoring.records import Fact, Finding

_MOST_FACTS = 20


@DIAGNOSES.member("data_break")
def data_break(evidence: Evidence) -> Finding | None:
    """Any fault of the input. Training on such rows would teach the fault, so repair comes first."""
    found = evidence.faults
    if not found:
        return None
    columns = tuple(dict.fromkeys(fault.column for _, fault in found))
    since = min((fault.since or window.start) for window, fault in found)
    facts = tuple(
        Fact(statement=fault.statement, value=fault.share, line=fault.reference_share, column=fault.column)
        for _, fault in found[:_MOST_FACTS]
    )
    return Finding(
        cause="data_break",
        strength=1.0,
        summary=f"The input is broken since {since:%Y-%m-%d %H:%M}: {found[0][1].statement}"[:1000],
        facts=facts,
        columns=columns,
        since=since,
        remedy=f"Repair {', '.join(columns)} where it comes from and deliver the rows since {since:%Y-%m-%d %H:%M} again; do not retrain on them.",
    )
