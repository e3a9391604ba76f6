"""Open Inference v2 over gRPC, asked by tritonclient, its stub, grpc.health.v1 and reflection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rung.core.errors import Invalid
from tests.protocol.oip.conftest import MODEL, Inference, X

grpc = pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase  # noqa: E402
from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: E402

CLASSES = MODEL.predict(X).tolist()


@pytest.fixture
def channel(inference: Inference) -> Iterator[Any]:
    with grpc.insecure_channel(inference.grpc) as opened:
        yield opened


@pytest.fixture
def stub(channel: Any) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
def owner(inference: Inference) -> list[tuple[str, str]]:
    return list(inference.bearer.items())


def typed(field: str = "fp64_contents", datatype: str = "FP64", values: Any = X, **given: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="churn", id="t1", **given)
    made = request.inputs.add(name="x", datatype=datatype, shape=values.shape)
    getattr(made.contents, field).extend(values.ravel().tolist())
    return request


def raw(values: Any = X, **given: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="churn", id="r1", **given)
    request.inputs.add(name="x", datatype="FP64", shape=X.shape)
    request.raw_input_contents.append(values.tobytes())
    return request


def test_tritonclient_gets_what_http_gives(inference: Inference, owner: list[tuple[str, str]]) -> None:
    client = triton.InferenceServerClient(inference.grpc)
    headers = dict(owner)
    assert client.is_server_live(headers=headers)
    assert client.is_server_ready(headers=headers)
    assert client.is_model_ready("churn", headers=headers)
    assert not client.is_model_ready("nobody", headers=headers)
    assert client.get_server_metadata(headers=headers).name == "rung"
    described = client.get_model_metadata("churn", headers=headers)
    assert [(one.name, one.datatype, list(one.shape)) for one in described.inputs] == [(name, "FP64", [-1]) for name in "abc"]
    made = triton.InferInput("x", list(X.shape), "FP64")
    made.set_data_from_numpy(X)
    wanted = [triton.InferRequestedOutput(name) for name in ("score", "predict", "prediction_id")]
    found = client.infer("churn", [made], outputs=wanted, request_id="g1", headers=headers, parameters={"mine": 1, "b": True, "s": "x"})
    assert [one.name for one in found.get_response().outputs] == ["score", "predict", "prediction_id"]
    assert found.as_numpy("predict").tolist() == CLASSES
    np.testing.assert_allclose(found.as_numpy("score"), MODEL.predict_proba(X)[:, 1], atol=1e-12)
    client.close()


def test_answers_are_typed_or_raw_as_the_request_was(stub: Any, owner: list[tuple[str, str]]) -> None:
    one = stub.ModelInfer(typed(), metadata=owner)
    assert list(one.outputs[0].contents.int64_contents) == CLASSES
    assert not one.raw_output_contents
    other = stub.ModelInfer(raw(), metadata=owner)
    assert np.frombuffer(other.raw_output_contents[0], "<i8").tolist() == CLASSES
    assert not other.outputs[0].HasField("contents")
    assert (one.id, one.model_name, one.model_version) == ("t1", "churn", "1")


@pytest.mark.parametrize(
    ("field", "datatype"),
    [
        ("fp32_contents", "FP32"),
        ("int64_contents", "INT64"),
        ("int_contents", "INT8"),
        ("uint_contents", "UINT16"),
        ("uint64_contents", "UINT64"),
    ],
)
def test_numbers_of_every_type_are_taken(stub: Any, owner: list[tuple[str, str]], field: str, datatype: str) -> None:
    values = X if field.startswith("fp") else X.astype(int)
    assert list(stub.ModelInfer(typed(field, datatype, values), metadata=owner).outputs[0].contents.int64_contents) == CLASSES


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (typed(model_version="9"), "NOT_FOUND", "9"), (raw(X[:2]), "INVALID_ARGUMENT", "bytes"), (typed(datatype="FLOAT"), "INVALID_ARGUMENT", "FLOAT"),
        (typed("fp32_contents"), "INVALID_ARGUMENT", "fp64_contents"), (typed("int_contents", "INT8", X.astype(int) + 200), "INVALID_ARGUMENT", "INT8"),
        (typed(values=X[:, 1:].copy()), "INVALID_ARGUMENT", "expected 3"), (service_pb2.ModelInferRequest(model_name="churn"), "INVALID_ARGUMENT", "no inputs"),
        (service_pb2.ModelInferRequest(model_name="nobody"), "NOT_FOUND", "nobody"), (typed(values=np.full_like(X, np.inf)), "INVALID_ARGUMENT", "infinite"),
        (typed(values=np.full_like(X, np.nan)), "INVALID_ARGUMENT", "null"),
    ],
)  # fmt: skip
def test_mistakes_have_the_status_that_says_whose_they_are(
    stub: Any, owner: list[tuple[str, str]], request_: Any, status: str, said: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request_, metadata=owner)
    assert caught.value.code().name == status
    assert said in caught.value.details()


def test_raw_and_typed_are_never_mixed(stub: Any, owner: list[tuple[str, str]]) -> None:
    both = typed()
    both.raw_input_contents.append(X.tobytes())
    for wrong in (both, raw(raw_input_contents=[b""])):
        with pytest.raises(grpc.RpcError, match="raw_input_contents"):
            stub.ModelInfer(wrong, metadata=owner)


def test_bytes_that_are_no_message_are_the_caller_s_fault(channel: Any, owner: list[tuple[str, str]]) -> None:
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff", metadata=owner)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_token_is_needed_and_must_be_good(stub: Any) -> None:
    for metadata in ([], [("authorization", "Bearer wrong")], [("authorization", "wrong")]):
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(typed(), metadata=metadata)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_stream_answers_in_order_and_survives_a_mistake(stub: Any, owner: list[tuple[str, str]]) -> None:
    asked = [typed(), typed(model_version="9"), raw()]
    answers = list(stub.ModelStreamInfer(iter(asked), metadata=owner))
    assert [(one.infer_response.id, bool(one.error_message)) for one in answers] == [("t1", False), ("t1", True), ("r1", False)]


def test_tritonclient_streams(inference: Inference, owner: list[tuple[str, str]]) -> None:
    found: list[Any] = []
    client = triton.InferenceServerClient(inference.grpc)
    client.start_stream(lambda result, error: found.append(error or result), headers=dict(owner))
    made = triton.InferInput("x", list(X.shape), "FP64")
    made.set_data_from_numpy(X)
    for number in range(3):
        client.async_stream_infer("churn", [made], request_id=str(number))
    client.stop_stream()
    client.close()
    assert [one.get_response().id for one in found] == ["0", "1", "2"]


def test_repository_and_statistics(stub: Any, owner: list[tuple[str, str]]) -> None:
    def index() -> list[tuple[str, str]]:
        return [(one.name, one.state) for one in stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), metadata=owner).models]

    stub.ModelInfer(typed(), metadata=owner)
    (stats,) = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="churn"), metadata=owner).model_stats
    assert stats.inference_count >= len(X)
    parts = stats.inference_stats
    assert min(parts.compute_input.ns, parts.compute_infer.ns, parts.compute_output.ns) > 0
    assert parts.success.ns >= parts.compute_input.ns + parts.compute_infer.ns + parts.compute_output.ns + parts.queue.ns
    batch = next(one for one in stats.batch_stats if one.batch_size == len(X))
    assert batch.compute_infer.count > 0
    assert 0 < batch.compute_infer.ns <= parts.compute_infer.ns
    assert index() == [("churn", "READY")]
    stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="churn"), metadata=owner)
    assert index() == [("churn", "UNAVAILABLE")]
    assert not stub.ModelReady(service_pb2.ModelReadyRequest(name="churn"), metadata=owner).ready
    stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name="churn"), metadata=owner)
    assert stub.ModelReady(service_pb2.ModelReadyRequest(name="churn"), metadata=owner).ready


def test_health_is_told_without_a_token(channel: Any) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError):
        stub.Check(health_pb2.HealthCheckRequest(service="other"))


def test_reflection_tells_the_service_and_its_messages(channel: Any) -> None:
    told = ProtoReflectionDescriptorDatabase(channel)
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(told.get_services())
    assert "ModelInferRequest" in {kind.name for kind in told.FindFileContainingSymbol("inference.GRPCInferenceService").message_type}


def test_messages_are_those_of_the_foreign_client() -> None:
    """Names, numbers, types and labels of every message we have agree with tritonclient's; tritonclient has more."""
    from rung.protocols.oip_grpc.schema import SERVICE, pool

    ours = pool().FindFileContainingSymbol(SERVICE)

    def check(kind: Any, other: Any) -> None:
        for one in kind.fields:
            field = other.fields_by_name[one.name]
            assert (field.number, field.type, field.is_repeated) == (one.number, one.type, one.is_repeated), one.full_name
            if one.message_type:
                check(one.message_type, field.message_type)

    for name, kind in ours.message_types_by_name.items():
        check(kind, service_pb2.DESCRIPTOR.message_types_by_name[name])
    methods = {
        one.name: (one.input_type.full_name, one.output_type.full_name, one.client_streaming)
        for one in ours.services_by_name["GRPCInferenceService"].methods
    }
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    assert (
        methods.items() <= {one.name: (one.input_type.full_name, one.output_type.full_name, one.client_streaming) for one in theirs}.items()
    )


def test_our_reading_of_the_file_is_the_compiler_s(tmp_path: Any) -> None:
    from google.protobuf import descriptor_pb2

    tools = pytest.importorskip("grpc_tools.protoc")
    from importlib.resources import files

    from rung.protocols.oip_grpc.schema import parsed

    folder = files("rung.protocols.oip_grpc")
    assert tools.main(["", f"-I{folder}", f"--descriptor_set_out={tmp_path}/set", "open_inference.proto"]) == 0
    (expected,) = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    found = parsed(folder.joinpath("open_inference.proto").read_text("utf-8"))
    found.name = expected.name
    assert found == expected


def test_an_odd_request_is_invalid_before_anything_is_scored() -> None:
    from rung.protocols.oip_grpc.converting import asked_of
    from tests.conformance.test_codecs import NUMBERS

    for request in (typed("bytes_contents", "BYTES", np.array([b"\xff"])), typed("fp64_contents", "FP16")):
        with pytest.raises(Invalid):
            asked_of(request, NUMBERS)
