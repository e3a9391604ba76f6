"""A version's form on the wire: its inputs by name and place, and the outputs one may ask of it, with types and shapes.

Outputs, by name (docs/protocols.md):

    predict         the class of each row, by the version's threshold or its highest score; of a regression, the value
    score           binary: P(positive); multiclass: P(class) as a matrix; regression has none beside ``predict``
    prediction_id   the id that labels are joined by
    label, probabilities, predict_proba, version, arm, flags, explanation    only for who asks for them

A graph that answers columns of its own answers those, and ``prediction_id``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.records import Class, ModelVersion
from rung.serving.inference import Answered, Asked, Floats, Target

IDS, TIMES, ENTITY = "prediction_id", "event_time", "entity"
_NAMES = {"Float64": "FP64", "Float32": "FP32", "Boolean": "BOOL"}
_REMEMBERED = 1024


class Tensor(NamedTuple):
    """One output: values are an array, or a list where they are texts."""

    name: str
    datatype: str
    shape: list[int]
    values: Any


class Described(NamedTuple):
    """One tensor of a model's metadata; -1 is the number of rows."""

    name: str
    datatype: str
    shape: list[int]


@dataclass(frozen=True, slots=True)
class Form:
    """What codecs ask of a version again and again, computed once."""

    names: tuple[str, ...]
    width: int
    dtypes: dict[str, str]
    optional: frozenset[str]
    regression: bool
    classes: NDArray[Any]
    class_type: str
    threshold: float
    inputs: tuple[Described, ...]
    outputs: tuple[Described, ...]
    defaults: tuple[str, ...]  # outputs of who names none
    extra: frozenset[str]
    texts: tuple[str, ...]  # classes in JSON
    heads: dict[str, str]  # what stands before the value of a default output of one row, in JSON


_FORMS: dict[tuple[str, str | None], Form] = {}


def form_of(version: ModelVersion) -> Form:
    """The form of a version; equal digests have equal forms."""
    key = (version.digest, version.task)
    found = _FORMS.get(key)
    if found is None:
        if len(_FORMS) >= _REMEMBERED:
            _FORMS.clear()
        found = _FORMS[key] = _made(version)
    return found


def _made(version: ModelVersion) -> Form:
    regression, multiclass = version.task == "regression", version.task == "multiclass"
    classes, kind = _classes(version.classes)
    outputs = [Described("predict", "FP64" if regression else kind, [-1])]
    if not regression:
        outputs.append(Described("score", "FP64", [-1, len(classes)] if multiclass else [-1]))
    outputs.append(Described(IDS, "BYTES", [-1]))
    fields = version.signature.inputs
    return Form(
        names=tuple(field.name for field in fields),
        width=len(fields),
        dtypes={field.name: field.dtype for field in fields},
        optional=frozenset(field.name for field in fields if field.optional),
        regression=regression,
        classes=classes,
        class_type=kind,
        threshold=0.5 if version.threshold is None else version.threshold,
        inputs=tuple(Described(field.name, datatype_of(field.dtype), [-1]) for field in fields),
        outputs=tuple(outputs),
        defaults=tuple(output.name for output in outputs),
        texts=tuple(msgspec.json.encode(value).decode() for value in classes.tolist()),
        heads={o.name: f'{{"name":"{o.name}","datatype":"{o.datatype}","shape":[1],"data":[' for o in outputs},
        extra=frozenset({"label", *_EXTRA}) - (frozenset({"probabilities", "predict_proba"}) if regression else frozenset()),
    )


def _classes(given: Sequence[Class]) -> tuple[NDArray[Any], str]:
    given = given or (0, 1)
    for kind, datatype in ((bool, "BOOL"), (int, "INT64")):
        if all(type(value) is kind for value in given):
            return np.array(given), datatype
    return np.array([str(value) for value in given], dtype=object), "BYTES"


def datatype_of(dtype: str) -> str:
    """The Open Inference name of a column type."""
    if dtype in _NAMES:
        return _NAMES[dtype]
    kind = dtype.rstrip("0123456789")
    return dtype.upper() if kind in {"Int", "UInt"} else "BYTES"


def produced(answered: Answered, names: Iterable[str], version: ModelVersion) -> list[Tensor]:
    """The outputs of those names in that order; all defaults when none is named. Raises Invalid for an unknown one."""
    form = form_of(version)
    names = tuple(names)
    if answered.columns is not None:
        return _of_columns(answered, names)
    n = len(answered.ids)
    found = []
    for name in names or _all(answered, form):
        if name == "predict" or name == "label":  # noqa: PLR1714 - the hot path asks for the first
            found.append(Tensor(name, "FP64" if form.regression else form.class_type, [n], predictions(answered, form)))
        elif name == "score":
            found.append(Tensor(name, "FP64", list(answered.scores.shape), answered.scores))
        elif name == IDS:
            found.append(Tensor(name, "BYTES", [n], answered.ids))
        elif name in form.extra:
            found.append(_EXTRA[name](answered, name))
        else:
            raise unknown_output(name, form)
    return found


def tabulated(answered: Answered, version: ModelVersion) -> list[Tensor]:
    """All that a table says of its rows: the ids, the outputs, the score the log keeps, and which version and arm answered each."""
    found = {tensor.name: tensor for tensor in produced(answered, (), version)}
    scores = Tensor("score", "FP64", list(answered.scores.shape), answered.scores)
    more = (scores, _versions(answered, "version"), _arms(answered, "arm"))
    return [found.pop(IDS), *found.values(), *(tensor for tensor in more if tensor.name not in found)]


