"""Evidence queries: the family, and the few forms that most answers take."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rung.core.families import Family
from rung.core.records import Record
from rung.maturity.records import EvidenceRow, Status
from rung.maturity.snapshot import Snapshot


class Found(Record):
    """What a query says: a status with its reason, how many rows it found and some of them, over which window."""

    status: Status
    reason: str
    rows: tuple[EvidenceRow, ...] = ()
    found: int = 0
    window_days: int | None = None


Query = Callable[[Snapshot], Found]
CAPABILITIES: Family[Query] = Family("capabilities", "rung.maturity.capabilities")
NO_PRODUCTION = Found(status="unknown", reason="Nothing is deployed in production, so there is nothing to look at.")
_SHOWN = 5


def row(kind: str, key: object, label: str = "") -> EvidenceRow:
    """A thing to show as evidence."""
    return EvidenceRow(kind=kind, id=str(key), label=label[:1000])


def passed(reason: str, rows: Iterable[EvidenceRow], *, window_days: int | None = None) -> Found:
    """The records prove it."""
    held = tuple(rows)
    return Found(status="pass", reason=reason, rows=held[:_SHOWN], found=len(held), window_days=window_days)


def failed(reason: str, rows: Iterable[EvidenceRow] = (), *, window_days: int | None = None) -> Found:
    """The records that should prove it are missing or say otherwise."""
    held = tuple(rows)
    return Found(status="fail", reason=reason, rows=held[:_SHOWN], found=len(held), window_days=window_days)


def each(names: Iterable[str], missing: Iterable[str], noun: str, rows: Iterable[EvidenceRow], *, window_days: int | None = None) -> Found:
    """Over all of ``names``, none of which may be missing; the first that lacks it is named."""
    every, lacking = list(names), list(missing)
    if not every:
        return NO_PRODUCTION
    if lacking:
        return failed(f"{lacking[0]} lacks {noun} ({len(every) - len(lacking)} of {len(every)} have it).", rows, window_days=window_days)
    return passed(f"All {len(every)} have {noun}.", rows, window_days=window_days)
