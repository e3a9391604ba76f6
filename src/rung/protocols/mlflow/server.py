"""What the server says of itself, and the answer to every route of MLflow's that Rung does not offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from rung.core.errors import Invalid, NotFound
from rung.protocols.mlflow import wire
from rung.protocols.mlflow.routes import error_response

if TYPE_CHECKING:
    from rung.protocols.mlflow.table import MakeTransport

# The version whose routes and shapes these are: clients choose by it what they dare to ask.
VERSION = "3.17.2"
# Beginnings of MLflow's routes that are known and not offered, and what they are for.
NOT_OFFERED: dict[str, str] = {
    "gateway": "the AI gateway",
    "scorers": "registered scorers of language models",
    "prompt": "prompt optimisation; prompts themselves are registered models with tags and work",
    "datasets": "evaluation datasets of language models; Rung's datasets are its own",
    "label-schemas": "review queues and label schemas",
    "review": "review queues and label schemas",
    "issues": "issues found in traces",
    "workspaces": "workspaces; Rung has projects, put `/p/<project>` in front of the address",
    "budgets": "budgets of the AI gateway",
    "jobs": "jobs of MLflow's own job runner",
    "users": "MLflow's basic-auth accounts; Rung has principals and roles",
    "experiments/permissions": "MLflow's basic-auth permissions; Rung has roles",
    "registered-models/permissions": "MLflow's basic-auth permissions; Rung has roles",
    "mcp": "the MCP server",
    "secrets": "secrets of the AI gateway",
    "endpoints": "endpoints of the AI gateway",
    "graphql": "the query language of MLflow's own pages",
}
# Parts are taken from clients that are told to send them, but not asked for: one PUT to this server is about twice as fast.
_INFO = {
    "store_type": "SqlStore", "workspaces_enabled": False, "trace_archival_enabled": False, "multipart_uploads_enabled": False,
    "multipart_downloads_enabled": False, "presigned_upload_run_id_supported": True, "presigned_upload_model_id_supported": True,
    "features_enabled": {},
}  # fmt: skip


def routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """The open routes: they tell nothing that belongs to a project."""

    async def version(request: Request) -> Response:
        return PlainTextResponse(VERSION)

    async def info(request: Request) -> Response:
        return Response(wire.encode(_INFO), media_type="application/json")

    paths = ("/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info")
    return [Route("/version", version, methods=["GET"]), *(Route(path, info, methods=["GET"]) for path in paths)]


def last_routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """Whatever is left below MLflow's prefixes."""

    async def other(request: Request) -> Response:
        rest = request.path_params["rest"]
        for start, what in NOT_OFFERED.items():
            if rest == start or rest.startswith((start + "/", start + "-")):
                refused = Invalid(f"Rung does not offer {what}.", code="mlflow.not_offered", hint="docs/mlflow.md lists what it offers.")
                return error_response(refused)
        missing = NotFound(f"There is no route {request.method} {request.url.path}.", code="mlflow.no_endpoint", hint="See docs/mlflow.md.")
        return error_response(missing)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    prefixes = [
        f"/{api}/{number}/{name}" for api in ("api", "ajax-api") for number in ("2.0", "3.0") for name in ("mlflow", "mlflow-artifacts")
    ]
    return [Route(f"{prefix}/{{rest:rest}}", other, methods=methods) for prefix in prefixes]