def check_outputs(asked: Asked, target: Target) -> None:
    """Raise Invalid for an output that no answer of the version has, before scoring, so that nothing is logged for it.

    Who asks for the explanation by name is explained to.
    """
    if not asked.outputs:
        return
    asked.explain = asked.explain or "explanation" in asked.outputs
    if target.graph is not None:
        return
    form = form_of(target.version)
    for name in asked.outputs:
        if name not in form.defaults and name not in form.extra:
            raise unknown_output(name, form)


def unknown_output(name: str, form: Form) -> Invalid:
    """The error for an output that is not there."""
    known = ", ".join((*form.defaults, *sorted(form.extra)))
    return Invalid(f"There is no output {name[:200]!r}.", code="serving.no_output", hint=f"Known: {known}.")


def predicted(scores: Floats, task: Task | None, classes: Sequence[Class], threshold: float | None) -> list[Tensor]:
    """A model's scores as its deployment would answer them: ``predict``, the class or value of each row, and ``score``."""
    values, kind = (scores, "FP64") if task == "regression" else _classes(classes)
    if task != "regression":
        values = classes_of(scores, values, 0.5 if threshold is None else threshold)
    return [Tensor("predict", kind, [len(scores)], values), Tensor("score", "FP64", list(scores.shape), scores)]


def predictions(answered: Answered, form: Form) -> Any:
    """The class or value of each row: an array of numbers, or a list of texts."""
    if form.regression:
        return answered.scores
    values = classes_of(answered.scores, form.classes, form.threshold)
    if answered.arms is not None and answered.arm_versions:
        arms = np.array(answered.arms, dtype=object)
        for arm, version in answered.arm_versions.items():
            other, taken = form_of(version), arms == arm
            values[taken] = classes_of(answered.scores[taken], other.classes, other.threshold)
    return values.tolist() if form.class_type == "BYTES" else values


def classes_of(scores: Floats, classes: NDArray[Any], threshold: float) -> NDArray[Any]:
    """The class of each row: by threshold for one score a row, by the highest for several."""
    if scores.ndim == 1:
        return np.asarray(classes[(scores >= threshold).view(np.int8)])
    return np.asarray(classes[scores.argmax(axis=1)])


def _all(answered: Answered, form: Form) -> tuple[str, ...]:
    extra = (("flags",) if answered.flags is not None else ()) + (("explanation",) if answered.explanations is not None else ())
    return form.defaults + extra


def _of_columns(answered: Answered, names: tuple[str, ...]) -> list[Tensor]:
    columns: dict[str, Any] = {**(answered.columns or {}), IDS: answered.ids}
    if answered.flags is not None:
        columns["flags"] = [",".join(row) for row in answered.flags]
    missing = next((name for name in names if name not in columns), None)
    if missing is not None:
        raise Invalid(f"There is no output {missing[:200]!r}.", code="serving.no_output", hint=f"Known: {', '.join(columns)}.")
    return [column_tensor(name, columns[name]) for name in names or columns]


def column_tensor(name: str, values: Any) -> Tensor:
    """A column of plain values as a tensor, its type found from them; what is neither number nor bool is text."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return Tensor(name, "FP64", list(values.shape), values.astype(np.float64, copy=False))
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    kinds = {type(value) for value in listed}
    if kinds == {bool}:
        return Tensor(name, "BOOL", [len(listed)], np.array(listed))
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in listed):
        return Tensor(name, "INT64", [len(listed)], np.array(listed, dtype=np.int64))
    if kinds <= {float, int, type(None)} and kinds & {float}:
        return Tensor(name, "FP64", [len(listed)], np.array(listed, dtype=np.float64))
    return Tensor(name, "BYTES", [len(listed)], [_text(value) for value in listed])


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _probabilities(answered: Answered, name: str) -> Tensor:
    scores = answered.scores
    both = np.column_stack([1.0 - scores, scores]) if scores.ndim == 1 else scores
    return Tensor(name, "FP64", list(both.shape), both)


def _versions(answered: Answered, name: str) -> Tensor:
    n = len(answered.ids)
    held = answered.versions if answered.versions is not None else np.full(n, answered.version.number, dtype=np.int64)
    return Tensor(name, "INT64", [n], np.asarray(held, dtype=np.int64))


def _arms(answered: Answered, name: str) -> Tensor:
    n = len(answered.ids)
    return Tensor(name, "BYTES", [n], list(answered.arms) if answered.arms is not None else ["stable"] * n)


def _flags(answered: Answered, name: str) -> Tensor:
    n = len(answered.ids)
    return Tensor(name, "BYTES", [n], [",".join(row) for row in answered.flags] if answered.flags is not None else [""] * n)


def _explanations(answered: Answered, name: str) -> Tensor:
    if answered.explanations is None:
        raise Invalid("No explanation was asked for.", code="serving.not_explained", hint="Ask with ?explain=true.")
    return Tensor(name, "BYTES", [len(answered.ids)], [msgspec.json.encode(row).decode() for row in answered.explanations])


_EXTRA: dict[str, Callable[[Answered, str], Tensor]] = {
    "probabilities": _probabilities,
    "predict_proba": _probabilities,
    "version": _versions,
    "arm": _arms,
    "flags": _flags,
    "explanation": _explanations,
}
