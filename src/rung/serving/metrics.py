"""What the data plane counts, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

REQUESTS = Counter("rung_requests", "Inference requests by deployment and status.", ["deployment", "status"])
ROWS = Counter("rung_rows", "Rows answered by deployment.", ["deployment"])
SECONDS = Histogram(
    "rung_request_seconds",
    "Seconds from the whole request to the whole answer.",
    ["deployment"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)
