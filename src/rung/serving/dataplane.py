"""The way of a request from bytes to bytes: an ASGI application in front of everything else, for the paths that answer predictions.

A numeric request to a compiled model passes a few dictionary look-ups, its codec, the model and the log, on the event loop and
without a database. What waits, what is large and what is no inference leaves the loop; what is nobody's path goes on to ``app``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from rung.core.errors import RungError
from rung.core.ids import new_id
from rung.serving import control, tracing
from rung.serving.answering import ask, too_slow
from rung.serving.bodies import Bodies, Gone, Receive
from rung.serving.calling import call, one_answers
from rung.serving.codecs.replies import JSON_ALONE, compressed
from rung.serving.express import Expressive, express_of, never_plain
from rung.serving.heads import Head, Heads, head_of
from rung.serving.inference import CODECS, Answered, Asked, Call, Codec, Reply
from rung.serving.limiting import inflated
from rung.serving.live import LiveDeployment, LiveTable
from rung.serving.paths import OPEN, Matched, Paths, named
from rung.serving.statuses import retry_after_s, status_of

LOG = logging.getLogger("rung.serving")
Send = Callable[[Any], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Headers = Mapping[bytes, bytes]
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_LENGTH = b"content-length"
_TABLES = (b"text/", b"application/vnd.")
LATER = Reply(0, b"", [])  # stands for the reply to a request that waits for its model
_GONE = 499
_REMEMBERED = 4096


class Admitted(Protocol):
    """What the door says of a caller."""

    @property
    def project(self) -> str:
        """Id of the project it works in."""
        ...

    @property
    def name(self) -> str:
        """Who it is, for the log."""
        ...

    @property
    def token(self) -> str:
        """What stands for its token where requests are counted; never the token."""
        ...


class Door(Protocol):
    """The checks that everything behind has too, made for speed."""

    def refuses(self, method: str, headers: Headers) -> bool:
        """Whether the request comes from a foreign page or for a foreign host; the application behind says so then."""
        ...

    def known(self, headers: Headers, project: str | None) -> Admitted | None:
        """The caller, when it was admitted within the last second."""
        ...

    def asking(self, caller: Any) -> control.Ask:
        """The platform's door in the name of a caller that was admitted."""
        ...

    async def admitted(self, headers: Headers, project: str | None) -> Admitted:
        """The caller. Raises Denied without a good token, or the right to predict; NotFound for a project it is no member of."""
        ...


@dataclass(slots=True)
class Told:
    """One request that was answered, for access logs and traces."""

    scope: MutableMapping[str, Any]
    headers: Headers
    status: int
    seconds: float
    size: int
    live: LiveDeployment | None
    caller: Admitted | None


