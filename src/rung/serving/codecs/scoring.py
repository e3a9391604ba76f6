"""The scoring contract of MLflow and SageMaker: ``/invocations`` with JSON or CSV.

Source: the MLflow documentation of its inference server, section on accepted formats.
"""

from __future__ import annotations

import io
from typing import Any

import msgspec
import polars as pl

from rung.core.errors import Invalid
from rung.registry.records import ModelVersion
from rung.serving.answering import Answer
from rung.serving.codecs.asked import Asked, event_times, fitted
from rung.serving.codecs.oip import labels

_FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


def decode(body: bytes, media: str, version: ModelVersion) -> Asked:
    """Rows of an invocation. Raises Invalid with what is wrong."""
    if media == "text/csv":
        return Asked(rows=fitted(_csv(body), version.signature))
    if media not in {"application/json", ""}:
        raise Invalid(f"Content-Type {media!r} is not understood.", code="scoring.media_type", hint="Send application/json or text/csv.")
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body is not JSON: {error}.", code="scoring.bad_body", hint=f"Send one of {', '.join(_FORMS)}.") from None
    if not isinstance(plain, dict):
        raise Invalid("The body is not a JSON object.", code="scoring.bad_body", hint=f"Send one of {', '.join(_FORMS)}.")
    form = next((name for name in _FORMS if name in plain), None)
    if form is None:
        raise Invalid("The body holds no rows.", code="scoring.bad_body", hint=f"Send one of {', '.join(_FORMS)}.")
    names = [f.name for f in version.signature.inputs]
    rows = fitted(_frame(form, plain[form], names), version.signature)
    ids = plain.get("prediction_ids")
    if ids is not None and not (isinstance(ids, list) and all(isinstance(i, str) for i in ids)):
        raise Invalid("prediction_ids is not a list of strings.", code="serving.bad_ids", hint="Leave it out to get fresh ids.")
    return Asked(rows=rows, ids=ids, times_us=event_times(plain.get("event_times"), rows.height))


def encode(answer: Answer, version: ModelVersion) -> bytes:
    """The answer: predictions (classes, or values), scores, and the ids that labels will be joined by."""
    predictions = answer.scores.tolist() if version.task == "regression" else labels(answer.scores, version).tolist()
    return msgspec.json.encode({"predictions": predictions, "scores": answer.scores.tolist(), "prediction_ids": answer.ids})


def _frame(form: str, value: Any, names: list[str]) -> pl.DataFrame:
    try:
        if form == "dataframe_split":
            columns = value.get("columns", names)
            return pl.DataFrame([dict(zip(columns, row, strict=True)) for row in value["data"]], infer_schema_length=None)
        if isinstance(value, dict):
            return pl.DataFrame(value, strict=True)
        if value and isinstance(value[0], dict):
            return pl.DataFrame(value, infer_schema_length=None)
        return pl.DataFrame([dict(zip(names, row, strict=True)) for row in value], infer_schema_length=None)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError, pl.exceptions.PolarsError) as error:
        raise Invalid(
            f"{form} cannot be read as rows: {str(error).splitlines()[0]}.",
            code="scoring.bad_rows",
            hint=f"Columns are {', '.join(names)}.",
        ) from None


def _csv(body: bytes) -> pl.DataFrame:
    try:
        return pl.read_csv(io.BytesIO(body), infer_schema_length=None)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise Invalid(
            f"The body is not CSV: {str(error).splitlines()[0]}.", code="scoring.bad_csv", hint="Send a header line and rows."
        ) from None
