"""The hot path in front of the web framework: one body, one batch or small file, one share in the writer's next commit.

A batch goes through the door once: the token is identified, the permission of ``LogBatch`` is asked, then the decoded
points go straight to the writer without leaving the event loop for another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

from rung.core.clock import from_micros
from rung.core.errors import Invalid, RungError
from rung.core.records import Empty
from rung.protocols.mlflow import batches as rows
from rung.protocols.mlflow import wire
from rung.protocols.mlflow.errors import told
from rung.protocols.mlflow.places import located
from rung.storage.scope import Scope
from rung.tracking.artifacts import media_type_of
from rung.tracking.operations import name_blob, write_batch
from rung.tracking.records import LogBatch, MetricPoint, UpdateRun

Asgi = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
_MOST_BYTES = 64 << 20
SMALL = 128 << 10
PROXY = "/api/2.0/mlflow-artifacts/artifacts/"
_EMPTY = b"{}"
_HEADERS = [(b"content-type", b"application/json")]


class Door(Protocol):
    """What the hot path asks of the server: who sends, and may they."""

    async def admitted(self, headers: list[tuple[bytes, bytes]]) -> tuple[Scope, Callable[[Any], Any]]:
        """The scope of the sender, who may write runs, and a function that asks the platform. Raises Denied, NotFound."""
        ...


@dataclass(frozen=True)
class HotRow:
    """One route of the hot path; all of them become ``LogBatch``."""

    path: str
    body: type[wire.Body]
    translate: Callable[[Any], rows.Batch]
    becomes = (LogBatch, UpdateRun)


HOT_ROWS = (
    HotRow("/runs/log-metric", rows.LogMetricBody, rows.log_metric),
    HotRow("/runs/log-batch", rows.LogBatchBody, rows.log_batch),
    HotRow("/runs/log-parameter", rows.LogParamBody, rows.log_param),
    HotRow("/runs/set-tag", rows.SetTagBody, rows.set_tag),
)


class HotPath:
    """Answers the hot rows and passes everything else on."""

    def __init__(self, app: Asgi, door: Door) -> None:
        self._app = app
        self._door = door
        self._rows = {f"{prefix}{row.path}": row for row in HOT_ROWS for prefix in ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")}

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        row = self._rows.get(scope["path"]) if scope["method"] == "POST" else None
        small = scope["method"] == "PUT" and scope["path"].startswith(PROXY) and _length(scope) <= SMALL
        if row is None and not small:
            await self._app(scope, receive, send)
            return
        status, body, extra = 200, _EMPTY, []
        try:
            raw = await _read(receive)
            if raw is None:  # the client has gone
                return
            who, ask = await self._door.admitted(scope["headers"])
            if row is None:
                await _upload(who, scope["path"][len(PROXY) :], raw)
            else:
                await _write(who, ask, row.translate(wire.decode_json(raw, row.body)))
        except RungError as error:
            status, fault = told(error)
            body = wire.encode(fault)
            extra = [(b"retry-after", b"1")] if status == 503 else []  # noqa: PLR2004
        headers = [*_HEADERS, (b"content-length", str(len(body)).encode()), *extra]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _write(scope: Scope, ask: Callable[[Any], Any], batch: rows.Batch) -> None:
    if batch.model_metrics or batch.name is not None:
        await asyncio.to_thread(_ask, ask, batch)
        return

    def work(connection: Any) -> Empty:
        write_batch(scope.over(connection), batch.run, batch.points, dict(batch.params), batch.tags)
        return Empty()

    await asyncio.wrap_future(scope.database.submit(work))


async def _upload(scope: Scope, path: str, data: bytes) -> None:
    """Keep a small artifact: its bytes in a pack, then its name."""
    owner, inner = located(path)
    if not inner:
        raise Invalid(f"Invalid path: {path[:100]!r} names no file.", code="mlflow.bad_path", hint="Send the path of a file.")
    digest = await asyncio.get_running_loop().run_in_executor(None, scope.blobs.put, data)
    media = media_type_of(inner)

    def work(connection: Any) -> Empty:
        name_blob(scope.over(connection), owner, inner, digest, len(data), media)
        return Empty()

    await asyncio.wrap_future(scope.database.submit(work))


def _length(scope: MutableMapping[str, Any]) -> int:
    """Length of a body as its sender says; without one it may be anything."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 10 else SMALL + 1  # noqa: PLR2004 - longer is no small body
    return SMALL + 1


def _ask(ask: Callable[[Any], Any], batch: rows.Batch) -> None:
    """Batches with a rarer part go through the platform as requests."""
    points = tuple(MetricPoint(key=key, step=step, at=from_micros(at), value=value) for key, step, at, value in batch.points)
    ask(LogBatch(run=batch.run, metrics=points, params=dict(batch.params), tags=batch.tags, model_metrics=batch.model_metrics))
    if batch.name is not None:
        ask(UpdateRun(run=batch.run, name=batch.name[:1000]))


async def _read(receive: Callable[[], Awaitable[Any]]) -> bytes | None:
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > _MOST_BYTES:
            raise Invalid(f"The body is larger than {_MOST_BYTES >> 20} MiB.", code="request.too_large", hint="Send less at once.")
        parts.append(part)
    return b"".join(parts)
