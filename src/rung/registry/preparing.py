"""What scikit-learn's transformers do to columns, as sources and steps of a program. What is not known is refused, with its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.registry import program as p
from rung.registry.engine import NotHeld
from rung.registry.records import Field

_NUMBERS = ("Float", "Int", "UInt", "Boolean")
_TEXTS = ("String", "Categorical", "Enum")


@dataclass(frozen=True)
class Text:
    """A column of texts nothing has encoded yet: which input, and what stands for a missing one."""

    column: int
    fill: str | None = None


@dataclass(frozen=True)
class Columns:
    """Columns on their way: given ones (places of sources, or texts) while nothing happened to them, then steps over the matrix."""

    given: tuple[int | Text, ...] | None
    steps: tuple[p.Step, ...] = ()
    width: int = 0

    @staticmethod
    def of(given: Sequence[int | Text]) -> Columns:
        """Columns to which nothing happened."""
        return Columns(given=tuple(given), width=len(given))


@dataclass
class Preparing:
    """The sources of a program while it is made. Sources that are numbers come first, in the inputs' order."""

    inputs: tuple[Field, ...]
    sources: list[p.Source] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    checking: bool = False

    def __post_init__(self) -> None:
        for place, item in enumerate(self.inputs):
            if item.dtype.startswith(_NUMBERS):
                self.places[place] = len(self.sources)
                self.sources.append(p.Source(column=place))
            elif not item.dtype.startswith(_TEXTS):
                raise NotHeld(f"Input {item.name!r} is {item.dtype}, neither number nor text.")

    def start(self, names: Sequence[str] | None) -> Columns:
        """The inputs in the order an estimator was fitted on."""
        own = [item.name for item in self.inputs]
        order = range(len(own)) if names is None or not set(names) <= set(own) else [own.index(str(name)) for name in names]
        return Columns.of([self.places[place] if place in self.places else Text(place) for place in order])

    def numbers(self, columns: Columns) -> Columns:
        """The columns as steps over the matrix. Raises NotHeld while texts are among them."""
        if columns.given is None:
            return columns
        if any(isinstance(item, Text) for item in columns.given):
            raise NotHeld("A column of texts is not encoded before numbers are asked of it.")
        return Columns(None, (p.Pick(np.array(columns.given, dtype=np.int64)),), len(columns.given))

    def encoded(self, text: Text, codes: dict[str, float], null: float | None, unknown: float | None) -> int:
        """The place of a source that gives texts their codes."""
        filled = null if text.fill is None else codes.get(text.fill, unknown)
        self.sources.append(p.Source(column=text.column, texts=codes, null=filled, unknown=unknown))
        return len(self.sources) - 1

    def through(self, step: Any, columns: Columns) -> Columns:
        """What a fitted transformer makes of columns. Raises NotHeld."""
        name = type(step).__name__
        if not type(step).__module__.startswith("sklearn.") or name not in _KNOWN:
            raise NotHeld(f"{name} is not translated.")
        return _KNOWN[name](self, step, columns)

    def through_own(self, encoder: Any, columns: Columns) -> Columns:
        """What a histogram booster's own encoder makes of columns; its functions only look at them."""
        self.checking = True
        try:
            return self.through(encoder, columns)
        finally:
            self.checking = False

    def then(self, columns: Columns, *steps: p.Step, width: int | None = None) -> Columns:
        """More steps behind the columns."""
        held = self.numbers(columns)
        return replace(held, steps=(*held.steps, *steps), width=held.width if width is None else width)


def joined(made: Preparing, parts: Sequence[Columns]) -> Columns:
    """Columns side by side."""
    parts = [part for part in parts if part.width]
    if all(part.given is not None for part in parts):
        return Columns.of([item for part in parts for item in part.given or ()])
    held = [made.numbers(part) for part in parts]
    return Columns(None, (p.Join([list(part.steps) for part in held]),), sum(part.width for part in held))


def chosen(columns: Columns, places: Sequence[int]) -> Columns:
    """Some of the columns."""
    if columns.given is not None:
        return Columns.of([columns.given[place] for place in places])
    return Columns(None, (*columns.steps, p.Pick(np.array(places, dtype=np.int64))), len(places))


def _floats(values: Any) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64).reshape(-1)


def _pipeline(made: Preparing, step: Any, columns: Columns) -> Columns:
    for _, one in step.steps:
        if one is not None and one != "passthrough":
            columns = made.through(one, columns)
    return columns


def _column_transformer(made: Preparing, step: Any, columns: Columns) -> Columns:
    parts = []
    for name, one, _ in step.transformers_:
        places = step._transformer_to_input_indices[name]  # noqa: SLF001 - where scikit-learn keeps what it resolved
        if len(places) and one != "drop":
            part = chosen(columns, [int(place) for place in places])
            parts.append(part if one == "passthrough" else made.through(one, part))
    return joined(made, parts)


def _union(made: Preparing, step: Any, columns: Columns) -> Columns:
    if step.transformer_weights:
        raise NotHeld("A FeatureUnion with weights is not translated.")
    parts = [one for _, one in step.transformer_list if one != "drop"]
    return joined(made, [columns if one == "passthrough" else made.through(one, columns) for one in parts])


