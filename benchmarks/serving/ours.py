"""Rung's own server with the two models and one that cannot be compiled, in a project of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOKEN = "token"


def prepared(folder: Path) -> Path:
    """A project with deployments ``hgb`` and ``lr``."""
    return _project(folder / "rung", _COMPILED)


def prepared_native(folder: Path) -> Path:
    """A project with ``native``, which is ``hgb`` without its compiled engine, and ``single``, the same unbatched."""
    return _project(folder / "rung-native", _NATIVE)


def _project(place: Path, deploy: str) -> Path:
    if not place.exists():
        place.mkdir()
        (place / "rung.toml").write_text('home = "home"\n')
        subprocess.run([sys.executable, "-c", _MODELS + deploy], cwd=place, check=True, env=_environ())
    return place


def command(port: int) -> list[str]:
    """The server alone, one process."""
    return [sys.executable, "-m", "rung.cli.entry", "serve", "--port", str(port), "--workers", "1"]


def token(place: Path) -> str:
    """What its callers bring."""
    return (place / "home" / TOKEN).read_text().strip()


def _environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("RUNG_")} | {"OMP_NUM_THREADS": "1"}


_MODELS = """
import polars as pl
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rung

rows, labels = make_classification(20_000, 30, n_informative=12, random_state=0)
frame = pl.DataFrame(rows, schema=[f"f{i}" for i in range(30)])
models = {
    "hgb": HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=31, random_state=0),
    "lr": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}
client = rung.connect()
for name, model in models.items():
    client.registry.register(name, model.fit(rows, labels), example=frame.head(100), label="label")
"""
_COMPILED = """
client.serving.deploy("hgb", "hgb", 1, environment="bench")
client.serving.deploy("lr", "lr", 1, environment="bench")
"""
_NATIVE = """
client.serving.deploy("native", "hgb", 1, environment="bench")
client.serving.configure("native", {"runtime.engine": "native"})
client.serving.deploy("single", "hgb", 1, environment="bench")
client.serving.configure("single", {"runtime.engine": "native", "runtime.batching": "inline"})
"""
