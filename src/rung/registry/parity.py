"""Whether an artifact answers as the model itself: rows made around every kind of threshold, and rows that models refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import RungError
from rung.core.references import Task
from rung.registry.engine import NotHeld
from rung.registry.matching import UNSCORABLE, dtype_of
from rung.registry.program import Program
from rung.registry.records import Field
from rung.stats.ensembles import COLUMN_MASK

Floats = NDArray[np.float64]
Score = Callable[[pl.DataFrame], Floats]
REFUSED = (*UNSCORABLE, RungError)
_ROWS, _ODD_ROWS = 1500, 40
_MOST_THRESHOLDS = 4000
_SEED = 20
_UNSEEN = ("", "\u2205 never seen")
_WIDEST_INTEGER = 2**31 - 1
_ODD_NUMBERS = (np.inf, -np.inf, 1e300, -1e300, -0.0, -1.0, 300.0, 1e9 + 0.5)
_ODD_WHOLE = (0, 127, -1)


@dataclass(frozen=True)
class Agreement:
    """How many rows both scored or refused, and the largest difference among the scores, in units of max(1, |score|)."""

    rows: int
    largest: float


def compared(native: Score, program: Program, compiled: Score, inputs: tuple[Field, ...], task: Task, example: pl.DataFrame | None, *, tolerance: float, threshold: float) -> Agreement:  # fmt: skip
    """How far the two agree.

    Raises:
        NotHeld: a label differs, a score differs by more than the tolerance, or one refuses what the other scores.
    """
    rows, largest = 0, 0.0
    for what, frame in _samples(program, inputs, example):
        expected, found = _asked(native, frame), _asked(compiled, frame)
        if isinstance(expected, str) or isinstance(found, str):
            if isinstance(expected, str) and isinstance(found, str):
                rows += frame.height
                continue
            if what == "ordinary":
                raise NotHeld(
                    f"The model cannot score made-up rows: {expected}"
                    if isinstance(expected, str)
                    else f"It refuses ordinary rows: {found}"
                )
            raise NotHeld(f"For {what} the model {_told(expected)}, the engine {_told(found)}.")
        difference = _difference(expected, found, task, threshold)
        if not difference <= tolerance:
            raise NotHeld(f"For {what} a score differs by {difference:.3g}, more than {tolerance:.3g}.")
        rows, largest = rows + frame.height, max(largest, difference)
    return Agreement(rows=rows, largest=largest)


def _told(answer: Floats | str) -> str:
    return f"refuses ({answer[:120]})" if isinstance(answer, str) else "scores"


def _asked(score: Score, frame: pl.DataFrame) -> Floats | str:
    try:
        with np.errstate(all="ignore"):  # made-up rows overflow in the model and in the engine
            return score(frame)
    except REFUSED as error:
        return " ".join(str(error).split())[:200]


def _difference(expected: Floats, found: Floats, task: Task, threshold: float) -> float:
    """The largest difference; endless where a label, or what is no number, differs."""
    if expected.shape != found.shape or (np.isfinite(expected) != np.isfinite(found)).any():
        return np.inf
    if task == "binary" and ((expected >= threshold) != (found >= threshold)).any():
        return np.inf
    if task == "multiclass" and len(expected):
        best = np.take_along_axis(expected, found.argmax(axis=1)[:, None], axis=1)[:, 0]
        if (best < expected.max(axis=1)).any() and (expected.max(axis=1) - best).max() > 1e-12:  # noqa: PLR2004 - two classes as likely as each other
            return np.inf
    real = np.isfinite(expected)
    return float((np.abs(expected[real] - found[real]) / np.maximum(1.0, np.abs(expected[real]))).max(initial=0.0))


def _samples(program: Program, inputs: tuple[Field, ...], example: pl.DataFrame | None) -> Iterator[tuple[str, pl.DataFrame]]:
    """Kinds of rows: the example, ordinary ones, and for each input those of which a model may be unable to make anything."""
    chance = np.random.default_rng(_SEED)
    thresholds = _thresholds(program)
    pools = {place: _pool(item, place, program, thresholds.get(place), example, chance) for place, item in enumerate(inputs)}
    if example is not None and example.height:
        yield "the input example", example.select([item.name for item in inputs])
    ordinary = _frame(inputs, pools, chance, _ROWS)
    yield "ordinary", ordinary
    few = ordinary.head(max(_ODD_ROWS, len(inputs)))
    kinds = {item.name: dtype_of(item.dtype) for item in inputs}
    floats = [name for name, kind in kinds.items() if kind.is_float()]
    texts = [name for name, kind in kinds.items() if kind in (pl.String, pl.Categorical)]
    empty = [item.name for item in inputs if item.nullable]
    for value in _ODD_NUMBERS:
        yield f"{value} in a column", _odd(few, floats, value)
    for value in _ODD_WHOLE:
        yield f"{value} in a column", _odd(few, [name for name, kind in kinds.items() if kind.is_signed_integer()], value)
    for text in _UNSEEN:
        yield f"the text {text!r} in a column", _odd(few, texts, text)
    yield "a null in a column", _odd(few, empty, None)
    masks = [pl.when(pl.Series(chance.random(ordinary.height) < 0.2)).then(None).otherwise(pl.col(name)).alias(name) for name in empty]  # noqa: PLR2004 - a fifth
    yield "some nulls", ordinary.with_columns(masks)


def _odd(frame: pl.DataFrame, names: list[str], value: object) -> pl.DataFrame:
    """Rows each of which has the value in one of the columns, one column after the other."""
    turn = pl.int_range(pl.len()) % max(1, len(names))
    return frame.with_columns(
        [
            pl.when(turn == place).then(pl.lit(value, dtype=frame[name].dtype)).otherwise(pl.col(name)).alias(name)
            for place, name in enumerate(names)
        ]
    )


def _frame(inputs: tuple[Field, ...], pools: dict[int, list[object]], chance: np.random.Generator, rows: int) -> pl.DataFrame:
    columns = []
    for place, item in enumerate(inputs):
        pool = pools[place]
        values = [pool[at] for at in chance.integers(0, len(pool), rows)]
        columns.append(pl.Series(item.name, values, dtype=dtype_of(item.dtype), strict=False))
    return pl.DataFrame(columns)


def _thresholds(program: Program) -> dict[int, Floats]:
    """Numbers at which a forest's answer may change, by input, where it asks for inputs as they are."""
    found: dict[int, list[Floats]] = {}
    for part in program.parts:
        if part.steps or part.body.kind != "forest":
            continue
        nodes = part.body.arrays["nodes"]
        asked = (nodes["word"] & COLUMN_MASK).astype(np.int64)
        for place, source in enumerate(program.sources):
            if source.texts is None:
                found.setdefault(source.column, []).append(np.unique(nodes["value"][asked == place]))
    return {column: np.unique(np.concatenate(parts)) for column, parts in found.items()}


