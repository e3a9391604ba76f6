"""OpenAPI 3.1 generated from the requests: nothing is described by hand, so nothing can be forgotten."""

from __future__ import annotations

from typing import Any

import msgspec

import rung
from rung.app.opening import import_operations
from rung.core.requests import OPERATIONS, answer_type
from rung.core.wire import WireErrorBody
from rung.server.errors import STATUS

_REFERENCE = "#/components/schemas/{name}"


def openapi() -> dict[str, Any]:
    """The description of every operation, its permission, effect and errors."""
    import_operations()
    kinds = [OPERATIONS[name] for name in sorted(OPERATIONS)]
    wanted = [*kinds, *(answer_type(kind) for kind in kinds), WireErrorBody]
    schemas, components = msgspec.json.schema_components(wanted, ref_template=_REFERENCE)
    requests, answers, error = schemas[: len(kinds)], schemas[len(kinds) : -1], schemas[-1]
    content = {"application/json": {"schema": error}}
    failures: dict[str, Any] = {str(status): {"description": kind, "content": content} for kind, status in _by_status().items()}
    paths: dict[str, Any] = {
        f"/api/{kind.operation}": {
            "post": {
                "operationId": kind.operation,
                "summary": (kind.__doc__ or "").strip().splitlines()[0],
                "tags": [kind.operation.partition(".")[0]],
                "x-permission": kind.permission,
                "x-effect": kind.effect,
                "security": [{"token": []}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
                "responses": failures | {"200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}}},
            }
        }
        for kind, asked, answer in zip(kinds, requests, answers, strict=True)
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rung", "version": rung.__version__, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _by_status() -> dict[str, int]:
    """One error class a status; classes that share one are named together."""
    kinds: dict[int, list[str]] = {}
    for kind, status in STATUS.items():
        kinds.setdefault(status, []).append(kind)
    return {" or ".join(names): status for status, names in kinds.items()}
