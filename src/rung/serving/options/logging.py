"""Options of a deployment's prediction log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from rung.core.records import Key, Line, Record, Share


class LogOptions(Record):
    """What is kept of answers, and where they are told besides."""

    share: Annotated[Share, Meta(description="share of answers that are logged with their inputs, chosen by prediction id")] = 1.0
    masked: Annotated[tuple[Key, ...], Meta(description="input columns of which only a keyed hash is kept")] = ()
    dropped: Annotated[tuple[Key, ...], Meta(description="input columns of which nothing is kept")] = ()
    when_behind: Annotated[
        Literal["refuse", "shed"],
        Meta(description="when the disk cannot follow: refuse requests with 503, or answer them unlogged and count that"),
    ] = "refuse"
    sink: Annotated[Line, Meta(description="address that answers are sent to as CloudEvents: http(s)://… or kafka://host:port/topic")] = ""
    sink_settings: Annotated[
        dict[str, Any], Meta(description="settings of the sink: mode, batch, types, secret (the name of one), options")
    ] = {}
