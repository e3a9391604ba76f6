"""What one row and a thousand rows cost: the model's own library, Rung's engine, ONNX Runtime. CPU microseconds, the best of several."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import polars as pl


def _cpu_us(call: Callable[[], Any], seconds: float = 0.3) -> float:
    call()
    best, spent, calls = float("inf"), 0.0, 1
    while spent < seconds:
        before = time.process_time()
        for _ in range(calls):
            call()
        took = time.process_time() - before
        spent += took
        if took < 0.01:
            calls *= 2
            continue
        best = min(best, took / calls)
    return best * 1e6


def _models() -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "histogram boosting, 100 trees x 31 leaves": HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0),
        "random forest, 100 trees of depth 12": RandomForestClassifier(100, max_depth=12, random_state=0),
        "scaler and logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "scaler and perceptron of 32 units": make_pipeline(StandardScaler(), MLPClassifier((32,), max_iter=10, random_state=0)),
    }


def _onnx(estimator: Any, rows: np.ndarray) -> Callable[[np.ndarray], Any] | None:
    try:
        import onnxruntime
        import skl2onnx

        graph = skl2onnx.to_onnx(estimator, rows[:1].astype(np.float32), options={"zipmap": False}, target_opset=17)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a comparison that cannot be made is left out, and said so
        print(f"  (ONNX Runtime: {str(error).splitlines()[0][:90]})")
        return None
    name = session.get_inputs()[0].name
    return lambda given: session.run(["probabilities"], {name: given.astype(np.float32)})[0]


def run() -> None:
    """Print the table."""
    from threadpoolctl import threadpool_limits

    from rung.registry.compiling import compiled
    from rung.registry.engine import unpacked
    from rung.registry.packing import pack
    from rung.registry.records import ModelFile, ModelVersion
    from rung.stats import kernel

    chance = np.random.default_rng(0)
    rows = chance.normal(size=(8000, 30))
    target = (rows[:, :5].sum(axis=1) + chance.normal(size=8000) > 0).astype(int)
    one, many = rows[:1].copy(), rows[:1000].copy()
    now = datetime.now(UTC)
    print(f"30 columns; compiled part: {'yes' if kernel.KERNEL else 'no'}; one thread; CPU us")
    print(f"{'model':44} {'rows':>5} {'native':>10} {'engine':>9} {'ratio':>7} {'onnx':>9}  engine, largest difference")
    with threadpool_limits(1):
        for name, estimator in _models().items():
            estimator.fit(rows, target)
            found = pack(estimator, pl.DataFrame(rows[:200], schema=[f"f{i}" for i in range(30)]))
            files = tuple(ModelFile(path=path, digest="blake3:" + "0" * 64, size_bytes=len(data)) for path, data in found.files.items())
            version = ModelVersion(
                id="0" * 32, model="m", number=1, digest="blake3:" + "0" * 64, format=found.format, files=files, size_bytes=1, label="y",
                signature=found.signature, task=found.task, classes=found.classes, threshold=None, datasets=(), libraries={}, created_at=now,
                created_by="",
            )  # fmt: skip
            made = compiled(version, found.files, found.example, now)
            score = unpacked(made.artifact).run() if made.artifact else estimator.predict_proba
            graph = _onnx(estimator, rows)
            for given in (one, many):
                native, engine = _cpu_us(partial(estimator.predict_proba, given)), _cpu_us(partial(score, given))
                onnx = f"{_cpu_us(partial(graph, given)):9.1f}" if graph else "        -"
                told = f"{made.told.engine}, {made.told.largest_difference:.1e}"
                print(f"{name:44} {len(given):5} {native:10.1f} {engine:9.1f} {native / engine:6.0f}x {onnx}  {told}", flush=True)


if __name__ == "__main__":
    run()
