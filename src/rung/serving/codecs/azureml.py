"""Azure ML's online endpoints: ``POST /score`` with {"input_data": …}, answered by an array of predictions.

Source: Microsoft, "Deploy MLflow models to online endpoints": ``input_data`` is {columns, index, data}, an array of arrays
or of objects, or an object of columns; ``params`` may stand beside it. ``data`` is the older name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.serving.codecs.mlflow import split_asked
from rung.serving.codecs.predictions import asked_of_json, finished, id_headers, json_only, predictions_of, unreadable
from rung.serving.codecs.replies import json_reply
from rung.serving.inference import CODECS, Answered, Asked, Call, Reply, Target


class _Body(msgspec.Struct, gc=False):
    input_data: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    params: Any = None


_BODY = msgspec.json.Decoder(_Body).decode
_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_CODES = {400: "BadArgument", 401: "UserError", 403: "Forbidden", 404: "NotFound", 413: "PayloadTooLarge", 429: "TooManyRequests"}


class Score:
    """Member ``azureml``."""

    def decode(self, call: Call, target: Target) -> Asked:
        """What the call asks. Raises Invalid."""
        json_only(call)
        try:
            body = _BODY(call.body)
            rows = body.input_data or body.data
            if not rows:
                raise Invalid(
                    "The body has no input_data.", code="serving.bad_body", hint='Send {"input_data": {"columns": […], "data": [[…]]}}.'
                )
            text = bytes(rows)
            if text[:1] == b"{" and "data" in (keys := _KEYS(text)) and keys.keys() <= {"data", "columns", "index"}:
                asked = split_asked(rows, target)
            else:
                asked = asked_of_json(rows, target)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise unreadable(error) from None
        return finished(asked, call, target, body.params)

    def encode(self, answered: Answered, asked: Asked, target: Target) -> Reply:
        """The array of predictions, and which deployment answered."""
        reply = json_reply(predictions_of(answered, asked, target))
        reply.headers = [*reply.headers, (b"azureml-model-deployment", answered.deployment.encode()), *id_headers(answered)]
        return reply

    def error(self, status: int, message: str, code: str) -> Reply:
        """{"error": {"code": Azure's word, "message": …}}."""
        word = _CODES.get(status, "BadArgument" if status < 500 else "ServiceUnavailable")  # noqa: PLR2004
        return json_reply({"error": {"code": word, "message": message}}, status)


CODECS.add("azureml", Score())
