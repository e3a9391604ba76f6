"""Vertex AI: the specification of an upload, and of the deployment to an endpoint.

The image keeps Vertex's contract: it listens on AIP_HTTP_PORT, and answers AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE.
"""

from __future__ import annotations

import json
from typing import Any

from rung.protocols.exchange.deploying import PORT, Exported, target


@target("vertex")
class Vertex:
    """Bodies of models.upload and endpoints.deployModel, and the commands that send them."""

    @staticmethod
    def files(exported: Exported) -> dict[str, str]:
        """Both bodies, and a script."""
        return {
            "vertex.upload.json": json.dumps(upload(exported), indent=2) + "\n",
            "vertex.deploy.json": json.dumps(deploy(exported), indent=2) + "\n",
            "vertex.sh": _SCRIPT.format(
                name=exported.name, image=exported.image, port=PORT, least=exported.replicas[0], most=exported.replicas[1],
                environment=",".join(f"{key}={value}" for key, value in _environment(exported).items()),
            ),
        }  # fmt: skip


def upload(exported: Exported) -> dict[str, Any]:
    """The body of ``projects.locations.models.upload``."""
    return {
        "model": {
            "displayName": exported.name,
            "description": f"Rung deployment {exported.deployment}, revision {exported.revision}",
            "labels": {"managed-by": "rung", "revision": str(exported.revision)},
            "containerSpec": {
                "imageUri": exported.image,
                "ports": [{"containerPort": PORT}],
                "predictRoute": "/predict",
                "healthRoute": "/readyz",
                "env": [{"name": name, "value": value} for name, value in _environment(exported).items()],
            },
        }
    }


def deploy(exported: Exported) -> dict[str, Any]:
    """The body of ``projects.locations.endpoints.deployModel``; the model's resource name is known after the upload."""
    return {
        "deployedModel": {
            "displayName": f"{exported.name}-{exported.revision}",
            "model": "projects/PROJECT/locations/LOCATION/models/MODEL",
            "dedicatedResources": {
                "machineSpec": {"machineType": "n1-standard-2"},
                "minReplicaCount": exported.replicas[0],
                "maxReplicaCount": exported.replicas[1],
            },
        },
        "trafficSplit": {"0": 100},
    }


def _environment(exported: Exported) -> dict[str, str]:
    """Vertex asks for rights itself, and passes no token on: the container is open to it."""
    return {"RUNG_WORKERS": str(exported.workers), "RUNG_SERVING_OPEN": "true", **exported.settings}


_SCRIPT = """\
#!/bin/sh
# Uploads the model, makes an endpoint and deploys to it. Set REGION first, and push the image.
set -eu
gcloud ai models upload --region="$REGION" --display-name={name} --container-image-uri={image} \\
  --container-ports={port} --container-predict-route=/predict --container-health-route=/readyz \\
  --container-env-vars={environment}
gcloud ai endpoints create --region="$REGION" --display-name={name}
ENDPOINT=$(gcloud ai endpoints list --region="$REGION" --filter=displayName={name} --format='value(name)' | head -n1)
MODEL=$(gcloud ai models list --region="$REGION" --filter=displayName={name} --sort-by=~createTime --format='value(name)' | head -n1)
gcloud ai endpoints deploy-model "$ENDPOINT" --region="$REGION" --model="$MODEL" --display-name={name} \\
  --machine-type=n1-standard-2 --min-replica-count={least} --max-replica-count={most} --traffic-split=0=100
"""
