"""Whether two models that were fitted alike answer alike: both are asked about rows that the original run kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rung.core.errors import RungError
from rung.engine.executors.family import payload_of
from rung.pipelines.materialisers import load
from rung.pipelines.records import Artifact, PipelineRun, StepRun
from rung.pipelines.reproducing import OutputComparison
from rung.storage.blobs import BlobStore

_MODELS = {"estimator"}
_TABLES = {"polars", "pandas", "numpy"}
_ROWS = 500


def agreement(
    found: OutputComparison,
    step: StepRun,
    run: PipelineRun,
    done: dict[str, StepRun],
    again: dict[str, StepRun],
    blobs: BlobStore,
    scratch: Path,
) -> str:
    """In words, how far a model and its repetition agree on an input of their step; empty where that cannot be asked."""
    first, second = _named(step, found.output), _named(again.get(step.key), found.output)
    if first is None or second is None or first.kind not in _MODELS or second.kind != first.kind:
        return ""
    for table in _inputs(step, run, done):
        try:
            rows = load(table.kind, payload_of(table, blobs), scratch / "probe")
            then, now = (load(model.kind, payload_of(model, blobs), scratch / "model") for model in (first, second))
            return _compared(then, now, _taken(rows, then))
        except (RungError, ValueError, TypeError, KeyError, AttributeError, ImportError, IndexError):
            continue  # this table is not what the model takes; the next may be
    return ""


def _named(step: StepRun | None, output: str) -> Artifact | None:
    return next((a for a in (step.outputs if step else ()) if a.name == output), None)


def _inputs(step: StepRun, run: PipelineRun, done: dict[str, StepRun]) -> list[Artifact]:
    spec = next((spec for spec in run.steps if spec.key == step.key), None)
    found: list[Artifact] = []
    for source in (source for sources in (spec.inputs.values() if spec else ()) for source in sources):
        key, _, index = source.rpartition(".")
        held = done.get(source)
        outputs = held.outputs if held else done[key].outputs[int(index) : int(index) + 1] if key in done and index.isdigit() else ()
        found += [artifact for artifact in outputs if artifact.kind in _TABLES]
    return found


def _taken(rows: Any, model: Any) -> Any:
    """The first rows, with the columns the model was fitted on."""
    part = rows.head(_ROWS) if hasattr(rows, "head") else rows[:_ROWS]
    names = getattr(model, "feature_names_in_", None)
    return part if names is None or not hasattr(part, "columns") else part[list(names)]


def _compared(then: Any, now: Any, rows: Any) -> str:
    import numpy as np  # noqa: PLC0415 - models are loaded, so it is

    if hasattr(then, "predict_proba"):
        gap = float(np.max(np.abs(then.predict_proba(rows) - now.predict_proba(rows))))
        agree = float(np.mean(then.predict(rows) == now.predict(rows)))
        return f"on {len(rows)} recorded rows they agree in {agree:.4%}, probabilities differ by at most {gap:.3g}"
    gap = float(np.max(np.abs(np.asarray(then.predict(rows), dtype=float) - np.asarray(now.predict(rows), dtype=float))))
    return f"on {len(rows)} recorded rows their predictions differ by at most {gap:.3g}"
