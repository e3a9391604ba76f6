"""Open Inference Protocol v2, REST: tensors by column, or one 2-D tensor in the signature's order.

Source: Open Inference Protocol, specification/protocol/inference_rest.md. The binary tensor extension is Triton's:
JSON, then the tensors' bytes, with the length of the JSON in a header.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import polars as pl
from msgspec import Meta
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.registry.records import ModelVersion, Signature
from rung.serving.answering import Answer
from rung.serving.codecs.asked import Asked, event_times, fitted

BINARY_HEADER = "inference-header-content-length"
IDS, TIMES = "prediction_id", "event_time"
_NUMPY = {
    "BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4",
    "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_POLARS = {
    "BOOL": pl.Boolean, "UINT8": pl.UInt8, "UINT16": pl.UInt16, "UINT32": pl.UInt32, "UINT64": pl.UInt64, "INT8": pl.Int8,
    "INT16": pl.Int16, "INT32": pl.Int32, "INT64": pl.Int64, "FP16": pl.Float32, "FP32": pl.Float32, "FP64": pl.Float64, "BYTES": pl.String,
}  # fmt: skip
_NAMES = {"Float64": "FP64", "Float32": "FP32", "Boolean": "BOOL", "String": "BYTES", "Categorical": "BYTES"}
_SIZE = {"Int": "INT", "UInt": "UINT"}


class Tensor(msgspec.Struct):
    """One tensor of a request."""

    name: str
    shape: list[Annotated[int, Meta(ge=0)]]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class WantedOutput(msgspec.Struct):
    """One output a request names."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct):
    """Body of an infer request."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[WantedOutput] | None = None


_DECODE = msgspec.json.Decoder(InferRequest).decode


def decode(body: bytes, version: ModelVersion, header_length: int | None = None) -> tuple[Asked, InferRequest]:
    """Rows of an infer request. Raises Invalid with what is wrong, never anything else."""
    if header_length is not None and not 0 < header_length <= len(body):
        raise Invalid(
            f"{BINARY_HEADER} is {header_length}, the body has {len(body)} bytes.",
            code="oip.bad_header",
            hint="Send the length of the JSON part.",
        )
    try:
        request = _DECODE(body[:header_length])
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"The body is not an infer request: {error}.", code="oip.bad_body", hint='Send {"inputs": [{name, shape, datatype, data}]}.'
        ) from None
    if not request.inputs:
        raise Invalid("The request has no inputs.", code="oip.no_inputs", hint="Send one tensor a column.")
    tail = memoryview(body)[header_length:] if header_length is not None else memoryview(b"")
    tensors: dict[str, tuple[Tensor, Any]] = {}
    for tensor in request.inputs:
        if tensor.name in tensors:
            raise Invalid(f"Input {tensor.name!r} is there twice.", code="oip.duplicate_input", hint="Send each input once.")
        values, tail = _values(tensor, tail)
        tensors[tensor.name] = (tensor, values)
    ids, times = tensors.pop(IDS, None), tensors.pop(TIMES, None)
    rows = _rows(tensors, version.signature)
    parameters = request.parameters or {}
    given = times[1].tolist() if times and isinstance(times[1], np.ndarray) else (times[1] if times else parameters.get(TIMES))
    return Asked(
        rows=rows,
        ids=None if ids is None else [str(item) for item in ids[1]],
        times_us=event_times(given, rows.height),
        request_id=request.id,
        outputs=tuple(o.name for o in request.outputs or ()),
    ), request


def encode(answer: Answer, request: InferRequest, version: ModelVersion) -> tuple[bytes, int | None]:
    """The answer's bytes, and the length of their JSON part when tensors follow it in binary."""
    produced = outputs_of(answer, version)
    wanted = {o.name: o.parameters or {} for o in request.outputs or ()}
    unknown = [name for name in wanted if name not in produced]
    if unknown:
        raise Invalid(f"There is no output {unknown[0]!r}.", code="oip.no_output", hint=f"Known: {', '.join(produced)}.")
    binary_all = bool((request.parameters or {}).get("binary_data_output"))
    tensors, tail = [], b""
    for name, (datatype, shape, values) in produced.items():
        if wanted and name not in wanted:
            continue
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if wanted.get(name, {}).get("binary_data", binary_all):
            raw = _raw(values, datatype)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        else:
            tensor["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else values
        tensors.append(tensor)
    deployment = answer.live.deployment
    body: dict[str, Any] = {
        "model_name": deployment.name,
        "model_version": str(version.number),
        "outputs": tensors,
        "parameters": {"revision": deployment.revision, "canary_rows": int(answer.canary.sum())},
    }
    if request.id is not None:
        body["id"] = request.id
    head = msgspec.json.encode(body)
    return (head + tail, len(head)) if tail or binary_all else (head, None)


def outputs_of(answer: Answer, version: ModelVersion) -> dict[str, tuple[str, list[int], Any]]:
    """Output tensors by name: (datatype, shape, values)."""
    n = len(answer.ids)
    produced: dict[str, tuple[str, list[int], Any]] = {"score": ("FP64", list(answer.scores.shape), answer.scores)}
    if version.task != "regression":
        values = labels(answer.scores, version)
        datatype = {"b": "BOOL", "i": "INT64"}.get(values.dtype.kind, "BYTES")
        produced["label"] = (datatype, [n], values if datatype != "BYTES" else [str(v) for v in values])
    produced[IDS] = ("BYTES", [n], answer.ids)
    return produced


def labels(scores: NDArray[np.float64], version: ModelVersion) -> NDArray[Any]:
    """The class of each row: by threshold for binary models, by the highest score for others."""
    classes = np.array(version.classes) if version.classes else np.array([0, 1])
    if scores.ndim == 1:
        threshold = 0.5 if version.threshold is None else version.threshold
        return np.asarray(classes[(scores >= threshold).astype(np.int64)])
    return np.asarray(classes[scores.argmax(axis=1)])


def metadata(name: str, version: ModelVersion) -> dict[str, Any]:
    """Model metadata of a deployment."""
    outputs = [{"name": "score", "datatype": "FP64", "shape": [-1] if version.task != "multiclass" else [-1, len(version.classes)]}]
    if version.task != "regression":
        kind = np.array(version.classes or [0, 1]).dtype.kind
        outputs.append({"name": "label", "datatype": {"b": "BOOL", "i": "INT64"}.get(kind, "BYTES"), "shape": [-1]})
    outputs.append({"name": IDS, "datatype": "BYTES", "shape": [-1]})
    return {
        "name": name,
        "versions": [str(version.number)],
        "platform": f"rung_{version.format}",
        "inputs": [{"name": f.name, "datatype": datatype_of(f.dtype), "shape": [-1]} for f in version.signature.inputs],
        "outputs": outputs,
    }


def datatype_of(dtype: str) -> str:
    """The protocol's name of a column type."""
    if dtype in _NAMES:
        return _NAMES[dtype]
    for ours, theirs in _SIZE.items():
        if dtype.startswith(ours) and dtype[len(ours) :].isdigit():
            return theirs + dtype[len(ours) :]
    return "BYTES"


def _values(tensor: Tensor, tail: memoryview) -> tuple[Any, memoryview]:
    if tensor.datatype not in _POLARS:
        raise Invalid(f"Input {tensor.name!r} has datatype {tensor.datatype!r}.", code="oip.datatype", hint=f"Known: {', '.join(_POLARS)}.")
    size = 1
    for length in tensor.shape:
        size *= length
    binary = (tensor.parameters or {}).get("binary_data_size")
    if binary is not None:
        if type(binary) is not int or not 0 <= binary <= len(tail):
            raise Invalid(
                f"Input {tensor.name!r} has binary_data_size {binary!r}, {len(tail)} bytes follow.",
                code="oip.binary",
                hint="Send its length in bytes.",
            )
        return _from_binary(tensor, bytes(tail[:binary]), size), tail[binary:]
    if not isinstance(tensor.data, list):
        raise Invalid(f"Input {tensor.name!r} has no data array.", code="oip.no_data", hint="Send data as a JSON array, flat or nested.")
    values = _flat(tensor.data)
    if len(values) != size:
        raise Invalid(
            f"Input {tensor.name!r} has {len(values)} values, its shape {tensor.shape} asks for {size}.",
            code="oip.shape",
            hint="Make them agree.",
        )
    return values, tail


def _from_binary(tensor: Tensor, raw: bytes, size: int) -> Any:
    if tensor.datatype == "BYTES":
        values, offset = [], 0
        while offset + 4 <= len(raw):
            length = int.from_bytes(raw[offset : offset + 4], "little")
            values.append(raw[offset + 4 : offset + 4 + length].decode("utf-8", "replace"))
            offset += 4 + length
    else:
        kind = np.dtype(_NUMPY[tensor.datatype])
        if len(raw) % kind.itemsize:
            raise Invalid(
                f"Input {tensor.name!r} has {len(raw)} bytes, no whole number of {tensor.datatype}.",
                code="oip.binary",
                hint="Send whole values.",
            )
        values = np.frombuffer(raw, dtype=kind)  # type: ignore[assignment]
    if len(values) != size:
        raise Invalid(
            f"Input {tensor.name!r} has {len(values)} values, its shape {tensor.shape} asks for {size}.",
            code="oip.shape",
            hint="Make them agree.",
        )
    return values


def _flat(data: list[Any]) -> list[Any]:
    while data and isinstance(data[0], list):
        if not all(isinstance(item, list) for item in data):
            raise Invalid("The data mixes values and arrays.", code="oip.ragged", hint="Nest evenly, or send a flat array.")
        data = [value for item in data for value in item]
    return data


def _rows(tensors: dict[str, tuple[Tensor, Any]], signature: Signature) -> pl.DataFrame:
    wanted = [f.name for f in signature.inputs]
    if len(tensors) == 1:
        ((name, (tensor, values)),) = tensors.items()
        if len(tensor.shape) == 2 and (name not in wanted or len(wanted) > 1):  # noqa: PLR2004 - rows by columns
            if tensor.shape[1] != len(wanted):
                raise Invalid(
                    f"Input {name!r} has {tensor.shape[1]} columns, the model takes {len(wanted)}.",
                    code="oip.shape",
                    hint=f"In order: {', '.join(wanted)}.",
                )
            grid = (
                np.array(values, dtype=object if tensor.datatype == "BYTES" else None).reshape(tensor.shape)
                if len(values)
                else np.empty(tensor.shape)
            )
            columns = [_series(column, tensor, grid[:, i].tolist()) for i, column in enumerate(wanted)]
            return fitted(pl.DataFrame(columns), signature)
    heights = {tensor.shape[0] if tensor.shape else 1 for tensor, _ in tensors.values()}
    if len(heights) > 1:
        raise Invalid(
            f"The inputs have different numbers of rows: {sorted(heights)}.", code="oip.shape", hint="Send as many values for each column."
        )
    for name, (tensor, _) in tensors.items():
        if len(tensor.shape) > 1 and tensor.shape[1:] != [1] * (len(tensor.shape) - 1):
            raise Invalid(
                f"Input {name!r} has shape {tensor.shape}; a column is [n] or [n, 1].", code="oip.shape", hint="Send one tensor a column."
            )
    return fitted(pl.DataFrame([_series(name, tensor, values) for name, (tensor, values) in tensors.items()]), signature)


def _series(name: str, tensor: Tensor, values: Any) -> pl.Series:
    try:
        return pl.Series(name, values, dtype=_POLARS[tensor.datatype], strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        raise Invalid(
            f"Input {name!r} holds values that are not {tensor.datatype}.", code="oip.values", hint="Send the datatype it declares."
        ) from None


def _raw(values: Any, datatype: str) -> bytes:
    if datatype == "BYTES":
        parts = [str(v).encode() for v in values]
        return b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    return np.ascontiguousarray(values, dtype=_NUMPY[datatype]).tobytes()
