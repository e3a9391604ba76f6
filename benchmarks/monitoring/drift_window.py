"""A month-sized window (30,000 rows x 16 columns) against a reference of 60,000: drift of every column, tests and verdicts.

    python benchmarks/monitoring/drift_window.py

Prints seconds of wall and CPU, best of five, and beside them scipy's KS and W1 and chi-square on the same columns.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable

import numpy as np
import polars as pl
import scipy
from scipy import stats

from rung.monitoring.columns import column_reference, compared

ROWS, REFERENCE_ROWS, NUMERIC, CATEGORY = 30_000, 60_000, 13, 3


def frame(rows: int, seed: int) -> pl.DataFrame:
    """Columns of several shapes: normal, lognormal, counts, and categories of 3, 16 and 100 values."""
    generator = np.random.default_rng(seed)
    columns: dict[str, object] = {f"normal_{i}": generator.normal(size=rows) for i in range(6)}
    columns |= {f"skewed_{i}": generator.lognormal(size=rows) for i in range(4)}
    columns |= {f"count_{i}": generator.poisson(5, size=rows).astype(float) for i in range(3)}
    columns |= {f"category_{k}": [f"v{v}" for v in generator.zipf(1.5, size=rows) % k] for k in (3, 16, 100)}
    return pl.DataFrame(columns)


def best(work: Callable[[], object]) -> dict[str, float]:
    """Least wall and CPU seconds of five runs."""
    walls, cpus = [], []
    for _ in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"wall_s": round(min(walls), 4), "cpu_s": round(min(cpus), 4)}


def with_scipy(reference: pl.DataFrame, current: pl.DataFrame) -> None:
    """KS, W1 and chi-square of every column as scipy computes them."""
    for name in reference.columns:
        if reference[name].dtype == pl.String:
            values = sorted({*reference[name].unique(), *current[name].unique()})
            table = [
                [counts.get(v, 0) for v in values] for counts in (dict(f[name].value_counts().iter_rows()) for f in (reference, current))
            ]
            stats.chi2_contingency(table, correction=False)
        else:
            a, b = reference[name].to_numpy(), current[name].to_numpy()
            stats.ks_2samp(a, b, method="asymp")
            stats.wasserstein_distance(a, b)


def main() -> None:
    """Measure and print."""
    reference, current = frame(REFERENCE_ROWS, 0), frame(ROWS, 1)
    kept = [column_reference(name, reference[name], blocks=8) for name in reference.columns]
    figures = {
        "rows": ROWS,
        "columns": NUMERIC + CATEGORY,
        "window": best(lambda: compared(kept, current, numeric_floor=0.1, category_floor=0.05)),
        "reference, once": best(lambda: [column_reference(name, reference[name], blocks=8) for name in reference.columns]),
        "scipy, three tests": best(lambda: with_scipy(reference, current)),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__, "polars": pl.__version__},
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
