"""Gate: the version loads, answers to its signature, and stays within its size and latency."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from rung.core.records import Count, Record
from rung.registry.gate import GateCase, gate, result
from rung.registry.records import GateResult


class Contract(Record):
    """Limits of size, of one row's latency and of loading. Latency is the median of twenty single rows here."""

    max_size_bytes: Count = 500_000_000
    max_single_row_ms: Annotated[float, Meta(gt=0)] = 1000.0
    max_load_s: Annotated[float, Meta(gt=0)] = 60.0


@gate("contract", Contract)
def contract(case: GateCase, params: Contract) -> list[GateResult]:
    """Tries the loaded candidate on a few rows."""
    trial, size = case.trial(), case.candidate.version.size_bytes
    limits = (
        ("size_bytes", float(size), float(params.max_size_bytes), f"{size:,} bytes"),
        ("single_row_ms", trial.single_row_ms, params.max_single_row_ms, f"{trial.single_row_ms:.1f} ms a row"),
        ("load_s", trial.load_s, params.max_load_s, f"{trial.load_s:.2f} s to load"),
    )
    over = [
        result(f"The version takes {told}, more than {limit:g} {metric}.", passed=False, metric=metric, value=value, limit=limit)
        for metric, value, limit, told in limits
        if value > limit
    ]
    broken = [result(fault, passed=False) for fault in trial.faults]
    if over or broken:
        return broken + over
    return [result(f"It answers its signature on {trial.rows} rows: {', '.join(told for *_, told in limits)}.", passed=True)]
