"""Kubernetes: a pipeline run as a Job, or on a schedule as a CronJob, that asks a server of Rung for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

SECRET = "rung"  # noqa: S105 - the name of a secret, not one


def run_manifest(pipeline: str, params: Mapping[str, Any], *, image: str, seed: int = 0, cron: str | None = None) -> dict[str, Any]:
    """A manifest whose pod runs ``rung run``; RUNG_URL and RUNG_TOKEN come from the secret ``rung``.

    The pod is never started twice side by side: a retry is a new run, whose finished steps come from the cache.
    """
    name = re.sub(r"[^a-z0-9-]+", "-", f"rung-{pipeline.lower()}").strip("-")[:52]
    command = ["rung", "run", pipeline, "--seed", str(seed)]
    for key, value in params.items():
        command += ["-p", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    pod = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "run",
                "image": image,
                "command": command,
                "env": [
                    {"name": variable, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": key}}}
                    for variable, key in (("RUNG_URL", "url"), ("RUNG_TOKEN", "token"))
                ],
            }
        ],
    }
    labels = {"app.kubernetes.io/managed-by": "rung", "rung/pipeline": re.sub(r"[^A-Za-z0-9._-]", "-", pipeline)[:63].strip("-._")}
    job = {"backoffLimit": 2, "parallelism": 1, "completions": 1, "template": {"metadata": {"labels": labels}, "spec": pod}}
    if cron is None:
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": job}
    spec = {"schedule": cron, "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name, "labels": labels}, "spec": spec}