class DataPlane:
    """Answers inference; everything else goes on to ``app``.

    Args:
        table: what is deployed, with models loaded.
        door: who may ask.
        app: the application behind, with the same checks of its own.
        paths: which path is which protocol.
        threads: large requests and control verbs answered side by side.
    """

    def __init__(self, table: LiveTable, door: Door, app: Asgi, *, paths: Paths | None = None, threads: int = 4) -> None:
        serving = table.settings.serving
        self.told: list[Callable[[Told], None]] = []
        self._table, self._door, self._app = table, door, app
        self._match = (paths or Paths()).match
        self._codecs: dict[str, Codec] = {}
        self._plain: dict[str, Callable[[Headers], bool]] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rung-predict")
        self._large = serving.large_kb << 10
        self._limit = table.settings.server.max_body_mb << 20
        self._body_s, self.header_s = serving.body_s, serving.header_s
        self._hot: dict[bytes, Matched | None] = {}
        self.heads = Heads()
        self._bodies = Bodies(serving.body_s)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, project = scope["path"], None
        if path.startswith("/p/"):
            project, _, rest = path[3:].partition("/")
            path = "/" + rest
        matched = self._match(scope["method"], path)
        if matched is None:
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        pairs = scope["headers"]
        headers: Headers = dict(pairs)
        if len(headers) != len(pairs):
            headers = dict(reversed(pairs))  # of a header that is there twice the first counts, as behind
        if self._door.refuses(scope["method"], headers):
            await self._app(scope, receive, send)
            return
        call = Call(scope["method"], path, headers, scope["query_string"], b"")
        one = _One(call, matched, project, begun)
        reply = await self._reply(one, receive)
        if reply is None:  # the client has gone
            return
        if b"accept-encoding" in headers:
            if len(reply.body) > self._large:
                reply = await asyncio.get_running_loop().run_in_executor(self._pool, compressed, reply, headers[b"accept-encoding"])
            else:
                reply = compressed(reply, headers[b"accept-encoding"])
        size = len(reply.body)
        sent = [*reply.headers, (_LENGTH, b"%d" % size), _NOSNIFF]
        if tracing.PARENT in headers or tracing.REQUEST_ID in headers:
            sent += tracing.echoed(headers)
        await send({"type": "http.response.start", "status": reply.status, "headers": sent})
        await send({"type": "http.response.body", "body": reply.body})
        for hear in self.told:
            hear(Told(scope, headers, reply.status, time.perf_counter() - begun, size, one.live, one.caller))

    def hot(self, url: bytes) -> Matched | None:
        """What a POST to an address means, if it asks for predictions; None for all others. The address is as it came."""
        try:
            return self._hot[url]
        except KeyError:
            path = url.decode("latin-1")
            found = None if not path.isascii() or "%" in path or "?" in path or path.startswith("/p/") else self._match("POST", path)
            if len(self._hot) >= _REMEMBERED:
                self._hot.clear()
            self._hot[url] = found if found is not None and found.verb == "infer" else None
            return self._hot[url]

    def head(self, url: bytes, pairs: list[tuple[bytes, bytes]]) -> Head | None:
        """What a POST's address and headers say, if it may be answered at once; header names are in lower case."""
        matched = self.hot(url)
        if matched is None:
            return None
        headers: Headers = dict(pairs)
        if len(headers) != len(pairs):
            headers = dict(reversed(pairs))
        if _takes_long(headers) or self._door.refuses("POST", headers):
            return None
        self._codecs.get(matched.codec) or self._codec(matched.codec)
        return head_of(matched, url.decode("latin-1"), pairs, headers, plain=self._plain[matched.codec](headers))

    def at_once(self, head: Head, body: bytes, client: Any, deliver: Callable[[Reply], None]) -> Reply | None:
        """The reply to a whole request; ``LATER`` if ``deliver`` gets it, once its model has scored it; else None, and nothing is done.

        ``client`` is the caller's address, for those who hear of requests; ``deliver`` is called by the loop that this runs on.
        """
        begun = time.perf_counter()
        table, caller = self._table, self._door.known(head.headers, None)
        if caller is None or len(body) > self._large or table.loading or table.asleep:
            return None
        try:
            live = self._live(caller.project, head.matched, head.headers)
        except RungError:
            return None
        if not live.limiter.none or len(body) > live.bounds.max_body or not (live.plain or one_answers(live)):
            return None
        reply = self._expressed(head, live, caller, body, begun) if head.plain and live.plain else None
        if reply is None:
            one = _One(Call("POST", head.path, head.headers, b"", body), head.matched, None, begun, live, caller)
            if live.plain:
                reply = self._answered(one, live, caller, head.trace_id)
            else:
                reply = self._called(one, live, caller, head, self._dressing(deliver, head, live, caller, client, begun))
            if reply is None or reply is LATER:
                return reply
        return self._dressed(reply, head, live, caller, client, begun) if self.told or head.accepts or head.traced else reply

    def _dressing(
        self, deliver: Callable[[Reply], None], head: Head, live: LiveDeployment, caller: Admitted, client: Any, begun: float
    ) -> Callable[[Reply], None]:
        """What delivers a reply as its caller wants it; a closure in ``at_once`` would cost every request its cells."""
        return lambda made: deliver(self._dressed(made, head, live, caller, client, begun))

    def _dressed(self, reply: Reply, head: Head, live: LiveDeployment, caller: Admitted, client: Any, begun: float) -> Reply:
        """The reply as its caller wants it, told to who hears of requests."""
        if head.accepts:
            reply = compressed(reply, head.accepts)
        if head.traced:
            reply.headers = [*reply.headers, *tracing.echoed(head.headers)]
        if self.told:
            scope = {"type": "http", "method": "POST", "path": head.path, "query_string": b"", "headers": head.pairs, "client": client}
            for hear in self.told:
                hear(Told(scope, head.headers, reply.status, time.perf_counter() - begun, len(reply.body), live, caller))
        return reply

    def _expressed(self, head: Head, live: LiveDeployment, caller: Admitted, body: bytes, begun: float) -> Reply | None:
        """The reply of the compiled part to one row in the protocol's plain form; None for anything else, and nothing has been done."""
        name = head.matched.codec
        try:
            if name not in live.express:
                live.express[name] = express_of(live, self._codec(name))
            express = live.express[name]
            if express is None:
                return None
            found = express.answer(body, caller.name, head.trace_id)
        except Exception:
            LOG.exception("deployment %s goes without its express way", live.name)
            live.express[name] = None
            return None
        if found is None:
            return None
        said, _, read_us, scored_us = found
        spent = time.perf_counter() - begun
        live.meter.answered(spent, 1, scored_us, input_s=read_us / 1e6, output_s=spent - (read_us + scored_us) / 1e6)
        return Reply(200, said, JSON_ALONE)

    def _answered(self, one: _One, live: LiveDeployment, caller: Admitted, trace_id: str) -> Reply | None:
        """The reply of a deployment that answers at once; None when more is wanted than scores."""
        codec = self._codecs.get(one.matched.codec) or self._codec(one.matched.codec)
        try:
            asked = codec.decode(one.call, live)
            if asked.explain:
                return None
            asked.trace_id = trace_id
            read = time.perf_counter()
            found = ask(live, asked, caller.name)
            assert isinstance(found, Answered)  # noqa: S101 - a plain deployment never lets wait
            scored = time.perf_counter()
            reply = codec.encode(found, asked, live)
        except RungError as error:
            return self._refused(one, error)
        except Exception:
            return self._fault(one)
        ended = time.perf_counter()
        live.meter.answered(ended - one.begun, len(found.ids), found.compute_us, input_s=read - one.begun, output_s=ended - scored)
        return reply

    def _called(self, one: _One, live: LiveDeployment, caller: Admitted, head: Head, deliver: Callable[[Reply], None]) -> Reply | None:
        """Have the deployment's model score the request with others' in its thread; None when more is wanted than scores."""
        codec = self._codecs.get(one.matched.codec) or self._codec(one.matched.codec)

        def came(found: Answered | RungError) -> None:
            scored = time.perf_counter()
            try:
                if isinstance(found, RungError):
                    raise found
                reply = codec.encode(found, asked, live)
                _counted(live, found, one.begun, read - one.begun, scored)
            except RungError as error:
                reply = self._refused(one, error)
            except Exception:
                reply = self._fault(one)
            deliver(reply)

        try:
            asked = codec.decode(one.call, live)
            if asked.explain:
                return None
            asked.trace_id = head.trace_id
            read = time.perf_counter()
            call(live, asked, caller.name, asyncio.get_running_loop(), came)
        except RungError as error:
            return self._refused(one, error)
        except Exception:
            return self._fault(one)
        return LATER

    def close(self) -> None:
        """Finish what is being answered, then seal the logs."""
        self._pool.shutdown()
        self._table.close()

    async def _reply(self, one: _One, receive: Receive) -> Reply | None:
        try:
            if one.matched.verb == "infer":
                return await self._inferred(one, receive)
            return await self._controlled(one, receive)
        except RungError as error:
            return self._refused(one, error)
        except Gone:
            self._count(one, _GONE)
            return None
        except Exception:
            return self._fault(one)

    async def _inferred(self, one: _One, receive: Receive) -> Reply:
        call, matched = one.call, one.matched
        caller = self._door.known(call.headers, one.project)
        if caller is None:
            caller = await self._door.admitted(call.headers, one.project)
        one.caller = caller
        if self._table.loading:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._table.wait, self._body_s)
        if self._table.asleep:
            await self._woken(caller.project, matched, call)
        one.live = live = self._live(caller.project, matched, call.headers, call.query)
        if not live.limiter.none:
            live.limiter.admit(caller.token)
        call.body = await self._bodies.read(receive, call.headers, live.bounds.max_body)
        codec = self._codecs.get(matched.codec) or self._codec(matched.codec)
        if len(call.body) > self._large or _takes_long(call.headers):
            return await self._beside(one, live, caller, codec)
        whole = time.perf_counter()
        asked = codec.decode(call, live)
        if tracing.PARENT in call.headers:
            asked.trace_id = tracing.trace_id(call.headers)
        read = time.perf_counter()
        found = ask(live, asked, caller.name, token=caller.token)
        if not isinstance(found, Answered):
            found = await _waited(live, found)
        scored = time.perf_counter()
        reply = codec.encode(found, asked, live)
        _counted(live, found, one.begun, read - whole, scored)
        return reply

    async def _beside(self, one: _One, live: LiveDeployment, caller: Admitted, codec: Codec) -> Reply:
        """The same with reading and writing in a thread, for large bodies, tables, and what is packed. No thread waits for a model."""
        loop, call = asyncio.get_running_loop(), one.call
        begun = time.perf_counter()

        def asking() -> tuple[Asked, float, Answered | Future[Answered]]:
            coding = call.headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
            call.body, call.limit = inflated(coding, call.body, live.bounds.max_body), live.bounds.max_body
            asked = codec.decode(call, live)
            asked.trace_id = tracing.trace_id(call.headers)
            return asked, time.perf_counter(), ask(live, asked, caller.name, token=caller.token)

        asked, read, found = await loop.run_in_executor(self._pool, asking)
        answered = found if isinstance(found, Answered) else await _waited(live, found)
        scored = time.perf_counter()
        reply = await loop.run_in_executor(self._pool, codec.encode, answered, asked, live)
        _counted(live, answered, one.begun, read - begun, scored)
        return reply

    async def _controlled(self, one: _One, receive: Receive) -> Reply:
        """Everything but inference: metadata, health, the repository. What anybody may ask needs no body, and waits for nothing."""
        call, matched = one.call, one.matched
        if matched.verb in OPEN:
            return control.answer(matched, call, self._table, "", self._codec(matched.codec))
        one.caller = self._door.known(call.headers, one.project) or await self._door.admitted(call.headers, one.project)
        if call.method not in {"GET", "HEAD"}:
            call.body = await self._bodies.read(receive, call.headers, self._limit)
        asking = self._door.asking(one.caller)
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, control.answer, matched, call, self._table, one.caller.project, self._codec(matched.codec), asking
        )

    async def _woken(self, project: str, matched: Matched, call: Call) -> None:
        """Load a deployment that was unloaded to make room, beside the loop."""
        name = matched.deployment or named(call.headers, call.query) or next(iter(self._table.names(project)), "")
        if (project, name) in self._table.asleep:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._table.wake, project, name)

    def _live(self, project: str, matched: Matched, headers: Headers, query: bytes = b"") -> LiveDeployment:
        name = matched.deployment or named(headers, query)
        live = (self._table.now(project, name) or self._table.get(project, name)) if name else self._table.only(project)
        return live.pinned(matched.version) if matched.version else live

    def _codec(self, name: str) -> Codec:
        held = self._codecs.get(name)
        if held is None:
            held = self._codecs[name] = CODECS.get(name)
            self._plain[name] = held.plain if isinstance(held, Expressive) else never_plain
        return held

    def _refused(self, one: _One, error: RungError) -> Reply:
        status = status_of(error)
        self._count(one, status)
        reply = self._codec(one.matched.codec).error(status, str(error), error.code)
        again = retry_after_s(error)
        if again is not None:
            reply.headers = [*reply.headers, (b"retry-after", b"%d" % again)]
        if status == 401:  # noqa: PLR2004 - RFC 9110, section 11.6.1
            reply.headers = [*reply.headers, (b"www-authenticate", b'Bearer realm="rung"')]
        if error.code == "request.timeout":
            reply.headers = [*reply.headers, (b"connection", b"close")]
        return reply

    def _fault(self, one: _One) -> Reply:
        number = new_id()
        LOG.exception("fault %s at %s", number, one.call.path)
        self._count(one, 500)
        return self._codec(one.matched.codec).error(500, f"The server failed; its log has fault {number}.", "server.fault")

    def _count(self, one: _One, status: int) -> None:
        if one.live is not None:
            one.live.meter.refused(status, time.perf_counter() - one.begun)


@dataclass(slots=True)
class _One:
    """One request under way."""

    call: Call
    matched: Matched
    project: str | None
    begun: float
    live: LiveDeployment | None = None
    caller: Admitted | None = None


def _counted(live: LiveDeployment, found: Answered, begun: float, input_s: float, scored: float) -> None:
    ended = time.perf_counter()
    live.meter.answered(
        ended - begun, len(found.ids), found.compute_us, found.queue_us, input_s=input_s, output_s=ended - scored, batches=found.batches
    )


def _takes_long(headers: Headers) -> bool:
    """Whether a body behind these headers is read beside the event loop, however small: packed ones, and tables."""
    return b"content-encoding" in headers or headers.get(b"content-type", b"").lower().startswith(_TABLES)


async def _waited(live: LiveDeployment, found: Future[Answered]) -> Answered:
    waiting = asyncio.wrap_future(found)
    try:
        if not live.bounds.timeout_s:
            return await waiting
        return await asyncio.wait_for(waiting, live.bounds.timeout_s)
    except TimeoutError:
        raise too_slow(live) from None
