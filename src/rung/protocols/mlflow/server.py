"""What the server says of itself, and the answer to every route of MLflow's that Rung does not offer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from rung.core.errors import Invalid, NotFound
from rung.protocols.mlflow import wire
from rung.protocols.mlflow.routes import Stream, error_response

if TYPE_CHECKING:
    from rung.protocols.mlflow.table import MakeTransport

# The version whose routes and shapes these are: clients choose by it what they dare to ask.
VERSION = "3.17.2"
# What MLflow's server has and this one has not: the reason, and the routes below ``/api/2.0/mlflow`` and its like. ``*`` stands
# for one name, ``**`` for any; a route with a leading slash stands as it is.
NOT_OFFERED: dict[str, tuple[str, ...]] = {
    "the AI gateway": ("gateway/**", "gateway-proxy", "/gateway/**"),
    "the helper in MLflow's own pages": ("assistant/**",),
    "scorers of language models": ("scorers/**", "scorer/**", "genai/**"),
    "prompt optimisation; prompts themselves are registered models with tags": ("prompt-optimization/**", "runs/create-promptlab-run"),
    "links of prompts to traces": ("traces/link-prompts",),
    "evaluation datasets of language models; Rung has datasets of its own": ("datasets/**",),
    "assessments of traces, and what is reckoned from them": ("traces/*/assessments/**", "traces/metrics", "traces/calculate-filter-correlation"),
    "spans in a database; they are the artifact `traces.json` of their trace": ("traces/batchGet", "traces/get", "/v1/traces"),
    "links of traces to a second run; a trace belongs to the run it was made in": ("traces/link-to-run",),
    "traces of clients before MLflow 3": ("traces", "traces/*", "traces/*/info"),
    "traces kept by Databricks": ("unified-traces", "get-online-trace-details"),
    "review queues and label schemas": ("review-queues/**", "label-schemas/**"),
    "issues found in traces": ("issues/**",),
    "workspaces; Rung has projects, put `/p/<project>` in front of the address": ("workspaces/**",),
    "MLflow's own accounts and permissions; Rung has principals and roles": (
        "users/**", "experiments/permissions/**", "registered-models/permissions/**", "scorers/permissions/**",
    ),
    "jobs of MLflow's own job runner": ("jobs/**", "/ajax-api/3.0/jobs/**"),
    "the registry of MCP servers": ("mcp-servers/**",),
    "uploads by MLflow's own pages": ("upload-artifact",),
    "demo data for MLflow's own pages": ("demo/**",),
    "telemetry of MLflow's own pages": ("ui-telemetry",),
    "the query language of MLflow's own pages": ("/graphql",),
}  # fmt: skip
# Parts are taken from clients that are told to send them, but not asked for: one PUT to this server is about twice as fast.
_INFO = {
    "store_type": "SqlStore", "workspaces_enabled": False, "trace_archival_enabled": False, "multipart_uploads_enabled": False,
    "multipart_downloads_enabled": False, "presigned_upload_run_id_supported": True, "presigned_upload_model_id_supported": True,
    "features_enabled": {},
}  # fmt: skip
STREAMS = (
    Stream("GET", "/version", "the version of MLflow whose routes these are"),
    Stream("GET", "/api/3.0/mlflow/server-info", "what the server can; tells nothing of a project"),
)


def routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """The open routes: they tell nothing that belongs to a project."""

    async def version(request: Request) -> Response:
        return PlainTextResponse(VERSION)

    async def info(request: Request) -> Response:
        return Response(wire.encode(_INFO), media_type="application/json")

    paths = ("/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info")
    return [Route("/version", version, methods=["GET"]), *(Route(path, info, methods=["GET"]) for path in paths)]


def why_not(path: str) -> str | None:
    """What a route that MLflow has and Rung has not is for; None for any other path."""
    below = _PREFIX.sub("", path)
    for why, patterns in _ABSENT:
        if any(pattern.fullmatch(path if pattern.pattern.startswith("/") else below) for pattern in patterns):
            return why
    return None


def last_routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """Whatever is left below MLflow's prefixes."""

    async def other(request: Request) -> Response:
        path = request.url.path
        why = why_not(path)
        if why is not None:
            refused = Invalid(f"Rung does not offer {why}.", code="mlflow.not_offered", hint="docs/mlflow-routes.md lists what it does.")
            return error_response(refused)
        missing = NotFound(
            f"There is no route {request.method} {path[:200]}.", code="mlflow.no_endpoint", hint="docs/mlflow-routes.md lists them."
        )
        return error_response(missing)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    prefixes = [
        f"/{api}/{number}/{name}" for api in ("api", "ajax-api") for number in ("2.0", "3.0") for name in ("mlflow", "mlflow-artifacts")
    ]
    paths = [
        *(f"{prefix}/{{rest:rest}}" for prefix in prefixes),
        "/graphql",
        "/gateway/{rest:rest}",
        "/ajax-api/3.0/jobs",
        "/ajax-api/3.0/jobs/{rest:rest}",
    ]
    return [Route(path, other, methods=methods) for path in paths]


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.escape(text).replace(r"/\*\*", r"(?:/[\s\S]*)?").replace(r"\*", "[^/]+")
    return re.compile(parts)


_PREFIX = re.compile(r"^/(?:ajax-)?api/[23]\.0/mlflow/")
_ABSENT = [(why, [_pattern(text) for text in texts]) for why, texts in NOT_OFFERED.items()]
