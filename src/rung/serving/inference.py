"""One meaning of inference: what any protocol asks, and what it is answered, before encoding.

A codec turns a call into ``Asked`` and ``Answered`` into a reply; everything between knows no protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from rung.core.families import Family

if TYPE_CHECKING:
    import polars as pl

    from rung.registry.records import ModelVersion

Floats = NDArray[np.float64]
Batches = tuple[tuple[int, float, float], ...]
"""Executions of models: rows scored together, the share of the execution that was for this request, its microseconds."""
LIMIT = 64 << 20  # bytes that a body may unpack to, where nobody says otherwise


class Call(msgspec.Struct, gc=False):
    """One request as it came: header names are lower-case bytes, the body is inflated and whole.

    ``limit``: bytes that a table in the body may unpack to.
    """

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    query: bytes
    body: bytes
    limit: int = LIMIT


class Reply(msgspec.Struct, gc=False):
    """One answer to be sent."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]


class Rows(msgspec.Struct, gc=False):
    """Input of n rows, its columns in the signature's order: a matrix where every input is a number, else a frame.

    ``matrix`` is float64 of shape (n, inputs), C-contiguous, with NaN for missing numbers; exactly one of the two is set.
    """

    matrix: Floats | None = None
    frame: pl.DataFrame | None = None

    @property
    def height(self) -> int:
        """Number of rows."""
        if self.matrix is not None:
            return int(self.matrix.shape[0])
        return 0 if self.frame is None else self.frame.height


class Asked(msgspec.Struct, gc=False):
    """What a client wants.

    ``outputs`` empty means all; ``ids`` are prediction ids the caller chose; ``times_us`` microseconds since 1970, one a row;
    ``entities`` keep a row with its arm; ``parameters`` are the protocol's, for graph nodes and for the echo.
    """

    rows: Rows
    outputs: tuple[str, ...] = ()
    request_id: str | None = None
    trace_id: str = ""
    ids: list[str] | None = None
    times_us: NDArray[np.int64] | None = None
    entities: list[str] | None = None
    explain: bool = False
    parameters: dict[str, Any] = {}
    kept: Any = None  # what the codec wants to see again when it encodes


class Answered(msgspec.Struct, gc=False):
    """Scores of a request in the order of its rows: (n,) P(positive) or values, or (n, classes) for a multiclass model.

    ``arms`` and ``versions`` say who answered each row; None when the stable version answered all. ``flags`` by name, one list a
    row name; ``explanations`` one mapping a row, input to contribution. ``columns`` replaces the scores where a graph answers others.
    """

    scores: Floats
    ids: list[str]
    version: ModelVersion
    deployment: str
    revision: int
    versions: NDArray[np.int64] | None = None
    arms: list[str] | None = None
    arm_versions: dict[str, ModelVersion] | None = None  # of arms that another version than ``version`` answered
    flags: list[tuple[str, ...]] | None = None
    explanations: list[dict[str, float]] | None = None
    columns: dict[str, list[Any]] | None = None
    compute_us: float = 0.0
    queue_us: float = 0.0
    batches: Batches | None = None  # what was scored for it; None: its rows, at once and alone


class Target(Protocol):
    """What a codec may know of the deployment it speaks for."""

    @property
    def name(self) -> str:
        """The deployment's name."""
        ...

    @property
    def version(self) -> ModelVersion:
        """The version whose signature the request is checked against."""
        ...

    @property
    def numeric(self) -> bool:
        """Whether every input is a number, so that rows are asked for as a matrix."""
        ...

    @property
    def graph(self) -> object | None:
        """What answers in place of the version alone, with outputs of its own."""
        ...


class Codec(Protocol):
    """A scoring protocol: a pair of pure translations. Members raise Invalid for what a client did wrong, naming input, expected and got."""

    def decode(self, call: Call, target: Target) -> Asked:
        """What the call asks."""
        ...

    def encode(self, answered: Answered, asked: Asked, target: Target) -> Reply:
        """The reply."""
        ...

    def error(self, status: int, message: str, code: str) -> Reply:
        """A failure in the protocol's own words."""
        ...


CODECS: Family[Codec] = Family("codecs", "rung.serving.codecs")
