"""ONNX graphs, run by ONNX Runtime on the CPU: arithmetic on tensors, no code.

A graph is looked through before the runtime sees it: tensors kept in other files and operators of unknown domains are
refused, since the first would make the runtime open paths and the second need a library of somebody's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry import protobuf
from rung.registry.format import FORMATS, Scorer, Traits, check_task, columns_f, missing_library, only_file, ordered, scores, unreadable
from rung.registry.records import Class, Field

FILE = "model.onnx"
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_NUMPY = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}  # fmt: skip
_POLARS = {"tensor(int64)": "Int64", "tensor(int32)": "Int64", "tensor(bool)": "Boolean", "tensor(string)": "String"}
_FLOATS = ("tensor(float)", "tensor(double)")
_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
_SAME_VALUES = frozenset({"Squeeze", "Unsqueeze", "Reshape", "Flatten", "Identity", "Cast"})
_DEEPEST = 20
_MATRIX = 2
_SUMS = 1e-3


@FORMATS.member("onnx")
class Onnx:
    """An ``onnx.ModelProto``, its bytes, or its file. It takes one matrix of all columns, or one input a column."""

    rank = 30
    libraries = ("onnxruntime", "numpy")
    endings = (".onnx",)

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it is a model of the ``onnx`` package, or the bytes of one."""
        if isinstance(estimator, bytes):
            return _is_model(estimator)
        library = sys.modules.get("onnx")
        return library is not None and isinstance(estimator, library.ModelProto)

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """The model's bytes."""
        data = estimator if isinstance(estimator, bytes) else estimator.SerializeToString(deterministic=True)
        _looked_through(data)
        return {FILE: data}

    @staticmethod
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """An ONNX file, as it is."""
        return {FILE: data}

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """What the graph's inputs, outputs and class labels say."""
        data = only_file(files, FILE)
        return _traits(_session(data), _looked_through(data))

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Unavailable without ONNX Runtime, Invalid for what is no graph of this task."""
        data = only_file(files, FILE)
        graph, session = _looked_through(data), _session(data)
        found = _traits(session, graph)
        check_task(found, task)
        feeding, answer = _feeding(session, found.inputs), _answer(session)

        def score(frame: pl.DataFrame) -> NDArray[np.float64]:
            try:
                given = session.run([answer.name], feeding(frame))[0]
            except _errors() as error:
                raise Invalid(
                    f"The graph cannot score these rows: {str(error).splitlines()[0][:300]}.",
                    code="registry.bad_input",
                    hint="Compare them with the signature.",
                ) from None
            answered = scores(_zipped(given, graph.classes) if isinstance(given, list) else given, task)
            return answered if task in {found.task, "regression"} else _probabilities(answered)

        return score


@dataclass
class _Graph:
    """What matters of a graph before it is run; ``makers``: by output, the operator and what it was given first."""

    classes: tuple[Class, ...] = ()
    makers: dict[str, tuple[str, str]] = field(default_factory=dict)
    functions: frozenset[str] = frozenset()


def _is_model(data: bytes) -> bool:
    try:
        found = dict(protobuf.fields(memoryview(data)))
    except ValueError:
        return False
    return isinstance(found.get(1), int) and isinstance(found.get(7), memoryview)


def _looked_through(data: bytes) -> _Graph:
    """Class labels and the operator behind each output. Raises Invalid for what may not be run."""
    if not _is_model(data):
        raise unreadable("The file is no ONNX model")
    model = memoryview(data)
    try:
        functions = list(protobuf.parts(model, 25))
        found = _Graph(functions=frozenset(protobuf.text(item, 10) for item in functions))
        for graph in protobuf.parts(model, 7):
            _check_graph(graph, found, 0)
        for function in functions:
            for node in protobuf.parts(function, 7):
                _check_node(node, found, 0)
    except ValueError as error:
        raise unreadable("The file is no ONNX model", error) from None
    return found


def _check_graph(graph: memoryview, found: _Graph, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("its graphs lie too deep in each other")
    for number, value in protobuf.fields(graph):
        if isinstance(value, memoryview) and number == 1:
            _check_node(value, found, depth)
        elif isinstance(value, memoryview) and number == 5:  # noqa: PLR2004 - its tensors
            _check_tensor(value)
        elif isinstance(value, memoryview) and number == 15:  # noqa: PLR2004 - its sparse tensors
            for tensor in _tensors(value, 1, 2):
                _check_tensor(tensor)


def _check_node(node: memoryview, found: _Graph, depth: int) -> None:
    domain, operator = protobuf.text(node, 7), protobuf.text(node, 4)
    if domain not in _DOMAINS | found.functions:
        raise Invalid(
            f"The model uses the operator {operator!r} of {domain!r}.",
            code="registry.untrusted_types",
            hint="Export it with operators of ONNX itself.",
        )
    if depth == 0:
        made = operator, _decoded(next(protobuf.parts(node, 1), memoryview(b"")))
        found.makers.update((_decoded(name), made) for name in protobuf.parts(node, 2))
    for attribute in protobuf.parts(node, 5):
        if not found.classes and protobuf.text(attribute, 1) in _LABELS:
            texts = tuple(_decoded(item) for item in protobuf.parts(attribute, 9))
            found.classes = texts or tuple(protobuf.integers(attribute, 8))
        for tensor in _tensors(attribute, 5, 10):
            _check_tensor(tensor)
        for sparse in _tensors(attribute, 22, 23):
            for tensor in _tensors(sparse, 1, 2):
                _check_tensor(tensor)
        for graph in _tensors(attribute, 6, 11):
            _check_graph(graph, found, depth + 1)


def _decoded(name: memoryview) -> str:
    return bytes(name).decode("utf-8", "replace")


def _end_of(graph: _Graph, name: str) -> str:
    """The operator that made an output, behind those that only give it another shape or type."""
    for _ in range(_DEEPEST):
        operator, given = graph.makers.get(name, ("", ""))
        if operator not in _SAME_VALUES:
            return operator
        name = given
    return ""


def _tensors(message: memoryview, *numbers: int) -> Iterator[memoryview]:
    return (value for number, value in protobuf.fields(message) if number in numbers and isinstance(value, memoryview))


def _check_tensor(tensor: memoryview) -> None:
    for number, value in protobuf.fields(tensor):
        if number == 13 or (number == 14 and value):  # noqa: PLR2004 - where a tensor says that another file holds it
            raise Invalid(
                "The model keeps tensors in other files.",
                code="registry.untrusted_types",
                hint="Save it as one file: onnx.save(model, path, save_as_external_data=False).",
            )


def _session(data: bytes) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - optional
    except ImportError:
        raise missing_library("ONNX Runtime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _errors() as error:
        raise unreadable("ONNX Runtime cannot read the model", error) from None


@lru_cache(maxsize=1)
def _errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415 - loaded by now

    own = tuple(item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception))
    return (*own, RuntimeError, ValueError, TypeError)


def _traits(session: Any, graph: _Graph) -> Traits:
    inputs = _inputs(session)
    try:
        answer = _answer(session)
    except Invalid as error:
        return Traits(inputs=inputs, reason=error.message)
    if graph.classes:
        known = graph.classes if len(graph.classes) > 1 else (0, 1)
        return Traits(task="binary" if len(known) == _MATRIX else "multiclass", classes=known, inputs=inputs)
    width = answer.shape[-1] if len(answer.shape) == _MATRIX else 1
    maker = _end_of(graph, answer.name)
    if width == 1:
        return Traits(task="binary", classes=(0, 1), inputs=inputs) if maker == "Sigmoid" else Traits(task="regression", inputs=inputs)
    if maker == "Softmax" and isinstance(width, int):
        return Traits(task="binary" if width == _MATRIX else "multiclass", classes=tuple(range(width)), inputs=inputs)
    return Traits(inputs=inputs, reason=f"The graph answers {answer.name!r} of shape {answer.shape} without saying what it means.")


def _inputs(session: Any) -> tuple[Field, ...]:
    asked = session.get_inputs()
    if len(asked) == 1 and len(asked[0].shape) == _MATRIX and asked[0].shape[1] != 1:
        width = asked[0].shape[1]
        kind = _POLARS.get(asked[0].type, "Float64")
        return tuple(Field(name=item.name, dtype=kind) for item in columns_f(width if isinstance(width, int) else 0))
    return tuple(Field(name=item.name, dtype=_POLARS.get(item.type, "Float64")) for item in asked)


def _answer(session: Any) -> Any:
    """The output that holds scores: a sequence of maps, else floats, by preference called after probabilities."""
    outputs = session.get_outputs()
    maps = [item for item in outputs if item.type.startswith("seq(map(")]
    floats = [item for item in outputs if item.type in _FLOATS and len(item.shape) <= _MATRIX]
    named = [item for item in floats if "prob" in item.name.lower()]
    found = maps or named or floats
    if not found:
        held = ", ".join(f"{item.name}: {item.type}" for item in outputs)
        raise Invalid(f"The graph answers no scores but {held}.", code="registry.no_scores", hint="Export it with its probabilities.")
    return found[0]


def _feeding(session: Any, inputs: Sequence[Field]) -> Callable[[pl.DataFrame], dict[str, NDArray[Any]]]:
    """How a frame becomes the graph's inputs. Raises Invalid for a graph that takes no table."""
    asked = session.get_inputs()
    for item in asked:
        if item.type not in _NUMPY or len(item.shape) > _MATRIX or (len(asked) > 1 and len(item.shape) == _MATRIX and item.shape[1] != 1):
            raise Invalid(
                f"The graph's input {item.name!r} is {item.type} of shape {item.shape}, which no columns fill.",
                code="registry.no_table",
                hint="Export a graph that takes one matrix, or one input a column.",
            )
    if len(asked) == 1 and (len(asked[0].shape) < _MATRIX or asked[0].shape[1] != 1):
        only, names = asked[0], [item.name for item in inputs]

        def matrix(frame: pl.DataFrame) -> dict[str, NDArray[Any]]:
            held = ordered(frame, names) if names else frame
            columns = [_values(column, only.type) for column in held.get_columns()]
            return {only.name: np.column_stack(columns) if len(only.shape) == _MATRIX else columns[0]}

        return matrix

    def by_name(frame: pl.DataFrame) -> dict[str, NDArray[Any]]:
        held = ordered(frame, [item.name for item in asked]).get_columns()
        pairs = zip(asked, held, strict=True)
        return {item.name: _values(column, item.type).reshape((-1, 1) if len(item.shape) == _MATRIX else -1) for item, column in pairs}

    return by_name


