"""Rows out of whatever holds a table: columns, rows in the signature's order, records by name, or a frame.

Where every input is a number the result is a matrix and Polars is never imported; else it is a frame that fits the
signature. Faults name the column, what was expected and what came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rung.core.clock import to_micros
from rung.core.errors import Invalid
from rung.serving.codecs.form import ENTITY, IDS, TIMES, Form, datatype_of, form_of
from rung.serving.inference import Asked, Floats, Rows, Target

if TYPE_CHECKING:
    import polars as pl

_NUMBERS = frozenset({int, float, type(None)})
_FLAGS = frozenset({bool, type(None)})
_TEXTS = frozenset({str, type(None)})
_WORDS = {
    "str": "a text",
    "bool": "a boolean",
    "list": "an array",
    "dict": "an object",
    "NoneType": "null",
    "int": "an integer",
    "float": "a number",
}
_LONG = 100
_MAX_LISTED = 20
OWN = (IDS, TIMES, ENTITY)
# what lies outside is a mistake that would spoil every window of monitoring; small numbers are seconds or milliseconds of our days
_EARLIEST_US, _LATEST_US = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 for year in (1900, 2200))
_NO_MICROSECONDS = 10_000_000_000_000


def asked_of_columns(columns: dict[str, Any], target: Target) -> Asked:
    """What columns ask: the inputs among them, and ids, event times and entities where the model has no such input."""
    form = form_of(target.version)
    own = {name: columns.pop(name) for name in OWN if name in columns and name not in form.dtypes}
    rows = rows_of_columns(columns, target)
    return with_own(Asked(rows=rows), own)


def with_own(asked: Asked, own: Mapping[str, Any]) -> Asked:
    """The request with what is said of its rows: ``prediction_id``, ``event_time``, ``entity``, each one value or one a row."""
    n = asked.rows.height
    if own.get(IDS) is not None:
        asked.ids = _texts(IDS, own[IDS], n)
    if own.get(ENTITY) is not None:
        asked.entities = _texts(ENTITY, own[ENTITY], n, spread=True)
    if own.get(TIMES) is not None:
        asked.times_us = event_times(own[TIMES], n)
    return asked


def rows_of_columns(columns: Mapping[str, Any], target: Target) -> Rows:
    """Rows of columns by name, each a list of plain values or an array of one dimension. Raises Invalid, naming every fault."""
    form = form_of(target.version)
    _check_names(columns, form)
    heights = {name: len(values) for name, values in columns.items()}
    if len(set(heights.values())) > 1:
        told = ", ".join(f"{name} {height}" for name, height in list(heights.items())[:_MAX_LISTED])
        raise Invalid(f"The inputs differ in their number of rows: {told}.", code="serving.ragged", hint="Send as many values for each.")
    n = next(iter(heights.values()), 0)
    if not target.numeric:
        return Rows(frame=_frame(columns, form, target))
    matrix = np.empty((n, form.width))
    for place, name in enumerate(form.names):
        matrix[:, place] = _numbers(name, columns[name], form.dtypes[name]) if name in columns else np.nan
    return Rows(matrix=matrix)


def columns_of_lists(data: Any, form: Form, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Columns of rows given as arrays. Raises Invalid for rows that are none, or not all as long as there are names."""
    names = form.names if names is None else names
    if not isinstance(data, list):
        raise Invalid(f"The rows are {_kind(data)}, not an array.", code="serving.bad_rows", hint="Send [[…], […]].")
    if len(names) == 1 and not any(isinstance(row, list) for row in data):
        return {names[0]: data}
    for place, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            came = f"has {len(row)} values" if isinstance(row, list) else f"is {_kind(row)}"
            raise Invalid(
                f"Row {place} {came}, expected {len(names)} values.", code="serving.bad_rows",
                hint=f"In order: {', '.join(names[:_MAX_LISTED])}{' …' if len(names) > _MAX_LISTED else ''}.",
            )  # fmt: skip
    columns = [list(column) for column in zip(*data, strict=True)] or [[] for _ in names]
    return dict(zip(names, columns, strict=True))


