"""Dossiers and release notes from Python."""

from __future__ import annotations

from rung.client.transports import Transport
from rung.delivery import records as r


class DeliveryVerbs:
    """Verbs of delivery."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def dossier(self, model: str, number: int | None = None) -> r.Dossier:
        """Generate and keep the dossier of a model version."""
        return self._transport.call(r.MakeDossier(model=model, number=number))

    def dossiers(self, model: str | None = None) -> tuple[r.Dossier, ...]:
        """Kept dossiers, newest first."""
        return self._transport.call(r.ListDossiers(model=model))

    def add_release_note(self, deployment: str, text: str, *, revision: int | None = None) -> r.ReleaseNote:
        """Write a note to a revision; the newest when none is named."""
        return self._transport.call(r.AddReleaseNote(deployment=deployment, text=text, revision=revision))

    def release_notes(self, deployment: str | None = None) -> tuple[r.ReleaseNote, ...]:
        """Release notes, newest first."""
        return self._transport.call(r.ListReleaseNotes(deployment=deployment))
