"""What of a project an inference node needs: the versions that deployments ask, and their blobs."""

from __future__ import annotations

from rung.registry.records import ModelVersion
from rung.registry.store import RegistryStore
from rung.serving.records import Deployment
from rung.serving.store import ServingStore
from rung.storage.scope import Scope


def serves_blob(scope: Scope, digest: str) -> bool:
    """Whether a blob belongs to a version that is deployed, so that a node may have it."""
    deployed = [one for one in ServingStore(scope.connection, scope.project).all() if one.routes]
    return any(digest in blobs_of(version) for one in deployed for version in versions_of(scope, one))


def blobs_of(version: ModelVersion) -> tuple[str, ...]:
    """Digests of everything a version is served and explained by, what answers first of all."""
    artifact = version.engine.artifact if version.engine is not None else ""
    return tuple(digest for digest in (artifact, *(file.digest for file in version.files), version.input_example, version.lock) if digest)


def versions_of(scope: Scope, held: Deployment) -> list[ModelVersion]:
    """Every version a deployment routes to, or its graph asks."""
    named = [(route.model, route.number) for route in held.routes]
    if held.options.graph is not None:
        from rung.serving.graph.setting import models_served  # noqa: PLC0415 - only deployments that have a graph load it

        named += models_served(held.options)
    registry = RegistryStore(scope.connection, scope.project)
    return [registry.version(model, number) for model, number in dict.fromkeys(named)]
