"""From what a platform has deployed to the node's own home: blobs first, then the rows that name them, in one transaction."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rung.app.node import NodePlatform
from rung.app.platform import Caller
from rung.client.transports import HttpTransport
from rung.core.errors import RungError, Unavailable
from rung.registry.records import Model, ModelVersion
from rung.registry.store import RegistryStore
from rung.serving.node_records import FollowedDeployment
from rung.serving.node_rights import blobs_of, versions_of
from rung.serving.node_store import CopyStore
from rung.serving.store import ServingStore
from rung.storage.scope import Scope

_SYSTEM = "0" * 32


def copied(platform: NodePlatform, transport: HttpTransport, wanted: Iterable[FollowedDeployment]) -> tuple[int, dict[str, RungError]]:
    """Make the home hold what is wanted; how many bytes were fetched, and why some deployments stay as they were."""
    held = tuple(wanted)
    fetched, failed, ready = 0, dict[str, RungError](), list[FollowedDeployment]()
    for one in held:
        try:
            for digest in dict.fromkeys(digest for version in one.versions for digest in blobs_of(version)):
                if not platform.blobs.exists(digest):
                    fetched += fetch(platform, transport, digest)
            ready.append(one)
        except RungError as error:
            failed[one.deployment.name] = error
    scope_of(platform).write(lambda scope: _rows(scope, {one.deployment.name for one in held}, ready))
    return fetched, failed


def fetch(platform: NodePlatform, transport: HttpTransport, digest: str) -> int:
    """Bring a blob here, going on where an earlier attempt broke off; its size. Raises Unavailable, NotFound, Denied."""
    folder = platform.settings.home_path / "incoming"
    folder.mkdir(exist_ok=True, mode=0o700)
    part = folder / f"{digest.partition(':')[2]}.part"
    try:
        transport.download(digest, part)
        size = part.stat().st_size
        found = platform.blobs.put(part, move=True)
        part.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(
            f"Blob {digest} cannot be kept: {error.strerror}.", code="blobs.unwritable", hint="Free some space, or check the home's rights."
        ) from None
    if found != digest:
        platform.blobs.delete(found)
        raise Unavailable(f"Blob {digest} came as {found}.", code="transport.bad_blob", hint="Look at what lies between node and platform.")
    return size


def evict(platform: NodePlatform) -> int:
    """Forget blobs of versions that are not deployed any more, the oldest first, until they fit; the bytes that were freed."""
    blobs: Any = platform.blobs
    kept = scope_of(platform).read(_named)
    loose = sorted((one for one in blobs.inventory() if one.digest not in kept), key=lambda one: one.at)
    over = sum(one.size for one in loose) - (platform.settings.serving.node_cache_mb << 20)
    freed = 0
    for one in loose:
        if freed >= over:
            break
        blobs.delete(one.digest)
        freed += one.size
    if freed:
        blobs.compact()
    return freed


def scope_of(platform: NodePlatform) -> Scope:
    """The world of the node's project."""
    return platform.scope(Caller(principal=_SYSTEM, name="system", kind="service", project=platform.project.id, role="owner"))


def sweep(platform: NodePlatform) -> None:
    """Remove what broke off before and is not wanted any more."""
    kept = {digest.partition(":")[2] for digest in scope_of(platform).read(_named)}
    with suppress(FileNotFoundError):
        for name in os.listdir(platform.settings.home_path / "incoming"):
            if name.removesuffix(".part") not in kept:
                (platform.settings.home_path / "incoming" / name).unlink(missing_ok=True)


def _named(scope: Scope) -> set[str]:
    return {
        digest for one in ServingStore(scope.connection, scope.project).all() for v in versions_of(scope, one) for digest in blobs_of(v)
    }


def _rows(scope: Scope, names: set[str], ready: list[FollowedDeployment]) -> None:
    serving, copies = ServingStore(scope.connection, scope.project), CopyStore(scope.connection, scope.project)
    held, learned = {one.name: one for one in serving.all()}, serving.routing_states()
    for name in held.keys() - names:
        copies.remove(name)
        copies.learn(name, None, scope.now)
    for one in ready:
        name = one.deployment.name
        for version in one.versions:
            _version(scope, version)
        if held.get(name) != one.deployment:
            copies.put(one.deployment)
        if learned.get(name) != one.learned:
            copies.learn(name, one.learned, datetime.now(UTC))


def _version(scope: Scope, version: ModelVersion) -> None:
    store = RegistryStore(scope.connection, scope.project)
    if store.find_model(version.model) is None:
        store.add_model(
            Model(
                id=version.id, name=version.model, task=version.task, description="", tags={}, created_at=version.created_at,
                created_by=version.created_by,
            )
        )  # fmt: skip
    held = store.find_version(version.model, version.number)
    if held is None:
        store.add_version(version)
    elif (held.digest, held.engine) != (version.digest, version.engine):
        store.complete_version(version)
