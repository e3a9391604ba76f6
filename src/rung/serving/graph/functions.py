"""Functions of the language of columns: what each takes, what it gives, and how it is worked out on arrays."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "truth", "text", "time", "null"]
Takes = Literal["number", "truth", "text", "time", "alike", "any"]
Values = NDArray[Any]
_HOUR, _MINUTE = np.timedelta64(1, "h"), np.timedelta64(1, "m")
_SECOND = np.timedelta64(1, "s")
_YEAR_OR_MONTH = re.compile(r"\d{4}(-\d{2})?")
_THURSDAY = 3  # 1970 began on one; Monday is 0


@dataclass(frozen=True, slots=True)
class Function:
    """A function: kinds of its arguments and of its value, and how many arguments it takes."""

    takes: Takes
    gives: Kind | Literal["alike"]
    work: Callable[..., Any]
    fewest: int = 1
    most: int = 1


def truth(values: Any) -> Any:
    """Truths: one, or an array of them; of numbers those above 0, so that a missing one is none."""
    found = np.asarray(values)
    return found > 0 if found.dtype.kind == "f" else found.astype(np.bool_)


def instants(texts: Any) -> Any:
    """Times of texts in ISO 8601, UTC where they name a zone; missing where a text is no time. Times stay as they are."""
    given = np.asarray(texts)
    if given.dtype.kind == "M":
        return given.astype("datetime64[us]", copy=False)
    if not given.ndim:
        return _instant(texts)
    return np.array([_instant(text) for text in given.tolist()], dtype="datetime64[us]")


def _instant(text: Any) -> np.datetime64:
    nothing = np.datetime64("NaT", "us")
    if not isinstance(text, str):
        return nothing
    if _YEAR_OR_MONTH.fullmatch(text.strip()):
        return np.datetime64(text.strip(), "us")
    try:
        at = datetime.fromisoformat(text.strip())
        return np.datetime64(at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None), "us")
    except (ValueError, OverflowError):
        return nothing


def shaped_nothing(kind: Kind, rows: int) -> Values:
    """An array of a kind in which every value is missing; a truth is false."""
    if kind == "text":
        return np.full(rows, None, dtype=np.object_)
    if kind == "time":
        return np.full(rows, np.datetime64("NaT"), dtype="datetime64[us]")
    return np.zeros(rows, dtype=np.bool_) if kind == "truth" else np.full(rows, np.nan)


def _each(texts: Any, work: Callable[[str], Any], dtype: Any = np.object_, nothing: Any = None) -> Any:
    if isinstance(texts, np.ndarray):
        return np.array([nothing if text is None else work(str(text)) for text in texts], dtype=dtype)
    return nothing if texts is None else work(str(texts))


def _tested(holds: Callable[[str, str], bool]) -> Callable[[Any, Any], Any]:
    """A test of texts against one text, or each against its own; a missing one passes none."""

    def work(texts: Any, part: Any) -> Any:
        if not isinstance(texts, np.ndarray) and not isinstance(part, np.ndarray):
            return np.bool_(texts is not None and part is not None and holds(str(texts), str(part)))
        pairs = np.broadcast(np.asarray(texts, dtype=np.object_), np.asarray(part, dtype=np.object_))
        return np.array([one is not None and other is not None and holds(str(one), str(other)) for one, other in pairs], dtype=np.bool_)

    return work


def _missing(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.dtype == np.object_:
        return np.array([value is None for value in values], dtype=np.bool_)
    if values is None or isinstance(values, str):
        return np.bool_(values is None)
    return truth(values != values)  # noqa: PLR0124 - NaN and NaT are the values that differ from themselves


def _first(*values: Any) -> Any:
    """The first of the values that is there, row by row."""
    found = values[0]
    for other in values[1:]:
        gone = _missing(found)
        if not np.ndim(gone) and not isinstance(other, np.ndarray):
            found = other if gone else found
            continue
        filler = np.nan if other is None else other
        if isinstance(found, np.ndarray):
            found = found.copy()
            found[gone] = filler[gone] if isinstance(filler, np.ndarray) and filler.ndim else filler
        else:
            found = filler if gone else np.full(np.shape(filler), found, dtype=getattr(filler, "dtype", None))
    return found


def _joined(*texts: Any) -> Any:
    rows = next((text.size for text in texts if isinstance(text, np.ndarray)), 0)
    if not rows:
        return None if None in texts else "".join(texts)
    columns = [text if isinstance(text, np.ndarray) else [text] * rows for text in texts]
    return np.array([None if None in row else "".join(map(str, row)) for row in zip(*columns, strict=True)], dtype=np.object_)


def _part(unit: str, work: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def found(times: Any) -> Any:
        given = instants(times)
        return np.where(np.isnat(given), np.nan, work(given, given.astype(f"datetime64[{unit}]")))

    return found


def _since(later: Any, earlier: Any) -> Any:
    gone = instants(later) - instants(earlier)
    return np.where(np.isnat(gone), np.nan, gone / _SECOND)


def _number(texts: Any) -> Any:
    def read(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return np.nan

    return _each(texts, read, np.float64, nothing=np.nan)


def _text(numbers: Any) -> Any:
    def written(number: float) -> str | None:
        return None if np.isnan(number) else str(int(number)) if float(number).is_integer() else repr(float(number))

    given = np.asarray(numbers)
    return written(float(given)) if not given.ndim else np.array([written(value) for value in given], dtype=np.object_)


def _least(*numbers: Any) -> Any:
    return np.fmin.reduce(np.broadcast_arrays(*numbers))


def _most(*numbers: Any) -> Any:
    return np.fmax.reduce(np.broadcast_arrays(*numbers))


FUNCTIONS: dict[str, Function] = {
    "abs": Function("number", "number", np.abs),
    "sqrt": Function("number", "number", np.sqrt),
    "exp": Function("number", "number", np.exp),
    "log": Function("number", "number", np.log),
    "log1p": Function("number", "number", np.log1p),
    "log10": Function("number", "number", np.log10),
    "sin": Function("number", "number", np.sin),
    "cos": Function("number", "number", np.cos),
    "floor": Function("number", "number", np.floor),
    "ceil": Function("number", "number", np.ceil),
    "round": Function("number", "number", np.round),
    "sign": Function("number", "number", np.sign),
    "sigmoid": Function("number", "number", lambda x: 1.0 / (1.0 + np.exp(-x))),
    "logit": Function("number", "number", lambda p: np.log(p / (1.0 - p))),
    "min": Function("number", "number", _least, 2, 50),
    "max": Function("number", "number", _most, 2, 50),
    "clip": Function("number", "number", np.clip, 3, 3),
    "is_null": Function("any", "truth", _missing),
    "coalesce": Function("alike", "alike", _first, 2, 50),
    "lower": Function("text", "text", lambda texts: _each(texts, str.lower)),
    "upper": Function("text", "text", lambda texts: _each(texts, str.upper)),
    "strip": Function("text", "text", lambda texts: _each(texts, str.strip)),
    "length": Function("text", "number", lambda texts: _each(texts, len, np.float64, nothing=np.nan)),
    "contains": Function("text", "truth", _tested(lambda text, part: part in text), 2, 2),
    "starts_with": Function("text", "truth", _tested(str.startswith), 2, 2),
    "ends_with": Function("text", "truth", _tested(str.endswith), 2, 2),
    "concat": Function("text", "text", _joined, 2, 50),
    "number": Function("text", "number", _number),
    "text": Function("number", "text", _text),
    "year": Function("time", "number", _part("Y", lambda _, year: year.astype(np.int64) + 1970)),
    "month": Function("time", "number", _part("M", lambda _, month: month.astype(np.int64) % 12 + 1)),
    "day": Function("time", "number", _part("D", lambda _, day: (day - day.astype("datetime64[M]")).astype(np.int64) + 1)),
    "weekday": Function("time", "number", _part("D", lambda _, day: (day.astype(np.int64) + _THURSDAY) % 7)),
    "hour": Function("time", "number", _part("D", lambda time, day: (time - day) // _HOUR)),
    "minute": Function("time", "number", _part("h", lambda time, hour: (time - hour) // _MINUTE)),
    "seconds_between": Function("time", "number", _since, 2, 2),
}
