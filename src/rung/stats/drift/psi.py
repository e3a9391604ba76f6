"""Population stability index."""

from __future__ import annotations

from rung.stats.samples import CategoryPair, NumericPair, drift_test, population_index


@drift_test("psi", "numeric")
def psi(pair: NumericPair) -> float:
    """Index over the reference's deciles (linear quantiles, duplicates removed, open tails), in nats, at least 0."""
    return population_index(*pair.decile_shares)


@drift_test("psi_category", "category")
def psi_category(pair: CategoryPair) -> float:
    """Index over the union of values, in nats, at least 0."""
    return population_index(*pair.shares)
