"""Manifests of deployments: Kubernetes' by its own schemas, the others by what their contracts ask for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from rung.client.client import Client
from rung.core.errors import Conflict, Invalid, NotFound
from rung.protocols.exchange.bundling import export_deployment
from rung.protocols.exchange.deploying import TARGETS, Exported, fitting_name

FRAME = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "z": [0.0, 1.0, 0.0, 1.0]})
NODES = {"nodes": [{"name": "who", "kind": "model"}]}


@pytest.fixture
def served(client: Client) -> Client:
    client.registry.register("late", LogisticRegression().fit(FRAME, [0, 0, 1, 1]), example=FRAME, label="late")
    client.serving.deploy("Late_Flights", "late", 1, environment="dev")
    return client


def exported(**more: Any) -> Exported:
    held = {"deployment": "late", "name": "late", "revision": 4, "versions": ("late:7",), "inputs": (), "image": "registry.local/late:4"}
    return Exported(**{**held, **more})


def documents(text: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(text) if one]


@pytest.mark.parametrize("name", TARGETS.names())
def test_every_target_writes_files_that_can_be_read_back(name: str) -> None:
    for path, text in TARGETS.get(name).files(exported()).items():
        assert text.endswith("\n")
        if path.endswith((".yaml", ".yml")):
            assert documents(text)
        if path.endswith(".json"):
            assert json.loads(text)


@pytest.mark.parametrize("version", ["1.29", "1.31"])
def test_kubernetes_takes_every_manifest_in_strict_mode(version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    kinds = set()
    for path, text in TARGETS.get("kubernetes").files(exported()).items():
        for one in documents(text) if path != "monitoring.yaml" else []:  # Prometheus' own kind
            validator.validate(one, version, strict=True)
            kinds.add(one["kind"])
    wanted = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount", "Secret"}
    assert kinds == wanted


def test_the_pods_of_a_deployment_are_those_its_service_scaler_and_budget_mean() -> None:
    held = {one["kind"]: one for one in documents(TARGETS.get("kubernetes").files(exported())["kubernetes.yaml"])}
    labels = held["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        held["Service"]["spec"]["selector"], held["Deployment"]["spec"]["selector"]["matchLabels"],
        held["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], held["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):  # fmt: skip
        assert selector.items() <= labels.items()
        assert "rung.dev/revision" not in selector
    assert held["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == held["Deployment"]["metadata"]["name"]
    container = held["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert held["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    (monitor,) = documents(TARGETS.get("kubernetes").files(exported())["monitoring.yaml"])
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (scraped,) = monitor["spec"]["podMetricsEndpoints"]
    assert scraped["port"] == container["ports"][0]["name"]
    token = next(one["valueFrom"]["secretKeyRef"] for one in container["env"] if one["name"] == "RUNG_SERVE_TOKEN")
    assert scraped["authorization"]["credentials"].items() <= token.items()
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        one["name"] for one in held["Deployment"]["spec"]["template"]["spec"]["volumes"]
    }


def test_an_inference_service_has_the_container_that_kserve_takes_for_the_predictor() -> None:
    (found,) = documents(TARGETS.get("kserve").files(exported())["inferenceservice.yaml"])
    assert (found["apiVersion"], found["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = found["spec"]["predictor"]
    assert predictor["containers"][0]["name"] == "kserve-container"
    assert predictor["containers"][0]["ports"] == [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}]
    assert predictor["minReplicas"] <= predictor["maxReplicas"]
    # the pod KServe makes of it is one of Kubernetes
    validator = pytest.importorskip("kubernetes_validate")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {key: predictor[key] for key in ("containers", "volumes")}}
    validator.validate(pod, "1.31", strict=True)


def test_sagemaker_is_given_model_configuration_and_endpoint_that_name_each_other() -> None:
    files = TARGETS.get("sagemaker").files(exported())
    template = yaml.safe_load(files["sagemaker.template.yaml"])
    resources = template["Resources"]
    assert {one["Type"] for one in resources.values()} == {
        "AWS::SageMaker::Model",
        "AWS::SageMaker::EndpointConfig",
        "AWS::SageMaker::Endpoint",
    }
    for reference in _references(resources):
        assert reference in resources or reference in template["Parameters"]
    requests = json.loads(files["sagemaker.requests.json"])
    assert requests["create-endpoint"]["EndpointConfigName"] == requests["create-endpoint-config"]["EndpointConfigName"]
    assert requests["create-endpoint-config"]["ProductionVariants"][0]["ModelName"] == requests["create-model"]["ModelName"]
    assert len(requests["create-model"]["ModelName"]) <= 63


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["Ref"]] if "Ref" in value else [value["Fn::GetAtt"][0]] if "Fn::GetAtt" in value else []
        return own + [found for part in value.values() for found in _references(part)]
    return [found for part in value for found in _references(part)] if isinstance(value, list) else []


def test_vertex_is_told_the_routes_that_the_image_answers() -> None:
    files = TARGETS.get("vertex").files(exported())
    spec = json.loads(files["vertex.upload.json"])["model"]["containerSpec"]
    assert (spec["predictRoute"], spec["healthRoute"], spec["ports"]) == ("/predict", "/readyz", [{"containerPort": 8080}])
    subprocess.run(["sh", "-n"], input=files["vertex.sh"], text=True, check=True)


def test_azure_is_told_three_routes_and_names_within_its_bounds() -> None:
    files = TARGETS.get("azureml").files(exported(name="a" * 63))
    endpoint, deployment = yaml.safe_load(files["endpoint.yml"]), yaml.safe_load(files["deployment.yml"])
    assert deployment["endpoint_name"] == endpoint["name"]
    assert len(endpoint["name"]) <= 32 >= len(deployment["name"])
    routes = deployment["environment"]["inference_config"]
    assert {key: route["path"] for key, route in routes.items()} == {
        "liveness_route": "/healthz", "readiness_route": "/readyz", "scoring_route": "/score",
    }  # fmt: skip


def test_an_export_is_bundle_image_and_manifests(served: Client, tmp_path: Path) -> None:
    paths = export_deployment(served, "Late_Flights", "kubernetes", tmp_path / "out", replicas=(1, 3))
    assert paths[0] == "bundle"
    assert all((tmp_path / "out" / path).exists() for path in paths)
    held = {one["kind"]: one for one in documents((tmp_path / "out" / "kubernetes.yaml").read_text())}
    assert held["Deployment"]["metadata"]["name"] == "late-flights"
    assert (held["HorizontalPodAutoscaler"]["spec"]["minReplicas"], held["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]) == (1, 3)
    dockerfile = (tmp_path / "out" / "Dockerfile").read_text()
    assert dockerfile.count("FROM ") == 2
    assert "USER 10001" in dockerfile
    assert "HEALTHCHECK" in dockerfile
    for line in dockerfile.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            name = next(part for part in line.split()[1:] if not part.startswith("--"))
            assert (tmp_path / "out" / name).exists()
    subprocess.run(["sh", "-n", str(tmp_path / "out" / "entrypoint.sh")], check=True)
    assert any(line.startswith("scikit-learn==") for line in (tmp_path / "out" / "requirements.txt").read_text().splitlines())


def test_what_cannot_be_exported_is_told(served: Client, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        export_deployment(served, "nobody", "docker", tmp_path / "a")
    with pytest.raises(NotFound):
        export_deployment(served, "Late_Flights", "nowhere", tmp_path / "b")
    with pytest.raises(Invalid, match="no range"):
        export_deployment(served, "Late_Flights", "docker", tmp_path / "c", replicas=(3, 1))
    (tmp_path / "d" / "bundle").mkdir(parents=True)
    (tmp_path / "d" / "bundle" / "old").write_text("x")
    with pytest.raises(Conflict, match="not empty"):
        export_deployment(served, "Late_Flights", "docker", tmp_path / "d")


def test_names_become_dns_labels() -> None:
    assert fitting_name("Late_Flights.v2") == "late-flights-v2"
    assert fitting_name("7days") == "d-7days"
    assert len(fitting_name("x" * 200)) == 63
    with pytest.raises(Invalid):
        fitting_name("___")
