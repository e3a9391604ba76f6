"""Requests out of messages, and messages out of answers. Tensors are typed or raw throughout, never mixed; answers follow the request."""

from __future__ import annotations

from typing import Any

import numpy as np

from rung.core.errors import Invalid
from rung.protocols.oip_grpc.schema import message
from rung.serving.codecs.form import Tensor, check_outputs, produced
from rung.serving.codecs.open_inference import told, version_of
from rung.serving.codecs.tabular import OWN, with_own
from rung.serving.codecs.tensors import DATATYPES, NUMPY, Input, asked_of_inputs, packed
from rung.serving.inference import Answered, Asked, Target

_LONG = 100
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


def asked_of(request: Any, target: Target) -> Asked:
    """What a ModelInferRequest asks. Raises Invalid."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Invalid(
            f"There are {len(raw)} raw_input_contents for {len(request.inputs)} inputs.", code="oip.raw_contents",
            hint="Send every tensor raw, or every one typed.",
        )  # fmt: skip
    inputs = [_input(tensor, raw[place] if raw else None) for place, tensor in enumerate(request.inputs)]
    asked = asked_of_inputs(inputs, target)
    asked.request_id = request.id or None
    asked.kept = bool(raw)
    if request.outputs:
        asked.outputs = tuple(output.name for output in request.outputs)
        if len(set(asked.outputs)) != len(asked.outputs):
            raise Invalid("An output is named twice.", code="oip.duplicate_output", hint="Name each output once.")
        check_outputs(asked, target)
    if request.parameters:
        asked.parameters = plain(request.parameters)
        asked.explain = asked.explain or asked.parameters.get("explain") is True
        own = {name: asked.parameters[name] for name in OWN if name in asked.parameters}
        if own:
            with_own(asked, own)
    return asked


def response_of(answered: Answered, asked: Asked, target: Target) -> Any:
    """The ModelInferResponse, its outputs in the order asked for, raw where the request was."""
    response = message("ModelInferResponse")(model_name=answered.deployment, model_version=version_of(answered), id=asked.request_id or "")
    for name, value in told(answered).items():
        if isinstance(value, str):
            response.parameters[name].string_param = value
        else:
            response.parameters[name].int64_param = value
    for tensor in produced(answered, asked.outputs, target.version):
        output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if asked.kept:
            response.raw_output_contents.append(packed(tensor))
        else:
            getattr(output.contents, _CONTENTS[tensor.datatype]).extend(_typed(tensor))
    return response


def plain(parameters: Any) -> dict[str, Any]:
    """Parameters as plain values; one without a value is left out."""
    found = {}
    for name, value in parameters.items():
        which = value.WhichOneof("parameter_choice")
        if which is not None:
            found[name] = getattr(value, which)
    return found


def _input(tensor: Any, raw: bytes | None) -> Input:
    shape = list(tensor.shape)
    contents = tensor.contents if tensor.HasField("contents") else None
    if raw is not None:
        if contents is not None and contents.ByteSize():
            raise Invalid(
                f"Input {tensor.name[:_LONG]!r} has typed contents beside raw_input_contents.", code="oip.raw_contents", hint="Send one."
            )
        return Input(tensor.name, tensor.datatype, shape, raw=raw)
    if tensor.datatype not in DATATYPES:
        return Input(tensor.name, tensor.datatype, shape, values=[])  # refused with the known ones named
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise Invalid(
            f"Input {tensor.name[:_LONG]!r} is {tensor.datatype}, which has no typed contents.", code="oip.raw_contents",
            hint="Send it in raw_input_contents.",
        )  # fmt: skip
    filled = [] if contents is None else [kind.name for kind, _ in contents.ListFields()]
    if any(name != field for name in filled):
        raise Invalid(
            f"Input {tensor.name[:_LONG]!r} is {tensor.datatype}, expected {field}, and {', '.join(filled)} came.", code="oip.values",
            hint="Fill the field of the datatype.",
        )  # fmt: skip
    values = [] if contents is None else getattr(contents, field)
    if tensor.datatype == "BYTES":
        try:
            return Input(tensor.name, tensor.datatype, shape, values=[item.decode() for item in values])
        except UnicodeDecodeError as error:
            raise Invalid(f"Input {tensor.name[:_LONG]!r} is no UTF-8: {error}.", code="oip.values", hint="Send texts in UTF-8.") from None
    return Input(tensor.name, tensor.datatype, shape, values=_numbers(tensor, values))


def _numbers(tensor: Any, values: Any) -> Any:
    kind = NUMPY[tensor.datatype]
    if kind.itemsize >= 4 or kind.kind == "b":  # noqa: PLR2004 - the field has the type itself
        return np.fromiter(values, dtype=kind, count=len(values))
    wide, limits = np.fromiter(values, dtype=np.int64, count=len(values)), np.iinfo(kind.name)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        raise Invalid(
            f"Input {tensor.name[:_LONG]!r} is {tensor.datatype}, and holds {int(wide.min())} to {int(wide.max())}.", code="oip.values",
            hint="Send values of the datatype it declares.",
        )  # fmt: skip
    return wide.astype(kind)


def _typed(tensor: Tensor) -> Any:
    if tensor.datatype == "BYTES":
        return [text.encode() for text in tensor.values]
    return np.ravel(tensor.values).tolist()
