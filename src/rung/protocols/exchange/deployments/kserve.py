"""KServe: an InferenceService whose predictor is the image; it speaks Open Inference v2 and KServe's first protocol itself."""

from __future__ import annotations

from typing import Any

from rung.protocols.exchange.deploying import PORT, Exported, target, yaml_of
from rung.protocols.exchange.deployments.kubernetes import container, volumes


@target("kserve")
class KServe:
    """An InferenceService with a custom predictor."""

    @staticmethod
    def files(exported: Exported) -> dict[str, str]:
        """The one object."""
        return {"inferenceservice.yaml": yaml_of(inference_service(exported))}


def inference_service(exported: Exported) -> dict[str, Any]:
    """The object. KServe calls a custom predictor's only container ``kserve-container`` and takes its first port."""
    held = container(exported)
    held["name"] = "kserve-container"
    held["ports"] = [{"name": "http1", "containerPort": PORT, "protocol": "TCP"}]
    held.pop("lifecycle")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        held[probe]["httpGet"]["port"] = PORT
    held["env"].append({"name": "PROTOCOL", "value": "v2"})
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": exported.name,
            "namespace": exported.namespace,
            "labels": exported.labels,
            "annotations": {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "hpa"},
        },
        "spec": {
            "predictor": {
                "minReplicas": exported.replicas[0],
                "maxReplicas": exported.replicas[1],
                "scaleMetric": "cpu",
                "scaleTarget": 70,
                "timeout": 60,
                "containers": [held],
                "volumes": volumes(),
            }
        },
    }
