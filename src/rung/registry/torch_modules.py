"""PyTorch modules as ONNX graphs: arithmetic on tensors that ONNX Runtime answers with, without PyTorch and without pickles.

A module takes one tensor of a row a record and a column a feature. What it answers is told by its end or by the task:
a sigmoid or a softmax gives probabilities; without one, and where a task of classes is asked for, its answers are taken
for logits, and the sigmoid or softmax is added.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.formats.onnx import FILE, Onnx

_MATRIX = 2
_FAITHFUL = {"rtol": 1e-3, "atol": 1e-5}  # single precision, and sums in another order
_SUMS = 1e-3
_INPUT, _OUTPUT = "features", "scores"
_FAULTS = (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, KeyError, IndexError, ImportError)


def is_module(estimator: Any) -> bool:
    """Whether it is a module of PyTorch or a program that ``torch.export`` made, where PyTorch is loaded."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(estimator, (torch.nn.Module, torch.export.ExportedProgram))


def exported(module: Any, example: pl.DataFrame, task: Task | None) -> bytes:
    """The graph of a module, which answers the example's rows, in both orders and one row alone, as the module does.

    Raises:
        Invalid: it takes no matrix of the example's columns, its answers have no meaning for the task, or ONNX has no
            word for a part of it.
    """
    import torch  # noqa: PLC0415 - optional, and loaded by now

    program = _as_module(module) if isinstance(module, torch.export.ExportedProgram) else module
    with _answering(program), torch.no_grad():
        given, answer = _tried(program, example)
        data = _graph(program, given)
        end = _end(data, np.asarray(answer.cpu()), task)
        if end:
            program = torch.nn.Sequential(program, torch.nn.Sigmoid() if end == "sigmoid" else torch.nn.Softmax(dim=1))
            program.training = False
            data = _graph(program, given)
        for rows in (given, given[:1], given.flip(0)):
            _same(data, rows, program(rows))
    return data


@contextlib.contextmanager
def _answering(program: Any) -> Iterator[None]:
    """The module as it answers, without dropout; afterwards as it was."""
    if not program.training:
        yield
        return
    program.eval()
    try:
        yield
    finally:
        program.train()


def _as_module(exported: Any) -> Any:
    """A module that answers as a program of ``torch.export``, which has one mode only and says so to whoever asks for another."""
    import torch  # noqa: PLC0415 - loaded by now

    class Program(torch.nn.Module):  # type: ignore[misc]  # PyTorch's types are not known where it is not installed
        def __init__(self) -> None:
            super().__init__()
            self.inner = exported.module()
            self.training = False

        def forward(self, features: Any) -> Any:
            return self.inner(features)

        def train(self, mode: bool = True) -> Any:  # noqa: FBT001, FBT002 - PyTorch's own signature
            return self

    return Program()


def _tried(program: Any, example: pl.DataFrame) -> tuple[Any, Any]:
    """The example as a tensor that the module takes, floats before integers, and its answer. Raises Invalid."""
    import torch  # noqa: PLC0415 - loaded by now

    texts = [name for name, kind in example.schema.items() if not kind.is_numeric() and kind != pl.Boolean]
    if texts:
        raise Invalid(
            f"A PyTorch module takes numbers, and {', '.join(texts)} hold none.", code="registry.bad_example", hint="Encode them first."
        )
    first = next((item for item in program.parameters() if item.is_floating_point()), torch.zeros(1))
    kinds = [first.dtype, *([torch.int64] if all(kind.is_integer() for kind in example.dtypes) else [])]
    reasons = []
    for kind in kinds:
        given = torch.as_tensor(example.cast(pl.Float64).to_numpy().copy()).to(device=first.device, dtype=kind)
        try:
            answer = program(given)
        except _FAULTS as error:
            reasons.append(str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__)
            continue
        if not isinstance(answer, torch.Tensor) or not 1 <= answer.ndim <= _MATRIX or len(answer) != len(given):
            shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
            raise Invalid(
                f"The module answers {len(given)} rows with {shape}, which is not one row of scores each.", code="registry.no_scores",
                hint="Wrap it in a module that returns one tensor of scores.",
            )  # fmt: skip
        return given, answer
    raise Invalid(
        f"The module does not take a tensor of {example.height} rows and {example.width} columns: {reasons[0]}.",
        code="registry.bad_example",
        hint="Wrap it in a module whose forward takes one tensor, a row a record; or export it to ONNX and give the file.",
    )


