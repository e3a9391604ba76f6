"""How much of everything, and how often."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """``seconds`` of each measure on each server, in ``rounds`` that alternate; ``many`` runs are searched on ours alone."""

    seconds: float
    rounds: int
    runs: int
    points: int
    series: int
    megabytes: int
    files: int
    many: int
    calls: int


SHORT = Sizes(seconds=1.2, rounds=3, runs=10_000, points=100_000, series=20, megabytes=100, files=400, many=100_000, calls=100_000)
FULL = Sizes(seconds=5, rounds=5, runs=10_000, points=100_000, series=20, megabytes=500, files=2000, many=100_000, calls=200_000)
