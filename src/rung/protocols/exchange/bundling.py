"""Everything of one deployment as files: the bundle, the image's files, and those of the system it is for."""

from __future__ import annotations

from pathlib import Path

from rung.app.bundle import Bundle, write_bundle
from rung.client.client import Client
from rung.core.errors import Invalid
from rung.protocols.exchange.deploying import BUNDLE, TARGETS, Exported, fitting_name
from rung.protocols.exchange.deployments.docker import image_files
from rung.registry.records import ModelVersion
from rung.serving.graph.setting import models_served

_NATIVE = {
    "skops": ("scikit-learn", "skops"),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost-cpu",),
    "onnx": ("onnxruntime",),
    "torch": ("torch",),
}


def export_deployment(
    client: Client, deployment: str, to: str, folder: Path, *, image: str = "", name: str = "", namespace: str = "default",
    replicas: tuple[int, int] = (2, 6),
) -> tuple[str, ...]:  # fmt: skip
    """Write a deployment for another system; answers the paths written, the bundle as one.

    Raises:
        NotFound: there is no such deployment or system. Conflict: the folder is in use. Invalid: it cannot do without its platform.
    """
    target = TARGETS.get(to)
    held = client.serving.get(deployment)
    if not held.routes:
        raise Invalid(f"Deployment {deployment!r} serves nothing now.", code="serving.undeployed", hint="Deploy a version first.")
    if not 0 < replicas[0] <= replicas[1]:
        raise Invalid(
            f"{replicas[0]} to {replicas[1]} replicas is no range.", code="export.bad_replicas", hint="Give the smaller one first."
        )
    versions = _versions(client, deployment)
    exported = Exported(
        deployment=deployment, name=name or fitting_name(deployment), revision=held.revision,
        versions=tuple(f"{v.model}:{v.number}" for v in versions), inputs=tuple(_input(v) for v in versions[:1]),
        image=image or f"{fitting_name(deployment)}:{held.revision}", namespace=namespace, replicas=replicas,
    )  # fmt: skip
    bundle = bundle_of(client, deployment, folder / BUNDLE)
    texts = {**image_files(exported, libraries(bundle)), **target.files(exported), "README.md": _readme(exported, to)}
    for path, text in texts.items():
        (folder / path).write_text(text, "utf-8")
        if path.endswith(".sh"):
            (folder / path).chmod(0o755)
    return (BUNDLE, *texts)


def bundle_of(client: Client, deployment: str, folder: Path) -> Bundle:
    """A deployment's revision in force as a bundle. Raises as ``write_bundle`` does."""
    held = client.serving.get(deployment)
    revision = next(one for one in client.serving.revisions(deployment) if one.number == held.revision)
    versions = _versions(client, deployment)
    models = [client.registry.model(name) for name in dict.fromkeys(version.model for version in versions)]
    return write_bundle(folder, held, revision, models, versions, client.transport.get_blob)


def libraries(bundle: Bundle) -> dict[str, str]:
    """Libraries that the bundle's models were made with and their runtimes need, pinned."""
    found: dict[str, str] = {}
    for version in bundle.versions:
        for name in _NATIVE.get(version.format, ()):
            if name in version.libraries:
                found[name] = version.libraries[name]
    return found


def _versions(client: Client, deployment: str) -> list[ModelVersion]:
    held = client.serving.get(deployment)
    named = [*((route.model, route.number) for route in held.routes), *models_served(held.options)]
    return [client.registry.version(model, number) for model, number in dict.fromkeys(named)]


def _input(version: ModelVersion) -> dict[str, str]:
    return {field.name: field.dtype for field in version.signature.inputs}


def _readme(exported: Exported, to: str) -> str:
    return (
        f"# {exported.deployment}, revision {exported.revision}\n\n"
        f"Serves {', '.join(exported.versions)}. Build and try the image:\n\n"
        f"    docker build -t {exported.image} .\n"
        f"    docker run --rm -p 8080:8080 -e RUNG_SERVE_TOKEN=secret {exported.image}\n"
        f"    curl -H 'Authorization: Bearer secret' -d @request.json localhost:8080/v2/models/{exported.deployment}/infer\n\n"
        "If this version of Rung is on no package index of yours, put its wheel into `wheels/` first. Without an image:\n"
        f"`RUNG_SERVE_TOKEN=secret RUNG_HOME=/tmp/home rung serve --bundle bundle`. For {to}: see docs/serving-exports.md.\n"
    )