def _pool(item: Field, place: int, program: Program, thresholds: Floats | None, example: pl.DataFrame | None, chance: np.random.Generator) -> list[object]:  # fmt: skip
    """Values one input may have: those of the example, those at and beside thresholds, listed texts."""
    kind = dtype_of(item.dtype)
    shown = example[item.name].drop_nulls().to_list() if example is not None and item.name in example.columns else []
    if kind in (pl.String, pl.Categorical):
        known = [text for source in program.sources if source.column == place and source.texts for text in source.texts]
        return list(dict.fromkeys([*shown, *known])) or ["a"]
    if kind == pl.Boolean:
        return [True, False]
    numbers = np.array([value for value in shown if np.isfinite(value)] or [0.0, 1.0, -1.0], dtype=np.float64)
    spread = max(float(numbers.std()), 1e-3 * float(np.abs(numbers).max()), 1e-6)
    pool = [
        numbers,
        numbers.mean() + spread * chance.normal(size=200) * 2,
        numbers.min() - spread * np.arange(5),
        numbers.max() + spread * np.arange(5),
    ]
    if thresholds is not None and len(thresholds):
        some = thresholds if len(thresholds) <= _MOST_THRESHOLDS else chance.choice(thresholds, _MOST_THRESHOLDS, replace=False)
        single = some.astype(np.float32)
        beside = [np.nextafter(single, np.float32(side)).astype(np.float64) for side in (-np.inf, np.inf)]
        middle = [(single.astype(np.float64) + one) / 2 for one in beside]
        pool += [some, np.nextafter(some, -np.inf), np.nextafter(some, np.inf), single.astype(np.float64), *beside, *middle]
    values = np.concatenate(pool)
    values = values[np.isfinite(values)]
    if kind.is_integer():
        low = 0 if not kind.is_signed_integer() else -_WIDEST_INTEGER
        bits = {"Int8": 127, "UInt8": 255, "Int16": 32767, "UInt16": 65535}.get(item.dtype, _WIDEST_INTEGER)
        values = np.unique(np.clip(np.concatenate([np.floor(values), np.ceil(values)]), max(low, -bits), bits))
        return [int(value) for value in values]
    return [float(value) for value in values]
