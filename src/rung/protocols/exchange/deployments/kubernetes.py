"""Kubernetes: a Deployment with its Service, autoscaler, disruption budget, account and network policy, and a monitor for Prometheus."""

from __future__ import annotations

from typing import Any

from rung.protocols.exchange.deploying import PORT, Exported, target, yaml_of

_USER = 10001
_GRACE_S = 45


@target("kubernetes")
class Kubernetes:
    """Plain manifests, for kubectl apply or any tool that takes them."""

    @staticmethod
    def files(exported: Exported) -> dict[str, str]:
        """One file with all of them; the secret's shape, and what only clusters with Prometheus' operator take, beside it."""
        return {
            "kubernetes.yaml": yaml_of(*manifests(exported)),
            "secret.example.yaml": yaml_of(_secret(exported)),
            "monitoring.yaml": yaml_of(_monitor(exported)),
        }


def manifests(exported: Exported) -> list[dict[str, Any]]:
    """The objects, in an order in which they can be applied."""
    return [_account(exported), _service(exported), _deployment(exported), _scaler(exported), _budget(exported), _policy(exported)]


def container(exported: Exported, *, secret: bool = True) -> dict[str, Any]:
    """The container of the image: probes, bounds, and nothing it does not need."""
    env: list[dict[str, Any]] = [{"name": "RUNG_WORKERS", "value": str(exported.workers)}]
    env += [{"name": name, "value": value} for name, value in exported.settings.items()]
    if secret:
        env.append({"name": "RUNG_SERVE_TOKEN", "valueFrom": {"secretKeyRef": {"name": exported.name, "key": "token", "optional": True}}})
    return {
        "name": "inference",
        "image": exported.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "env": env,
        "resources": {"requests": {"cpu": exported.cpu, "memory": exported.memory}, "limits": {"memory": exported.memory}},
        "startupProbe": _probe("/readyz", period=1, failures=120),
        "readinessProbe": _probe("/readyz", period=5, failures=2),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "home", "mountPath": "/var/lib/rung"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the container
    }


def volumes() -> list[dict[str, Any]]:
    """What the container may write: its log until it is shipped, and temporary files."""
    return [{"name": "home", "emptyDir": {"sizeLimit": "4Gi"}}, {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}]


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http", "httpHeaders": [{"name": "Host", "value": "localhost"}]},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _meta(exported: Exported) -> dict[str, Any]:
    return {"name": exported.name, "namespace": exported.namespace, "labels": exported.labels}


def _account(exported: Exported) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(exported), "automountServiceAccountToken": False}


def _service(exported: Exported) -> dict[str, Any]:
    port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(exported), "spec": {"selector": exported.selector, "ports": [port]}}


def _deployment(exported: Exported) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": exported.selector},
    }
    pod = {
        "serviceAccountName": exported.name,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _GRACE_S,
        "securityContext": {"fsGroup": _USER, "runAsNonRoot": True},
        "topologySpreadConstraints": [spread],
        "containers": [container(exported)],
        "volumes": volumes(),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _meta(exported),
        "spec": {
            "replicas": exported.replicas[0],
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": exported.selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": exported.labels}, "spec": pod},
        },
    }


def _scaler(exported: Exported) -> dict[str, Any]:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _meta(exported),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": exported.name},
            "minReplicas": exported.replicas[0],
            "maxReplicas": exported.replicas[1],
            "metrics": [cpu],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def _budget(exported: Exported) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _meta(exported),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": exported.selector}},
    }


def _policy(exported: Exported) -> dict[str, Any]:
    """In: the port, from anywhere in the cluster. Out: names only; a sink of the prediction log needs a rule more."""
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _meta(exported),
        "spec": {
            "podSelector": {"matchLabels": exported.selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": PORT}]}],
            "egress": [{"to": [{"namespaceSelector": {}}], "ports": dns}],
        },
    }


def _secret(exported: Exported) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _meta(exported),
        "type": "Opaque",
        "stringData": {"token": "replace me: callers send it as `Authorization: Bearer …`"},
    }


def _monitor(exported: Exported) -> dict[str, Any]:
    """Numbers are told to who holds the token, which annotations of a pod could not name."""
    token = {"type": "Bearer", "credentials": {"name": exported.name, "key": "token"}}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": _meta(exported),
        "spec": {
            "selector": {"matchLabels": exported.selector},
            "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s", "authorization": token}],
        },
    }
