"""Sending what lies in a run's folder of the spool, batch by batch, each batch once however often it is sent."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from rung.client.journal import Writer
from rung.client.replaying import Batch, Reader
from rung.client.spool import RunFolder
from rung.client.transports import Transport
from rung.core.errors import Conflict, NotFound
from rung.core.records import prepared, replaced
from rung.core.requests import Request
from rung.registry.records import ListVersions, RegisterVersion
from rung.tracking.artifacts import LogArtifact
from rung.tracking.logged import CreateLoggedModel, UpdateLoggedModel
from rung.tracking.records import FinishRun, GetRun, LogBatch, StartRun

# What may lie in a journal. All of it may be asked twice: ids and batch ids are chosen by whoever wrote it.
_KINDS = (StartRun, LogBatch, FinishRun, LogArtifact, CreateLoggedModel, UpdateLoggedModel, RegisterVersion)
SPOOLED: dict[str, type[Request[Any]]] = {kind.operation: kind for kind in _KINDS}


class Dispatch:
    """Sends for one run. Hold the folder's lock while it works. ``writer`` is what this process itself logs through."""

    def __init__(self, folder: RunFolder, transport: Transport, writer: Writer | None = None) -> None:
        self.folder = folder
        self.transport = transport
        self.points = 0
        self.requests = 0
        self._writer = writer
        self._readers: dict[Path, Reader] = {}

    def send_one(self) -> bool:
        """Send the next batch of any journal, or delete a journal that is through; False when there is nothing to do.

        Raises:
            RungError: what the platform answered. The batch stays, and is sent again by the next call.
        """
        return any(self._advance(path) for path in self.folder.journals())

    def close(self) -> None:
        """Let go of the files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _advance(self, path: Path) -> bool:
        reader = self._readers.get(path)
        if reader is None:
            try:
                reader = self._readers[path] = Reader(path)
            except FileNotFoundError:
                return False
        sure = self._writer.end_of(path) if self._writer else 0
        batch = reader.next(sure=sure)
        if batch is None:
            if not reader.abandoned():
                return False
            batch = reader.next()  # what its writer appended last, before it let go
            if batch is None:
                return self._finish(path, reader)
        reader.seal(batch)
        self._send(batch)
        reader.done(batch)
        return True

    def _finish(self, path: Path, reader: Reader) -> bool:
        lost = reader.unreadable()
        reader.close()
        del self._readers[path]
        if lost:
            aside = path.with_suffix(".damaged")
            path.rename(aside)
            raise Conflict(
                f"{path.name} is damaged: {lost} bytes behind byte {reader.sent} cannot be read. What lies before has arrived.",
                code="tracking.damaged_journal", hint=f"It is kept as {aside}.",
            )  # fmt: skip
        with suppress(FileNotFoundError):
            path.unlink()
        return True

    def _send(self, batch: Batch) -> None:
        if batch.points is not None:
            self.transport.call(LogBatch(run=self.folder.run, batch=batch.id, columns=batch.points))
            self.points += len(batch.points.key)
        elif batch.blob:
            self.transport.put_blob(self.folder.blob(batch.blob))
        elif batch.request is not None:
            self._ask(*batch.request)
            self.requests += 1

    def _ask(self, operation: str, body: bytes) -> None:
        kind = SPOOLED.get(operation)
        if kind is None:
            raise Conflict(
                f"A journal of run {self.folder.run} holds {operation!r}.", code="tracking.unknown_spooled",
                hint="Send it with the Rung that wrote it.",
            )  # fmt: skip
        request = msgspec.msgpack.decode(body, type=prepared(kind))
        if isinstance(request, CreateLoggedModel) and request.run:
            # An offline run does not know the number of its experiment yet.
            number = self.transport.call(GetRun(run=request.run)).experiment_number
            request = replaced(request, experiment_number=number)
        if isinstance(request, RegisterVersion) and self._is_registered(request):
            return
        self.transport.call(request)

    def _is_registered(self, request: RegisterVersion) -> bool:
        """Whether the version was made already: the one request whose second asking would make a second thing."""
        try:
            page = self.transport.call(ListVersions(model=request.model, limit=100))
        except NotFound:
            return False
        return any(version.run_id == request.run_id and version.tags == request.tags for version in page.items)
