"""Every scoring codec on hostile bodies: an answerable request, or Invalid that says why; never anything else."""

from __future__ import annotations

import io
import json
import math
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.core.errors import Invalid
from rung.registry.records import Field, ModelVersion, Signature
from rung.serving.inference import CODECS, Answered, Asked, Call

NAMES = CODECS.names()
ROWS = [[25.0, 1.0], [45.0, 3.0]]


@dataclass(frozen=True)
class Speaking:
    """A deployment as codecs see it."""

    version: ModelVersion
    numeric: bool = True
    name: str = "churn"
    graph: object | None = None


def version(*fields: Field, task: Any = "binary", classes: Any = (0, 1)) -> ModelVersion:
    return ModelVersion(
        id="0" * 32, model="churn", number=1, digest="blake3:" + f"{abs(hash((fields, task, classes))):064x}", format="skops", files=(),
        size_bytes=0, signature=Signature(inputs=fields), task=task, label="stays", classes=classes, threshold=None, datasets=(),
        libraries={}, created_at=datetime(2024, 1, 1, tzinfo=UTC), created_by="x",
    )  # fmt: skip


NUMBERS = Speaking(version(Field(name="age", dtype="Float64"), Field(name="visits", dtype="Float64")))
MIXED = Speaking(version(Field(name="age", dtype="Float64"), Field(name="city", dtype="String")), numeric=False)


def body(codec: str, rows: Any) -> Any:
    """The rows in a codec's own envelope."""
    match codec:
        case "oip":
            flat = [value for row in rows for value in row] if all(isinstance(row, list) for row in rows) else rows
            return {"inputs": [{"name": "x", "shape": [len(rows), 2], "datatype": "FP64", "data": flat}]}
        case "mlflow" | "sagemaker":
            return {"inputs": rows}
        case "vertex" | "kserve":
            return {"instances": rows}
        case "azureml":
            return {"input_data": rows}
        case "seldon":
            return {"data": {"ndarray": rows}}
    raise AssertionError(f"{codec} has no envelope here: add one")


def call(codec: str, content: Any, **headers: str) -> Call:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    held = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Call("POST", "/", {name.encode(): value.encode() for name, value in held.items()}, b"", data)


def asked(codec: str, content: Any, target: Speaking = NUMBERS, **headers: str) -> Asked:
    return CODECS.get(codec).decode(call(codec, content, **headers), target)


def refused(codec: str, content: Any, target: Speaking = NUMBERS, **headers: str) -> str:
    with pytest.raises(Invalid) as caught:
        asked(codec, content, target, **headers)
    return str(caught.value)


@pytest.mark.parametrize("codec", NAMES)
def test_rows_in_its_own_envelope_become_a_matrix(codec: str) -> None:
    matrix = asked(codec, body(codec, ROWS)).rows.matrix
    assert matrix.tolist() == ROWS
    assert matrix.flags.c_contiguous


@pytest.mark.parametrize(("codec", "key"), [("mlflow", "dataframe_split"), ("azureml", "input_data")])
def test_columns_in_another_order_are_put_into_the_signature_s(codec: str, key: str) -> None:
    split = {"columns": ["visits", "age"], "index": [0, 1], "data": [[1.0, 25.0], [3.0, 45.0]]}
    matrix = asked(codec, {key: split}).rows.matrix
    assert matrix.tolist() == ROWS
    assert matrix.flags.c_contiguous
    assert "twice" in refused(codec, {key: split | {"columns": ["age", "age"]}})


