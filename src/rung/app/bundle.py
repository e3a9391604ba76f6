"""Bundles: one deployment with everything that answers for it, as a folder that serves without a platform.

    bundle.json     what is in it, and by which Rung it was written
    home/           a home with that deployment alone: rows in SQLite, model files and artifacts as blobs; no secrets

Whoever starts from a bundle works on a copy of the home: what was exported is never written to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

import rung
from rung.app.opening import TOKEN_FILE, open_platform
from rung.app.platform import Caller, Platform
from rung.core.digests import digest_of
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.files import write_whole
from rung.core.ids import new_id
from rung.core.locking import FileLock
from rung.core.records import Count, Digest, Key, Line, Name, Number, Record, replaced
from rung.core.settings import Settings, load_settings
from rung.governance.operations import new_token
from rung.governance.records import Principal, Token
from rung.governance.store import GovernanceStore
from rung.registry.records import Model, ModelVersion
from rung.registry.store import RegistryStore
from rung.serving.options import LogOptions
from rung.serving.records import Deployment, Revision
from rung.serving.store import ServingStore
from rung.storage.scope import Scope

MANIFEST, HOME, OPEN_TOKEN = "bundle.json", "home", "open-token"
TOKEN_VARIABLE = "RUNG_SERVE_TOKEN"  # noqa: S105 - the name of a variable
_BEGUN = ".bundle.begun"  # in a home that is being made a bundle's: what else is there may go
_FORMAT = 1
_ANYONE = "anyone"
_SYSTEM = Caller(principal="0" * 32, name="system", kind="service", project="0" * 32, role="owner")


class BundledVersion(Record):
    """One version of a bundle."""

    model: Key
    number: Number
    digest: Digest
    format: Line
    libraries: dict[str, str] = {}


class Bundle(Record):
    """What a bundle holds."""

    format: Count = _FORMAT
    rung: Line
    deployment: Name
    environment: Name
    revision: Number
    versions: tuple[BundledVersion, ...]


def write_bundle(
    folder: Path, deployment: Deployment, revision: Revision, models: Sequence[Model], versions: Sequence[ModelVersion],
    get_blob: Callable[[str], bytes],
) -> Bundle:  # fmt: skip
    """Write a deployment's revision in force as a bundle.

    Args:
        folder: made here; must be empty or absent.
        models, versions: those the revision routes to and its graph asks.
        get_blob: bytes by digest, from wherever the deployment is.

    Raises:
        Conflict: the folder holds something. Invalid: the graph looks features up, which a bundle has none of.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty.", code="export.not_empty", hint="Name a new folder.")
    for graph_node in deployment.options.graph.nodes if deployment.options.graph else ():
        if graph_node.kind == "lookup":
            raise Invalid(
                f"Node {graph_node.name!r} looks features up, and a bundle has no feature store.", code="export.needs_platform",
                hint="Serve it with `rung serve` beside a platform's database, or send the features.",
            )  # fmt: skip
    platform, _ = open_platform(load_settings(folder, environ={}, flags={"home": str(folder / HOME)}))
    try:
        for version in versions:
            for digest in _blobs_of(version):
                platform.blobs.put(get_blob(digest))
        _rows(platform, deployment, revision, models, versions)
    finally:
        platform.close()
    (folder / HOME / TOKEN_FILE).unlink(missing_ok=True)  # a secret of nobody's
    bundle = Bundle(
        rung=rung.__version__, deployment=deployment.name, environment=deployment.environment, revision=deployment.revision,
        versions=tuple(
            BundledVersion(model=v.model, number=v.number, digest=v.digest, format=v.format, libraries=v.libraries) for v in versions
        ),
    )  # fmt: skip
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(bundle), indent=2) + b"\n")
    return bundle


def read_bundle(folder: Path) -> Bundle:
    """What a bundle holds. Raises NotFound, or Invalid for one that another Rung writes otherwise."""
    try:
        bundle = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Bundle)
    except OSError:
        raise NotFound(
            f"{folder} is no bundle: it has no {MANIFEST}.", code="bundle.none", hint="Make one: rung export deployment."
        ) from None
    except msgspec.DecodeError as error:
        raise Invalid(
            f"{folder / MANIFEST} cannot be read: {error}.", code="bundle.unreadable", hint="Export the deployment again."
        ) from None
    if bundle.format != _FORMAT:
        raise Invalid(f"The bundle is of format {bundle.format}, not {_FORMAT}.", code="bundle.format", hint="Export the deployment again.")
    return bundle


