"""What runs through a graph: rows with the columns that nodes added to them, and the scores of whoever scored last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rung.core.references import Task
from rung.registry.records import Class, Field
from rung.serving.graph.functions import Kind, Values
from rung.serving.inference import Floats, Rows

if TYPE_CHECKING:
    import polars as pl

Bools = NDArray[np.bool_]
REQUEST = "request"
SCORE = "score"


@dataclass(frozen=True)
class Shape:
    """What is known of a flow before any row comes: its columns with their kinds, and what its scores are.

    ``fields`` are the columns with the types of a signature, where they came from the caller or a model asked for them.
    """

    kinds: Mapping[str, Kind]
    task: Task | None = None
    classes: tuple[Class, ...] = ()
    outputs: Mapping[str, Kind] = field(default_factory=dict)

    def read_by(self, others: Mapping[str, Shape]) -> dict[str, Kind]:
        """Everything an expression may name: own columns, scores, and ``node.column`` of other nodes."""
        found = {**self.kinds, **self.scores_read()}
        for name, shape in others.items():
            found |= {f"{name}.{column}": kind for column, kind in {**shape.kinds, **shape.scores_read()}.items()}
        return found

    def scores_read(self) -> dict[str, Kind]:
        """Its scores under the names that expressions read them by."""
        if self.task is None:
            return {}
        if self.task != "multiclass":
            return {SCORE: "number"}
        return dict.fromkeys((f"{SCORE}_{label}" for label in self.classes), "number")


@dataclass(slots=True)
class Flow:
    """n rows on their way. ``places`` says where a column lies in the caller's rows; ``added`` hides those of its names.

    ``outputs`` is what the answer shows beside, or instead of, the score.
    """

    rows: Rows
    places: Mapping[str, int]
    added: dict[str, Values]
    score: Floats | None = None
    classes: tuple[Class, ...] = ()
    outputs: dict[str, Values] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.rows.height

    def column(self, name: str) -> Values:
        """One column as an array: numbers float64, truths bool, texts object, times datetime64[us]."""
        found = self.added.get(name)
        if found is not None:
            return found
        if name in self.places:
            if self.rows.matrix is not None:
                return self.rows.matrix[:, self.places[name]]
            assert self.rows.frame is not None  # noqa: S101 - one of the two is set
            return values_of(self.rows.frame[name])
        return self._scored(name)

    def _scored(self, name: str) -> Values:
        assert self.score is not None  # noqa: S101 - the shape promised a score under this name
        if self.score.ndim == 1:
            return self.score
        label = name.removeprefix(f"{SCORE}_")
        return self.score[:, [str(value) for value in self.classes].index(label)]

    def part(self, mask: Bools) -> Flow:
        """The rows where ``mask`` holds."""
        rows = part_of(self.rows, mask)
        return replace(
            self, rows=rows, added={name: values[mask] for name, values in self.added.items()},
            score=None if self.score is None else self.score[mask], outputs={name: values[mask] for name, values in self.outputs.items()},
        )  # fmt: skip

    def having(
        self, *, added: dict[str, Values] | None = None, score: Floats | None = None, classes: tuple[Class, ...] | None = None,
        outputs: dict[str, Values] | None = None,
    ) -> Flow:  # fmt: skip
        """The flow with other columns, scores or outputs; what is not given stays."""
        return Flow(
            self.rows, self.places, self.added if added is None else added, self.score if score is None else score,
            self.classes if classes is None else classes, self.outputs if outputs is None else outputs,
        )  # fmt: skip


class Fitter:
    """Brings a flow into the shape a model asks for; what can be known before is worked out once."""

    def __init__(self, fields: tuple[Field, ...], renamed: Mapping[str, str]) -> None:
        self._sources = [renamed.get(item.name, item.name) for item in fields]
        self._fields = fields
        self.numeric = all(is_number(item.dtype) for item in fields)

    def rows(self, flow: Flow) -> Rows:
        """The model's own rows, in its own order."""
        matrix = flow.rows.matrix
        if self.numeric:
            if matrix is not None and len(flow.places) == len(self._sources) == matrix.shape[1] and self._untouched(flow):
                return flow.rows
            out = np.empty((flow.height, len(self._sources)), dtype=np.float64)
            for place, name in enumerate(self._sources):
                out[:, place] = flow.column(name)
            return Rows(matrix=out)
        import polars as pl  # noqa: PLC0415 - only where a frame is needed

        frame = flow.rows.frame
        columns = []
        for item, name in zip(self._fields, self._sources, strict=True):
            if frame is not None and name not in flow.added and name in flow.places:
                columns.append(frame[name].alias(item.name))
            else:
                columns.append(series_of(item.name, flow.column(name), item.dtype))
        return Rows(frame=pl.DataFrame(columns))

    def _untouched(self, flow: Flow) -> bool:
        places, added = flow.places, flow.added
        return all(places.get(name) == place and name not in added for place, name in enumerate(self._sources))