def _standard(made: Preparing, step: Any, columns: Columns) -> Columns:
    steps: list[p.Step] = [p.Refuse(nan=False)]
    steps += [p.Shift("subtract", _floats(step.mean_))] if step.with_mean else []
    steps += [p.Shift("divide", _floats(step.scale_))] if step.with_std else []
    return made.then(columns, *steps)


def _robust(made: Preparing, step: Any, columns: Columns) -> Columns:
    steps: list[p.Step] = [p.Refuse(nan=False)]
    steps += [p.Shift("subtract", _floats(step.center_))] if step.with_centering else []
    steps += [p.Shift("divide", _floats(step.scale_))] if step.with_scaling else []
    return made.then(columns, *steps)


def _min_max(made: Preparing, step: Any, columns: Columns) -> Columns:
    steps: list[p.Step] = [p.Refuse(nan=False), p.Shift("multiply", _floats(step.scale_)), p.Shift("add", _floats(step.min_))]
    if step.clip:
        low, high = (np.full(columns.width, float(bound)) for bound in step.feature_range)
        steps.append(p.Clip(low, high))
    return made.then(columns, *steps)


def _max_abs(made: Preparing, step: Any, columns: Columns) -> Columns:
    if getattr(step, "clip", False):
        raise NotHeld("A MaxAbsScaler that clips is not translated.")
    return made.then(columns, p.Refuse(nan=False), p.Shift("divide", _floats(step.scale_)))


def _imputer(made: Preparing, step: Any, columns: Columns) -> Columns:
    if columns.given is not None and any(isinstance(item, Text) for item in columns.given):
        return _imputed_texts(step, columns)
    missing = step.missing_values
    if not (isinstance(missing, float) and np.isnan(missing)):
        raise NotHeld(f"A SimpleImputer of {missing!r} is not translated.")
    statistics = _floats(step.statistics_)
    kept = np.flatnonzero(~np.isnan(statistics))
    held = made.numbers(columns)
    filled = held if len(kept) == held.width else chosen(held, [int(place) for place in kept])
    filled = made.then(filled, p.Refuse(nan=False), p.Fill(statistics[kept]))
    if not step.add_indicator:
        return filled
    told = chosen(held, [int(place) for place in step.indicator_.features_])
    return joined(made, [filled, made.then(told, p.Missing())]) if told.width else filled


def _imputed_texts(step: Any, columns: Columns) -> Columns:
    if step.add_indicator or step.missing_values is not None:
        raise NotHeld("A SimpleImputer of texts is translated only for missing_values=None.")
    found: list[int | Text] = []
    for item, value in zip(columns.given or (), step.statistics_, strict=True):
        if not isinstance(item, Text) or not isinstance(value, str):
            raise NotHeld("A SimpleImputer of texts and numbers at once is not translated.")
        found.append(replace(item, fill=item.fill or value))
    return Columns.of(found)


def _indicator(made: Preparing, step: Any, columns: Columns) -> Columns:
    return made.then(chosen(made.numbers(columns), [int(place) for place in step.features_]), p.Missing())


def _codes(categories: NDArray[Any]) -> tuple[dict[str, int], int | None]:
    """Places of texts among categories, and of a missing one."""
    known = categories.tolist()
    if not all(value is None or isinstance(value, (str, float)) for value in known):
        raise NotHeld("Categories of several types are not translated.")
    if any(isinstance(value, float) and not np.isnan(value) for value in known):
        raise NotHeld("Categories of several types are not translated.")
    missing = known.index(None) if None in known else None
    return {value: place for place, value in enumerate(known) if isinstance(value, str)}, missing


def _ordinal(made: Preparing, step: Any, columns: Columns) -> Columns:
    infrequent = getattr(step, "_infrequent_enabled", False)
    refuses = step.handle_unknown == "error"
    unknown = float("nan") if refuses else float(step.unknown_value)
    tables = []
    for place, categories in enumerate(step.categories_):
        codes = np.arange(len(categories), dtype=np.float64)
        mapping = step._default_to_infrequent_mappings[place] if infrequent else None  # noqa: SLF001 - see above
        if mapping is not None:
            codes = np.asarray(mapping, dtype=np.float64)
        missing = getattr(step, "_missing_indices", {}).get(place)
        if missing is not None:
            codes[missing] = float(step.encoded_missing_value)
        tables.append((np.asarray(categories), codes))
    return _looked_up(made, columns, tables, [unknown] * len(tables), refuses=refuses)


def _target(made: Preparing, step: Any, columns: Columns) -> Columns:
    if step.target_type_ == "multiclass":
        raise NotHeld("A TargetEncoder of several classes is not translated.")
    tables = [(np.asarray(known), _floats(codes)) for known, codes in zip(step.categories_, step.encodings_, strict=True)]
    return _looked_up(made, columns, tables, [float(step.target_mean_)] * len(tables), refuses=False)


