"""SageMaker: model, endpoint configuration and endpoint, as CloudFormation and as the arguments of its API.

The image keeps SageMaker's contract: started with ``serve``, it answers GET /ping and POST /invocations on port 8080.
"""

from __future__ import annotations

import json
from typing import Any

from rung.protocols.exchange.deploying import Exported, target, yaml_of

_FORMAT = "2010-09-09"


@target("sagemaker")
class SageMaker:
    """A template that makes the endpoint, and the requests of its API one by one."""

    @staticmethod
    def files(exported: Exported) -> dict[str, str]:
        """The template and the requests."""
        return {
            "sagemaker.template.yaml": yaml_of(template(exported)),
            "sagemaker.requests.json": json.dumps(requests(exported), indent=2) + "\n",
        }


def template(exported: Exported) -> dict[str, Any]:
    """A CloudFormation template; role, image and kind of machine are its parameters."""
    environment = _environment(exported)
    return {
        "AWSTemplateFormatVersion": _FORMAT,
        "Description": f"Rung deployment {exported.deployment}, revision {exported.revision}",
        "Parameters": {
            "ImageUri": {"Type": "String", "Default": exported.image, "Description": "the image, pushed to ECR"},
            "RoleArn": {"Type": "String", "Description": "role that may pull the image and write logs"},
            "InstanceType": {"Type": "String", "Default": "ml.m5.large"},
            "InstanceCount": {"Type": "Number", "Default": exported.replicas[0], "MinValue": 1},
        },
        "Resources": {
            "Model": {
                "Type": "AWS::SageMaker::Model",
                "Properties": {
                    "ExecutionRoleArn": {"Ref": "RoleArn"},
                    "EnableNetworkIsolation": True,
                    "PrimaryContainer": {"Image": {"Ref": "ImageUri"}, "Environment": environment},
                },
            },
            "EndpointConfig": {
                "Type": "AWS::SageMaker::EndpointConfig",
                "Properties": {
                    "ProductionVariants": [
                        {
                            "VariantName": "AllTraffic",
                            "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                            "InitialInstanceCount": {"Ref": "InstanceCount"},
                            "InstanceType": {"Ref": "InstanceType"},
                            "InitialVariantWeight": 1.0,
                        }
                    ]
                },
            },
            "Endpoint": {
                "Type": "AWS::SageMaker::Endpoint",
                "Properties": {
                    "EndpointName": exported.name,
                    "EndpointConfigName": {"Fn::GetAtt": ["EndpointConfig", "EndpointConfigName"]},
                },
            },
        },
        "Outputs": {"EndpointName": {"Value": {"Fn::GetAtt": ["Endpoint", "EndpointName"]}}},
    }


def requests(exported: Exported) -> dict[str, Any]:
    """CreateModel, CreateEndpointConfig and CreateEndpoint, as ``aws sagemaker … --cli-input-json`` takes them."""
    versioned = f"{exported.name}-{exported.revision}"
    return {
        "create-model": {
            "ModelName": versioned,
            "ExecutionRoleArn": "arn:aws:iam::ACCOUNT:role/ROLE",
            "EnableNetworkIsolation": True,
            "PrimaryContainer": {"Image": exported.image, "Environment": _environment(exported)},
        },
        "create-endpoint-config": {
            "EndpointConfigName": versioned,
            "ProductionVariants": [
                {
                    "VariantName": "AllTraffic",
                    "ModelName": versioned,
                    "InitialInstanceCount": exported.replicas[0],
                    "InstanceType": "ml.m5.large",
                    "InitialVariantWeight": 1.0,
                }
            ],
        },
        "create-endpoint": {"EndpointName": exported.name, "EndpointConfigName": versioned},
    }


def _environment(exported: Exported) -> dict[str, str]:
    """SageMaker asks for rights itself, and passes no token on: the container is open to it."""
    return {"RUNG_WORKERS": str(exported.workers), "RUNG_SERVING_OPEN": "true", **exported.settings}