def columns_of_records(data: Sequence[Any]) -> dict[str, list[Any]]:
    """Columns of rows given as objects; what a row lacks is null there."""
    columns: dict[str, list[Any]] = {}
    for place, row in enumerate(data):
        if not isinstance(row, dict):
            raise Invalid(f"Row {place} is {_kind(row)}, expected an object.", code="serving.bad_rows", hint="Send every row alike.")
        for name in row:
            if name not in columns:
                columns[name] = [None] * len(data)
        for name, value in row.items():
            columns[name][place] = value
    return columns


def asked_of_frame(frame: pl.DataFrame, target: Target) -> Asked:
    """What a frame asks: its inputs in the signature's order and types, and what it says of its rows."""
    import polars as pl  # noqa: PLC0415 - only who gets a frame has it loaded

    from rung.registry.matching import matched  # noqa: PLC0415 - it loads Polars

    form = form_of(target.version)
    own: dict[str, Any] = {}
    times: NDArray[np.int64] | None = None
    for name in OWN:
        if name in frame.columns and name not in form.dtypes:
            column = frame[name]
            if name == TIMES and isinstance(column.dtype, pl.Datetime):
                times = _moments(column)
            else:
                own[name] = column.to_list()
            frame = frame.drop(name)
    frame = matched(frame, target.version.signature)
    if target.numeric:
        numbers = frame.cast(pl.Float64).to_numpy() if frame.height else np.empty((0, form.width))
        rows = Rows(matrix=np.ascontiguousarray(numbers, dtype=np.float64))
    else:
        rows = Rows(frame=frame)
    asked = with_own(Asked(rows=rows), own)
    if times is not None:
        asked.times_us = times
    return asked


def _moments(column: pl.Series) -> NDArray[np.int64]:
    """Event times of a column of times, which are UTC where it names no zone. Raises Invalid."""
    missing = column.null_count()
    if missing:
        raise _no_time(None, f"{missing} of {column.len()} rows have none")
    return _plausible(
        (column.dt.replace_time_zone("UTC") if getattr(column.dtype, "time_zone", None) is None else column).dt.epoch("us").to_numpy()
    )


def event_times(value: Any, rows: int) -> NDArray[np.int64]:
    """Event times from one value for all rows or one for each: ISO 8601 text with a zone, or microseconds since 1970."""
    values = value.tolist() if isinstance(value, np.ndarray) else value if isinstance(value, list) else [value] * rows
    return _plausible(np.array([_micros(item) for item in values], dtype=np.int64))


def _plausible(times_us: NDArray[np.int64]) -> NDArray[np.int64]:
    odd = (times_us < _EARLIEST_US) | (times_us >= _LATEST_US)
    if odd.any():
        raise _no_time(int(times_us[odd][0]), "it does not lie between 1900 and 2200")
    return times_us


def _micros(item: Any) -> int:
    if type(item) is float and item.is_integer():
        item = int(item)
    if type(item) is int and abs(item) < 2**63:
        if 0 < item < _NO_MICROSECONDS:
            raise _no_time(item, "so few microseconds are a day of early 1970")
        return int(item)
    try:
        at = datetime.fromisoformat(item)
        if at.tzinfo is None:
            raise ValueError("it has no time zone")
        return to_micros(at)
    except TypeError:
        raise _no_time(item, f"it is {_kind(item)}") from None
    except (ValueError, OverflowError) as error:
        raise _no_time(item, str(error)[:_LONG]) from None


def _no_time(item: Any, why: str) -> Invalid:
    return Invalid(
        f"{str(item)[:_LONG]!r} is not an event time: {why}.", code="serving.bad_times",
        hint="Write 2013-07-01T08:00:00Z, or microseconds (not seconds, milli- or nanoseconds) since 1970.",
    )  # fmt: skip


