"""The program inside a serving artifact: sources of columns, steps over a matrix of doubles, a body that scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from math import nan
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from rung.stats.ensembles import Affine, Forest, scorer

Floats = NDArray[np.float64]
Run = Callable[[Floats], Floats]
_FORMAT = 1
_MOST_COLUMNS = 1_000_000
_FLOAT, _WHOLE = "<f8", "<i8"
_ARRAYS = {"base": "<f8", "values": "<f8", "weights": "<f8", "starts": "<u4", "column": "<u4", "bounds": "<u4", "bits": "<u4"}
_SHIFTS: dict[str, Callable[..., Any]] = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a column of the matrix comes from: an input that is a number, or the code of an input that is a text.

    ``null`` and ``unknown`` are the codes of a missing text and of one not listed; None refuses the row.
    """

    column: int
    texts: dict[str, float] | None = None
    null: float | None = None
    unknown: float | None = None


class Pick(msgspec.Struct, frozen=True, tag=True):
    """Some columns, in an order."""

    columns: np.ndarray

    def width(self, given: int) -> int:
        """Columns that come out of so many. Raises ValueError."""
        _indices(self.columns, given)
        return len(self.columns)

    def run(self) -> Run:
        """What does it."""
        columns = self.columns
        return lambda rows: rows[:, columns]


class Shift(msgspec.Struct, frozen=True, tag=True):
    """Add, subtract, multiply or divide by one number a column."""

    by: Literal["add", "subtract", "multiply", "divide"]
    values: np.ndarray

    def width(self, given: int) -> int:
        """As many. Raises ValueError."""
        _floats(self.values, (given,))
        return given

    def run(self) -> Run:
        """What does it."""
        by, values = _SHIFTS[self.by], self.values
        return lambda rows: by(rows, values)


class Clip(msgspec.Struct, frozen=True, tag=True):
    """Keep each column within its bounds; NaN stays."""

    low: np.ndarray
    high: np.ndarray

    def width(self, given: int) -> int:
        """As many. Raises ValueError."""
        _floats(self.low, (given,))
        _floats(self.high, (given,))
        return given

    def run(self) -> Run:
        """What does it."""
        low, high = self.low, self.high
        return lambda rows: np.clip(rows, low, high)


class Fill(msgspec.Struct, frozen=True, tag=True):
    """One number a column in the place of NaN."""

    values: np.ndarray

    def width(self, given: int) -> int:
        """As many. Raises ValueError."""
        _floats(self.values, (given,))
        return given

    def run(self) -> Run:
        """What does it."""
        values = self.values
        return lambda rows: np.where(np.isnan(rows), values, rows)


class Missing(msgspec.Struct, frozen=True, tag=True):
    """1 where a column is NaN, else 0."""

    def width(self, given: int) -> int:
        """As many."""
        return given

    def run(self) -> Run:
        """What does it."""
        return lambda rows: np.isnan(rows).astype(np.float64)


class Refuse(msgspec.Struct, frozen=True, tag=True):
    """Refuse rows that hold NaN, or numbers without end, as the model's own checks do."""

    nan: bool = True
    infinite: bool = True

    def width(self, given: int) -> int:
        """As many."""
        return given

    def run(self) -> Run:
        """What does it."""

        def check(rows: Floats) -> Floats:
            if not np.isfinite(rows).all():
                if self.nan and np.isnan(rows).any():
                    raise ValueError("Input contains NaN, which the model does not take.")
                if self.infinite and np.isinf(rows).any():
                    raise ValueError("Input contains infinity, which the model does not take.")
            return rows

        return check


class Lookup(msgspec.Struct, frozen=True, tag=True):
    """One number a column in the place of each known number. ``unknown`` and ``null`` are NaN-able; ``refuses`` makes unknown ones an error."""

    known: list[np.ndarray]
    found: list[np.ndarray]
    unknown: np.ndarray
    null: np.ndarray
    refuses: bool = False
    refuses_null: list[bool] = []

    def width(self, given: int) -> int:
        """As many. Raises ValueError."""
        _must(len(self.known) == len(self.found) == len(self.refuses_null) == given)
        for known, found in zip(self.known, self.found, strict=True):
            _floats(known, (len(known),))
            _floats(found, (len(known),))
            _must(len(known) > 0 and bool((np.diff(known) > 0).all()))
        _floats(self.unknown, (given,))
        _floats(self.null, (given,))
        return given

    def run(self) -> Run:
        """What does it."""

        def look(rows: Floats) -> Floats:
            made = np.empty(rows.shape)
            for place, (known, found) in enumerate(zip(self.known, self.found, strict=True)):
                given = rows[:, place]
                at = np.minimum(np.searchsorted(known, given), len(known) - 1)
                hit, empty = known[at] == given, np.isnan(given)
                if (self.refuses and not (hit | empty).all()) or (self.refuses_null[place] and empty.any()):
                    raise ValueError(f"Found unknown categories in column {place}.")
                made[:, place] = np.where(hit, found[at], np.where(empty, self.null[place], self.unknown[place]))
            return made

        return look


