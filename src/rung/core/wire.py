"""The form errors have on the wire, in JSON and msgpack alike."""

from __future__ import annotations

from rung.core.records import Record


class WireError(Record):
    """An error as servers write it."""

    kind: str
    code: str
    message: str
    hint: str | None = None


class WireErrorBody(Record):
    """The body of every answer that is not a success."""

    error: WireError
