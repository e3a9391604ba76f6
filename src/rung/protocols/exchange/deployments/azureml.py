"""Azure ML: a managed online endpoint and a deployment with a custom container."""

from __future__ import annotations

from typing import Any

from rung.protocols.exchange.deploying import PORT, Exported, target, yaml_of

_ENDPOINT = "https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json"
_DEPLOYMENT = "https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json"
_LONGEST = 32  # names of endpoints and deployments


@target("azureml")
class AzureMl:
    """``az ml online-endpoint create -f endpoint.yml``, then ``az ml online-deployment create -f deployment.yml``."""

    @staticmethod
    def files(exported: Exported) -> dict[str, str]:
        """Both files."""
        return {"endpoint.yml": yaml_of(endpoint(exported)), "deployment.yml": yaml_of(deployment(exported))}


def endpoint(exported: Exported) -> dict[str, Any]:
    """The endpoint: its address and how callers prove who they are."""
    return {"$schema": _ENDPOINT, "name": _short(exported.name), "auth_mode": "key", "tags": {"managed-by": "rung"}}


def deployment(exported: Exported) -> dict[str, Any]:
    """The deployment. Azure asks for the key itself, and passes none on: the container is open to it."""
    route = {"port": PORT, "path": "/readyz"}
    return {
        "$schema": _DEPLOYMENT,
        "name": _short(f"r{exported.revision}-{exported.name}"),
        "endpoint_name": _short(exported.name),
        "environment": {
            "name": exported.name,
            "version": str(exported.revision),
            "image": exported.image,
            "inference_config": {
                "liveness_route": {"port": PORT, "path": "/healthz"},
                "readiness_route": route,
                "scoring_route": {"port": PORT, "path": "/score"},
            },
        },
        "environment_variables": {"RUNG_WORKERS": str(exported.workers), "RUNG_SERVING_OPEN": "true", **exported.settings},
        "instance_type": "Standard_DS2_v2",
        "instance_count": exported.replicas[0],
        "request_settings": {"request_timeout_ms": 60000, "max_concurrent_requests_per_instance": 64},
        "tags": {"managed-by": "rung", "rung-revision": str(exported.revision)},
    }


def _short(name: str) -> str:
    return name[:_LONGEST].strip("-")
