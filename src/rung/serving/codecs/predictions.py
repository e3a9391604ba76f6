"""What the protocols of instances and predictions share: rows of JSON in four shapes, and lists of predictions.

They have no place for outputs by name, so ``?outputs=predict,score`` or a parameter ``outputs`` asks for others than
``predict``; several make each prediction an object. Prediction ids go into a header.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
import numpy as np

from rung.core.errors import Invalid
from rung.serving.codecs.form import Tensor, check_outputs, form_of, produced
from rung.serving.codecs.open_inference import explained
from rung.serving.codecs.replies import media_of, unknown_media
from rung.serving.codecs.tabular import OWN, asked_of_columns, columns_of_lists, columns_of_records, with_own
from rung.serving.inference import Answered, Asked, Call, Rows, Target
from rung.stats.kernel import floats

IDS_HEADER = b"x-rung-prediction-ids"
_MOST_IDS = 100
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_RECORDS = msgspec.json.Decoder(list[dict[str, float]]).decode
_ANYTHING = msgspec.json.Decoder().decode


def json_only(call: Call) -> None:
    """Raise Invalid unless the body says that it is JSON, or nothing."""
    media, said = media_of(call)
    if media not in {"", "application/json"} or said.get("charset", "utf-8") != "utf-8":
        raise unknown_media(call.headers[b"content-type"].decode("latin-1"), "application/json in utf-8")


def asked_of_json(raw: msgspec.Raw | bytes, target: Target) -> Asked:
    """What rows in JSON ask: arrays in the signature's order, objects by name, or one object of columns."""
    form = form_of(target.version)
    text = bytes(raw)
    if target.numeric:
        try:
            if text[:2] == b"[{":
                records = _RECORDS(text)
                if all(len(row) == form.width for row in records) and text.count(b":") == len(records) * form.width:
                    matrix = np.array([[row[name] for name in form.names] for row in records])
                    return Asked(rows=Rows(matrix=matrix))
            else:
                matrix = floats(text)
                if matrix.ndim == 2 and matrix.shape[1] == form.width:  # noqa: PLR2004 - rows by columns
                    return Asked(rows=Rows(matrix=matrix))
                if matrix.ndim == 1 and form.width == 1:
                    return Asked(rows=Rows(matrix=matrix.reshape(-1, 1)))
        except (*_UNREADABLE, KeyError):
            pass  # told below, with the name of what is wrong
    try:
        plain = _ANYTHING(text)
        _refuse_twice(text, plain)
    except _UNREADABLE as error:
        raise unreadable(error) from None
    return asked_of_plain(plain, target)


def _refuse_twice(text: bytes, plain: Any) -> None:
    """Raise Invalid for a row, or columns, that name something twice; the reader keeps the last value without a word."""
    rows = plain if isinstance(plain, list) else [plain]
    if text.count(b":") != sum(len(row) for row in rows if isinstance(row, dict)):  # or a name or a text has one in it
        json.loads(text, object_pairs_hook=once)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of pairs. Raises Invalid for a name that is there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        name = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise Invalid(f"{name[:100]!r} is there twice in one object.", code="serving.bad_rows", hint="Name each column once.")
    return found


def asked_of_plain(plain: Any, target: Target, names: list[str] | None = None) -> Asked:
    """The same of decoded values."""
    if isinstance(plain, dict):
        if not any(isinstance(value, list) for value in plain.values()):
            plain = {name: [value] for name, value in plain.items()}
        for name, value in plain.items():
            if not isinstance(value, list):
                raise Invalid(f"Column {name[:100]!r} is no array.", code="serving.bad_rows", hint="Send {column: [values]}.")
        flat = {name: _column(name, value) for name, value in plain.items()}
        return asked_of_columns(flat, target)
    if isinstance(plain, list) and plain and isinstance(plain[0], dict):
        return asked_of_columns(columns_of_records(plain), target)
    return asked_of_columns(columns_of_lists(plain, form_of(target.version), names), target)


def _column(name: str, values: list[Any]) -> list[Any]:
    """A column, its values alone or each in an array of one."""
    if values and all(isinstance(value, list) and len(value) == 1 for value in values):
        return [value[0] for value in values]
    return values


def finished(asked: Asked, call: Call, target: Target, parameters: Any = None, named: Mapping[str, Any] | None = None) -> Asked:
    """The request with its parameters, outputs, ids and times. ``named`` holds what the protocol itself says of rows."""
    if parameters is not None and not isinstance(parameters, dict):
        raise Invalid("The parameters are no object.", code="serving.bad_parameters", hint='Send {"name": value}.')
    own: dict[str, Any] = {}
    if parameters:
        asked.parameters = parameters
        asked.explain = parameters.get("explain") is True
        asked.outputs = _names(parameters.get("outputs"))
        own = {name: parameters[name] for name in OWN if name in parameters}
    own |= {name: value for name, value in (named or {}).items() if value is not None}
    if own:
        with_own(asked, own)
    if call.query:
        for key, value in parse_qsl(call.query.decode("latin-1")):
            if key == "outputs":
                asked.outputs = tuple(name.strip() for name in value.split(",") if name.strip())
        explained(asked, call)
    check_outputs(asked, target)
    return asked


def _names(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Invalid("outputs is no list of names.", code="serving.bad_parameters", hint='Send "predict,score", or a list.')
    return tuple(name.strip() for name in names)


def tensors_of(answered: Answered, asked: Asked, target: Target) -> list[Tensor]:
    """The outputs asked for, by default ``predict``; of a graph, its first."""
    if not asked.outputs and answered.columns is not None:
        return produced(answered, tuple(answered.columns)[:1], target.version)
    return produced(answered, asked.outputs or ("predict",), target.version)


def predictions_of(answered: Answered, asked: Asked, target: Target) -> list[Any]:
    """One prediction a row: the value of the one output, or an object of several."""
    tensors = tensors_of(answered, asked, target)
    columns = [tensor.values if isinstance(tensor.values, list) else tensor.values.tolist() for tensor in tensors]
    if len(columns) == 1:
        return columns[0]
    names = [tensor.name for tensor in tensors]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def id_headers(answered: Answered) -> list[tuple[bytes, bytes]]:
    """The header of prediction ids, percent-encoded; none where they are too many for one."""
    if len(answered.ids) > _MOST_IDS:
        return []
    return [(IDS_HEADER, ",".join([text if text.isalnum() and text.isascii() else quote(text, safe="") for text in answered.ids]).encode())]


def unreadable(error: object) -> Invalid:
    """The error for a body that is no JSON of the protocol."""
    return Invalid(
        f"The body cannot be read: {str(error)[:300]}.",
        code="serving.bad_body",
        hint="Send one JSON object in UTF-8, as docs/protocols.md shows.",
    )
