"""Models that bring code of their own: kept as source and data, and never run in a server's process."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import polars as pl
import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.errors import Denied, Invalid
from rung.core.settings import load_settings
from rung.registry.format import FORMATS
from rung.registry.loading import load
from rung.registry.own_code import at_home
from rung.registry.packing import pack

FRAME = pl.DataFrame({"x": [0.5, 2.0, 4.0]})
SOURCE = """
    from pathlib import Path

    class Doubler:
        task = "regression"
        classes = ()

        def __init__(self, factor):
            self.files = {"factor.txt": str(factor).encode()}
            self.factor = factor

        def load(self, folder: Path):
            self.factor = float((folder / "factor.txt").read_text())

        def predict(self, frame):
            return frame["x"] * self.factor
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "doubling.py").write_text(dedent(SOURCE))
    monkeypatch.syspath_prepend(str(tmp_path))
    import doubling

    yield doubling.Doubler(3)
    sys.modules.pop("doubling", None)


def test_a_class_is_kept_as_its_source_and_data_and_answers_alike(model: Any) -> None:
    packed = pack(model, FRAME)
    assert (packed.format, sorted(packed.files)) == ("python", ["code/doubling.py", "data/factor.txt", "model.json"])
    with at_home():
        scorer = FORMATS.get("python").load(packed.files, "regression")
    np.testing.assert_allclose(scorer(FRAME), [1.5, 6.0, 12.0])


def test_its_code_does_not_run_in_a_server(model: Any) -> None:
    files = pack(model, FRAME).files
    with pytest.raises(Denied, match="does not run in a server's process"):
        FORMATS.get("python").load(files, "regression")


def test_a_platform_takes_it_only_where_that_is_allowed(model: Any, tmp_path: Path) -> None:
    for allowed in (False, True):
        transport = local_transport(
            load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / str(allowed)), "registry.allow_code": str(allowed).lower()})
        )
        try:
            client = Client(transport)
            if not allowed:
                with pytest.raises(Denied, match="brings code of its own"):
                    client.registry.register("double", model, example=FRAME, label="y")
                continue
            version = client.registry.register("double", model, example=FRAME, label="y")
            assert version.engine is not None
            assert "process of its own" in version.engine.reason
            with pytest.raises(Denied):
                load(transport.platform.blobs, version)
            client.serving.deploy("double", "double", 1, environment="dev")
            assert client.serving.predict("double", FRAME)["score"].to_list() == [1.5, 6.0, 12.0]
        finally:
            transport.close()


def test_a_class_without_a_file_is_refused() -> None:
    held: dict[str, Any] = {}
    exec(dedent(SOURCE), held)
    with pytest.raises(Invalid, match="found"):
        FORMATS.get("python").save(held["Doubler"](2))


def test_a_python_function_of_mlflow_answers_by_its_own_code(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow.pyfunc")

    class Half(mlflow.PythonModel):  # type: ignore[misc, name-defined]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input["x"] / 2

    folder = tmp_path / "half"
    mlflow.save_model(folder, python_model=Half(), pip_requirements=[])
    packed = pack(folder, FRAME, task="regression", format="pyfunc")
    assert "MLmodel" in packed.files
    with at_home():
        scorer = FORMATS.get("pyfunc").load(packed.files, "regression")
    np.testing.assert_allclose(scorer(FRAME), [0.25, 1.0, 2.0])