class Node(Protocol):
    """A node ready to work: it asks the run for what it needs, and gives a flow of as many rows."""

    shape: Shape

    def work(self, run: Any) -> Flow:
        """Its flow."""
        ...


Pull = Callable[[str], Flow]


def part_of(rows: Rows, mask: Bools) -> Rows:
    """The rows where ``mask`` holds."""
    if rows.matrix is not None:
        return Rows(matrix=np.ascontiguousarray(rows.matrix[mask]))
    import polars as pl  # noqa: PLC0415 - only where a frame is

    return Rows(frame=None if rows.frame is None else rows.frame.filter(pl.Series(mask)))


def is_number(dtype: str) -> bool:
    """Whether a column of a signature is kept as a double."""
    return dtype.startswith(("Float", "Int", "UInt", "Boolean"))


def kind_of(dtype: str) -> Kind:
    """The kind of a column of a signature, or of Polars."""
    if dtype == "Boolean":
        return "truth"
    if is_number(dtype) or dtype == "Null":
        return "number"
    return "time" if dtype.startswith(("Date", "Time")) else "text"


def values_of(series: pl.Series) -> Values:
    """A column of Polars as an array of its kind; a truth with nulls is a number."""
    import polars as pl  # noqa: PLC0415 - only where a frame is

    kind = kind_of(str(series.dtype))
    if kind == "time":
        moment = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if getattr(series.dtype, "time_zone", None) else series
        return moment.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
    if kind == "text":
        found = np.empty(series.len(), dtype=np.object_)
        found[:] = series.cast(pl.String).to_list()
        return found
    if kind == "truth" and not series.null_count():
        return series.to_numpy()
    return np.asarray(series.cast(pl.Float64).to_numpy(), dtype=np.float64)


def series_of(name: str, values: Values, dtype: str) -> pl.Series:
    """An array as a column of a signature's type; NaN of numbers is null for whole ones."""
    import polars as pl  # noqa: PLC0415 - only where a frame is needed

    from rung.registry.matching import dtype_of  # noqa: PLC0415 - loads Polars

    wanted = dtype_of(dtype)
    if values.dtype == np.object_:
        return pl.Series(name, values.tolist(), dtype=pl.String).cast(wanted)
    if values.dtype.kind == "M":
        series = pl.Series(name, values).cast(pl.Datetime("us"))
        zone = getattr(wanted, "time_zone", None)
        return (series.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else series).cast(wanted)
    series = pl.Series(name, np.asarray(values, dtype=np.float64), nan_to_null=True)
    if wanted == pl.Boolean:
        return series != 0
    return series.cast(wanted, strict=False)


def joined_frame(rows: Rows, fields: Sequence[Field], more: Mapping[str, Values]) -> pl.DataFrame:
    """Rows as a frame in the types of their fields, with further columns: numbers as they are, everything else as text."""
    import polars as pl  # noqa: PLC0415 - only where a frame is needed

    if rows.frame is not None:
        columns = list(rows.frame.get_columns())
    else:
        matrix = rows.matrix
        assert matrix is not None  # noqa: S101 - one of the two is set
        columns = [series_of(item.name, matrix[:, place], item.dtype) for place, item in enumerate(fields)]
    for name, values in more.items():
        if values.dtype.kind in "fb":
            columns.append(pl.Series(name, np.asarray(values, dtype=np.float64), nan_to_null=True))
        else:
            columns.append(pl.Series(name, [None if value is None else str(value) for value in values.tolist()], dtype=pl.String))
    return pl.DataFrame(columns)