class Hot(msgspec.Struct, frozen=True, tag=True):
    """As many columns as a code has values, 1 in the code's own; none of them for a code below 0."""

    sizes: np.ndarray

    def width(self, given: int) -> int:
        """The sum of the sizes. Raises ValueError."""
        _must(self.sizes.dtype.str == _WHOLE and self.sizes.shape == (given,) and bool((self.sizes >= 0).all()))
        _must(int(self.sizes.sum()) < _MOST_COLUMNS)
        return int(self.sizes.sum())

    def run(self) -> Run:
        """What does it."""
        ends = np.cumsum(self.sizes)
        starts, width, sizes = ends - self.sizes, int(ends[-1]) if len(ends) else 0, self.sizes

        def spread(rows: Floats) -> Floats:
            made = np.zeros((len(rows), width))
            lines, columns = np.nonzero((rows >= 0) & (rows < sizes))
            made[lines, starts[columns] + rows[lines, columns].astype(np.int64)] = 1.0
            return made

        return spread


class Product(msgspec.Struct, frozen=True, tag=True):
    """The rows times a matrix of shape (given, made)."""

    weights: np.ndarray

    def width(self, given: int) -> int:
        """The matrix's second length. Raises ValueError."""
        _must(self.weights.ndim == 2)  # noqa: PLR2004 - a matrix
        _floats(self.weights, (given, self.weights.shape[1]))
        return int(self.weights.shape[1])

    def run(self) -> Run:
        """What does it."""
        weights = self.weights
        return lambda rows: rows @ weights


class Activate(msgspec.Struct, frozen=True, tag=True):
    """A layer's bend."""

    by: Literal["relu", "tanh", "logistic"]

    def width(self, given: int) -> int:
        """As many."""
        return given

    def run(self) -> Run:
        """What does it."""
        if self.by == "relu":
            return lambda rows: np.maximum(rows, 0)
        if self.by == "tanh":
            return np.tanh
        return _logistic


class Join(msgspec.Struct, frozen=True, tag=True):
    """Several chains of steps over the same rows, side by side."""

    parts: list[list[Step]]

    def width(self, given: int) -> int:
        """The sum of what the chains give. Raises ValueError."""
        return sum(width_after(part, given) for part in self.parts)

    def run(self) -> Run:
        """What does it."""
        parts = [chained(part) for part in self.parts]
        return lambda rows: np.hstack([part(rows) for part in parts])


Step = Pick | Shift | Clip | Fill | Missing | Refuse | Lookup | Hot | Product | Activate | Join


class Body(msgspec.Struct, frozen=True):
    """A Forest or an Affine in plain parts."""

    kind: Literal["forest", "affine"]
    settings: dict[str, bool | int | float | str]
    arrays: dict[str, np.ndarray]

    def model(self) -> Forest | Affine:
        """The model. Raises ValueError or TypeError for parts of other types."""
        for name, array in self.arrays.items():
            _must(bool(array.dtype.names) if name == "nodes" else array.dtype.str == _ARRAYS[name])
        made = (Forest if self.kind == "forest" else Affine)(**self.settings, **self.arrays)  # type: ignore[arg-type]  # names and types are compared before use
        for field in fields(made):
            value = getattr(made, field.name)
            wanted = {"int": int, "float": float, "str": str, "bool": bool}.get(str(field.type), np.ndarray)
            _must(isinstance(value, wanted))
        made.check()
        return made


def body_of(model: Forest | Affine) -> Body:
    """A model in plain parts."""
    held = {field.name: getattr(model, field.name) for field in fields(model)}
    return Body(
        kind="forest" if isinstance(model, Forest) else "affine",
        settings={name: value for name, value in held.items() if not isinstance(value, np.ndarray)},
        arrays={name: value for name, value in held.items() if isinstance(value, np.ndarray)},
    )


