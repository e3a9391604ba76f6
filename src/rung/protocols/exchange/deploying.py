"""Handing a deployment to another system: a bundle that serves without a platform, an image for it, and that system's manifests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from rung.core.errors import Invalid
from rung.core.families import Family

BUNDLE = "bundle"
PORT = 8080
_LABEL = 63


@dataclass(frozen=True)
class Exported:
    """What a target is told of: the deployment, what answers for it, and where the image and the bundle will be.

    ``name`` fits every system's rules; ``deployment`` is Rung's own name, which stands in addresses.
    """

    deployment: str
    name: str
    revision: int
    versions: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    image: str
    namespace: str = "default"
    replicas: tuple[int, int] = (2, 6)
    workers: int = 2
    cpu: str = "1"
    memory: str = "1Gi"
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """Labels by which everything of it is found."""
        return {
            "app.kubernetes.io/name": self.name, "app.kubernetes.io/managed-by": "rung", "app.kubernetes.io/component": "inference",
            "rung.dev/revision": str(self.revision),
        }  # fmt: skip

    @property
    def selector(self) -> dict[str, str]:
        """The labels that do not change with a revision."""
        return {"app.kubernetes.io/name": self.name, "app.kubernetes.io/component": "inference"}


class Target(Protocol):
    """A system that runs deployments."""

    def files(self, exported: Exported) -> dict[str, str]:
        """Text of each file it needs beside the bundle and the image's files, by path. Raises Invalid."""
        ...


TARGETS: Family[Target] = Family("deployment_targets", "rung.protocols.exchange.deployments")


def target(name: str) -> Callable[[type], type]:
    """Decorator that enters a target."""
    return TARGETS.member(name)


def fitting_name(deployment: str) -> str:
    """A deployment's name as a DNS label: lower-case letters, digits and dashes, 63 at most. Raises Invalid when nothing is left."""
    found = re.sub(r"[^a-z0-9]+", "-", deployment.lower()).strip("-")[:_LABEL].strip("-")
    if not found:
        raise Invalid(f"{deployment!r} has no letters that a DNS name takes.", code="export.bad_name", hint="Give another with --name.")
    return found if found[0].isalpha() else f"d-{found}"[:_LABEL]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes what occurs twice twice: readers of manifests do not expect anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_of(*documents: Mapping[str, Any]) -> str:
    """Documents as YAML, in the order of their keys."""
    text: str = yaml.dump_all([dict(one) for one in documents], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140)
    return text