def unpacked(folder: Path, settings: Settings) -> Bundle:
    """Make the settings' home one of this bundle, unless it is already, and let callers in as the environment says.

    Callers bring the token of RUNG_SERVE_TOKEN; with the setting serving.open, those who bring none are answered, too.

    Raises:
        Conflict: the home is that of something else. Invalid: nobody could call.
    """
    bundle, home = read_bundle(folder), settings.home_path
    mark = home / MANIFEST
    if mark.exists() and mark.read_bytes() != (folder / MANIFEST).read_bytes():
        raise Conflict(f"The home {home} is that of another bundle.", code="bundle.other_home", hint="Name another with RUNG_HOME.")
    if not mark.exists():
        begun = home / _BEGUN
        if home.exists() and any(home.iterdir()) and not begun.exists() and not mark.exists():
            raise Conflict(f"The home {home} is not empty.", code="bundle.home_in_use", hint="Name an empty one with RUNG_HOME.")
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(begun)
        if not lock.take():
            raise Conflict(f"Another process makes the home {home} that of a bundle.", code="bundle.home_in_use", hint="Start it again.")
        try:
            if not mark.exists():
                _emptied(home)
                shutil.copytree(folder / HOME, home, dirs_exist_ok=True, copy_function=shutil.copyfile)
                _writable(home)
                _let_in(settings)
                write_whole(mark, (folder / MANIFEST).read_bytes())
            begun.unlink(missing_ok=True)
        finally:
            lock.give()
    return bundle


def open_token(settings: Settings) -> str:
    """The token that calls without one are answered with; empty unless the settings open the data plane. Raises NotFound."""
    if not settings.serving.open:
        return ""
    try:
        return (settings.home_path / OPEN_TOKEN).read_text("utf-8").strip()
    except OSError:
        raise NotFound(
            "serving.open is for bundles: this home knows no caller for those without a token.", code="bundle.no_open_token",
            hint="Start with `rung serve --bundle DIR`.",
        ) from None  # fmt: skip


def _let_in(settings: Settings) -> None:
    secret = os.environ.get(TOKEN_VARIABLE, "")
    if not secret and not settings.serving.open:
        raise Invalid(
            f"Nobody could call: {TOKEN_VARIABLE} is not set, and serving.open is off.", code="bundle.no_callers",
            hint=f"Set {TOKEN_VARIABLE} to the token callers bring, or RUNG_SERVING_OPEN=true behind something that asks for rights itself.",
        )  # fmt: skip
    platform, _ = open_platform(settings)
    try:
        platform.scope(_SYSTEM).write(lambda scope: _callers(scope, settings, secret))
    finally:
        platform.close()


def _callers(scope: Scope, settings: Settings, secret: str) -> None:
    store = GovernanceStore(scope.connection)
    project = _project(scope, settings)
    anyone = Principal(id=new_id(), name=_ANYONE, kind="service", created_at=scope.now)
    store.add_principal(anyone)
    store.set_role(project, anyone.id, "editor")  # the least that may ask for predictions
    if secret:
        token = Token(id=new_id(), principal=_ANYONE, project=project, label=TOKEN_VARIABLE, created_at=scope.now, expires_at=None)
        store.add_token(token, anyone.id, digest_of(secret.encode()))
    if settings.serving.open:
        made = new_token(store, anyone, project, scope.now, label="callers without a token", expires_at=None)
        path = settings.home_path / OPEN_TOKEN
        path.touch(mode=0o600)
        path.write_text(made.secret, "utf-8")


def _rows(
    platform: Platform, deployment: Deployment, revision: Revision, models: Sequence[Model], versions: Sequence[ModelVersion]
) -> None:  # fmt: skip
    def write(scope: Scope) -> None:
        inside = replace(scope, project=_project(scope, platform.settings))
        registry, serving = RegistryStore(inside.connection, inside.project), ServingStore(inside.connection, inside.project)
        for model in models:
            registry.add_model(replaced(model, aliases={}, deleted_at=None))
        for version in versions:
            registry.add_version(replaced(version, aliases=(), run_id=None, pipeline_run_id=None, logged_model=None))
        serving.add_deployment(deployment.name, new_id(), deployment.environment, deployment.created_at)
        options = replaced(deployment.options, logging=replaced(deployment.options.logging, sink=LogOptions().sink))
        serving.add_revision(replaced(revision, id=new_id(), options=options, verdict=None))

    platform.scope(_SYSTEM).write(write)


def _project(scope: Scope, settings: Settings) -> str:
    found = GovernanceStore(scope.connection).find_project(settings.project)
    if found is None:
        raise NotFound(f"There is no project {settings.project!r}.", code="bundle.no_project", hint="Leave RUNG_PROJECT unset.")
    return found.id


def _blobs_of(version: ModelVersion) -> Iterable[str]:
    yield from (file.digest for file in version.files)
    if version.input_example:
        yield version.input_example
    engine = version.engine
    if engine is not None and engine.artifact:
        yield engine.artifact


def _emptied(home: Path) -> None:
    """Remove what a start that was cut off has left in a home that is not a bundle's yet."""
    for path in home.iterdir():
        if path.name != _BEGUN:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _writable(home: Path) -> None:
    """A copy out of an image's read-only layer keeps modes of its own making: files of the home are its user's alone."""
    for path in (home, *home.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
