"""Open Inference Protocol v2, REST: JSON, and Triton's extension for tensors in binary behind it, both ways.

Sources: Open Inference Protocol, specification/protocol/inference_rest.md; Triton, docs/protocol/extension_binary_data.md.
One tensor of numbers in JSON, flat or nested, goes straight into a matrix; whatever that cannot read is read again in the
general way, which also knows what to say of mistakes. A batch may come as an Arrow stream or a Parquet file, too.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rung.core.errors import Invalid
from rung.registry.records import ModelVersion
from rung.serving.codecs import frames
from rung.serving.codecs.form import Form, Tensor, check_outputs, form_of, produced, tabulated
from rung.serving.codecs.replies import JSON, json_reply, media_of, unknown_media
from rung.serving.codecs.tabular import OWN, with_own
from rung.serving.codecs.tensors import Input, asked_of_inputs, fits, packed
from rung.serving.express import CLASS, ID, SCORE, Said
from rung.serving.inference import CODECS, Answered, Asked, Call, Floats, Reply, Rows, Target
from rung.stats.kernel import floats, plain_tensor

if TYPE_CHECKING:
    from rung.serving.preparing import LiveDeployment

HEADER = b"inference-header-content-length"
_OCTETS = (b"content-type", b"application/octet-stream")
_PLAIN = frozenset({b"", b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_SMALL = 512
_LARGE = 4096
_HUGE = 1.7976931348623157e308


class Wanted(msgspec.Struct, gc=False):
    """One output a request names."""

    name: str
    parameters: dict[str, Any] | None = None


class _Head(msgspec.Struct, gc=False):
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[Wanted] | None = None


class _FlatTensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]
    parameters: dict[str, Any] | None = None


class _Flat(_Head, gc=False, kw_only=True):
    inputs: list[_FlatTensor]


class _RawTensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw
    parameters: dict[str, Any] | None = None


class _Raw(_Head, gc=False, kw_only=True):
    inputs: list[_RawTensor]


class _AnyTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] | None = None


class _Any(_Head, kw_only=True):
    inputs: list[_AnyTensor]


class _Output(msgspec.Struct, omit_defaults=True, gc=False):
    name: str
    datatype: str
    shape: list[int]
    data: Any = None
    parameters: dict[str, Any] | None = None


class _Answer(msgspec.Struct, omit_defaults=True, gc=False):
    model_name: str
    model_version: str
    outputs: list[_Output]
    id: str | None = None
    parameters: dict[str, Any] | None = None


_FLAT = msgspec.json.Decoder(_Flat).decode
_RAW = msgspec.json.Decoder(_Raw).decode
_ANY = msgspec.json.Decoder(_Any).decode
_ENCODE = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_PACK = [struct.Struct(f"{n}d").pack for n in range(_SMALL)]


class OpenInference:
    """Member ``oip``."""

    def decode(self, call: Call, target: Target) -> Asked:
        """What the call asks. Raises Invalid."""
        headers = call.headers
        if HEADER not in headers:
            if headers.get(b"content-type", b"") not in _PLAIN:
                media = media_of(call)[0]
                if media in frames.MEDIA:
                    asked = explained(frames.asked(call.body, media, target, call.limit), call)
                    asked.kept = accepted_table(headers)
                    return asked
                if media not in {"", "application/json", "application/octet-stream"}:
                    raise unknown_media(media, "application/json", "application/octet-stream", *frames.MEDIA)
            found = plain_tensor(call.body, form_of(target.version).width) if target.numeric else None
            if found is not None:
                rows, identity, names = found
                said = _Head(identity, None, None if names is None else [Wanted(name) for name in names])
                return _asked(Asked(rows=Rows(matrix=rows)), said, call, target)
            request: _Flat | _Raw
            try:
                request = _FLAT(call.body) if len(call.body) < _LARGE else _RAW(call.body)
                matrix = _matrix(request.inputs[0], target) if len(request.inputs) == 1 else None
            except _UNREADABLE:
                matrix = None
            if matrix is not None:
                return _asked(Asked(rows=Rows(matrix=matrix)), request, call, target)
        return self._general(call, target)

    def encode(self, answered: Answered, asked: Asked, target: Target) -> Reply:
        """The reply: outputs in the order asked for, those wanted in binary behind the JSON."""
        if isinstance(asked.kept, str):
            return frames.reply(tabulated(answered, target.version), asked.kept)
        head: _Head | None = asked.kept
        if len(answered.ids) == 1 and (head is None or not head.parameters):
            body = _one_row(answered, asked, head)
            if body is not None:
                return Reply(200, body, [JSON])
        wanted = {} if head is None or not head.outputs else {item.name: item.parameters for item in head.outputs}
        binary_all = head is not None and head.parameters is not None and head.parameters.get("binary_data_output") is True
        outputs, tail = [], []
        for tensor in produced(answered, asked.outputs, target.version):
            said = wanted.get(tensor.name)
            if binary_all if said is None or "binary_data" not in said else said["binary_data"] is True:
                raw = packed(tensor)
                tail.append(raw)
                outputs.append(_Output(tensor.name, tensor.datatype, tensor.shape, parameters={"binary_data_size": len(raw)}))
            else:
                outputs.append(_Output(tensor.name, tensor.datatype, tensor.shape, listed(tensor)))
        body = _ENCODE(_Answer(answered.deployment, version_of(answered), outputs, asked.request_id, told(answered)))
        if not tail:
            return Reply(200, body, [JSON])
        return Reply(200, b"".join((body, *tail)), [_OCTETS, (HEADER, str(len(body)).encode())])

    def plain(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a body behind these headers is JSON and nothing else."""
        return HEADER not in headers and headers.get(b"content-type", b"") in _PLAIN

    def said(self, live: LiveDeployment) -> Said | None:
        """What stands around the values in the answer to one row; see ``_one_row``."""
        form, version = form_of(live.version), live.stable.version
        if not form.regression and len(form.texts) != 2:  # noqa: PLR2004 - one score stands for two classes
            return None
        kinds = {"predict": SCORE if form.regression else CLASS, "score": SCORE, "prediction_id": ID}
        return Said(
            front=f'{{"model_name":"{live.name}","model_version":"{version.number}","outputs":['.encode(),
            back=f'"parameters":{{"revision":{live.revision}}}}}'.encode(),
            outputs=[(name.encode(), kinds[name], form.heads[name].encode()) for name in form.defaults],
            texts=(b"", b"") if form.regression else (form.texts[0].encode(), form.texts[1].encode()),
            threshold=form.threshold,
        )

    def error(self, status: int, message: str, code: str) -> Reply:
        """{"error": what went wrong}."""
        return json_reply({"error": message, "code": code}, status)

    def _general(self, call: Call, target: Target) -> Asked:
        body, tail = call.body, memoryview(b"")
        length = call.headers.get(HEADER)
        if length is not None:
            size = _length(length, len(body))
            if size == 0:
                return explained(asked_of_inputs([_raw_input(body, form_of(target.version))], target), call)
            body, tail = body[:size], memoryview(body)[size:]
        try:
            request = _ANY(body)
        except _UNREADABLE as error:
            raise Invalid(
                f"The body is not an infer request: {str(error)[:300]}.", code="oip.bad_body",
                hint='Send {"inputs": [{name, shape, datatype, data}]}.',
            ) from None  # fmt: skip
        inputs = []
        for tensor in request.inputs:
            size_given = (tensor.parameters or {}).get("binary_data_size")
            if size_given is None:
                inputs.append(Input(tensor.name, tensor.datatype, tensor.shape, tensor.data))
                continue
            if tensor.data is not None:
                raise Invalid(f"Input {tensor.name[:100]!r} has data and binary_data_size.", code="oip.binary", hint="Send one of the two.")
            if type(size_given) is not int or not 0 <= size_given <= len(tail):
                raise Invalid(
                    f"Input {tensor.name[:100]!r} has binary_data_size {str(size_given)[:100]}, and {len(tail)} bytes follow.",
                    code="oip.binary", hint="Send its length in bytes, and the bytes behind the JSON.",
                )  # fmt: skip
            inputs.append(Input(tensor.name, tensor.datatype, tensor.shape, raw=tail[:size_given]))
            tail = tail[size_given:]
        if len(tail):
            raise Invalid(f"{len(tail)} bytes follow the last tensor.", code="oip.binary", hint="Say each tensor's binary_data_size.")
        return _asked(asked_of_inputs(inputs, target), request, call, target)


