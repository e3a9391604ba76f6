"""Opening a run: a new one, one gone on with, one joined from another process, one kept offline."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.client import scalars
from rung.client.active import ActiveRun
from rung.client.client import Client
from rung.client.outbox import Outbox
from rung.client.places import Place, place_of
from rung.client.spool import Note, RunFolder
from rung.client.uncommitted import PATH as PATCH
from rung.client.uncommitted import uncommitted
from rung.core.clock import SystemClock
from rung.core.digests import digest_of
from rung.core.errors import Invalid, NotFound
from rung.core.ids import new_id
from rung.core.references import DatasetUse
from rung.tracking.capture import capture, find_lock
from rung.tracking.records import Run, RunContext, StartRun, UpdateRun

_clock = SystemClock()
_looked_at: set[Path] = set()


@dataclass(frozen=True)
class Start:
    """What a run is opened with."""

    experiment: str
    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, Any]
    seeds: Mapping[str, int]
    datasets: Sequence[DatasetUse]
    parent: str | None
    run_id: str | None
    resume: str | None


def opened(client: Client | None, start: Start) -> ActiveRun:
    """An open run. Raises NotFound for a run to resume that is not there, Invalid when both ids are given."""
    if start.run_id and start.resume:
        raise Invalid("Both run_id and resume are given.", code="tracking.two_runs", hint="Give one of them.")
    if client is None:
        run, context = _offline(start)
    else:
        known = _resumed(client, start) or _started(client, start)
        run, context = _online(client, known, owned=True), known.context
    patch = uncommitted(Path.cwd()) if context.git_dirty else b""
    if patch:
        run.log_artifact(patch, PATCH)
    return run


def joined(client: Client, run_id: str) -> ActiveRun:
    """A run that another process opened. Raises NotFound."""
    return _online(client, client.tracking.get(run_id), owned=False)


def _online(client: Client, run: Run, *, owned: bool) -> ActiveRun:
    place = place_of(client.transport)
    note = Note(
        run=run.id, platform=place.platform, project=place.project, experiment=run.experiment, name=run.name, created_at=_clock.now()
    )
    _send_leftovers(client, place)
    outbox = Outbox(RunFolder(place.root / run.id), note, client.transport, bound_bytes=place.bound_bytes)
    return ActiveRun(client, run.id, outbox, owned=owned, known=run)


def _offline(start: Start) -> tuple[ActiveRun, RunContext]:
    if start.resume:
        raise Invalid(
            f"Run {start.resume!r} cannot be looked up offline.", code="tracking.offline", hint="Go on with it by its id: run_id=…."
        )
    place = place_of(None)
    request = _request(start, start.run_id or new_id(), find_lock().content)
    note = Note(run=str(request.id), experiment=start.experiment, name=start.name, offline=True, created_at=_clock.now())
    outbox = Outbox(RunFolder(place.root / note.run), note, None, bound_bytes=place.bound_bytes)
    outbox.blob(find_lock().content)
    outbox.request(request)
    return ActiveRun(None, note.run, outbox, owned=True), request.context


def _resumed(client: Client, start: Start) -> Run | None:
    wanted = start.resume or start.run_id
    if wanted is None:
        return None
    try:
        found = client.tracking.get(wanted)
    except NotFound:
        if start.resume:
            raise
        return None  # an id of one's own: this is the first attempt
    run = client.transport.call(UpdateRun(run=found.id, status="running"))
    if start.params or start.tags or start.datasets:
        tags = {key: str(value) for key, value in start.tags.items()}
        client.tracking.log(run.id, params=scalars.params(start.params), tags=tags, datasets=start.datasets)
    return run


def _started(client: Client, start: Start) -> Run:
    # The id is chosen here, so that asking again after a lost answer opens no second run.
    return client.transport.call(_request(start, start.run_id or new_id(), client.tracking.context(start.seeds).lock))


def _request(start: Start, run_id: str, lock: bytes | str) -> StartRun:
    digest = digest_of(lock) if isinstance(lock, bytes) else lock
    return StartRun(
        experiment=start.experiment, name=start.name, id=run_id, params=scalars.params(start.params),
        tags={scalars.name(key, "Tag"): str(value) for key, value in start.tags.items()},
        context=capture(seeds=dict(start.seeds), lock_digest=digest, lock_kind=find_lock().kind), datasets=tuple(start.datasets),
        parent=start.parent, started_at=_clock.now(),
    )  # fmt: skip


def _send_leftovers(client: Client, place: Place) -> None:
    """Once a process and spool: send in the background what crashed processes left for this platform."""
    if place.root in _looked_at:
        return
    _looked_at.add(place.root)
    if place.root.is_dir() and any(place.root.iterdir()):
        from rung.client.syncing import send_leftovers  # noqa: PLC0415 - rarely needed

        threading.Thread(target=send_leftovers, args=(client.transport, place), name="rung-leftovers", daemon=True).start()