def _graph(program: Any, given: Any) -> bytes:
    """The module's graph for any number of rows: by PyTorch's newer exporter where the older one fails. Raises Invalid."""
    reasons = []
    for newer in (False, True):
        try:
            with _quietly():
                return _newer(program, given) if newer else _older(program, given)
        except _FAULTS as error:
            reasons.append(" ".join(str(error).split())[:300])
    raise Invalid(
        f"PyTorch cannot write the module as ONNX: {reasons[0]} Its newer exporter says: {reasons[1]}", code="registry.unwritable",
        hint="pip install onnxscript, for the newer exporter; or export it to ONNX and give the file.",
    )  # fmt: skip


def _older(program: Any, given: Any) -> bytes:
    import torch  # noqa: PLC0415 - loaded by now

    buffer = io.BytesIO()
    rows = {_INPUT: {0: "rows"}, _OUTPUT: {0: "rows"}}
    torch.onnx.export(program, (given,), buffer, input_names=[_INPUT], output_names=[_OUTPUT], dynamic_axes=rows, dynamo=False)
    return buffer.getvalue()


def _newer(program: Any, given: Any) -> bytes:
    import torch  # noqa: PLC0415 - loaded by now

    shapes = ({0: torch.export.Dim("rows")},)
    made = torch.onnx.export(
        program, (given,), input_names=[_INPUT], output_names=[_OUTPUT], dynamic_shapes=shapes, dynamo=True, verbose=False
    )
    data: bytes = made.model_proto.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without PyTorch's advice about its own exporters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _end(data: bytes, answer: Any, task: Task | None) -> str:
    """What must be added so that the answers are probabilities: a sigmoid, a softmax, or nothing. Raises Invalid."""
    told = Onnx.traits({FILE: data})
    width = 1 if answer.ndim == 1 else answer.shape[1]
    if told.task in {"binary", "multiclass"} or task == "regression":
        return ""
    if task is None:
        if told.task == "regression":
            return ""
        raise Invalid(
            f"The module answers {width} numbers a row, and its end does not say what they mean.", code="registry.no_task",
            hint="Say task='multiclass', or 'binary' for two; logits get a softmax.",
        )  # fmt: skip
    if task == "multiclass" and width == 1:
        raise Invalid("The module answers one number a row, not one a class.", code="registry.wrong_task", hint="Say task='binary'.")
    inside = bool(((answer >= 0) & (answer <= 1)).all())
    if width > 1:
        return "" if inside and bool((np.abs(answer.sum(axis=1) - 1) < _SUMS).all()) else "softmax"
    if inside:
        raise Invalid(
            "The module's answers lie between 0 and 1 without a sigmoid at its end: they may be logits or probabilities.",
            code="registry.no_task",
            hint="End the module with torch.nn.Sigmoid().",
        )
    return "sigmoid"


def _same(data: bytes, given: Any, expected: Any) -> None:
    import onnxruntime  # noqa: PLC0415 - needed to serve it, and asked for by then

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(None, {_INPUT: given.cpu().numpy()})[0]
    if found.shape != tuple(expected.shape) or not np.allclose(found, expected.cpu().numpy(), equal_nan=True, **_FAITHFUL):
        raise Invalid(
            f"The graph answers {len(given)} rows otherwise than the module.", code="registry.not_faithful",
            hint="A module whose steps depend on the values or on the number of rows cannot be traced; write it with torch.where.",
        )  # fmt: skip
