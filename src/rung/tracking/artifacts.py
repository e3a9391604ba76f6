"""Requests for the artifacts of runs, logged models and traces."""

from __future__ import annotations

from typing import ClassVar

from rung.core.records import Count, Digest, Key, Line
from rung.core.requests import Effect, Request
from rung.tracking.records import Artifact, ArtifactPath, Owner


class LogArtifact(Request[Artifact]):
    """Name a stored blob as an output of a run, a logged model or a trace; the same path again replaces it."""

    operation = "tracking.log_artifact"
    permission = "run:write"
    audited: ClassVar[bool] = False
    owner: Owner
    path: ArtifactPath
    digest: Digest
    size_bytes: Count
    media_type: Line = "application/octet-stream"


class ListArtifacts(Request[tuple[Artifact, ...]]):
    """Outputs of an owner, by path; only those below the folder ``under`` where it is given."""

    operation = "tracking.list_artifacts"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    owner: Key
    under: Line = ""


class GetArtifact(Request[Artifact]):
    """One output by its path."""

    operation = "tracking.get_artifact"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    owner: Owner
    path: ArtifactPath


class DeleteArtifact(Request[tuple[Artifact, ...]]):
    """Forget an output, or all below a folder; answers what was forgotten. Bytes nobody names any more go with ``rung gc``."""

    operation = "tracking.delete_artifact"
    permission = "run:write"
    owner: Owner
    path: ArtifactPath


def media_type_of(path: str) -> str:
    """What a file is, by its name."""
    import mimetypes  # noqa: PLC0415 - it reads the system's tables, and few artifacts are uploaded without a type

    return mimetypes.guess_type(path)[0] or "application/octet-stream"
