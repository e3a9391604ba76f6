"""Explanations on request: what each input contributed to a row's score, against rows of the training data.

Trees and affine maps that an engine compiled are explained exactly; any other model by its scores of mixtures of the row
and background rows: all of them where the inputs are few, sampled orders of the inputs else. Contributions and ``base``,
the mean score of the background rows, add up to the score.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid, NotFound
from rung.registry.records import Field, ModelVersion
from rung.serving.inference import Floats, Rows
from rung.stats.attribution import Paths, affine_shares, enumerated, forest_shares, on_scores, paths, sampled
from rung.stats.ensembles import Affine

if TYPE_CHECKING:
    from rung.registry.predictor import Predictor
    from rung.serving.graph.family import Surroundings

BASE = "base"
MOST_ROWS = 100
_BACKGROUND = 24
_FEW_MIXTURES = 4096
Explanation = dict[str, float]
Score = Callable[[Rows], Floats]


class Explainer:
    """Explains the scores of one version, or of whatever scores rows of these fields.

    Args:
        fields: the inputs. score: what scores rows of them. background: gives the background rows, asked once when first needed.
        predictor: the loaded version, where there is one.
    """

    def __init__(self, fields: Sequence[Field], score: Score, background: Callable[[], Rows], predictor: Predictor | None = None) -> None:
        self._names = [field.name for field in fields]
        self._score = score
        self._asked_background = background
        self._exact = _exact_of(predictor)
        self._lock = threading.Lock()
        self._held: tuple[Rows, Floats] | None = None

    def explain(self, rows: Rows) -> list[Explanation]:
        """For each row the contribution of each input, and ``base``; of the class with most probability where there are several.

        Raises:
            Invalid: there are more rows than are explained at once, or nothing is known to compare them with.
        """
        if rows.height > MOST_ROWS:
            raise Invalid(
                f"{rows.height} rows are too many to explain at once.",
                code="serving.too_many_to_explain",
                hint=f"Send {MOST_ROWS} or fewer.",
            )
        background, worth = self._background()
        scores = self._score(rows)
        if self._exact is not None and rows.matrix is not None and background.matrix is not None and scores.ndim == 1:
            shares = on_scores(self._exact(rows.matrix, background.matrix), scores, worth)
            return [self._told(row, float(worth.mean())) for row in shares]
        return [self._by_mixtures(rows, place, scores, background, worth) for place in range(rows.height)]

    def _by_mixtures(self, rows: Rows, place: int, scores: Floats, background: Rows, worth: Floats) -> Explanation:
        chosen = None if scores.ndim == 1 else int(scores[place].argmax())
        mixed = _mixtures(rows, place, background, self._score, chosen)
        base = float(worth.mean() if chosen is None else worth[:, chosen].mean())
        columns, others = len(self._names), background.height
        ask = enumerated if columns < _BACKGROUND and 2**columns * others <= _FEW_MIXTURES else sampled
        return self._told(ask(mixed, columns, others), base)

    def _told(self, found: Floats, base: float) -> Explanation:
        return {**dict(zip(self._names, found.tolist(), strict=True)), BASE: base}

    def _background(self) -> tuple[Rows, Floats]:
        with self._lock:
            if self._held is None:
                rows = self._asked_background()
                self._held = rows, self._score(rows)
            return self._held


class Explainers:
    """Explainers of a deployment, made when first asked for: one for each version that answers, or for its graph with that version."""

    def __init__(self, around: Callable[[ModelVersion], Surroundings]) -> None:
        self._around = around
        self._held: dict[str, Explainer] = {}

    def of(self, version: ModelVersion, fields: Sequence[Field], score: Score, predictor: Predictor | None) -> Explainer:
        """The explainer of what scores rows of these fields with this version."""
        key = f"{version.model}:{version.number}"
        held = self._held.get(key)
        if held is None:
            held = Explainer(fields, score, lambda: background(version, fields, self._around(version)), predictor)
            self._held[key] = held
        return held


def background(version: ModelVersion, fields: Sequence[Field], around: Surroundings) -> Rows:
    """Some rows that a version was trained on, or its input example, as rows of these fields. Raises Invalid when none are known."""
    from rung.registry.matching import matched  # noqa: PLC0415 - Polars only where somebody asks for an explanation
    from rung.registry.records import Signature  # noqa: PLC0415 - see above
    from rung.serving.graph.trying import rows_of  # noqa: PLC0415 - see above

    named = [field.name for field in fields]
    for role in ("train", "input", "reference", "test"):
        for use in version.datasets:
            if use.role != role:
                continue
            try:
                frame = around.rows(use.dataset, use.number, named, _BACKGROUND)
                return rows_of(matched(frame, Signature(inputs=tuple(fields)), extra="drop"), fields)
            except (NotFound, Invalid):
                continue
    example = around.example(version)
    if example is not None:
        frame = example.head(_BACKGROUND)
        return rows_of(matched(frame, Signature(inputs=tuple(fields)), extra="drop"), fields)
    raise Invalid(
        f"{version.model}:{version.number} cannot be explained: no rows are known that it was trained on.", code="serving.no_background",
        hint="Register it with datasets, or with an input example.",
    )  # fmt: skip


def _exact_of(predictor: Predictor | None) -> Callable[[Floats, Floats], Floats] | None:
    """What splits the sum of a compiled model exactly: None for one that is no single forest or affine map over its inputs."""
    program = getattr(predictor, "program", None)
    if program is None or len(program.parts) != 1 or not program.numeric:
        return None
    part = program.parts[0]
    if part.after or program.weights != [1.0]:
        return None
    origin = _origins(part.steps, len(program.sources))
    if origin is None:
        return None
    from rung.registry.program import chained  # noqa: PLC0415 - known by then

    model, before = part.body.model(), chained(part.steps)
    width = len(program.sources)
    if model.outputs != 1:
        return None
    held: Paths | None = None
    if not isinstance(model, Affine):
        held = paths(model)
        if held is None:
            return None

    def shares(rows: Floats, others: Floats) -> Floats:
        given, compared = before(rows), before(others)
        found = affine_shares(model, given, compared) if isinstance(model, Affine) else forest_shares(_there(held), given, compared)
        summed = np.zeros((*found.shape[:2], width))
        for place, source in enumerate(origin.tolist()):
            summed[:, :, source] += found[:, :, place]
        return summed

    return shares


def _there(held: Paths | None) -> Paths:
    assert held is not None  # noqa: S101 - made above for every forest
    return held


def _origins(steps: Sequence[Any], width: int) -> NDArray[np.intp] | None:
    """Which input each column behind the steps comes from; None where one comes from several."""
    origin = np.arange(width)
    for step in steps:
        match type(step).__name__:
            case "Pick":
                origin = origin[step.columns]
            case "Shift" | "Clip" | "Fill" | "Missing" | "Refuse" | "Lookup":
                pass
            case "Hot":
                origin = np.repeat(origin, step.sizes)
            case "Join":
                parts = [_origins(part, len(origin)) for part in step.parts]
                if any(part is None for part in parts):
                    return None
                origin = np.concatenate([origin[part] for part in parts if part is not None])
            case _:
                return None
    return origin


def _mixtures(rows: Rows, place: int, background: Rows, score: Score, chosen: int | None) -> Callable[[NDArray[np.intp]], Floats]:
    """Scores of mixtures of one row with the background rows: places in the background, -1 for the row's own value."""

    def mixed(asked: NDArray[np.intp]) -> Floats:
        if rows.matrix is not None and background.matrix is not None:
            table = np.concatenate([background.matrix, rows.matrix[place : place + 1]])
            found = score(Rows(matrix=np.ascontiguousarray(table[asked, np.arange(table.shape[1])])))
        else:
            import polars as pl  # noqa: PLC0415 - only where a frame is

            assert rows.frame is not None and background.frame is not None  # noqa: S101, PT018 - the other of the two
            whole = pl.concat([background.frame, rows.frame[place]], how="vertical_relaxed")
            last = background.height
            picked = [series.gather(np.where(asked[:, at] < 0, last, asked[:, at])) for at, series in enumerate(whole.get_columns())]
            found = score(Rows(frame=pl.DataFrame(picked)))
        return found if chosen is None else found[:, chosen]

    return mixed