class Part(msgspec.Struct, frozen=True):
    """Steps and the body behind them; ``after`` are steps over its scores, shape (n, outputs)."""

    steps: list[Step]
    body: Body
    after: list[Step] = []

    def outputs(self, given: int) -> int:
        """Scores of a row. Raises ValueError for parts that do not fit each other."""
        model = self.body.model()
        _must(width_after(self.steps, given) == model.features)
        return width_after(self.after, model.outputs)

    def run(self) -> Run:
        """What scores rows: (n,) for one output, else (n, outputs)."""
        model = self.body.model()
        score, before = scorer(model), chained(self.steps)
        first: Run = score
        if self.steps:

            def first(rows: Floats) -> Floats:
                return score(np.ascontiguousarray(before(rows), dtype=np.float64))

        if not self.after:
            return first
        after, outputs = chained(self.after), model.outputs

        def last(rows: Floats) -> Floats:
            made = after(first(rows).reshape(len(rows), outputs))
            return made[:, 0] if made.shape[1] == 1 else made

        return last


class Program(msgspec.Struct, frozen=True):
    """All of it. Scores of several parts are weighed and added up."""

    engine: str
    version: str
    inputs: list[str]
    sources: list[Source]
    parts: list[Part]
    weights: list[float] = msgspec.field(default_factory=lambda: [1.0])
    format: int = _FORMAT

    def check(self) -> None:
        """Raise ValueError when something points outside of itself."""
        _must(self.format == _FORMAT and 0 < len(self.sources) < _MOST_COLUMNS and len(self.parts) == len(self.weights) > 0)
        _must(all(0 <= source.column < len(self.inputs) for source in self.sources))
        _must(len({part.outputs(len(self.sources)) for part in self.parts}) == 1)

    @property
    def numeric(self) -> bool:
        """Whether the matrix is the inputs themselves."""
        return [source.column for source in self.sources] == list(range(len(self.inputs))) and not any(
            s.texts is not None for s in self.sources
        )

    def run(self) -> Run:
        """What scores a matrix of shape (n, sources), C-contiguous. Raises ValueError for rows that the model does not take."""
        runs = [part.run() for part in self.parts]
        if len(runs) == 1 and self.weights == [1.0]:
            return runs[0]
        weights = self.weights

        def blend(rows: Floats) -> Floats:
            total = weights[0] * runs[0](rows)
            for weight, run in zip(weights[1:], runs[1:], strict=True):
                total = total + weight * run(rows)
            return total

        return blend

    def coded(self, columns: Sequence[Sequence[Any]]) -> Floats:
        """The matrix of inputs given as lists, one a column, None where a value is missing. Raises ValueError."""
        made = [self.codes(source, columns[source.column]) for source in self.sources]
        return np.array(made, dtype=np.float64).T.copy()

    def codes(self, source: Source, values: Sequence[Any]) -> list[float]:
        """A source's numbers for an input's values. Raises ValueError for a text that the model refuses."""
        if source.texts is None:
            return [nan if value is None else value for value in values]
        texts, null, unknown = source.texts, source.null, source.unknown
        found = [null if value is None else texts.get(value, unknown) for value in values]
        if None in found:
            raise ValueError(f"Found unknown categories {[values[found.index(None)]]} in column {self.inputs[source.column]}.")
        return found  # type: ignore[return-value]  # None was looked for


def chained(steps: Sequence[Step]) -> Run:
    """One function of several steps."""
    runs = [step.run() for step in steps]
    if not runs:
        return lambda rows: rows
    if len(runs) == 1:
        return runs[0]

    def run(rows: Floats) -> Floats:
        for one in runs:
            rows = one(rows)
        return rows

    return run


def width_after(steps: Sequence[Step], given: int) -> int:
    """Columns behind the steps. Raises ValueError for steps that do not fit."""
    for step in steps:
        given = step.width(given)
        _must(0 < given < _MOST_COLUMNS)
    return given


def _logistic(rows: Floats) -> Floats:
    powers = np.exp(-np.abs(rows))
    return np.asarray(np.where(rows < 0, powers, 1.0) / (1.0 + powers))


def _indices(values: NDArray[Any], end: int) -> None:
    _must(values.dtype.str == _WHOLE and values.ndim == 1 and len(values) > 0 and bool(((values >= 0) & (values < end)).all()))


def _floats(values: NDArray[Any], shape: tuple[int, ...]) -> None:
    _must(values.dtype.str == _FLOAT and values.shape == shape)


def _must(held: bool) -> None:  # noqa: FBT001 - one claim, as in an assertion
    if not held:
        raise ValueError("The artifact is not whole: its parts do not fit each other.")
