"""Manifests: the job of one attempt. Plain values, no cluster."""

from __future__ import annotations

import re
from typing import Any

from rung.core.digests import digest_of
from rung.engine.executors.family import Task

MESSAGE = "/dev/termination-log"
SECRETS = "rung-secrets"
CREDENTIALS = "rung"
_NOT_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_LABEL = 63
_KEPT_S = 3600


def job_name(task: Task) -> str:
    """The name of an attempt's job."""
    return f"rung-{task.id}"[:_LABEL]


def label(text: str) -> str:
    """A text as a label's value: what it may not hold becomes a dash, and long ones end in a digest."""
    plain = _NOT_LABEL.sub("-", text).strip("-._")
    return plain if len(plain) <= _LABEL else f"{plain[: _LABEL - 9]}-{digest_of(text.encode())[7:15]}"


def attempt_job(task: Task, errand: str, *, image: str, blobs: str, owner: str) -> dict[str, Any]:
    """The job of an attempt: a container that takes its errand from the blob store and leaves the reply's digest.

    Args:
        errand: digest of the blob with the errand; it holds no secret.
        blobs: URL of the blob store.
        owner: the engine that submits it, as a label by which it finds its jobs.
    """
    labels = {
        "app.kubernetes.io/managed-by": "rung", "rung.dev/owner": label(owner), "rung.dev/run": label(task.context.pipeline_run),
        "rung.dev/step": label(task.context.step), "rung.dev/attempt": str(task.context.attempt),
    }  # fmt: skip
    variables: list[dict[str, Any]] = [{"name": "RUNG_STORAGE_BLOBS", "value": blobs}]
    variables += [
        {"name": f"RUNG_SECRET_{name}", "valueFrom": {"secretKeyRef": {"name": SECRETS, "key": name, "optional": True}}}
        for name in task.secrets
    ]
    container = {
        "name": "step",
        "image": image,
        "command": ["python", "-m", "rung.engine.child", "--blob", errand, "--answer", MESSAGE],
        "env": variables,
        "envFrom": [{"secretRef": {"name": CREDENTIALS, "optional": True}}],
        "terminationMessagePath": MESSAGE,
        "terminationMessagePolicy": "File",
        "resources": resources(task),
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    pod = {
        "metadata": {"labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 10,
            "containers": [container],
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(task), "labels": labels},
        "spec": {"backoffLimit": 0, "completions": 1, "parallelism": 1, "ttlSecondsAfterFinished": _KEPT_S, "template": pod},
    }


def resources(task: Task) -> dict[str, dict[str, str]]:
    """What a container asks for, and what it may use at most."""
    asked: dict[str, str] = {}
    most: dict[str, str] = {}
    if task.cpus:
        asked["cpu"] = f"{round(task.cpus * 1000)}m"
    if task.memory_bytes:
        # above the step's own limit, so that its end is told of by the step's parent and not by the kernel
        asked["memory"], most["memory"] = str(task.memory_bytes), str(task.memory_bytes + (512 << 20))
    if task.gpus:
        most["nvidia.com/gpu"] = str(max(1, round(task.gpus)))
    for name, amount in task.resources.items():
        most[name if "/" in name else f"rung.dev/{name}"] = str(max(1, round(amount)))
    return {kind: found for kind, found in (("requests", asked), ("limits", most)) if found}