def _one_row(answered: Answered, asked: Asked, head: _Head | None) -> bytes | None:
    """The body for one row of a binary model or a regression, written down directly; None when the general way is needed."""
    form, scores = form_of(answered.version), answered.scores
    if scores.ndim != 1 or answered.columns is not None or answered.arm_versions or answered.flags or answered.explanations:
        return None
    score = scores.item()
    number = repr(score) if -_HUGE <= score <= _HUGE else "null"
    outputs = []
    for name in asked.outputs or form.defaults:
        if name == "predict":
            value = number if form.regression else form.texts[score >= form.threshold]
        elif name == "score":
            value = number
        elif name == "prediction_id":
            value = _text(answered.ids[0])
        else:
            return None
        outputs.append(f"{form.heads[name]}{value}]}}")
    if head is not None and head.outputs and any(item.parameters for item in head.outputs):
        return None
    version = answered.version.number if answered.versions is None else answered.versions.item()
    identity = "" if asked.request_id is None else f',"id":{_text(asked.request_id)}'
    arm = f',"arm":"{answered.arms[0]}"' if answered.arms else ""
    return (
        f'{{"model_name":"{answered.deployment}","model_version":"{version}","outputs":[{",".join(outputs)}]{identity},'
        f'"parameters":{{"revision":{answered.revision}{arm}}}}}'
    ).encode()