def _texts(name: str, values: Any, rows: int, *, spread: bool = False) -> list[str]:
    if not isinstance(values, (list, np.ndarray)):
        values = [values] * (rows if spread else 1)
    found = [str(value) if type(value) in {int, str} else None for value in (values.tolist() if isinstance(values, np.ndarray) else values)]
    if len(found) != rows or None in found:
        raise Invalid(
            f"{name} must be one text for each of the {rows} rows.", code="serving.bad_ids", hint="Leave it out, or send as many as rows."
        )
    return [text for text in found if text is not None]


def _check_names(columns: Iterable[str], form: Form) -> None:
    held = set(columns)
    missing = [name for name in form.names if name not in held and name not in form.optional]
    unknown = sorted(str(name)[:_LONG] for name in held if name not in form.dtypes)
    faults = [f"{word} {', '.join(names[:_MAX_LISTED])}" for word, names in (("missing", missing), ("unknown", unknown)) if names]
    if faults:
        expected = ", ".join(f"{name}: {dtype}" for name, dtype in list(form.dtypes.items())[:_MAX_LISTED])
        more = f" and {form.width - _MAX_LISTED} more" if form.width > _MAX_LISTED else ""
        raise Invalid(
            f"The input does not match the model's signature: {'; '.join(faults)}.", code="registry.bad_input",
            hint=f"It takes {expected}{more}.",
        )  # fmt: skip


def _numbers(name: str, values: Any, dtype: str) -> Floats:
    """A column of numbers; null is NaN. Raises Invalid for anything that is none."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "b" and dtype != "Boolean":
            raise _wrong(name, dtype, "BOOL")
        return values.astype(np.float64, copy=False)
    kinds = set(map(type, values))
    if not kinds <= _NUMBERS and not (dtype == "Boolean" and kinds <= _NUMBERS | _FLAGS):
        raise _wrong(name, dtype, _first(values, lambda value: type(value) not in _NUMBERS))
    try:
        return np.array(values, dtype=np.float64)
    except (OverflowError, ValueError, TypeError):
        raise _wrong(name, dtype, "a number beyond any double") from None


def _first(values: Iterable[Any], odd: Callable[[Any], bool]) -> str:
    found = next((value for value in values if odd(value)), None)
    return _kind(found) + (f" ({found[:40]!r})" if isinstance(found, str) else "")


def _wrong(name: str, dtype: str, came: str) -> Invalid:
    return Invalid(f"Input {name!r} is {dtype}, and {came} came.", code="serving.dtype", hint="Send the type of the signature.")


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return _WORDS.get(kind, kind)


def _frame(columns: Mapping[str, Any], form: Form, target: Target) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - only models with texts or times need a frame

    from rung.registry.matching import matched  # noqa: PLC0415 - it loads Polars

    series = [_series(name, columns[name], form.dtypes[name]) for name in form.names if name in columns]
    return matched(pl.DataFrame(series), target.version.signature)


def _series(name: str, values: Any, dtype: str) -> pl.Series:
    import polars as pl  # noqa: PLC0415

    if isinstance(values, np.ndarray):
        return pl.Series(name, values)
    kinds = set(map(type, values))
    if kinds <= _TEXTS:
        return pl.Series(name, values, dtype=pl.Null if kinds <= {type(None)} else pl.String)
    if kinds <= _FLAGS:
        return pl.Series(name, values, dtype=pl.Boolean)
    if not kinds <= _NUMBERS:
        wanted = _TEXTS if datatype_of(dtype) == "BYTES" else _FLAGS if dtype == "Boolean" else _NUMBERS
        raise _wrong(name, dtype, _first(values, lambda value: type(value) not in wanted))
    try:
        return pl.Series(name, np.array(values, dtype=np.float64)) if float in kinds else pl.Series(name, values, dtype=pl.Int64)
    except (OverflowError, TypeError, pl.exceptions.PolarsError):
        raise _wrong(name, dtype, "an integer of more than 64 bits") from None
