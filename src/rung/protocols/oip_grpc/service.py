"""The calls of the service. A client's mistake is INVALID_ARGUMENT or NOT_FOUND; INTERNAL is a defect of ours, and logged."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf.message import DecodeError

from rung.core.errors import Invalid, NotFound, RungError, Unavailable
from rung.core.ids import new_id
from rung.protocols.oip_grpc.converting import asked_of, plain, response_of
from rung.protocols.oip_grpc.schema import SERVICE, message
from rung.serving import control
from rung.serving.answering import answer
from rung.serving.live import LiveDeployment, LiveTable
from rung.serving.statuses import status_of

LOG = logging.getLogger("rung.serving")
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT, 401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND, 409: grpc.StatusCode.FAILED_PRECONDITION, 413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT, 429: grpc.StatusCode.RESOURCE_EXHAUSTED, 503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # fmt: skip


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


class GrpcDoor(Protocol):
    """Who may call, from the metadata of a call."""

    def admit(self, authorization: str, project: str | None) -> Admitted:
        """The caller. Raises Denied without a good token or the right to predict; NotFound for a project it is no member of."""
        ...

    def asking(self, caller: Any) -> control.Ask:
        """The platform's door in the name of a caller that was admitted."""
        ...


class _Turns:
    """Keeps a model that hangs from holding every thread: so many calls of one deployment at a time."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, Counter[tuple[str, str]]()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, live: LiveDeployment) -> Iterator[None]:
        """Take a turn; one whose model answers at once needs none. Raises Unavailable."""
        if live.plain:
            yield
            return
        key = (live.project, live.name)
        with self._lock:
            if self._held[key] >= self._most:
                raise Unavailable(
                    f"{self._most} calls wait for {live.name!r}.", code="serving.busy", hint="Send it again in a moment, or over HTTP."
                )
            self._held[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]


class InferenceService:
    """Every call of the service, as functions from bytes and context to bytes.

    Args:
        table: what is deployed. door: who may call.
        streams: calls of ModelStreamInfer served side by side; each holds a thread.
        most: calls that may wait for one deployment's model side by side, for the same reason; more are told to come again.
    """

    def __init__(self, table: LiveTable, door: GrpcDoor, *, streams: int, most: int) -> None:
        self._table, self._door, self._turns = table, door, _Turns(most)
        self._streams = threading.BoundedSemaphore(streams)
        self._infer_request = message("ModelInferRequest").FromString

    def handlers(self) -> grpc.GenericRpcHandler:
        """The handlers, by name of the call."""
        calls: dict[str, Callable[[Any, grpc.ServicerContext], Any]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        found = {name: grpc.unary_unary_rpc_method_handler(_unary(f"{name}Request", call)) for name, call in calls.items()}
        found["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self._infer)
        found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, found)

    def _caller(self, context: grpc.ServicerContext) -> Admitted:
        authorization, project = "", None
        for name, value in context.invocation_metadata():
            if name == "authorization":
                authorization = value
            elif name == "x-rung-project":
                project = value
        return self._door.admit(authorization, project)

    def _infer(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return self._answered(body, self._caller(context))
        except RungError as error:
            _refuse(context, error)
        except Exception:
            _fault(context, "ModelInfer")

    def _answered(self, body: bytes, caller: Admitted) -> bytes:
        begun = time.perf_counter()
        live: LiveDeployment | None = None
        try:
            request = _read(self._infer_request, body)
            live = self._live(caller, request.model_name, request.model_version)
            if not live.limiter.none:
                live.limiter.admit(caller.token)
            asked = asked_of(request, live)
            read = time.perf_counter()
            with self._turns.of(live):
                found = answer(live, asked, caller.name, token=caller.token)
            scored = time.perf_counter()
            encoded: bytes = response_of(found, asked, live).SerializeToString()
        except Exception as error:
            if live is not None:
                live.meter.refused(status_of(error) if isinstance(error, RungError) else 500, time.perf_counter() - begun)
            raise
        ended = time.perf_counter()
        live.meter.answered(
            ended - begun, len(found.ids), found.compute_us, found.queue_us, input_s=read - begun, output_s=ended - scored,
            batches=found.batches,
        )  # fmt: skip
        return encoded

    def _live(self, caller: Admitted, name: str, version: str) -> LiveDeployment:
        live = (self._table.now(caller.project, name) if name else None) or control.found(self._table, caller.project, name)
        return live.pinned(version) if version else live

    def _stream(self, bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers in the order of the requests; a mistake is told in its answer, and the stream goes on."""
        kind = message("ModelStreamInferResponse")
        try:
            caller = self._caller(context)
            if not self._streams.acquire(blocking=False):
                raise Unavailable("Too many streams are open.", code="serving.busy", hint="Close one, or call ModelInfer.")
        except RungError as error:
            _refuse(context, error)
        try:
            for body in bodies:
                try:
                    yield kind(infer_response=message("ModelInferResponse").FromString(self._answered(body, caller))).SerializeToString()
                except RungError as error:
                    failed = kind(error_message=str(error))
                    failed.infer_response.id = _id_of(self._infer_request, body)
                    yield failed.SerializeToString()
                except Exception:
                    _fault(context, "ModelStreamInfer")
        finally:
            self._streams.release()

    def _desk(self, context: grpc.ServicerContext) -> control.Desk:
        caller = self._caller(context)
        return control.Desk(self._table, caller.project, self._door.asking(caller))

    def _server_live(self, request: Any, context: grpc.ServicerContext) -> Any:
        return message("ServerLiveResponse")(live=True)

    def _server_ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        return message("ServerReadyResponse")(ready=control.server_ready(self._table))

    def _server_metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        return message("ServerMetadataResponse")(**control.server_metadata())

    def _model_ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        caller = self._caller(context)
        try:
            control.found(self._table, caller.project, request.name, request.version)
        except (NotFound, Unavailable):
            return message("ModelReadyResponse")(ready=False)
        return message("ModelReadyResponse")(ready=True)

    def _model_metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        live = control.found(self._table, self._caller(context).project, request.name, request.version)
        return message("ModelMetadataResponse")(**control.described(live, request.version))

    def _statistics(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = control.statistics(self._desk(context), request.name, request.version)
        kind = message("ModelStatistics")
        return message("ModelStatisticsResponse")(model_stats=[kind(**one) for one in found])

    def _index(self, request: Any, context: grpc.ServicerContext) -> Any:
        listed = control.index(self._desk(context), ready=request.ready)
        models = [{"name": one.name, "version": one.version, "state": one.state, "reason": one.reason} for one in listed]
        return message("RepositoryIndexResponse")(models=models)

    def _load(self, request: Any, context: grpc.ServicerContext) -> Any:
        control.check_load(plain(request.parameters))
        control.load(self._desk(context), request.model_name)
        return message("RepositoryModelLoadResponse")()

    def _unload(self, request: Any, context: grpc.ServicerContext) -> Any:
        control.unload(self._desk(context), request.model_name)
        return message("RepositoryModelUnloadResponse")()


def _unary(kind: str, call: Callable[[Any, grpc.ServicerContext], Any]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    read = message(kind).FromString

    def answered(body: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            encoded: bytes = call(_read(read, body), context).SerializeToString()
        except RungError as error:
            _refuse(context, error)
        except Exception:
            _fault(context, kind)
        return encoded

    return answered


def _read(read: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return read(body)
    except DecodeError as error:
        raise Invalid(
            f"The message cannot be read: {str(error)[:200]}.", code="oip.bad_message", hint="See open_inference.proto."
        ) from None


def _id_of(read: Callable[[bytes], Any], body: bytes) -> str:
    try:
        return str(read(body).id)
    except DecodeError:
        return ""


def _refuse(context: grpc.ServicerContext, error: RungError) -> NoReturn:
    """End the call with the status of an error."""
    context.abort(_CODES.get(status_of(error), grpc.StatusCode.UNKNOWN), str(error))
    raise error  # abort has raised


def _fault(context: grpc.ServicerContext, call: str) -> NoReturn:
    """End the call as a defect of ours."""
    number = new_id()
    LOG.exception("fault %s at gRPC %s", number, call)
    context.abort(grpc.StatusCode.INTERNAL, f"The server failed; its log has fault {number}.")
    raise RuntimeError(number)  # abort has raised
