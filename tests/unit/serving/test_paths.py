"""Which path is which protocol."""

from __future__ import annotations

import pytest

from rung.serving.paths import Matched, Paths, match


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("POST", "/v2/models/hgb/infer", Matched("oip", "infer", "hgb")),
        ("POST", "/v2/models/hgb/versions/3/infer", Matched("oip", "infer", "hgb", "3")),
        ("GET", "/v2/models/hgb", Matched("oip", "metadata", "hgb")),
        ("GET", "/v2/models/hgb/versions/3/ready", Matched("oip", "ready", "hgb", "3")),
        ("GET", "/v2/models/hgb/stats", Matched("oip", "stats", "hgb")),
        ("GET", "/v2/models/stats", Matched("oip", "stats")),
        ("HEAD", "/v2/health/live", Matched("oip", "live")),
        ("GET", "/v2/", Matched("oip", "server_metadata")),
        ("POST", "/v2/repository/index", Matched("oip", "index")),
        ("POST", "/v2/repository/models/hgb/unload", Matched("oip", "unload", "hgb")),
        ("POST", "/invocations", Matched("mlflow", "infer")),
        ("GET", "/ping", Matched("mlflow", "ping")),
        ("POST", "/predict", Matched("vertex", "infer")),
        ("POST", "/score", Matched("azureml", "infer")),
        ("POST", "/v1/models/hgb:predict", Matched("kserve", "infer", "hgb")),
        ("POST", "/v1/models/hgb/versions/2:predict", Matched("kserve", "infer", "hgb", "2")),
        ("GET", "/v1/models/hgb", Matched("kserve", "status", "hgb")),
        ("POST", "/api/v1.0/predictions", Matched("seldon", "infer")),
        ("POST", "/seldon/ns/hgb/api/v1.0/feedback", Matched("seldon", "feedback", "hgb")),
        ("POST", "/models/hgb/invoke", Matched("sagemaker", "infer", "hgb")),
        ("DELETE", "/models/hgb", Matched("sagemaker", "unload", "hgb")),
        ("POST", "/deployments/hgb/invocations", Matched("mlflow", "infer", "hgb")),
        ("POST", "/deployments/hgb/score", Matched("azureml", "infer", "hgb")),
        ("POST", "/deployments/hgb/v2/models/hgb/infer", Matched("oip", "infer", "hgb")),
        ("GET", "/deployments/hgb/v2/health/ready", Matched("oip", "server_ready", "hgb")),
    ],
)
def test_a_path_means_a_protocol_and_a_verb(method: str, path: str, meant: Matched) -> None:
    assert match(method, path) == meant
    assert match(method, path) == meant


def test_another_method_is_told_which_are_allowed() -> None:
    assert match("POST", "/v2/health/live") == Matched("oip", "no_method", allow="GET")
    assert match("GET", "/invocations") == Matched("mlflow", "no_method", allow="POST")


@pytest.mark.parametrize("path", ["/v2/models/hgb/nothing", "/v2/nothing", "/v1/models/hgb:nothing", "/v2/models//infer"])
def test_an_unknown_path_of_a_protocol_is_answered_by_it(path: str) -> None:
    found = match("POST", path)
    assert found is not None
    assert found.verb == "no_path"


@pytest.mark.parametrize(
    "path", ["/", "/deployments/hgb", "/deployments/hgb/releases", "/models", "/models/hgb", "/api/serving.deploy", "/v3"]
)
def test_what_is_no_protocol_s_is_left_to_pages_and_api(path: str) -> None:
    assert match("GET", path) is None


def test_a_server_without_pages_answers_at_the_root_and_lists_models() -> None:
    paths = Paths(pages=False)
    assert paths.match("GET", "/") == Matched("azureml", "ping")
    assert paths.match("GET", "/models") == Matched("sagemaker", "models")
    assert paths.match("GET", "/models/hgb") == Matched("sagemaker", "status", "hgb")


def test_vertex_names_its_own_routes() -> None:
    paths = Paths({"AIP_PREDICT_ROUTE": "/v1/endpoints/7:rawPredict", "AIP_HEALTH_ROUTE": "/v1/endpoints/7"})
    assert paths.match("POST", "/v1/endpoints/7:rawPredict") == Matched("vertex", "infer")
    assert paths.match("GET", "/v1/endpoints/7") == Matched("vertex", "ping")


def test_made_up_paths_and_methods_take_no_memory() -> None:
    paths = Paths()
    for number in range(10_000):
        paths.match("GET", f"/v2/models/m{number}")
        paths.match(f"M{number}", "/v2")
    assert paths.match("GET", "/v2/models/" + "m" * 5000) is None
    assert sum(len(held) for held in paths._seen.values()) <= 4096 + 16


def test_a_version_without_a_number_is_no_path() -> None:
    for path in ("/v2/models/m/versions//infer", "/v2/models/m/versions/", "/v1/models/m/versions/:predict"):
        found = Paths().match("POST", path)
        assert found is not None
        assert found.verb in {"no_path", "no_method"}, path
