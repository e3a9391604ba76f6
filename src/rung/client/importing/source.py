"""What can be read from a foreign tracking server, wherever it keeps it. Instants are its milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Point = tuple[str, float, int, int]  # key, value, step, milliseconds


@dataclass(frozen=True)
class SourceExperiment:
    """An experiment there."""

    id: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created_ms: int | None = None
    updated_ms: int | None = None
    deleted: bool = False


@dataclass(frozen=True)
class SourceInput:
    """A dataset a run read."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceRun:
    """A run there. ``points`` is called once, when they are wanted, and gives all there are, in pieces."""

    id: str
    name: str
    status: str
    user: str
    started_ms: int | None
    ended_ms: int | None
    deleted: bool
    deleted_ms: int | None
    artifact_uri: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    inputs: Sequence[SourceInput]
    models: Sequence[tuple[str, str, int]]  # "in" or "out", m-…, step
    points: Callable[[], Iterable[Sequence[Point]]]


@dataclass(frozen=True)
class SourceMetric:
    """A value measured on a logged model."""

    key: str
    value: float
    step: int
    at_ms: int
    run: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True)
class SourceLogged:
    """A logged model there; ``id`` is m-…."""

    id: str
    name: str
    status: str
    type: str
    run: str
    user: str
    created_ms: int | None
    updated_ms: int | None
    deleted: bool
    artifact_uri: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[SourceMetric] = ()


@dataclass(frozen=True)
class SourceVersion:
    """A version of a registered model there. ``place`` is where its files were when it was registered."""

    number: int
    source: str
    place: str = ""
    run: str = ""
    logged_model: str = ""
    run_link: str = ""
    stage: str = "None"
    status: str = "READY"
    user: str = ""
    description: str = ""
    created_ms: int | None = None
    updated_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceModel:
    """A registered model there with its versions and aliases."""

    name: str
    description: str = ""
    user: str = ""
    created_ms: int | None = None
    updated_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Sequence[SourceVersion] = ()


@dataclass(frozen=True)
class SourceFile:
    """An artifact there. ``fetch`` gives a file on this machine; ``temporary`` ones are removed after use."""

    path: str
    fetch: Callable[[], Path]
    temporary: bool = False


class Damaged(Exception):
    """One thing there cannot be read; the rest can."""


class Source(Protocol):
    """A foreign tracking server, read only. ``damage`` is called with every single thing that cannot be read."""

    name: str
    damage: Callable[[str], None]

    def experiments(self) -> Sequence[SourceExperiment]:
        """Every experiment, deleted ones too."""
        ...

    def count(self, experiment: SourceExperiment, since_ms: int | None) -> int | None:
        """How many runs ``runs`` will give, where that is cheap to say."""
        ...

    def runs(self, experiment: SourceExperiment, since_ms: int | None) -> Iterator[SourceRun]:
        """Runs of an experiment, deleted ones too; those begun before ``since_ms`` are left out."""
        ...

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceLogged]:
        """Logged models of an experiment."""
        ...

    def models(self) -> Iterator[SourceModel]:
        """Registered models."""
        ...

    def files(self, owner: str, artifact_uri: str) -> Iterator[SourceFile]:
        """Artifacts of a run or of a logged model (m-…). Raises Damaged where they cannot be reached."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