def _looked_up(
    made: Preparing,
    columns: Columns,
    tables: Sequence[tuple[NDArray[Any], NDArray[np.float64]]],
    unknown: Sequence[float],
    *,
    refuses: bool,
) -> Columns:
    """Each column's categories replaced by numbers: texts at their source, numbers by a step."""
    parts = []
    for place, (categories, codes) in enumerate(tables):
        other = None if refuses else unknown[place]
        item = columns.given[place] if columns.given is not None else None
        if isinstance(item, Text):
            if categories.dtype.kind not in "OUT":
                raise NotHeld("Texts are looked up among numbers.")
            places, missing = _codes(np.asarray(categories, dtype=object))
            null = other if missing is None else float(codes[missing])
            source = made.encoded(item, {text: float(codes[at]) for text, at in places.items()}, null, other)
            parts.append(Columns.of([source]))
        else:
            parts.append(made.then(chosen(columns, [place]), _lookup(categories, codes, unknown[place], refuses=refuses)))
    return joined(made, parts)


def _lookup(categories: NDArray[Any], codes: NDArray[np.float64], unknown: float, *, refuses: bool) -> p.Lookup:
    if categories.dtype.kind not in "biuf" and not all(isinstance(value, (int, float)) for value in categories.tolist()):
        raise NotHeld("Numbers are looked up among texts.")
    known = categories.astype(np.float64)
    real = ~np.isnan(known)
    missing = codes[~real][0] if not real.all() else unknown
    if not real.any():
        raise NotHeld("A column without categories is not translated.")
    return p.Lookup(
        known=[known[real]], found=[codes[real]], unknown=np.array([unknown]), null=np.array([missing]), refuses=refuses,
        refuses_null=[refuses and bool(real.all())],
    )  # fmt: skip


def _one_hot(made: Preparing, step: Any, columns: Columns) -> Columns:
    refuses = step.handle_unknown == "error"
    infrequent = getattr(step, "_infrequent_enabled", False)
    dropped = step.drop_idx_ if step.drop_idx_ is not None else [None] * len(step.categories_)
    tables, unknown, sizes = [], [], []
    for place, categories in enumerate(step.categories_):
        codes = np.arange(len(categories), dtype=np.float64)
        mapping = step._default_to_infrequent_mappings[place] if infrequent else None  # noqa: SLF001 - see above
        if mapping is not None:
            codes = np.asarray(mapping, dtype=np.float64)
        size = int(codes.max()) + 1
        rare = -1.0
        if step.handle_unknown in {"infrequent_if_exist", "warn"} and mapping is not None:
            rare = float(size - 1)
        if (gone_at := dropped[place]) is not None:
            gone = codes[int(gone_at)] if mapping is None else float(gone_at)
            codes = np.where(codes == gone, -1.0, np.where(codes > gone, codes - 1, codes))
            rare = -1.0 if rare == gone else rare - (rare > gone)
            size -= 1
        tables.append((np.asarray(categories), codes))
        unknown.append(rare)
        sizes.append(size)
    coded = _looked_up(made, columns, tables, unknown, refuses=refuses)
    return made.then(coded, p.Hot(np.array(sizes, dtype=np.int64)), width=sum(sizes))


def _pca(made: Preparing, step: Any, columns: Columns) -> Columns:
    steps: list[p.Step] = [p.Refuse()]
    steps += [p.Shift("subtract", _floats(step.mean_))] if getattr(step, "mean_", None) is not None else []
    steps.append(p.Product(np.ascontiguousarray(step.components_.T, dtype=np.float64)))
    if getattr(step, "whiten", False):
        scale = np.sqrt(step.explained_variance_)
        steps.append(p.Shift("divide", _floats(np.maximum(scale, np.finfo(scale.dtype).eps))))
    return made.then(columns, *steps, width=len(step.components_))


def _selected(made: Preparing, step: Any, columns: Columns) -> Columns:
    return chosen(
        made.then(columns, p.Refuse()) if columns.given is None else columns, [int(place) for place in np.flatnonzero(step.get_support())]
    )


def _function(made: Preparing, step: Any, columns: Columns) -> Columns:
    if step.func is not None and not made.checking:
        raise NotHeld("A FunctionTransformer with a function is not translated.")
    return columns


_KNOWN: dict[str, Callable[[Preparing, Any, Columns], Columns]] = {
    "Pipeline": _pipeline, "ColumnTransformer": _column_transformer, "FeatureUnion": _union, "StandardScaler": _standard,
    "RobustScaler": _robust, "MinMaxScaler": _min_max, "MaxAbsScaler": _max_abs, "SimpleImputer": _imputer, "MissingIndicator": _indicator,
    "OrdinalEncoder": _ordinal, "OneHotEncoder": _one_hot, "TargetEncoder": _target, "PCA": _pca, "TruncatedSVD": _pca,
    "VarianceThreshold": _selected, "SelectKBest": _selected, "SelectPercentile": _selected, "SelectFromModel": _selected, "RFE": _selected,
    "RFECV": _selected, "FunctionTransformer": _function,
}  # fmt: skip
