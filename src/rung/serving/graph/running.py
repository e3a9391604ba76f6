"""A graph at work: nodes are asked from the last one backwards, each at most once for a row, and only where it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.records import replaced
from rung.registry.records import Field, ModelVersion, Signature
from rung.serving.graph.flow import REQUEST, Bools, Flow, Node, Shape
from rung.serving.graph.functions import Kind, Values, shaped_nothing
from rung.serving.inference import Asked, Floats, Rows

OWN = ""
Score = Callable[[str, Rows], Floats]


@dataclass(slots=True)
class Scored:
    """What a graph answers: scores in the order of the rows, NaN where nothing scored.

    ``flags`` by row, ``columns`` what is answered beside the score, ``used`` the features looked up, for the log.
    """

    scores: Floats
    flags: list[tuple[str, ...]] | None = None
    columns: dict[str, list[Any]] | None = None
    used: dict[str, Values] | None = None


class Run:
    """One answer in the making: for all rows of a request, or for those of them that took a branch."""

    __slots__ = ("_mask", "_outer", "asked", "counting", "flags", "graph", "held", "places", "request", "score", "spent", "used")

    def __init__(self, graph: Graph, request: Flow, asked: Asked, score: Score) -> None:
        self.graph = graph
        self.request = request
        self.asked = asked
        self.score = score
        self.held: dict[str, Flow] = {REQUEST: request}
        self.flags: dict[int, list[str]] = {}
        self.used: dict[str, Values] = {}
        self.places: NDArray[np.int64] | None = None
        self.spent: dict[str, float] | None = None
        self.counting = True
        self._outer: Run | None = None
        self._mask: Bools | None = None

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.request.height

    @property
    def times_us(self) -> NDArray[np.int64]:
        """Event time of each row, µs; the instant of the answer where the caller gave none."""
        given = self.asked.times_us
        if given is None:
            given = self.asked.times_us = np.full(self.asked.rows.height, time.time_ns() // 1000, dtype=np.int64)
        return given if self.places is None else given[self.places]

    def value(self, name: str) -> Flow:
        """What a node gives for the rows of this run."""
        found = self.held.get(name)
        if found is None:
            if self._outer is not None and self._mask is not None and name in self._outer.held:
                found = self._outer.held[name].part(self._mask)
            else:
                found = self._worked(name)
            self.held[name] = found
        return found

    def part(self, mask: Bools) -> Run:
        """A run for the rows where ``mask`` holds; this one when it holds everywhere."""
        if mask.all():
            return self
        inner = Run(self.graph, self.request.part(mask), self.asked, self.score)
        inner.flags, inner.used, inner.spent, inner.counting = self.flags, self.used, self.spent, self.counting
        inner.places = np.flatnonzero(mask) if self.places is None else self.places[mask]
        inner._outer, inner._mask = self, mask
        return inner

    def copy(self) -> Run:
        """A run of the same rows that keeps what it finds to itself, until it is taken."""
        other = Run(self.graph, self.request, self.asked, self.score)
        other.held, other.places, other.spent, other.counting = dict(self.held), self.places, self.spent, self.counting
        other._outer, other._mask = self._outer, self._mask
        return other

    def take(self, other: Run) -> None:
        """Make what a copy found this run's own."""
        self.held.update(other.held)
        self.used.update(other.used)
        for row, flags in other.flags.items():
            held = self.flags.setdefault(row, [])
            held += [flag for flag in flags if flag not in held]

    def flag(self, flag: str, mask: Bools | None = None) -> None:
        """Put a flag on all rows of this run, or on those where ``mask`` holds."""
        chosen = range(self.height) if mask is None else np.flatnonzero(mask).tolist()
        for row in chosen:
            held = self.flags.setdefault(int(row if self.places is None else self.places[row]), [])
            if flag not in held:
                held.append(flag)

    def use(self, name: str, values: Values) -> None:
        """Remember a feature that was looked up, for the log."""
        if self.places is None:
            self.used[name] = values
            return
        whole = self.used.get(name)
        if whole is None:
            whole = np.full(
                self.asked.rows.height, np.nan if values.dtype.kind == "f" else None, dtype=object if values.dtype == object else None
            )
            self.used[name] = whole
        whole[self.places] = values

    def _worked(self, name: str) -> Flow:
        if self.spent is None:
            return self.graph.nodes[name].work(self)
        begun = time.perf_counter()
        try:
            return self.graph.nodes[name].work(self)
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + (time.perf_counter() - begun) * 1e6