@pytest.mark.parametrize("codec", NAMES)
def test_answers_name_what_was_asked(codec: str) -> None:
    given_ = asked(codec, body(codec, ROWS))
    answered = Answered(scores=np.array([0.7, 0.2]), ids=["a", "b"], version=NUMBERS.version, deployment="churn", revision=3)
    reply = CODECS.get(codec).encode(answered, given_, NUMBERS)
    assert reply.status == 200
    assert "[1,0]" in reply.body.decode().replace(" ", "") or "[[1],[0]]" in reply.body.decode()


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize(
    "rows",
    [
        [["25", "1"], ["45", "3"]], [[True, False], [True, True]], [[25.0], [45.0]], [[25.0, 1.0, 2.0]], [[25.0, 1.0], [45.0]],
        [[[25.0, 1.0]]], [{"age": 25.0}], [[{}, []]], [[1e400, 1.0]], [[10**400, 1]],
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_refused_in_words(codec: str, rows: Any) -> None:
    if codec == "oip" and rows == [[[25.0, 1.0]]]:
        rows = [[[[25.0, 1.0]]]]  # rows of the shape it says are well nested there
    text = json.dumps(body(codec, rows)).replace("Infinity", "1e400")
    told = refused(codec, text.encode())
    assert len(told) > 20


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{}", b"[" * 100_000, b'{"inputs":' * 50_000, b'{"a":1} x', b"\x00" * 10],
)  # fmt: skip
def test_what_is_no_request_is_refused(codec: str, content: bytes) -> None:
    refused(codec, content)


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize(
    "media", ["text/plain", "multipart/form-data; boundary=x", "image/png", "a/b;c=d;e", "\x80\x81", ";;;", "application/xml"]
)
def test_a_body_of_another_kind_is_refused(codec: str, media: str) -> None:
    content = call(codec, body(codec, ROWS))
    content = Call("POST", "/", {b"content-type": media.encode("latin-1")}, b"", content.body)
    if media.strip(";") == "":  # no type at all: JSON
        assert CODECS.get(codec).decode(content, NUMBERS).rows.height == 2
        return
    with pytest.raises(Invalid) as caught:
        CODECS.get(codec).decode(content, NUMBERS)
    assert caught.value.code == "request.media_type"


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("media", ["application/x-www-form-urlencoded", "Application/X-WWW-Form-URLEncoded; charset=utf-8", None])
def test_json_without_its_type_is_read_as_curl_sends_it(codec: str, media: str | None) -> None:
    headers = {} if media is None else {b"content-type": media.encode()}
    text = json.dumps(body(codec, ROWS)).encode()
    for content in (text, b"\n " + text):
        assert CODECS.get(codec).decode(Call("POST", "/", headers, b"", content), NUMBERS).rows.matrix.tolist() == ROWS


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("content", [b"", b"age=25&visits=1", b"age,visits\n25,1\n", b"\xff", b"{'inputs': [[1, 2]]}", b"{age}"])
def test_a_form_that_is_no_json_is_refused_in_words(codec: str, content: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        CODECS.get(codec).decode(Call("POST", "/", {b"content-type": b"application/x-www-form-urlencoded"}, b"", content), NUMBERS)
    if not content.startswith(b"{"):
        assert caught.value.code == "request.media_type"
        assert "application/json" in str(caught.value)


@pytest.mark.parametrize("codec", [name for name in NAMES if name != "oip"])
def test_another_charset_is_refused(codec: str) -> None:
    with pytest.raises(Invalid) as caught:
        asked(codec, body(codec, ROWS), content_type="application/json; charset=latin-1")
    assert caught.value.code == "request.media_type"


@pytest.mark.parametrize("codec", NAMES)
def test_null_is_a_missing_number(codec: str) -> None:
    matrix = asked(codec, body(codec, [[25.0, None], [45.0, 3.0]])).rows.matrix
    assert math.isnan(matrix[0, 1])
    assert matrix[1].tolist() == [45.0, 3.0]


@pytest.mark.parametrize("codec", [name for name in NAMES if name not in {"oip", "seldon"}])
def test_records_are_rows_by_name(codec: str) -> None:
    rows = [{"visits": 1, "age": 25}, {"age": 45, "visits": 3}]
    assert asked(codec, body(codec, rows)).rows.matrix.tolist() == ROWS
    told = refused(codec, body(codec, [{"age": 25, "visit": 1}]))
    assert "visits" in told
    assert "visit" in told


@pytest.mark.parametrize("codec", [name for name in NAMES if name != "oip"])
def test_texts_become_a_frame_of_the_signature(codec: str) -> None:
    frame = asked(codec, body(codec, [[25, "Rome"], [45.5, "Oslo"]]), MIXED).rows.frame
    assert frame.to_dict(as_series=False) == {"age": [25.0, 45.5], "city": ["Rome", "Oslo"]}
    assert "city" in refused(codec, body(codec, [[25, 7], [45.5, 8]]), MIXED)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["age", "visits", "columns", "data", "index", "ndarray", "tensor", "shape", "values", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("target", [NUMBERS, MIXED], ids=["numbers", "mixed"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=JSONISH, extra=JSONISH)
def test_any_json_is_answerable_or_invalid(codec: str, target: Speaking, rows: Any, extra: Any) -> None:
    content = body(codec, rows if isinstance(rows, list) else [rows])
    for key in ("parameters", "params", "outputs", "id", "meta"):
        content = {**content, key: extra}
        try:
            found = asked(codec, content, target)
        except Invalid:
            continue
        assert found.rows.height >= 0


@settings(max_examples=150, deadline=None)
@given(
    shape=st.lists(st.integers(-(2**70), 2**70), max_size=4), datatype=st.sampled_from(["FP64", "FP32", "FP16", "INT8", "UINT64", "BOOL", "BYTES", "X"]),
    data=JSONISH, size=st.none() | st.integers(-5, 40) | st.text(max_size=2), tail=st.binary(max_size=40), head=st.integers(-3, 3),
)  # fmt: skip
def test_any_tensor_is_answerable_or_invalid(shape: list[int], datatype: str, data: Any, size: Any, tail: bytes, head: int) -> None:
    tensor = {"name": "age", "shape": shape, "datatype": datatype, "data": data}
    if size is not None:
        tensor["parameters"] = {"binary_data_size": size}
    envelope = json.dumps({"inputs": [tensor]}).encode()
    lying = call("oip", envelope + tail, inference_header_content_length=str(len(envelope) + head))
    for one in (lying, call("oip", envelope)):
        for target in (NUMBERS, MIXED):
            try:
                assert CODECS.get("oip").decode(one, target).rows.height >= 0
            except Invalid:
                continue


def binary(
    x: bytes, *, size: int | None = None, shape: tuple[int, ...] = (2, 2), datatype: str = "FP64", header: str = "", name: str = "x"
) -> Call:
    tensor = {
        "name": name,
        "shape": list(shape),
        "datatype": datatype,
        "parameters": {"binary_data_size": len(x) if size is None else size},
    }
    envelope = json.dumps({"inputs": [tensor]}).encode()
    return call("oip", envelope + x, content_type="application/octet-stream", inference_header_content_length=header or str(len(envelope)))


def test_binary_tensors_are_read_and_lies_about_them_are_not() -> None:
    raw = np.array(ROWS).tobytes()
    oip = CODECS.get("oip")
    for length in range(8):  # of the JSON before it, so that the bytes lie anywhere
        matrix = oip.decode(binary(raw, shape=(2, 2), name="x" * length), NUMBERS).rows.matrix
        assert matrix.tolist() == ROWS
        assert matrix.flags.aligned
    for lie in (
        binary(raw[:-8]), binary(raw[:-1]), binary(raw, size=8), binary(raw, size=10**9), binary(raw, size=-1), binary(raw, header="9999"),
        binary(raw, header="x"), binary(raw, header="-1"), binary(raw, header="1" * 5000), binary(raw, shape=(2**62, 2**62)),
        binary(raw, shape=(-2, -2)), binary(raw, datatype="FP32"), binary(raw + b"\0" * 8, size=32),
    ):  # fmt: skip
        with pytest.raises(Invalid):
            oip.decode(lie, NUMBERS)


def test_a_body_of_nothing_but_numbers_is_the_whole_matrix() -> None:
    raw = call("oip", np.array(ROWS).tobytes(), inference_header_content_length="0", content_type="application/octet-stream")
    assert CODECS.get("oip").decode(raw, NUMBERS).rows.matrix.tolist() == ROWS


def test_texts_in_binary_keep_to_their_lengths() -> None:
    def texts(*items: bytes) -> bytes:
        return b"".join(struct.pack("<I", len(item)) + item for item in items)

    def two(raw: bytes) -> Call:
        city = {"name": "city", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
        envelope = json.dumps({"inputs": [{"name": "age", "shape": [2], "datatype": "FP64", "data": [1, 2]}, city]}).encode()
        return call("oip", envelope + raw, inference_header_content_length=str(len(envelope)))

    oip = CODECS.get("oip")
    assert oip.decode(two(texts(b"Rome", "Tromsø".encode())), MIXED).rows.frame["city"].to_list() == ["Rome", "Tromsø"]
    for raw in (texts(b"Rome"), texts(b"Rome", b"Oslo")[:-1], b"\xff\xff\xff\xff", texts(b"\xff", b"x"), texts(b"a", b"b", b"c"), b"\0"):
        with pytest.raises(Invalid):
            oip.decode(two(raw), MIXED)


@pytest.mark.parametrize(
    ("datatype", "data", "fits"),
    [
        ("INT8", [1, -128, 127, 0], True), ("INT8", [1, 128, 0, 0], False), ("UINT8", [0, -1, 0, 0], False), ("INT64", [1.5, 0, 0, 0], False),
        ("INT64", [2.0, 0, 0, 0], True), ("FP16", [1e5, 0, 0, 0], False), ("FP32", [1e39, 0, 0, 0], False), ("BOOL", [1, 0, 1, 0], False),
        ("FP64", [True, 1, 1, 1], False), ("INT64", [2**63, 0, 0, 0], False), ("UINT64", [2**53, 0, 0, 0], True), ("BYTES", [1, 2, 3, 4], False),
    ],
)  # fmt: skip
def test_values_are_of_the_datatype_they_claim(datatype: str, data: list[Any], fits: bool) -> None:
    content = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": datatype, "data": data}]}
    if fits:
        assert asked("oip", content).rows.matrix.ravel().tolist() == [float(value) for value in data]
    else:
        assert "x" in refused("oip", content)


def test_numbers_in_single_precision_are_rounded_alike_in_json_and_binary() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    content = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [0.1, 0.2, 0.3, 0.4]}]}
    in_binary = CODECS.get("oip").decode(binary(values.tobytes(), datatype="FP32"), NUMBERS)
    assert asked("oip", content).rows.matrix.tolist() == in_binary.rows.matrix.tolist() == values.astype(float).reshape(2, 2).tolist()


def test_inputs_and_outputs_are_named_once() -> None:
    tensor = {"name": "age", "shape": [1], "datatype": "FP64", "data": [1]}
    assert "twice" in refused("oip", {"inputs": [tensor, tensor]})
    good = body("oip", ROWS)
    assert "twice" in refused("oip", good | {"outputs": [{"name": "predict"}, {"name": "predict"}]})
    assert "colour" in refused("oip", good | {"outputs": [{"name": "colour"}]})


@pytest.mark.parametrize("codec", ["oip", "mlflow"])
@pytest.mark.parametrize("media", ["application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"])
def test_batches_come_as_tables(codec: str, media: str) -> None:
    frame = pl.DataFrame({"visits": [1, 3], "prediction_id": ["a", "b"], "age": [25.0, 45.0]})
    into = io.BytesIO()
    (frame.write_ipc_stream if "arrow" in media else frame.write_parquet)(into)
    found = asked(codec, into.getvalue(), content_type=media)
    assert found.rows.matrix.tolist() == ROWS
    assert found.ids == ["a", "b"]
    for broken in (b"", b"PAR1" * 5, into.getvalue()[:-100], into.getvalue()[:40] + b"\0" * 40):
        refused(codec, broken, content_type=media)


def test_csv_may_come_with_a_header_or_in_the_order_of_the_signature() -> None:
    for text in (b"visits,age\n1,25\n3,45\n", b"25,1\n45,3\n"):
        assert asked("mlflow", text, content_type="text/csv").rows.matrix.tolist() == ROWS
    for text in (b"", b"age\n1\n", b"age,visits\nx,y\n", b"age,visits,more\n1,2,3\n", b"1,2,3\n", b"\xff\xfe\n1"):
        refused("mlflow", text, content_type="text/csv")
