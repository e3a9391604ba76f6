"""The gRPC server of one process: the service, grpc.health.v1 and reflection, on a port that several workers may share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from rung.core.errors import Conflict
from rung.protocols.oip_grpc.schema import SERVICE, pool
from rung.protocols.oip_grpc.service import GrpcDoor, InferenceService
from rung.serving import control
from rung.serving.live import LiveTable

THREADS = 64
_MOST_OF_ONE = 40
_WAITING = 512
_HEALTH = "grpc.health.v1.Health"


class GrpcServer:
    """A running server; ``stop`` lets calls under way end.

    Args:
        table: what is deployed. door: who may call.
        address: host and port; port 0 picks one.
        shared: several processes listen on the port.
        max_body_mb: largest message, MiB.

    Raises:
        Conflict: the port is taken.
    """

    def __init__(self, table: LiveTable, door: GrpcDoor, address: tuple[str, int], *, shared: bool = False, max_body_mb: int = 64) -> None:
        host, port = address
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="rung-grpc"),
            handlers=[InferenceService(table, door, streams=THREADS // 4, most=_MOST_OF_ONE).handlers()],
            options=[
                ("grpc.so_reuseport", int(shared)),
                ("grpc.max_receive_message_length", max_body_mb << 20),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", 64 << 10),
            ],
            maximum_concurrent_rpcs=_WAITING,
        )
        self._server.add_generic_rpc_handlers([_health(table)])
        _describe()
        names = (SERVICE, _HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=pool())
        try:
            self.port = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError:  # its text tells of a variable for developers of gRPC, not why
            raise Conflict(
                f"Port {port} on {host} cannot be used for gRPC: another program listens there, or this user may not.", code="server.port_taken",
                hint="Choose another with --set server.grpc_port=…; 0 turns gRPC off.",
            ) from None  # fmt: skip
        self._server.start()

    def stop(self, grace_s: float = 10.0) -> None:
        """Take no more calls, and wait for those under way."""
        self._server.stop(grace_s).wait()


def _health(table: LiveTable) -> grpc.GenericRpcHandler:
    """grpc.health.v1: the server's state under "" and under the service's name."""
    kinds = health_pb2.HealthCheckResponse

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        if request.service not in {"", SERVICE}:
            context.abort(grpc.StatusCode.NOT_FOUND, f"There is no service {request.service[:200]!r}.")
        return kinds(status=kinds.SERVING if control.server_ready(table) else kinds.NOT_SERVING)

    handler = grpc.unary_unary_rpc_method_handler(
        check, request_deserializer=health_pb2.HealthCheckRequest.FromString, response_serializer=kinds.SerializeToString
    )
    return grpc.method_handlers_generic_handler(_HEALTH, {"Check": handler})


def _describe() -> None:
    """Put the descriptors of health and reflection beside ours, so that reflection can tell all three."""
    for module in (health_pb2, reflection_pb2):
        described = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(described)
        pool().Add(described)
