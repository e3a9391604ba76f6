"""``/metrics`` in Prometheus' text format, for who holds a token that may read deployments."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def metrics_routes(allow: Callable[[Request, str], object]) -> list[Route]:
    """The route; ``allow`` raises Denied unless the request's token holds a permission."""

    def metrics(request: Request) -> Response:
        allow(request, "deployment:read")
        from rung.serving.exposing import CONTENT_TYPE, exposed  # noqa: PLC0415 - for who asks for numbers

        return Response(exposed(), media_type=CONTENT_TYPE)

    return [Route("/metrics", metrics)]
