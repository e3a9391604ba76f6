"""Every route of MLflow's own server is one of ours, or is said not to be offered; and the page of routes says so."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Match, Route

from rung.app.opening import import_operations
from rung.core.requests import OPERATIONS
from rung.protocols.mlflow.hot import HOT_ROWS
from rung.protocols.mlflow.server import NOT_OFFERED, why_not
from rung.protocols.mlflow.table import all_rows, all_streams, mlflow_routes
from tests.protocol.mlflow.conftest import Wire

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))
import mlflow_routes as page

# Pages and files of MLflow's own UI, one address of theirs that lacks a slash, and what our server answers elsewhere.
ELSEWHERE = {
    "/",
    "/static-files/{path}",
    "/build/{filename}",
    "/api/2.0mlflow/experiments/search-datasets",
    "/ajax-api/2.0mlflow/experiments/search-datasets",
    "/health",
}


def _theirs() -> set[tuple[str, str]]:
    from mlflow.server import app as flask_app
    from mlflow.server.fastapi_app import create_fastapi_app

    found = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in flask_app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    for path, methods in create_fastapi_app().openapi()["paths"].items():
        found |= {(method.upper(), path) for method in methods}
    return {(method, path) for method, path in found if method not in {"HEAD", "OPTIONS"} and path not in ELSEWHERE}


def _ours() -> list[Route]:
    return [route for route in mlflow_routes(lambda request: None) if isinstance(route, Route)]  # type: ignore[arg-type, return-value]


def _answering(routes: list[Route], method: str, path: str) -> Route | None:
    asked = {"type": "http", "method": method, "path": re.sub(r"\{\w+\}", "x", path), "headers": []}
    return next((route for route in routes if route.matches(asked)[0] == Match.FULL), None)


@pytest.fixture(scope="module")
def theirs() -> set[tuple[str, str]]:
    """Method and path of every route of MLflow's server."""
    return _theirs()


def test_every_route_of_theirs_is_ours_or_not_offered(theirs: set[tuple[str, str]]) -> None:
    routes = _ours()
    hot = {f"{prefix}{row.path}" for row in HOT_ROWS for prefix in ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")}
    lost = []
    for method, path in sorted(theirs):
        route = _answering(routes, method, path)
        offered = (method == "POST" and path in hot) or (route is not None and route.endpoint.__qualname__ not in _LAST)
        if not offered and why_not(re.sub(r"\{\w+\}", "x", path)) is None:
            lost.append(f"{method} {path}")
    assert len(theirs) > 400
    assert not lost, "\n".join(lost)


# What answers for that which is not there.
_LAST = {"last_routes.<locals>.other", "routes.<locals>.not_here"}


def test_what_is_not_offered_is_no_route_of_ours(theirs: set[tuple[str, str]]) -> None:
    routes = _ours()
    for method, path in sorted(theirs):
        if why_not(path) is None:
            continue
        route = _answering(routes, method, path)
        # of one path below traces a method may be there and another not
        assert route is None or route.endpoint.__qualname__ in _LAST or "/mlflow/traces" in path, (method, path)


@pytest.mark.parametrize("patterns", NOT_OFFERED.values(), ids=NOT_OFFERED)
def test_every_pattern_names_a_route_of_theirs_or_of_their_accounts(theirs: set[tuple[str, str]], patterns: tuple[str, ...]) -> None:
    below = {re.sub(r"^/(ajax-)?api/[23]\.0/mlflow/", "", path) for _, path in theirs} | {path for _, path in theirs}
    for pattern in patterns:
        text = re.escape(pattern).replace(r"/\*\*", "(/.*)?").replace(r"\*", "[^/]+")
        assert any(re.fullmatch(text, path) for path in below) or "permissions" in pattern or "users" in pattern, pattern


def _not_offered() -> Iterator[tuple[str, str]]:
    for patterns in NOT_OFFERED.values():
        for pattern in patterns:
            path = pattern.replace("/**", "/x").replace("*", "x")
            yield pattern, path if path.startswith("/") else f"/api/3.0/mlflow/{path}"


@pytest.mark.parametrize(("pattern", "path"), list(_not_offered()))
def test_what_is_not_offered_says_so_as_mlflow_does(wire: Wire, pattern: str, path: str) -> None:
    if pattern.startswith("traces"):
        path = path.replace("3.0", "2.0") if pattern in {"traces", "traces/*", "traces/*/info"} else path
    method = {"traces": "GET", "traces/*": "PATCH"}.get(pattern, "POST")
    answer = wire.send(method, path, json={})
    assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED"), answer.text


def test_a_route_that_nobody_has_is_not_found(wire: Wire) -> None:
    for path in (
        "/api/2.0/mlflow/nothing",
        "/api/3.0/mlflow/runs/nothing",
        "/ajax-api/2.0/mlflow/%0a",
        "/api/2.0/mlflow-artifacts/nothing",
    ):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = wire.send(method, path)
            assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_every_route_that_is_no_row_says_what_it_becomes() -> None:
    import_operations()
    rows = {page.full(row.path) for row in all_rows()}
    told = {(method, stream.path) for stream in all_streams() for method in stream.methods.split()}
    for route in _ours():
        path = re.sub(r":\w+\}", "}", route.path).replace("/ajax-api/", "/api/")
        if path in rows or route.endpoint.__qualname__ in _LAST:
            continue
        for method in (route.methods or set()) - {"HEAD"}:
            assert (method, path) in told or (method, re.sub(r":\w+\}", "}", route.path)) in told, (method, route.path)
    for stream in all_streams():
        assert all(OPERATIONS[kind.operation] is kind for kind in stream.becomes)


def test_the_page_of_routes_is_up_to_date() -> None:
    assert page.PAGE.read_text("utf-8") == page.page()
