"""Options of how a deployment's models run."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from rung.core.records import Line, Record


class RuntimeOptions(Record):
    """How models are scored."""

    engine: Annotated[
        Line, Meta(description="native, or the serving engine that the version must have; empty: the fastest that agrees with the model")
    ] = ""
    batching: Annotated[
        Literal["auto", "inline", "batch"],
        Meta(description="auto: inline when a prediction is cheap, else whatever came while the model was busy is scored together"),
    ] = "auto"
    max_batch_rows: Annotated[int, Meta(ge=1, le=1_000_000, description="most rows scored together")] = 1024
    isolated: Annotated[bool, Meta(description="score in a process of its own, which may crash without harm to others")] = False
    locked: Annotated[
        bool, Meta(description="score with the libraries of the version's lock, in a process of its own; uv builds them once")
    ] = False
    device: Annotated[
        str,
        Meta(
            pattern=r"^(cpu|cuda(:[0-9]{1,3})?)?$(?!\n)",
            description="cpu, cuda, or cuda:N, of PyTorch modules; empty: cuda where there is one",
        ),
    ] = ""
    memory_mb: Annotated[int, Meta(ge=0, description="memory of an isolated process, MiB; 0: no bound")] = 0
    warm_up: Annotated[int, Meta(ge=0, le=10_000, description="rows scored before a version answers")] = 32
    pinned: Annotated[bool, Meta(description="stays loaded, whatever else needs memory")] = False
