"""Vertex AI's prediction containers: {"instances": […], "parameters": {…}} is answered by {"predictions": […]}.

Source: Google Cloud, "Custom container requirements for prediction". The route is the one ``AIP_PREDICT_ROUTE`` names,
by default ``/predict``. KServe's and TF-Serving's first protocol is the same object at another path.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.serving.codecs.predictions import asked_of_json, finished, id_headers, json_only, predictions_of, unreadable
from rung.serving.codecs.replies import json_reply
from rung.serving.inference import CODECS, Answered, Asked, Call, Reply, Target


class _Body(msgspec.Struct, gc=False):
    instances: msgspec.Raw = msgspec.Raw()
    inputs: msgspec.Raw = msgspec.Raw()
    parameters: Any = None


_BODY = msgspec.json.Decoder(_Body).decode


class Instances:
    """Member ``vertex``; ``kserve`` says whether ``inputs``, TF-Serving's columns, and ``:explain`` are known."""

    def __init__(self, *, kserve: bool = False) -> None:
        self._kserve = kserve

    def decode(self, call: Call, target: Target) -> Asked:
        """What the call asks. Raises Invalid."""
        json_only(call)
        try:
            body = _BODY(call.body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise unreadable(error) from None
        rows = body.instances or (body.inputs if self._kserve else msgspec.Raw())
        if not rows or (body.instances and body.inputs and self._kserve):
            raise Invalid("The body needs one array of instances.", code="serving.bad_body", hint='Send {"instances": [[…]]}.')
        asked = finished(asked_of_json(rows, target), call, target, body.parameters)
        if self._kserve and call.path.endswith(":explain"):
            asked.explain = True
        return asked

    def encode(self, answered: Answered, asked: Asked, target: Target) -> Reply:
        """{"predictions": […]}; {"explanations": […]} beside or, for ``:explain``, with them."""
        body: dict[str, Any] = {"predictions": predictions_of(answered, asked, target)}
        if asked.explain and answered.explanations is not None:
            body["explanations"] = answered.explanations
        reply = json_reply(body)
        reply.headers = [*reply.headers, *id_headers(answered)]
        return reply

    def error(self, status: int, message: str, code: str) -> Reply:
        """{"error": what went wrong}."""
        return json_reply({"error": message}, status)


CODECS.add("vertex", Instances())
