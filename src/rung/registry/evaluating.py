"""Scoring a version on a dataset version, and trying a loaded one: the slow halves of evaluations and gates."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import polars as pl

from rung.core.errors import Invalid
from rung.core.ids import new_id
from rung.data.frames import scan
from rung.data.records import DatasetVersion
from rung.evaluation.metric import Floats, all_scores
from rung.evaluation.records import Evaluation, SliceBy
from rung.evaluation.rows import ScoredRows, cut, positive_share, share_intervals, slice_scores
from rung.registry.gate import Contender, Trial
from rung.registry.loading import load, predictor
from rung.registry.records import ModelVersion, SliceRule
from rung.storage.scope import Scope

_TRIED_ROWS = 20
_SCORED_AT_ONCE = 200_000


@dataclass(frozen=True)
class Rows:
    """Rows of a dataset version as one model version needs them: inputs, label, and the columns to cut by."""

    inputs: pl.DataFrame
    labels: Floats
    slices: pl.DataFrame
    without_label: int


def evaluated(scope: Scope, version: ModelVersion, dataset: DatasetVersion, slices: tuple[SliceRule, ...], by: str) -> Contender:
    """A version scored on a dataset version; the rows' scores are stored as a blob, the evaluation is not stored yet."""
    cuts = tuple(SliceBy(column=item.column, bands=item.bands) for item in slices)
    rows = read_rows(scope, version, dataset, cuts)
    started = time.perf_counter()
    scores = _scored(scope, version, rows.inputs)
    seconds = time.perf_counter() - started
    scored = ScoredRows(rows.labels, scores, rows.slices)
    threshold = version.threshold if version.threshold is not None else 0.5
    found = all_scores(version.known_task, scored.labels, scored.scores, threshold)
    evaluation = Evaluation(
        id=new_id(), model=version.model, number=version.number, dataset=dataset.dataset, dataset_number=dataset.number,
        task=version.known_task, scores=found, slices=slice_scores(version.known_task, scored, threshold), slice_by=cuts, rows=len(scored.labels),
        rows_without_label=rows.without_label, positive_share=positive_share(version.known_task, scored.labels),
        threshold=version.threshold, rows_blob=scope.blobs.put(scored.to_parquet()), scoring_s=seconds, created_at=scope.now,
        created_by=by, run_id=version.run_id, intervals=share_intervals(found, len(scored.labels)),
    )  # fmt: skip
    return Contender(version, evaluation, scored)


def read_rows(scope: Scope, version: ModelVersion, dataset: DatasetVersion, cuts: tuple[SliceBy, ...]) -> Rows:
    """The labelled rows of a dataset version. Raises Invalid, naming the columns that are not there."""
    held = [column.name for column in dataset.schema]
    wanted = [field.name for field in version.signature.inputs]
    missing = [name for name in dict.fromkeys([*wanted, version.label, *(item.column for item in cuts)]) if name not in held]
    if missing:
        raise Invalid(
            f"Dataset {dataset.dataset}:{dataset.number} lacks {', '.join(missing)}, which {version.model}:{version.number} needs.",
            code="registry.missing_columns",
            hint="Evaluate on a dataset with the model's inputs and its label.",
        )
    needed = list(dict.fromkeys([*wanted, version.label, *(item.column for item in cuts)]))
    frame = scan(scope.blobs, dataset).select(needed).collect()
    labelled = frame.filter(pl.col(version.label).is_not_null())
    if not labelled.height:
        raise Invalid(
            f"No row of {dataset.dataset}:{dataset.number} has a label in {version.label!r}.",
            code="registry.no_labels",
            hint="Wait for labels, or choose another dataset version.",
        )
    labels = as_numbers(labelled[version.label], version)
    return Rows(labelled.select(wanted), labels, cut(labelled, cuts), frame.height - labelled.height)


def as_numbers(labels: pl.Series, version: ModelVersion) -> Floats:
    """Labels as class numbers or, in a regression, as they are. Raises Invalid for labels that are no class of the model."""
    if version.known_task == "regression":
        if not labels.dtype.is_numeric():
            raise Invalid(f"Label {labels.name!r} is {labels.dtype}, not a number.", code="registry.bad_labels", hint="Cast it.")
        return labels.cast(pl.Float64).to_numpy()
    by_text = isinstance(version.classes[0], str)
    keys = [value if by_text else float(value) for value in version.classes]
    cast = labels.cast(pl.String if by_text else pl.Float64, strict=False)
    found = cast.replace_strict(keys, [float(place) for place in range(len(keys))], default=None, return_dtype=pl.Float64)
    if found.null_count():
        strangers = labels.filter(found.is_null()).unique().head(5).to_list()
        raise Invalid(
            f"Label {labels.name!r} holds {', '.join(map(repr, strangers))}, which is no class of {version.model}:{version.number}.",
            code="registry.bad_labels",
            hint=f"Its classes are {', '.join(map(repr, version.classes))}.",
        )
    return found.to_numpy()


def trial(scope: Scope, version: ModelVersion, dataset: DatasetVersion) -> Trial:
    """Load the version anew and let it answer a few rows, together and one at a time."""
    predictor(scope, version)  # once before the clock runs: the libraries' own import is not the version's
    started = time.perf_counter()
    fresh = load(scope.blobs, version)
    load_s = time.perf_counter() - started
    names = [field.name for field in version.signature.inputs]
    rows = scan(scope.blobs, dataset).select(names).head(_TRIED_ROWS).collect()
    try:
        together = fresh.predict_scores(rows)
        single = []
        timed = []
        for number in range(rows.height):
            started = time.perf_counter()
            single.append(fresh.predict_scores(rows[number]))
            timed.append((time.perf_counter() - started) * 1000)
    except Invalid as error:
        return Trial(rows=rows.height, faults=(error.message[:900],), load_s=load_s, single_row_ms=0.0)
    faults = []
    if not np.isfinite(together).all():
        faults.append("It answers numbers that are not finite.")
    elif version.known_task != "regression" and (together.min(initial=0.0) < 0 or together.max(initial=1.0) > 1):
        faults.append("It answers probabilities outside of 0 to 1.")
    if len(together) != rows.height or not np.allclose(np.concatenate(single), together, atol=1e-6, equal_nan=True):
        faults.append("It answers rows otherwise one at a time than together.")
    return Trial(rows=rows.height, faults=tuple(faults), load_s=load_s, single_row_ms=float(np.median(timed)))


def _scored(scope: Scope, version: ModelVersion, inputs: pl.DataFrame) -> Floats:
    held = predictor(scope, version)
    scores = np.concatenate([held.predict_scores(part) for part in inputs.iter_slices(_SCORED_AT_ONCE)])
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise Invalid(
            f"{version.model}:{version.number} gives {bad} scores that are not finite.", code="registry.bad_scores", hint="Mend the model."
        )
    return scores
