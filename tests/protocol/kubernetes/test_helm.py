"""The chart of the platform: rendered, held against Helm's own engine where that is there, validated by Kubernetes' schemas, and read."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.protocol.kubernetes import helm_templates

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "rung"


VALUES = [
    {},
    {"ingress": {"enabled": True, "tlsSecret": "tls"}, "blobs": {"secret": "s3"}, "networkPolicy": False},
    {"serve": {"node": {"secret": "node"}}},
    {"monitor": {"secret": "prometheus"}},
]


def rendered(**values: Any) -> list[dict[str, Any]]:
    return helm_templates.rendered(CHART, values, name="mlops", namespace="team")


def by_helm(values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """What Helm itself makes: the program, or its engine as a Python package."""
    if shutil.which("helm"):
        (folder / "values.json").write_text(json.dumps(values))
        command = ["helm", "template", "mlops", str(CHART), "--namespace", "team", "--values", str(folder / "values.json")]
        texts = [subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout]
    else:
        helm = pytest.importorskip("helm_python", reason="no `helm` on the path, and no helm-python-sdk")
        texts = list(helm.Chart.load(str(CHART)).render(values, name="mlops", namespace="team").values())
    return [one for text in texts for one in yaml.safe_load_all(text) if isinstance(one, dict)]


def named(documents: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


@pytest.mark.parametrize("values", VALUES)
def test_helm_makes_the_same(values: dict[str, Any], tmp_path: Path) -> None:
    assert named(by_helm(values, tmp_path)) == named(rendered(**values))


def test_the_chart_and_its_values_are_yaml() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["apiVersion"], chart["name"], chart["type"]) == ("v2", "rung", "application")
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {"image", "database", "blobs", "server", "worker", "serve"} <= set(values)


def test_helm_finds_no_fault() -> None:
    helm = pytest.importorskip("helm_python", reason="pip install helm-python-sdk")
    found = helm.lint(str(CHART), strict=False)
    messages = [str(one) for one in found.get("messages") or found.get("Messages") or [] if "icon" not in str(one)]
    assert not messages


def test_what_a_template_says_of_no_value_is_found() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        helm_templates.Rendering({}).of([helm_templates.Block("say", ".Values.nowhere")], {"Values": {}})


def test_no_two_objects_have_one_name_and_all_are_the_release_s() -> None:
    for values in VALUES:
        documents = rendered(**values)
        assert len(named(documents)) == len(documents)
        for one in documents:
            assert one["metadata"]["name"].startswith("mlops")
            assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "mlops"


@pytest.mark.parametrize("values", VALUES)
def test_kubernetes_takes_what_the_chart_makes(values: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    documents = rendered(**values)
    kinds = sorted({one["kind"] for one in documents})
    for one in documents:
        if one["kind"] != "PodMonitor":  # of Prometheus' operator
            validator.validate(one, "1.31", strict=True)
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ServiceAccount"} <= set(kinds)
    assert ("Ingress" in kinds) is ("ingress" in values)
    assert ("NetworkPolicy" in kinds) is values.get("networkPolicy", True)
    assert ("PodMonitor" in kinds) is ("monitor" in values)


def test_services_find_their_pods_and_every_pod_knows_its_database() -> None:
    documents = rendered()
    pods = {one["metadata"]["name"]: one["spec"]["template"] for one in documents if one["kind"] == "Deployment"}
    assert sorted(pods) == ["mlops-serve", "mlops-server", "mlops-worker"]
    for service in (one for one in documents if one["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= pods[service["metadata"]["name"]]["metadata"]["labels"].items()
    for pod in pods.values():
        (container,) = pod["spec"]["containers"]
        variables = {one["name"]: one for one in container["env"]}
        assert variables["RUNG_STORAGE_DATABASE"]["valueFrom"]["secretKeyRef"] == {"name": "rung-database", "key": "url"}
        assert variables["RUNG_STORAGE_BLOBS"]["value"] == "s3://bucket/rung"
        assert "mlops-server.team.svc" in variables["RUNG_SERVER_HOSTS"]["value"].split(",")
        assert container["securityContext"]["runAsNonRoot"]


def test_inference_nodes_know_the_platform_and_neither_its_database_nor_its_blobs() -> None:
    documents = rendered(serve={"node": {"secret": "edge"}}, blobs={"secret": "s3"})
    (pod,) = (
        one["spec"]["template"]["spec"] for one in documents if one["kind"] == "Deployment" and one["metadata"]["name"] == "mlops-serve"
    )
    (container,) = pod["containers"]
    variables = {one["name"]: one for one in container["env"]}
    assert container["command"][-2:] == ["--platform", "http://mlops-server"]
    assert variables["RUNG_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "edge", "key": "token"}
    assert not {"RUNG_STORAGE_DATABASE", "RUNG_STORAGE_BLOBS"} & set(variables)
    assert "envFrom" not in container


def test_commands_of_the_chart_are_commands_of_rung() -> None:
    from click.testing import CliRunner

    from rung.cli.main import cli

    for one in rendered():
        if one["kind"] == "Deployment":
            command = one["spec"]["template"]["spec"]["containers"][0]["command"]
            answer = CliRunner().invoke(cli, [*command[1:2], "--help"])
            assert answer.exit_code == 0
            for option in (part for part in command if part.startswith("--")):
                assert option in answer.output
