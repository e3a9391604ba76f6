"""Options that bound what callers may ask of a deployment."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from rung.core.records import Record


class LimitOptions(Record):
    """Bounds of requests; 0 means none, or the server's own."""

    requests_per_s: Annotated[float, Meta(ge=0, description="requests of one token, each second; 0: no such bound, or the server's")] = 0.0
    burst: Annotated[int, Meta(ge=0, description="requests of one token that may come at once; 0: twice the rate")] = 0
    rows_per_day: Annotated[int, Meta(ge=0, description="rows of one token, each UTC day; 0: no such bound, or the server's")] = 0
    max_body_mb: Annotated[int, Meta(ge=0, le=4096, description="largest request body, MiB; 0: the server's")] = 0
    max_rows: Annotated[int, Meta(ge=0, le=10_000_000, description="rows of one request; 0: no such bound, or the server's")] = 0
    timeout_ms: Annotated[
        int, Meta(ge=0, le=3_600_000, description="milliseconds an answer may take; 0: no such bound, or the server's")
    ] = 0
    queue: Annotated[int, Meta(ge=0, le=1_000_000, description="requests that may wait, more are answered 503; 0: the server's")] = 0
