"""An MLflow model folder answered by its own python_function flavour, with MLflow, in a confined process of its own.

For folders that no safe format reads: a loader module with code, a custom PythonModel. Whatever ``predict`` gives is taken
for the scores; a column or matrix of probabilities, or values.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import FORMATS, Scorer, Traits, missing_library, scores
from rung.registry.own_code import check_here

MLMODEL = "MLmodel"


@FORMATS.member("pyfunc")
class PyFunc:
    """The path of a folder with an MLmodel file; name the format, or no safe one is looked for."""

    rank = 95
    libraries = ("mlflow", "pandas", "numpy")
    endings: tuple[str, ...] = ()
    isolated = True

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it is such a folder."""
        return isinstance(estimator, Path) and (estimator / MLMODEL).is_file()

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """Every file of the folder. Raises Invalid for a folder that is no model."""
        if not PyFunc.accepts(estimator):
            raise Invalid(f"{estimator} is no folder with an {MLMODEL} file.", code="registry.no_mlmodel", hint="Save it by mlflow first.")
        found = {path.relative_to(estimator).as_posix(): path.read_bytes() for path in sorted(estimator.rglob("*")) if path.is_file()}
        return {path: data for path, data in found.items() if "__pycache__" not in path}

    @staticmethod
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """One file is no folder."""
        raise Invalid("An MLflow model is a folder.", code="registry.no_format", hint="Give its path.")

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """Nothing that could be known without running it."""
        if MLMODEL not in files:
            raise Invalid(f"The folder has no {MLMODEL} file.", code="registry.no_mlmodel", hint="Save it by mlflow first.")
        return Traits(reason="A Python function does not say what it predicts; say the task.")

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Denied in a server's process, Unavailable without MLflow."""
        check_here("pyfunc")
        try:
            import mlflow.pyfunc  # noqa: PLC0415 - optional, and slow to import
        except ImportError:
            raise missing_library("MLflow", "mlflow") from None
        folder = tempfile.TemporaryDirectory(prefix="rung-pyfunc-")
        for path, data in files.items():
            place = Path(folder.name, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        model = mlflow.pyfunc.load_model(folder.name)

        def score(frame: pl.DataFrame) -> NDArray[np.float64]:
            assert folder.name  # noqa: S101 - kept alive with the scorer
            found = model.predict(frame.to_pandas())
            return scores(np.asarray(getattr(found, "to_numpy", lambda: found)()), task)

        return score
