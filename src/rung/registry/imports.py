"""Requests of those who bring models from another registry: numbers, instants, authors and stages are theirs.

Each can be repeated: what is there already stays.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.records import Id, Instant, Line, ModelName, Number, Text
from rung.core.requests import Effect, Request
from rung.registry.records import Alias, Model, ModelVersion, Stage, Tags, VersionStatus


class ImportModel(Request[Model]):
    """Make a model that was made elsewhere. It has no gates until somebody sets them; one of the same name is taken as it is."""

    operation = "registry.import_model"
    permission = "project:manage"
    model: ModelName
    description: Text = ""
    tags: Tags = {}
    created_at: Instant
    updated_at: Instant
    created_by: Line = ""


class ImportVersion(Request[ModelVersion]):
    """Enter a version under the number it had elsewhere; ``source`` as in ``registry.register_logged``.

    A number that is taken by a version of another source is a conflict.
    """

    operation = "registry.import_version"
    permission = "project:manage"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    number: Number
    source: Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
    run_id: Id | None = None
    logged_model: Id | None = None
    run_link: Line = ""
    stage: Stage = "none"
    status: VersionStatus = "ready"
    tags: Tags = {}
    description: Text = ""
    created_at: Instant
    updated_at: Instant
    created_by: Line = ""


class ImportAlias(Request[bool]):
    """Point an alias of an imported model at a version, past its gates; answers whether it had to move."""

    operation = "registry.import_alias"
    permission = "project:manage"
    model: ModelName
    alias: Alias
    number: Number
