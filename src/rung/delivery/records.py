"""Records and requests of delivery."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import Digest, Id, Instant, Line, ModelName, Name, Number, Record, Text
from rung.core.requests import Effect, Request


class DossierSection(Record):
    """One chapter of a dossier: facts from records, and what the records do not say."""

    title: Line
    facts: tuple[tuple[str, str], ...]
    gaps: tuple[str, ...] = ()


class Dossier(Record):
    """Generated documentation of one model version, kept as Markdown under its digest."""

    id: Id
    model: ModelName
    number: Number
    sections: tuple[DossierSection, ...]
    gaps: tuple[str, ...]
    digest: Digest
    markdown: Text
    created_at: Instant
    created_by: Line


class ReleaseNote(Record):
    """What changed with a revision of a deployment, in the words of who released it."""

    id: Id
    deployment: Name
    revision: Number
    text: Text
    created_at: Instant
    created_by: Line


class MakeDossier(Request[Dossier]):
    """Generate and keep the dossier of a model version; the newest version when none is named. Raises NotFound."""

    operation = "delivery.dossier"
    permission = "dossier:write"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    number: Number | None = None


class ListDossiers(Request[tuple[Dossier, ...]]):
    """Kept dossiers, newest first."""

    operation = "delivery.list_dossiers"
    permission = "dossier:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName | None = None


class AddReleaseNote(Request[ReleaseNote]):
    """Write a release note to a revision of a deployment. Raises NotFound."""

    operation = "delivery.add_release_note"
    permission = "deployment:deploy"
    deployment: Name
    revision: Number | None = None
    text: Annotated[str, Meta(min_length=1, max_length=100_000)]


class ListReleaseNotes(Request[tuple[ReleaseNote, ...]]):
    """Release notes, newest first."""

    operation = "delivery.list_release_notes"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name | None = None


class DossierMade(Event):
    """A dossier was generated."""

    kind: ClassVar[str] = "delivery.dossier_made"
    model: ModelName
    number: Number
    gaps: int