def _values(column: pl.Series, kind: str) -> NDArray[Any]:
    """A column as the graph's type. Raises Invalid for texts as numbers, and for nulls where no NaN can stand for them."""
    target = _NUMPY[kind]
    texts = not column.dtype.is_numeric() and column.dtype != pl.Boolean
    if texts != (target is np.object_):
        raise Invalid(f"{column.name} is {column.dtype}, not {kind}.", code="registry.bad_input", hint="Compare it with the signature.")
    if target in {np.float32, np.float64}:
        return column.cast(pl.Float64).to_numpy().astype(target)
    if column.null_count():
        raise Invalid(f"{column.name} has nulls, and the graph has no word for them.", code="registry.bad_input", hint="Fill them first.")
    return np.asarray(column.cast(pl.String).to_list() if texts else column.to_numpy()).astype(target)


def _probabilities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values, where nothing but they themselves says that they are probabilities. Raises Invalid when they are not."""
    sums = values.sum(axis=1) if values.ndim == _MATRIX else np.ones(1)
    held = values[np.isfinite(values)]
    if held.size and (held.min() < 0 or held.max() > 1 or np.abs(sums[np.isfinite(sums)] - 1).max(initial=0) > _SUMS):
        raise Invalid(
            "The graph answers no probabilities, perhaps logits.", code="registry.no_scores", hint="Export it with a softmax or a sigmoid."
        )
    return values


def _zipped(rows: Sequence[Mapping[Any, float]], classes: Sequence[Class]) -> NDArray[np.float64]:
    """Maps from class to score as a matrix in the order of the classes."""
    return np.array([[row[name] for name in classes] for row in rows], dtype=np.float64)
