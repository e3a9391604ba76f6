"""What is promised of tracking beside MLflow's own server.

A ratio is how many times better ours is than MLflow's default (four workers) and than its one process; a limit holds for our own figure.
"""

from __future__ import annotations

from dataclasses import dataclass

LESS_IS_BETTER = frozenset({"ms", "CPU ms", "s", "CPU-s", "MB", "µs", "processes"})


@dataclass(frozen=True)
class Claim:
    """What a measure has to reach; None where nothing is promised."""

    default: float | None = None
    one: float | None = None
    limit: float | None = None

    def __str__(self) -> str:
        parts = [f"≥ {ratio:g}×" for ratio in (self.default, self.one) if ratio is not None]
        wanted = " / ".join(dict.fromkeys(parts))
        return "; ".join(part for part in (wanted, "" if self.limit is None else f"{self.limit:,g}") if part)

    def met(self, unit: str, ours: float | None, default: float | None, one: float | None) -> bool | None:
        """Whether all of it is reached; None when nothing is promised, or nothing was measured that it speaks of."""
        verdicts = [
            ratio >= wanted for ratio, wanted in ((default, self.default), (one, self.one)) if ratio is not None and wanted is not None
        ]
        if self.limit is not None and ours is not None:
            verdicts.append(ours <= self.limit if unit in LESS_IS_BETTER else ours >= self.limit)
        return all(verdicts) if verdicts else None


_CALL = Claim(default=10, one=5)
_BATCH = Claim(default=4, one=3)
_PAGE = Claim(limit=100)

CLAIMS: dict[str, Claim] = {
    "cold start, processor time": Claim(default=20, one=10),
    "cold start, until it answers": Claim(limit=1.5),
    "memory at rest": Claim(limit=120),
    "log_metric": _CALL,
    "log_metric, server CPU": Claim(limit=1),
    "log_param": _CALL,
    "set_tag": _CALL,
    "create_run": _CALL,
    "log_batch of 1000 metrics": _BATCH,
    "log_batch of 1000 metrics, server CPU": Claim(limit=8),
    "four clients, log_metric": Claim(default=8),
    "four clients, log_batch": Claim(default=5),
    "search, default order": Claim(one=3),
    "search, default order, server CPU": Claim(limit=5),
    "history of 100,000 points": Claim(default=3, one=3),
    "small files, up": Claim(default=5, one=5),
    "small files, down": Claim(default=5, one=5),
    "large file, up": Claim(default=2, one=2),
    "large file, down": Claim(default=2, one=2),
    "our SDK, log_metric accepted": Claim(limit=100_000),
    "our SDK, points durable": Claim(limit=20_000),
    "our SDK, 1M packed points as a plot of 2,000": Claim(limit=25),
}
OF_DATABASE: dict[str, dict[str, Claim]] = {
    "SQLite": {"search, filter and order by metric": Claim(default=50, one=50)},
    "PostgreSQL": {"search, filter and order by metric": Claim(default=7, one=7)},
}
OF_KIND = {"100,000 runs, page": _PAGE}


def claim_of(database: str, measure: str) -> Claim:
    """What is promised of a measure."""
    for beginning, claim in OF_KIND.items():
        if measure.startswith(beginning) and not measure.endswith("CPU"):
            return claim
    return OF_DATABASE.get(database, {}).get(measure) or CLAIMS.get(measure, Claim())
