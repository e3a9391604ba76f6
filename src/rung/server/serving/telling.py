"""What is told of answered requests besides numbers: an access log in JSON lines, and spans where OpenTelemetry is there.

Both hear of a request after its answer has been sent, and nothing is made ready for them where they are off.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import msgspec

from rung.core.errors import Invalid, Unavailable
from rung.core.ids import new_id
from rung.core.settings import Settings
from rung.serving.dataplane import Told
from rung.serving.tracing import request_id, trace_id

LOG = logging.getLogger("rung.server")
_FAILED = 500  # from this status on the server failed, not its caller
_WRITE_EVERY_S = 0.25
_MOST = 10_000


class AccessLog:
    """Lines of JSON, written by a thread a few times a second; lines are dropped and counted when the file cannot follow.

    Args:
        path: a file that several processes may append to, or ``-`` for standard error.
        share: share of answers with status 200 that is written; all others are.
    """

    def __init__(self, path: str, share: float) -> None:
        self._share = share
        self._waiting: list[Told] = []
        self._dropped = 0
        self._seen = 0.0
        self._file = _opened(path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="rung-access-log", daemon=True)
        self._thread.start()

    def __call__(self, told: Told) -> None:
        """Take a request, if it is one that is written."""
        if told.status == 200:  # noqa: PLR2004 - HTTP's word for success
            self._seen += self._share
            if self._seen < 1.0:
                return
            self._seen -= 1.0
        if len(self._waiting) >= _MOST:
            self._dropped += 1
            return
        self._waiting.append(told)

    def close(self) -> None:
        """Write what waits."""
        self._stop.set()
        self._thread.join(5)
        if self._file is not sys.stderr.buffer:
            self._file.close()

    def _write(self) -> None:
        while True:
            stopped = self._stop.wait(_WRITE_EVERY_S)
            count, dropped = len(self._waiting), self._dropped
            told, self._waiting[:count] = self._waiting[:count], []
            lines = [msgspec.json.encode(line(one)) for one in told]
            if dropped:
                self._dropped -= dropped
                lines.append(msgspec.json.encode({"time": time.time(), "dropped": dropped}))
            if lines:
                with suppress(OSError):  # a full disk costs the access log its lines, and no caller an answer
                    self._file.write(b"\n".join([*lines, b""]))
                    self._file.flush()
            if stopped:
                return


def line(told: Told) -> dict[str, Any]:
    """What the access log says of a request."""
    scope, live = told.scope, told.live
    found: dict[str, Any] = {
        "time": round(time.time(), 3), "method": scope["method"], "path": scope["path"], "status": told.status,
        "ms": round(told.seconds * 1000, 3), "bytes": told.size, "client": (scope.get("client") or ("",))[0],
        "request_id": request_id(told.headers).decode() or new_id(), "worker": os.getpid(),
    }  # fmt: skip
    if live is not None:
        found |= {"deployment": live.name, "revision": live.revision, "version": live.stable.version.number}
    if told.caller is not None:
        found["caller"] = told.caller.name
    trace = trace_id(told.headers)
    return found | {"trace_id": trace} if trace else found


class Spans:
    """A span a request, by whatever OpenTelemetry provider the process was given; made afterwards, with the real times.

    Args:
        provider: who makes and exports spans; None: the process's own.
    """

    def __init__(self, provider: Any = None) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - only where it is installed and asked for
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - see above

        if provider is None and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            LOG.warning("serving.spans is set, and OpenTelemetry exports nowhere: start `opentelemetry-instrument rung serve`")
        self._tracer, self._kind, self._error = (
            trace.get_tracer("rung.serving", tracer_provider=provider),
            trace.SpanKind.SERVER,
            trace.StatusCode.ERROR,
        )
        self._context = TraceContextTextMapPropagator()

    def __call__(self, told: Told) -> None:
        """Tell of a request."""
        ended = time.time_ns()
        carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in told.headers.items() if name.startswith(b"trace")}
        attributes: dict[str, Any] = {
            "http.request.method": told.scope["method"], "url.path": told.scope["path"], "http.response.status_code": told.status,
        }  # fmt: skip
        if told.live is not None:
            attributes |= {
                "rung.deployment": told.live.name, "rung.revision": told.live.revision, "rung.version": told.live.stable.version.number,
            }  # fmt: skip
        span = self._tracer.start_span(
            f"{told.scope['method']} {told.scope['path']}", context=self._context.extract(carried), attributes=attributes,
            start_time=ended - int(told.seconds * 1e9), kind=self._kind,
        )  # fmt: skip
        if told.status >= _FAILED:
            span.set_status(self._error)
            span.set_attribute("error.type", str(told.status))
        span.end(ended)


def listeners(settings: Settings) -> tuple[list[Callable[[Told], None]], Callable[[], None]]:
    """Who is told of requests by these settings, and what to call at the end.

    Raises:
        Unavailable: spans are asked for and OpenTelemetry is not installed. Invalid: the access log cannot be written.
    """
    serving, heard, ends = settings.serving, list[Callable[[Told], None]](), list[Callable[[], None]]()
    if serving.access_log:
        log = AccessLog(serving.access_log, serving.access_share)
        heard.append(log)
        ends.append(log.close)
    if serving.spans:
        if find_spec("opentelemetry") is None:
            raise Unavailable("OpenTelemetry is not installed.", code="server.no_opentelemetry", hint="pip install opentelemetry-sdk.")
        heard.append(Spans())

    def ended() -> None:
        for end in ends:
            end()

    return heard, ended


def _opened(path: str) -> IO[bytes]:
    if path == "-":
        return sys.stderr.buffer
    try:
        return Path(path).open("ab", buffering=0)
    except OSError as error:
        raise Invalid(
            f"The access log {path} cannot be written: {error.strerror}.", code="server.access_log", hint="Name a file."
        ) from None
