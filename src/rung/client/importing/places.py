"""Where artifacts lie on this machine.

An address is believed only if it ends as MLflow's own do, in the id of whose it is and ``artifacts``: what was written
into a database or a meta.yaml by somebody else must not name any other folder of this machine. Links are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rung.client.importing.source import Damaged, SourceFile

_PROXY = "mlflow-artifacts"


def local_files(owner: str, artifact_uri: str, destination: Path | None, inside: Path | None = None) -> Iterator[SourceFile]:
    """Artifacts of a run or logged model, by their paths.

    Args:
        owner: run id, or m-….
        artifact_uri: a path, ``file:`` or ``mlflow-artifacts:`` address.
        destination: the folder behind ``mlflow-artifacts:``, what the server was given as --artifacts-destination. Where
            an address leads nowhere, the same tail is looked for below it.
        inside: folders outside of this one are not read.

    Raises:
        Damaged: the address is elsewhere, or not that owner's.
    """
    root = _root(owner, artifact_uri, destination)
    if root is None:
        return
    if inside is not None and inside.resolve() not in root.resolve().parents:
        raise Damaged(f"the artifacts of {owner} lie outside of what is imported, in {root}; name their folder by --artifacts")
    for folder, names, files in os.walk(root, followlinks=False):
        names.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if not path.is_symlink() and path.is_file():
                yield SourceFile(path.relative_to(root).as_posix(), lambda path=path: path)  # type: ignore[misc]


def _root(owner: str, artifact_uri: str, destination: Path | None) -> Path | None:
    parts = urlsplit(artifact_uri)
    if parts.scheme not in {"", "file", _PROXY}:
        raise Damaged(
            f"the artifacts of {owner} lie at {artifact_uri}, which is not read; copy them to a folder and name it by --artifacts"
        )
    path = unquote(parts.path) if parts.scheme else artifact_uri
    tail = _tail(owner, path)
    candidates = [Path(path)] if parts.scheme != _PROXY else []
    if destination is not None:
        candidates.append(destination.joinpath(*tail))
    found = next((item for item in candidates if item.is_dir()), None)
    if found is None and parts.scheme == _PROXY and destination is None:
        raise Damaged(f"the artifacts of {owner} lie behind a server's proxy; name its --artifacts-destination by --artifacts")
    return found  # MLflow makes the folder with the first artifact, so none means nothing was logged


def _tail(owner: str, path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    wanted = ["models", owner, "artifacts"] if owner.startswith("m-") else [owner, "artifacts"]
    if parts[-len(wanted) :] != wanted or ".." in parts:
        raise Damaged(f"{path!r} is not where artifacts of {owner} can lie")
    return parts[-len(wanted) - 1 :]
