"""Seldon's first protocol: predictions with ``data`` as an ndarray or a tensor, and what a feedback says.

Source: Seldon Core v1, "Internal Microservice API". ``meta.puid`` becomes the prediction id of a row, ``<puid>:<place>``
of several; feedback names it again, with the truth, or with a reward that says whether a binary prediction was right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rung.core.errors import Invalid
from rung.serving.codecs.form import form_of
from rung.serving.codecs.predictions import asked_of_plain, finished, json_only, tensors_of, unreadable
from rung.serving.codecs.replies import json_reply
from rung.serving.inference import CODECS, Answered, Asked, Call, Reply, Target

_MATRIX = 2
_LONG = 100


class Meta(msgspec.Struct):
    """What goes with a message: its id, and tags."""

    puid: str = ""
    tags: dict[str, Any] = {}


class Tensor(msgspec.Struct):
    """Numbers in row-major order."""

    shape: list[int]
    values: list[float | None]


class Data(msgspec.Struct):
    """Rows as arrays, or as a tensor, with the columns' names."""

    names: list[str] | None = None
    ndarray: list[Any] | None = None
    tensor: Tensor | None = None


class Message(msgspec.Struct, rename="camel"):
    """A request, or an answer."""

    meta: Meta | None = None
    data: Data | None = None
    json_data: Any = None
    parameters: Any = None


class Feedback(msgspec.Struct):
    """What became of a prediction."""

    request: Message | None = None
    response: Message | None = None
    truth: Message | None = None
    reward: float | None = None


@dataclass(frozen=True)
class Truth:
    """Labels of predictions, by id: values, or for each whether it was right."""

    ids: list[str]
    labels: list[Any] | None
    predicted: list[Any] | None
    right: bool


_MESSAGE = msgspec.json.Decoder(Message).decode
_FEEDBACK = msgspec.json.Decoder(Feedback).decode
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Predictions:
    """Member ``seldon``."""

    def decode(self, call: Call, target: Target) -> Asked:
        """What the call asks. Raises Invalid."""
        json_only(call)
        try:
            message = _MESSAGE(call.body)
        except _UNREADABLE as error:
            raise unreadable(error) from None
        if message.data is not None:
            names = message.data.names or None
            asked = asked_of_plain(rows_of(message.data), target, names)
        elif message.json_data is not None:
            asked = asked_of_plain(message.json_data, target)
        else:
            raise Invalid("The message has no data.", code="serving.bad_body", hint='Send {"data": {"ndarray": [[…]]}}.')
        finished(asked, call, target, message.parameters)
        asked.kept = message
        puid = message.meta.puid if message.meta else ""
        if puid and asked.ids is None:
            asked.ids = [puid] if asked.rows.height == 1 else [f"{puid}:{place}" for place in range(asked.rows.height)]
        return asked

    def encode(self, answered: Answered, asked: Asked, target: Target) -> Reply:
        """The outputs as columns, in the form that the request had; ``meta`` names the predictions."""
        message: Message = asked.kept
        tensors = tensors_of(answered, asked, target)
        names: list[str] = []
        columns: list[list[Any]] = []
        for tensor in tensors:
            if len(tensor.shape) == _MATRIX:
                classes = form_of(target.version).classes.tolist()
                names += [f"t:{name}" for name in classes]
                columns += [tensor.values[:, place].tolist() for place in range(tensor.shape[1])]
            else:
                names.append(tensor.name)
                columns.append(tensor.values if isinstance(tensor.values, list) else tensor.values.tolist())
        rows = [list(row) for row in zip(*columns, strict=True)]
        data: dict[str, Any] = {"names": names}
        numbers = all(isinstance(value, (int, float)) for column in columns for value in column)
        if message.data is not None and message.data.tensor is not None and numbers:
            data["tensor"] = {"shape": [len(rows), len(names)], "values": [float(value) for row in rows for value in row]}
        else:
            data["ndarray"] = rows
        puid = (message.meta.puid if message.meta else "") or answered.ids[0]
        path = {answered.deployment: f"{answered.version.model}:{answered.version.number}"}
        tags = {"prediction_ids": answered.ids, "revision": answered.revision}
        return json_reply({"meta": {"puid": puid, "tags": tags, "requestPath": path}, "data": data})

    def error(self, status: int, message: str, code: str) -> Reply:
        """{"status": Seldon's FAILURE, with what went wrong}."""
        return json_reply({"status": {"code": status, "info": message, "reason": code, "status": "FAILURE"}, "error": message}, status)


