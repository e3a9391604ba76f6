"""Writes docs/mlflow-routes.md from the rows of the MLflow protocol. A test holds it up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rung.core.requests import Request
from rung.protocols.mlflow.hot import HOT_ROWS
from rung.protocols.mlflow.server import NOT_OFFERED, VERSION
from rung.protocols.mlflow.table import all_rows, all_streams

PAGE = Path(__file__).resolve().parent.parent / "docs" / "mlflow-routes.md"
PREFIX = "/api/2.0/mlflow"


def page() -> str:
    """The whole page."""
    rows = [(full(row.path), " ".join(row.methods), row.becomes) for row in all_rows()]
    rows += [(full(row.path), "POST", row.becomes) for row in HOT_ROWS]
    lines = [
        "<!-- written by scripts/mlflow_routes.py; do not edit -->",
        "",
        "# Routes of the MLflow protocol",
        "",
        f"Rung speaks the protocol of MLflow {VERSION}. Every path that begins with `/api/` is there under `/ajax-api/` too, and every path",
        "with `/p/<project>` in front of it in that project. A route becomes requests of Rung, and needs their permissions.",
        "",
        "## Offered",
        "",
        "| route | becomes | needs |",
        "|---|---|---|",
        *(f"| `{methods} {path}` | {named(kinds)} | {needed(kinds)} |" for path, methods, kinds in sorted(rows, key=lambda item: item[:2])),
        "",
        "Files, and what the server says of itself:",
        "",
        "| route | answers | becomes | needs |",
        "|---|---|---|---|",
        *(f"| `{s.methods} {s.path}` | {s.what} | {named(s.becomes) or '–'} | {needed(s.becomes) or '–'} |" for s in all_streams()),
        "",
        "Files go up in one request each, which is the fastest way to a Rung server. Where something between client and server bounds the",
        "size of a request, set `MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD=true` (and `MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE`), and large files",
        "go up in parts; `MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=true` fetches them in parts. Uploads that are not completed within a day are",
        "removed.",
        "",
        "## Not offered",
        "",
        "These answer 501 with MLflow's error code `NOT_IMPLEMENTED`. `*` stands for one name, `**` for any number of them; a path without",
        f"a leading slash is below `{PREFIX}`, its `/api/3.0` and its `/ajax-api` forms.",
        "",
        "| what | routes |",
        "|---|---|",
        *(f"| {what} | {', '.join(f'`{path}`' for path in paths)} |" for what, paths in NOT_OFFERED.items()),
        "",
        "MLflow's own pages are not served: Rung has pages of its own at `/`.",
        "",
    ]
    return "\n".join(lines)


def full(path: str) -> str:
    """A row's path as it stands under the first prefix."""
    return (path if path.startswith("/api/") else PREFIX + path).replace(":rest}", "}")


def named(kinds: Iterable[type[Request[Any]]]) -> str:
    """The operations of requests."""
    return ", ".join(f"`{kind.operation}`" for kind in kinds)


def needed(kinds: Iterable[type[Request[Any]]]) -> str:
    """The permissions of requests."""
    return ", ".join(sorted({f"`{kind.permission}`" for kind in kinds}))


def main() -> int:
    """Write the page, or with ``--check`` say whether it is stale."""
    stale = not PAGE.is_file() or PAGE.read_text("utf-8") != page()
    if stale and "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
    print("stale" if stale else "up to date")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
