"""Handlers of delivery."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import NotFound
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.requests import handles
from rung.delivery import records as r
from rung.delivery import rules
from rung.delivery.store import DeliveryStore
from rung.governance.lineage import link, node
from rung.monitoring.store import MonitoringStore
from rung.registry.records import GetCard, GetVersion, ListVerdicts
from rung.serving.records import ListDeployments, ListRevisions
from rung.storage.outbox import emit
from rung.storage.scope import Scope
from rung.value.records import RetrainingPolicy, ValueMatrix, ValueReport
from rung.value.store import ValueStore


@handles(r.MakeDossier)
def make_dossier(request: r.MakeDossier, scope: Scope) -> Callable[[Scope], r.Dossier]:
    """The dossier. Raises NotFound."""
    made = scope.read(lambda inside: _dossier(request, inside))
    dossier = replaced(made, digest=scope.blobs.put(made.markdown.encode()))

    def save(inside: Scope) -> r.Dossier:
        _store(inside).add_dossier(dossier)
        link(inside, node("model_version", f"{dossier.model}:{dossier.number}"), "documented_by", node("dossier", dossier.id))
        emit(inside, r.DossierMade(model=dossier.model, number=dossier.number, gaps=len(dossier.gaps)))
        return dossier

    return save


def _dossier(request: r.MakeDossier, scope: Scope) -> r.Dossier:
    from rung.monitoring.sources import ask  # noqa: PLC0415 - Polars, which `rung up` must not wait for

    version = ask(scope, GetVersion(model=request.model, number=request.number))
    card = ask(scope, GetCard(model=version.model, number=version.number))
    value = ValueStore(scope.connection, scope.project)
    goal = next((item for item in value.goals() if item.model == version.model), None)
    money = (
        goal,
        value.find(ValueMatrix, version.model),
        value.find(ValueReport, version.model),
        value.find(RetrainingPolicy, version.model),
    )
    serving = [d.name for d in ask(scope, ListDeployments()) if any(route.model == version.model for route in d.routes)]
    monitoring = MonitoringStore(scope.connection, scope.project)
    incidents = [item for name in serving for item in monitoring.incidents(deployment=name)]
    verdicts = ask(scope, ListVerdicts(model=version.model, number=version.number))
    chapters = rules.sections(version, verdicts, money, incidents, value.decisions(model=version.model, limit=20))
    gaps = (*(gap for chapter in chapters for gap in chapter.gaps), *card.gaps)
    return r.Dossier(
        id=new_id(), model=version.model, number=version.number, sections=chapters, gaps=gaps, digest="blake3:" + "0" * 64,
        markdown=rules.markdown(version.model, version.number, chapters, card), created_at=scope.now, created_by=scope.who,
    )  # fmt: skip


@handles(r.ListDossiers)
def list_dossiers(request: r.ListDossiers, scope: Scope) -> tuple[r.Dossier, ...]:
    """Kept dossiers."""
    return _store(scope).dossiers(request.model)


@handles(r.AddReleaseNote)
def add_release_note(request: r.AddReleaseNote, scope: Scope) -> r.ReleaseNote:
    """The note, on the newest revision when none is named. Raises NotFound."""
    from rung.monitoring.sources import ask  # noqa: PLC0415 - see _dossier

    numbers = [item.number for item in ask(scope, ListRevisions(deployment=request.deployment))]
    wanted = request.revision or max(numbers, default=0)
    if wanted not in numbers:
        raise NotFound(
            f"{request.deployment!r} has no revision {wanted}.", code="delivery.no_revision", hint="`rung deploy list` shows deployments."
        )
    note = r.ReleaseNote(
        id=new_id(), deployment=request.deployment, revision=wanted, text=request.text, created_at=scope.now, created_by=scope.who
    )
    _store(scope).add_note(note)
    return note


@handles(r.ListReleaseNotes)
def list_release_notes(request: r.ListReleaseNotes, scope: Scope) -> tuple[r.ReleaseNote, ...]:
    """Release notes."""
    return _store(scope).notes(request.deployment)


def _store(scope: Scope) -> DeliveryStore:
    return DeliveryStore(scope.connection, scope.project)