def rows_of(data: Data) -> list[Any]:
    """Rows as arrays. Raises Invalid for a tensor whose shape and values disagree."""
    if data.ndarray is not None:
        return data.ndarray
    if data.tensor is None:
        raise Invalid("data has neither ndarray nor tensor.", code="serving.bad_body", hint='Send {"data": {"ndarray": [[…]]}}.')
    shape, values = data.tensor.shape, data.tensor.values
    if len(shape) not in {1, _MATRIX} or min(shape) < 0 or (shape[0] * (shape[1] if len(shape) == _MATRIX else 1)) != len(values):
        raise Invalid(
            f"The tensor has {len(values)} values, its shape is {str(shape)[:_LONG]}.", code="serving.bad_rows", hint="Make them agree."
        )
    if len(shape) == 1:
        return list(values)
    width = shape[1]
    return [values[place : place + width] for place in range(0, len(values), width)] if width else []


def truth_of(body: bytes) -> Truth:
    """What a feedback says. Raises Invalid for one that names no prediction, or says nothing of it."""
    try:
        feedback = _FEEDBACK(body)
    except _UNREADABLE as error:
        raise unreadable(error) from None
    answer = feedback.response
    labels = None if feedback.truth is None or feedback.truth.data is None else _flat(rows_of(feedback.truth.data))
    predicted = None if answer is None or answer.data is None else _flat(rows_of(answer.data))
    ids = _ids(feedback, len(labels if labels is not None else predicted or [None]))
    if labels is None and (feedback.reward is None or feedback.reward not in {0.0, 1.0} or predicted is None):
        raise Invalid(
            "The feedback has no truth, and no reward of 0 or 1 for a prediction that it shows.", code="serving.no_truth",
            hint='Send {"truth": {"data": {"ndarray": [[label]]}}}.',
        )  # fmt: skip
    values = labels if labels is not None else predicted
    if values is None or len(values) != len(ids):
        raise Invalid(
            f"The feedback is of {len(ids)} predictions and says {len(values or [])} values.",
            code="serving.bad_truth",
            hint="Send one a row.",
        )
    return Truth(ids=ids, labels=labels, predicted=predicted, right=feedback.reward == 1.0)


def _ids(feedback: Feedback, count: int) -> list[str]:
    for message in (feedback.response, feedback.request):
        meta = message.meta if message else None
        if meta is None:
            continue
        told = meta.tags.get("prediction_ids")
        if isinstance(told, list) and told and all(isinstance(item, str) for item in told):
            return told
        if meta.puid:
            return [meta.puid] if count == 1 else [f"{meta.puid}:{place}" for place in range(count)]
    raise Invalid("The feedback names no prediction.", code="serving.no_puid", hint='Send the answer\'s "meta" in "response".')


def _flat(rows: list[Any]) -> list[Any]:
    return [row[0] if isinstance(row, list) and row else row for row in rows]


def labelled(truth: Truth, classes: np.ndarray[Any, Any] | list[Any]) -> list[Any]:
    """The labels that a feedback says. Raises Invalid where a reward cannot say one."""
    if truth.labels is not None:
        return truth.labels
    predicted = truth.predicted or []
    if truth.right:
        return predicted
    both = list(classes)
    if len(both) != _MATRIX or any(value not in both for value in predicted):
        raise Invalid("A reward of 0 says the label of a binary prediction only.", code="serving.no_truth", hint="Send the truth.")
    return [both[1] if value == both[0] else both[0] for value in predicted]


CODECS.add("seldon", Predictions())