@dataclass(slots=True)
class Graph:
    """A checked graph, ready to answer; it holds no state of a request, so threads may share it.

    Args:
        nodes: by name, in the order they were declared; ``last`` gives the answer.
        needs: which nodes each of them reads from.
        fields: what callers send. models: versions beside the deployment's own, as ``name:number``.
        blocking: whether it may wait, for features or by a deadline, so that it must not run where nothing may wait.
    """

    nodes: dict[str, Node]
    kinds: dict[str, str]
    needs: dict[str, tuple[str, ...]]
    last: str
    fields: tuple[Field, ...]
    models: tuple[str, ...]
    blocking: bool
    places: Mapping[str, int] = field(default_factory=dict)
    looked_up: Mapping[str, Kind] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Names and types of what is logged: what callers send, then the features looked up."""
        self.names = (*(item.name for item in self.fields), *self.looked_up)
        self.dtypes = (
            *(item.dtype for item in self.fields),
            *("Float64" if k in {"number", "truth"} else "String" for k in self.looked_up.values()),
        )

    @property
    def shape(self) -> Shape:
        """What the last node gives."""
        return self.nodes[self.last].shape

    @property
    def numeric(self) -> bool:
        """Whether callers send numbers only."""
        return all(item.dtype.startswith(("Float", "Int", "UInt", "Boolean")) for item in self.fields)

    def facade(self, version: ModelVersion) -> ModelVersion:
        """The deployment's version as callers see it: with the graph's inputs, and its outputs where they are others."""
        return replaced(version, signature=Signature(inputs=self.fields, outputs=version.signature.outputs))

    def answer(self, rows: Rows, asked: Asked, score: Score, *, counting: bool = True) -> Scored:
        """The answer for rows that fit ``fields``.

        Args:
            score: scores rows by a model, ``name:number`` or ``OWN`` for the arm the request was given to.
            counting: whether actions are taken, and so counted against their limits; not so for shadows and explanations.

        Raises:
            Invalid: a row cannot be answered. Unavailable: a model or the feature store does not answer, and no fallback is there.
        """
        run = self._run(rows, asked, score)
        run.counting = counting
        with np.errstate(all="ignore"):
            return self._finished(run, run.value(self.last))

    def logged(self, rows: Rows, used: Mapping[str, Values] | None) -> Rows:
        """Rows with the features that were looked up for them, as ``names`` has them; missing where a branch needed none."""
        if not self.looked_up:
            return rows
        held = {name: (used or {}).get(name, shaped_nothing(kind, rows.height)) for name, kind in self.looked_up.items()}
        if rows.matrix is not None and "String" not in self.dtypes:
            return Rows(matrix=np.column_stack([rows.matrix, *held.values()]).astype(np.float64))
        from rung.serving.graph.flow import joined_frame  # noqa: PLC0415 - Polars only where a frame is needed

        return Rows(frame=joined_frame(rows, self.fields, held))

    def tried(self, rows: Rows, asked: Asked, score: Score) -> tuple[Scored, dict[str, Flow], dict[str, float]]:
        """The answer, what each node that was asked gave, and how long each took with those it asked, in µs."""
        run = self._run(rows, asked, score)
        run.spent, run.counting = {}, False
        with np.errstate(all="ignore"):
            found = self._finished(run, run.value(self.last))
        return found, {name: run.held[name] for name in (REQUEST, *self.nodes) if name in run.held}, run.spent

    def _run(self, rows: Rows, asked: Asked, score: Score) -> Run:
        return Run(self, Flow(rows=rows, places=self.places, added={}), asked, score)

    def _finished(self, run: Run, flow: Flow) -> Scored:
        height = run.height
        scores = np.full(height, np.nan) if flow.score is None else flow.score
        if scores.shape[0] != height:
            raise Invalid(
                f"The graph gave {scores.shape[0]} answers for {height} rows.",
                code="graph.rows_changed",
                hint="Report it: this must not happen.",
            )
        return Scored(
            scores=scores,
            flags=[tuple(run.flags.get(row, ())) for row in range(height)] if run.flags else None,
            columns={name: plain(values) for name, values in flow.outputs.items()} or None,
            used=run.used or None,
        )


def plain(values: Values) -> list[Any]:
    """An array as plain values: null for what is missing, times in ISO 8601."""
    if values.dtype.kind == "f":
        return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 - NaN differs from itself
    if values.dtype.kind == "M":
        return [None if value is None else value.isoformat() + "Z" for value in values.tolist()]
    found: list[Any] = values.tolist()
    return found
