"""PyTorch modules through ONNX: what is served answers as the module does, and what cannot be traced is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import rung
from rung.client.client import Client
from rung.core.errors import Invalid
from rung.registry.format import FORMATS
from rung.registry.packing import Packed, pack

torch = pytest.importorskip("torch")
nn = torch.nn
RNG = np.random.default_rng(0)
EXAMPLE = pl.DataFrame({"hour": RNG.integers(0, 24, 40), "wind": RNG.normal(size=40), "dep_delay": RNG.normal(size=40)})


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def net(outputs: int, *end: Any) -> Any:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, outputs), *end)


def answered(packed: Packed, rows: pl.DataFrame) -> np.ndarray:
    return FORMATS.get(packed.format).load(packed.files, packed.task)(rows)


def expected(module: Any, rows: pl.DataFrame) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module.eval()(torch.as_tensor(rows.cast(pl.Float32).to_numpy().copy())))


class Squeezed(nn.Module):
    """Answers one number a row, not a column of them."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, features: Any) -> Any:
        return self.inner(features).squeeze(1)


def test_probabilities_of_several_classes_are_served_as_they_are() -> None:
    module = net(3, nn.Softmax(dim=1))
    packed = pack(module, EXAMPLE)
    assert (packed.format, packed.task, packed.classes) == ("onnx", "multiclass", (0, 1, 2))
    assert [(field.name, field.dtype) for field in packed.signature.inputs] == [
        ("hour", "Int64"),
        ("wind", "Float64"),
        ("dep_delay", "Float64"),
    ]
    assert np.allclose(answered(packed, EXAMPLE), expected(module, EXAMPLE), atol=1e-5)
    assert len(answered(packed, EXAMPLE.head(1))) == 1


def test_logits_get_the_softmax_or_the_sigmoid_that_the_task_asks_for() -> None:
    several, one, two = net(3), net(1), net(2)
    assert np.allclose(answered(pack(several, EXAMPLE, task="multiclass"), EXAMPLE), softmax(expected(several, EXAMPLE)), atol=1e-5)
    assert np.allclose(answered(pack(one, EXAMPLE, task="binary"), EXAMPLE), 1 / (1 + np.exp(-expected(one, EXAMPLE)[:, 0])), atol=1e-5)
    assert np.allclose(answered(pack(two, EXAMPLE, task="binary"), EXAMPLE), softmax(expected(two, EXAMPLE))[:, 1], atol=1e-5)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [lambda inner: inner, Squeezed], ids=["column", "squeezed"])
def test_one_number_a_row_is_a_value_and_behind_a_sigmoid_a_probability(shape: Any) -> None:
    value, probability = shape(net(1)), shape(net(1, nn.Sigmoid()))
    packed = pack(value, EXAMPLE)
    assert packed.task == "regression"
    assert np.allclose(answered(packed, EXAMPLE), expected(value, EXAMPLE).reshape(-1), atol=1e-5)
    packed = pack(probability, EXAMPLE)
    assert (packed.task, packed.classes) == ("binary", (0, 1))
    assert np.allclose(answered(packed, EXAMPLE), expected(probability, EXAMPLE).reshape(-1), atol=1e-5)


def test_a_module_stays_in_the_mode_it_was_in() -> None:
    module = net(1)
    pack(module, EXAMPLE)
    assert module.training
    assert module[2].training


def test_integers_go_to_an_embedding_as_integers() -> None:
    codes = pl.DataFrame({"carrier": RNG.integers(0, 5, 30), "origin": RNG.integers(0, 5, 30)})
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 1))
    packed = pack(module, codes)
    with torch.no_grad():
        assert np.allclose(answered(packed, codes), module(torch.as_tensor(codes.to_numpy().copy()))[:, 0].numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_program_of_torch_export_and_a_script_are_taken() -> None:
    module = net(1, nn.Sigmoid()).eval()
    rows = torch.as_tensor(EXAMPLE.cast(pl.Float32).to_numpy().copy())
    program = torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    for held in (program, torch.jit.trace(module, (rows,))):
        packed = pack(held, EXAMPLE)
        assert packed.task == "binary"
        assert np.allclose(answered(packed, EXAMPLE), expected(module, EXAMPLE)[:, 0], atol=1e-5)


class Chatty(nn.Module):
    """Answers two things."""

    def forward(self, features: Any) -> Any:
        return features, features


class Branching(nn.Module):
    """Takes another way by the first value it sees."""

    def forward(self, features: Any) -> Any:
        return features[:, :1] * 2 if features[0, 1] > 0 else -features[:, :1]


WITH_TEXT = EXAMPLE.with_columns(origin=pl.lit("JFK"))
REFUSED = {
    "texts": (lambda: net(1), WITH_TEXT, None, "origin hold none"),
    "columns": (lambda: nn.Linear(7, 1), EXAMPLE, None, "40 rows and 3 columns"),
    "two answers": (Chatty, EXAMPLE, None, "tuple"),
    "no meaning": (lambda: net(3), EXAMPLE, None, "does not say what they mean"),
    "too few": (lambda: net(1), EXAMPLE, "multiclass", "one number a row"),
    "unclear": (lambda: nn.Sequential(net(1, nn.Sigmoid()), nn.Hardtanh(0, 1)), EXAMPLE, "binary", "between 0 and 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_meaning_is_refused_with_the_reason(case: str) -> None:
    make, example, task, reason = REFUSED[case]
    with pytest.raises(Invalid, match=reason) as refused:
        pack(make(), example, task=task)
    assert refused.value.hint


def test_a_way_taken_by_the_values_is_refused() -> None:
    example = EXAMPLE.with_columns(wind=pl.Series([1.0] + [-1.0] * 39))
    with pytest.raises(Invalid, match="otherwise than the module"):
        pack(Branching(), example)


def test_a_logged_module_is_registered_and_answers(client: Client) -> None:
    module = net(2)
    with rung.start_run(experiment="late", client=client):
        rung.log_model(module, example=EXAMPLE, label="late", task="binary", register_as="late")
    version = client.registry.version("late", 1)
    assert (version.format, version.task, version.unservable) == ("onnx", "binary", "")
    scores = client.registry.predictor("late", 1).predict_scores(EXAMPLE)
    assert np.allclose(scores, softmax(expected(module, EXAMPLE))[:, 1], atol=1e-5)
