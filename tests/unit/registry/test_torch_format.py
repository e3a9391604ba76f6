"""PyTorch modules as weights and known layers; needs PyTorch and safetensors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from rung.core.errors import Invalid, Unavailable  # noqa: E402
from rung.registry.format import FORMATS  # noqa: E402
from rung.registry.packing import pack  # noqa: E402

FRAME = pl.DataFrame({f"x{i}": np.random.default_rng(i).normal(size=20) for i in range(3)})


def module(end: Any) -> Any:
    torch.manual_seed(1)
    nn = torch.nn
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 4), nn.LayerNorm(4)), *end
    ).eval()


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_module_answers_alike_after_loading(task: str) -> None:
    nn = torch.nn
    end = {"binary": [nn.Linear(4, 1), nn.Sigmoid()], "multiclass": [nn.Linear(4, 3), nn.Softmax(dim=1)], "regression": [nn.Linear(4, 1)]}[
        task
    ]
    made = module(end)
    packed = pack(made, FRAME, format="torch")
    assert (packed.format, packed.task, set(packed.files)) == ("torch", task, {"model.safetensors", "layers.json"})
    found = FORMATS.get("torch").load(packed.files, packed.task)(FRAME)
    with torch.inference_mode():
        expected = made(torch.tensor(FRAME.to_numpy(), dtype=torch.float32)).numpy()
    np.testing.assert_allclose(found, expected if task == "multiclass" else expected[:, 0], rtol=1e-5, atol=1e-6)


def test_a_layer_of_ones_own_is_refused_and_so_are_layers_that_a_file_makes_up() -> None:
    class Own(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x

    with pytest.raises(Invalid, match="Own is not known"):
        FORMATS.get("torch").save(torch.nn.Sequential(torch.nn.Linear(3, 1), Own()))
    files = FORMATS.get("torch").save(module([torch.nn.Linear(4, 1)]))
    for bad in ({"kind": "Module"}, {"kind": "Linear", "settings": {"device": "meta"}}, {"kind": "Sequential", "parts": []}):
        with pytest.raises(Invalid):
            FORMATS.get("torch").load({**files, "layers.json": json.dumps(bad).encode()}, "regression")
    with pytest.raises(Invalid):
        FORMATS.get("torch").load({**files, "model.safetensors": files["model.safetensors"][:50]}, "regression")


def test_a_device_that_is_none_or_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FORMATS.get("torch").save(module([torch.nn.Linear(4, 1)]))
    load_on = FORMATS.get("torch").load_on  # type: ignore[attr-defined]
    assert load_on(files, "regression", "cpu")(FRAME).shape == (20,)
    with pytest.raises(Unavailable, match="There is no device 'cuda:99' here") as met:
        load_on(files, "regression", "cuda:99")
    assert met.value.hint is not None
    assert met.value.hint.startswith("There are: cpu")
    for device in ("gpu", "cuda:", "cuda:x", "meta"):
        with pytest.raises((Invalid, Unavailable)):
            load_on(files, "regression", device)
    monkeypatch.setenv("RUNG_TORCH_DEVICE", "cuda:99")
    assert load_on(files, "regression", "cpu")(FRAME).shape == (20,)  # what the deployment says goes first
    with pytest.raises(Unavailable):
        load_on(files, "regression", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_answers_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FORMATS.get("torch").save(module([torch.nn.Linear(4, 1), torch.nn.Sigmoid()]))
    there = FORMATS.get("torch").load(files, "binary")(FRAME)
    monkeypatch.setenv("RUNG_TORCH_DEVICE", "cpu")
    np.testing.assert_allclose(there, FORMATS.get("torch").load(files, "binary")(FRAME), rtol=1e-4, atol=1e-5)
