"""Folders that ``mlflow.pytorch`` wrote: none of its formats is opened without PyTorch, and the reason names the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from rung.core.digests import digest_of
from rung.registry.mlmodel import FolderFile, MlflowModel, interpret

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")
ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


def read(path: Path) -> MlflowModel:
    files, blobs = {}, {}
    for file in sorted(path.rglob("*")):
        if file.is_file():
            data = file.read_bytes()
            blobs[digest_of(data)] = data
            files[str(file.relative_to(path))] = FolderFile(digest=digest_of(data), size_bytes=len(data))
    return interpret(files, blobs.__getitem__)


WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "its default": ({"input_example": ROWS}, "a program of torch.export"),
    "pickle": ({"serialization_format": "pickle"}, "is a pickle"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_module_of_mlflow_says_why_it_answers_nobody_and_what_to_do(way: str, tmp_path: Path) -> None:
    options, reason = WAYS[way]
    mlflow.pytorch.save_model(torch.nn.Linear(4, 1), tmp_path / "model", pip_requirements=["torch"], **options)
    told = read(tmp_path / "model")
    assert told.flavors == ("python_function", "pytorch")
    assert reason in told.unservable
    assert "rung.log_model(module, example=rows)" in told.unservable
    if "input_example" in options:
        assert told.signature is not None
        assert [(field.name, field.dtype) for field in told.signature.inputs] == [(f"f{place}", "Float32") for place in range(4)]


def test_a_script_is_a_pickle_to_us_too(tmp_path: Path) -> None:
    script = torch.jit.script(torch.nn.Linear(4, 1))
    mlflow.pytorch.save_model(script, tmp_path / "model", serialization_format="pickle", pip_requirements=["torch"])
    assert "is a pickle" in read(tmp_path / "model").unservable
