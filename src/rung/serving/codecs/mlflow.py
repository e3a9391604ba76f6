"""MLflow's scoring protocol, which SageMaker's containers share: ``POST /invocations``.

Source: mlflow 3.17, pyfunc/scoring_server. An object with exactly one of four forms, or CSV, or Parquet, is answered by
{"predictions": …}. NaN, which MLflow's own client writes for a missing number, is read as null. Beyond MLflow: Arrow
streams, JSON lines, and SageMaker's headers: ``Accept``, an inference id, which becomes the prediction id, and custom
attributes, which go back as they came.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from rung.core.errors import Invalid
from rung.serving.codecs import frames
from rung.serving.codecs.form import IDS, TIMES, form_of
from rung.serving.codecs.predictions import (
    asked_of_json,
    asked_of_plain,
    finished,
    id_headers,
    once,
    predictions_of,
    tensors_of,
    unreadable,
)
from rung.serving.codecs.replies import JSON, json_reply, media_of, unknown_media
from rung.serving.codecs.tabular import asked_of_frame
from rung.serving.inference import CODECS, Answered, Asked, Call, Reply, Rows, Target
from rung.stats.kernel import floats

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
LINES = "application/jsonlines"
MEDIA = ("application/json", frames.CSV, frames.PARQUET, frames.ARROW, LINES)
_INFERENCE_ID, _ATTRIBUTES = b"x-amzn-sagemaker-inference-id", b"x-amzn-sagemaker-custom-attributes"
_ERRORS = {
    400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST", 409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_ENCODE = msgspec.json.Encoder().encode


class _Body(msgspec.Struct, gc=False):
    dataframe_split: msgspec.Raw = msgspec.Raw()
    dataframe_records: msgspec.Raw = msgspec.Raw()
    instances: msgspec.Raw = msgspec.Raw()
    inputs: msgspec.Raw = msgspec.Raw()
    params: Any = None
    prediction_ids: Any = None
    event_times: Any = None


class _Split(msgspec.Struct, gc=False):
    data: msgspec.Raw
    columns: list[str | int] | None = None
    index: Any = None


_BODY = msgspec.json.Decoder(_Body).decode
_SPLIT = msgspec.json.Decoder(_Split).decode
_ANYTHING = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Invocations:
    """Member ``mlflow``."""

    def decode(self, call: Call, target: Target) -> Asked:
        """What the call asks. Raises Invalid."""
        media, said = media_of(call)
        if said and (set(said) != {"charset"} or said["charset"] != "utf-8"):
            raise unknown_media(call.headers[b"content-type"].decode("latin-1"), *MEDIA)
        if media in {"application/json", ""}:
            asked = self._json(call, target)
        elif media == frames.CSV:
            asked = _csv(call, target)
        elif media in frames.MEDIA:
            asked = finished(frames.asked(call.body, media, target, call.limit), call, target)
        elif media == LINES:
            asked = finished(
                asked_of_json(b"[" + b",".join([line for line in call.body.split(b"\n") if line.strip()]) + b"]", target), call, target
            )
        else:
            raise unknown_media(media, *MEDIA)
        asked.kept = call.headers
        inference = call.headers.get(_INFERENCE_ID)
        if inference and asked.ids is None:
            text, n = inference.decode("latin-1"), asked.rows.height
            asked.ids = [text] if n == 1 else [f"{text}:{place}" for place in range(n)]
        return asked

    def encode(self, answered: Answered, asked: Asked, target: Target) -> Reply:
        """{"predictions": […]}, or a table when ``Accept`` asks for one."""
        headers = asked.kept or {}
        accept = headers.get(b"accept", b"")
        media = "" if accept in {b"", b"*/*", b"application/json"} else _accepted(accept)
        if media == LINES:
            lines = b"\n".join([_ENCODE(item) for item in predictions_of(answered, asked, target)])
            reply = Reply(200, lines, [(b"content-type", LINES.encode())])
        elif media:
            reply = frames.reply(tensors_of(answered, asked, target), media)
        else:
            body: dict[str, Any] = {"predictions": predictions_of(answered, asked, target)}
            if asked.explain and answered.explanations is not None:
                body["explanations"] = answered.explanations
            reply = Reply(200, _ENCODE(body), [JSON])
        reply.headers += id_headers(answered)
        if _ATTRIBUTES in headers:
            reply.headers.append((_ATTRIBUTES, headers[_ATTRIBUTES]))
        return reply

    def error(self, status: int, message: str, code: str) -> Reply:
        """{"error_code": MLflow's word, "message": …}; text for types it does not take and for time-outs."""
        if status in {415, 504}:
            return Reply(status, message.encode(), [(b"content-type", b"text/plain; charset=utf-8")])
        word = _ERRORS.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")  # noqa: PLR2004
        return json_reply({"error_code": word, "message": message}, status)

    def _json(self, call: Call, target: Target) -> Asked:
        try:
            body = _BODY(call.body)
        except _UNREADABLE as error:
            return self._lenient(call, target, error)
        given = [form for form in FORMS if getattr(body, form)]
        if len(given) != 1:
            raise _one_form(given)
        raw = getattr(body, given[0])
        try:
            asked = split_asked(raw, target) if given[0] == "dataframe_split" else asked_of_json(raw, target)
        except msgspec.MsgspecError as error:
            raise unreadable(error) from None
        return finished(asked, call, target, body.params, {IDS: body.prediction_ids, TIMES: body.event_times})

    def _lenient(self, call: Call, target: Target, error: Exception) -> Asked:
        """The body read again with NaN for null."""
        try:
            if b"NaN" not in call.body:
                raise unreadable(error)
            plain = json.loads(call.body, parse_constant=_constant, object_pairs_hook=once)
            text = json.dumps(plain, allow_nan=False).encode()
            if not isinstance(plain, dict):
                raise unreadable("it is no object")
        except (ValueError, RecursionError):
            raise unreadable(error) from None
        return self._json(Call(call.method, call.path, call.headers, call.query, text), target)


def _constant(text: str) -> None:
    if text != "NaN":
        raise ValueError(f"{text} is no number")


def _one_form(given: list[str]) -> Invalid:
    return Invalid(
        f"The input must be a JSON dictionary with exactly one of the input fields {', '.join(FORMS)}; it has {', '.join(given) or 'none'}.",
        code="scoring.bad_body", hint="Send one of them.",
    )  # fmt: skip


def split_asked(raw: msgspec.Raw, target: Target) -> Asked:
    """What {columns, data, index} asks: arrays in the order of the columns."""
    split, form = _SPLIT(raw), form_of(target.version)
    numbered = split.columns is None or all(type(name) is int for name in split.columns)  # a frame whose columns have no names
    columns = None if numbered or split.columns is None else [str(name) for name in split.columns]
    if columns is not None and len(set(columns)) != len(columns):
        raise Invalid("A column is named twice.", code="serving.bad_rows", hint="Name each column once.")
    if target.numeric and (columns is None or (len(columns) == form.width and set(columns) == form.dtypes.keys())):
        try:
            matrix = floats(bytes(split.data))
        except ValueError:
            matrix = None  # told below, with the name of what is wrong
        if matrix is not None and matrix.ndim == 2 and matrix.shape[1] == form.width:  # noqa: PLR2004 - rows by columns
            if columns is not None and tuple(columns) != form.names:
                matrix = np.ascontiguousarray(matrix[:, [columns.index(name) for name in form.names]])
            return Asked(rows=Rows(matrix=matrix))
    data = _ANYTHING(split.data)
    if not isinstance(data, list) or (data and isinstance(data[0], dict)):
        raise Invalid("dataframe_split.data is no array of arrays.", code="serving.bad_rows", hint="Send [[…], […]].")
    return asked_of_plain(data, target, columns)


def _csv(call: Call, target: Target) -> Asked:
    """CSV with a header line, or, as SageMaker's clients send it, without one and in the signature's order."""
    form = form_of(target.version)
    names = frames.header(call.body, form.width)
    known = form.dtypes.keys() & names
    if not known and len(names) == form.width:
        frame = frames.headless(call.body, form.names)
    else:
        twice = next((name for name in known if names.count(name) > 1), None)
        if twice is not None:
            raise Invalid(f"Column {twice!r} is named twice.", code="serving.bad_rows", hint="Name each column once.")
        frame = frames.read(call.body, frames.CSV, form.width, call.limit)
    return finished(asked_of_frame(frame, target), call, target)


def _accepted(accept: bytes) -> str:
    for item in accept.decode("latin-1").lower().split(","):
        media = item.partition(";")[0].strip()
        if media in MEDIA and media != "application/json":
            return media
        if media in {"application/json", "*/*", "application/*"}:
            return ""
    return ""


CODECS.add("mlflow", Invocations())
CODECS.add("sagemaker", Invocations())
