"""The door for triggers that are called over HTTP: ``POST /hooks/<address>``. No token is asked for; the signature is.

What is too large or comes too often is refused before the database hears of it. Each server process counts for itself.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rung.app.platform import Platform
from rung.core.errors import Invalid, NotFound
from rung.engine.records import HookAnswer, ReceiveHook
from rung.pipelines.hooks import HEADERS, LARGEST_BODY
from rung.pipelines.trigger_store import hook_named

PER_MINUTE = 60
_UNKNOWN_PER_MINUTE = 120
_MOST_ADDRESSES = 10_000
_LONGEST_ADDRESS = 64
_LONGEST_HEADER = 10_000


class Rates:
    """How often an address may be called: a bucket of ``PER_MINUTE`` calls that fills up again with time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, address: str, per_minute: int = PER_MINUTE) -> float:
        """Take one call; 0 when it is free, else the seconds after which the next one is."""
        now = self._clock()
        with self._lock:
            left, at = self._held.pop(address, (float(per_minute), now))
            left = min(per_minute, left + (now - at) * per_minute / 60)
            wait = 0.0 if left >= 1 else (1 - left) * 60 / per_minute
            self._held[address] = (left if wait else left - 1, now)
            while len(self._held) > _MOST_ADDRESSES:
                self._held.popitem(last=False)
        return wait


def hook_routes(platform: Platform) -> list[Route]:
    """The route of every trigger's address."""
    rates = Rates()

    async def receive(request: Request) -> Response:
        address = request.path_params["hook"]
        if len(address) > _LONGEST_ADDRESS:
            raise _unknown()
        wait = rates.wait_s(address)
        if wait:
            return _too_often(wait)
        body = await _limited(request)
        headers = {name: request.headers[name][:_LONGEST_HEADER] for name in HEADERS if name in request.headers}
        answer = await to_thread.run_sync(_answer, platform, rates, address, headers, body)
        return answer if isinstance(answer, Response) else Response(msgspec.json.encode(answer), 202, media_type="application/json")

    return [Route("/hooks/{hook}", receive, methods=["POST"])]


def _answer(platform: Platform, rates: Rates, address: str, headers: dict[str, str], body: bytes) -> HookAnswer | Response:
    hook = platform.database.read(lambda connection: hook_named(connection, address)) if address.isalnum() else None
    if hook is None:
        wait = rates.wait_s("", _UNKNOWN_PER_MINUTE)
        if wait:
            return _too_often(wait)
        raise _unknown()
    return platform.answer(ReceiveHook(hook=address, headers=headers, body=body), platform.service(hook.project))


async def _limited(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise Invalid(f"The body is larger than {LARGEST_BODY >> 20} MiB.", code="request.too_large", hint="Send less.")
        parts.append(part)
    return b"".join(parts)


def _too_often(wait_s: float) -> Response:
    error = {
        "kind": "unavailable", "code": "pipelines.hook_too_often", "message": "This address is called too often.",
        "hint": f"Call again in {max(1, round(wait_s))} s.",
    }  # fmt: skip
    return JSONResponse({"error": error}, 429, {"retry-after": str(max(1, round(wait_s)))})


def _unknown() -> NotFound:
    return NotFound("There is no such address.", code="pipelines.no_hook", hint="`rung trigger show` tells a trigger's address.")