def _text(text: str) -> str:
    return f'"{text}"' if text.isalnum() and text.isascii() else _ENCODE(text).decode()


def listed(tensor: Tensor) -> Any:
    """A tensor's values as JSON has them: flat."""
    values = tensor.values
    if isinstance(values, list):
        return values
    return values.tolist() if values.ndim == 1 else values.ravel().tolist()


def metadata(name: str, version: ModelVersion, versions: Sequence[str] = ()) -> dict[str, Any]:
    """Model metadata: inputs and outputs with datatypes and shapes, -1 for the number of rows."""
    form = form_of(version)
    return {
        "name": name,
        "versions": list(versions) or [str(version.number)],
        "platform": f"rung_{version.format}",
        "inputs": [tensor._asdict() for tensor in form.inputs],
        "outputs": [tensor._asdict() for tensor in form.outputs],
    }


def version_of(answered: Answered) -> str:
    """The version that answered, as text; where several did, the one whose signature holds."""
    versions = answered.versions
    if versions is not None and len(versions) and (len(versions) == 1 or bool((versions == versions[0]).all())):
        return str(versions[0])
    return str(answered.version.number)


def told(answered: Answered) -> dict[str, Any]:
    """What the answer says of itself: the revision, and the arm when one alone answered."""
    said: dict[str, Any] = {"revision": answered.revision}
    arms = answered.arms
    if arms and (len(arms) == 1 or len(set(arms)) == 1):
        said["arm"] = arms[0]
    return said


def accepted_table(headers: Mapping[bytes, bytes]) -> str | None:
    """The kind of table that who sent one wants back; None for JSON."""
    media = headers.get(b"accept", b"").decode("latin-1").partition(";")[0].strip().lower()
    return media if media in frames.MEDIA else None


def explained(asked: Asked, call: Call) -> Asked:
    """The request with ``?explain`` heard."""
    if call.query:
        asked.explain = asked.explain or b"explain" in call.query.replace(b"explain=false", b"").replace(b"explain=0", b"")
    return asked


def _asked(asked: Asked, request: _Head, call: Call, target: Target) -> Asked:
    asked.kept, asked.request_id = request, request.id
    if request.outputs:
        asked.outputs = tuple([item.name for item in request.outputs])
        if len(set(asked.outputs)) != len(asked.outputs):
            raise Invalid("An output is named twice.", code="oip.duplicate_output", hint="Name each output once.")
        check_outputs(asked, target)
    if request.parameters:
        asked.parameters = request.parameters
        asked.explain = asked.explain or request.parameters.get("explain") is True
        own = {name: request.parameters[name] for name in OWN if name in request.parameters}
        if own:
            with_own(asked, own)
    return explained(asked, call) if call.query else asked


def _matrix(tensor: _FlatTensor | _RawTensor, target: Target) -> Floats | None:
    """The rows of a request of one tensor of numbers; None, or ValueError, when it is anything else."""
    shape, width = tensor.shape, form_of(target.version).width
    if tensor.parameters or not target.numeric or len(shape) != 2 or shape[1] != width or shape[0] < 0:  # noqa: PLR2004 - rows by columns
        return None
    if isinstance(tensor, _FlatTensor):
        data = tensor.data
        n = len(data)
        if shape[0] * width != n:
            return None
        found = np.frombuffer(bytearray(_PACK[n](*data))) if n < _SMALL else np.frombuffer(array("d", data))
    else:
        found = floats(bytes(tensor.data))
        if found.size != shape[0] * width or (found.ndim == 2 and found.shape[1] != width):  # noqa: PLR2004
            return None
    if tensor.datatype != "FP64":
        rounded = fits(found, tensor.datatype)
        if rounded is None:
            return None
        found = rounded
    return found.reshape(shape[0], width)


def _length(given: bytes, size: int) -> int:
    if not given.isdigit() or len(given) > 18 or int(given) > size:  # noqa: PLR2004 - digits of any length that a body can have
        raise Invalid(
            f"Inference-Header-Content-Length is {given[:50].decode('latin-1')!r}, and the body has {size} bytes.", code="oip.bad_header",
            hint="Send the length of the JSON part.",
        )  # fmt: skip
    return int(given)


def _raw_input(body: bytes, form: Form) -> Input:
    """A body of nothing but numbers: one tensor of all columns."""
    single = set(form.dtypes.values()) == {"Float32"}
    size = form.width * (4 if single else 8)
    if len(body) % size:
        raise Invalid(
            f"The body has {len(body)} bytes, expected a multiple of {size} for {form.width} columns.", code="oip.binary",
            hint="Send whole rows, little-endian.",
        )  # fmt: skip
    return Input("raw", "FP32" if single else "FP64", [len(body) // size, form.width], raw=body)


CODECS.add("oip", OpenInference())
