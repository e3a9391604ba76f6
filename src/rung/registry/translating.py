"""A version as a program: what lies before the last estimator, the estimator as a body, and what calibrates or averages around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.registry import program as p
from rung.registry.engine import Model, NotHeld
from rung.registry.folding import shortened
from rung.registry.preparing import Columns, Preparing
from rung.stats.ensembles import Affine, Forest

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Core:
    """An estimator without what lies around it: its body, and steps before and after."""

    model: Forest | Affine
    before: tuple[p.Step, ...] = ()
    after: tuple[p.Step, ...] = ()


Translate = Callable[[Any, Model], Core]
EVERY: dict[str, Translate] = {}  # what any engine translates, for averages over several kinds; filled when engines are loaded


@dataclass(frozen=True)
class _Piece:
    """One of the estimators that are averaged."""

    weight: float
    columns: Columns
    core: Core
    after: tuple[p.Step, ...] = field(default=())


def translated(model: Model, known: Mapping[str, Translate], engine: str) -> p.Program:
    """The program of an estimator whose last part one of ``known`` translates, by class name. Raises NotHeld."""
    try:
        made = Preparing(model.inputs)
        estimator = model.estimator()
        first = getattr(estimator, "feature_names_in_", None)
        names = None if first is None else [str(name) for name in first]
        pieces = _pieces(made, estimator, made.start(names), model, known)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise NotHeld(f"It is built otherwise than expected: {' '.join(str(error).split())[:200]}") from error
    return program_of(made, pieces, engine, model)


def program_of(made: Preparing, pieces: list[_Piece], engine: str, model: Model) -> p.Program:
    """The program of pieces over prepared columns. Raises NotHeld."""
    parts = []
    for piece in pieces:
        held = made.numbers(piece.columns)
        steps, body = shortened([*held.steps, *piece.core.before], piece.core.model, len(made.sources))
        parts.append(p.Part(steps=steps, body=p.body_of(body), after=[*piece.core.after, *piece.after]))
    found = p.Program(
        engine=engine, version="", inputs=[item.name for item in model.inputs], sources=made.sources, parts=parts,
        weights=[piece.weight for piece in pieces],
    )  # fmt: skip
    try:
        found.check()
    except ValueError as error:
        raise NotHeld(f"Its translation is not whole: {error}") from None
    return found


def booster_program(model: Model, core: Core, names: list[str], texts: Mapping[int, list[Any]], engine: str) -> p.Program:
    """The program of a booster's own file: its columns by name if the inputs have these names, texts coded as in its fit."""
    made = Preparing(model.inputs)
    started = made.start(names)
    given: list[Any] = []
    for place, item in enumerate(started.given or ()):
        known = texts.get(place)
        if isinstance(item, int):
            if known is not None:
                raise NotHeld("A column fitted on categories is given as numbers.")
            given.append(item)
        elif known is None or not all(isinstance(value, str) for value in known):
            raise NotHeld("A column of texts has no list of its categories.")
        else:
            given.append(made.encoded(item, {value: float(code) for code, value in enumerate(known)}, np.nan, np.nan))
    if len(given) != len(names):
        raise NotHeld(f"It takes {len(names)} columns, not {len(given)}.")
    return program_of(made, [_Piece(1.0, Columns.of(given), core)], engine, model)


def _pieces(made: Preparing, estimator: Any, columns: Columns, model: Model, known: Mapping[str, Translate]) -> list[_Piece]:
    name = type(estimator).__name__
    if name == "Pipeline":
        for _, step in estimator.steps[:-1]:
            if step is not None and step != "passthrough":
                columns = made.through(step, columns)
        return _pieces(made, estimator.steps[-1][1], columns, model, known)
    inner = getattr(estimator, "best_estimator_", None) or (estimator.estimator if name == "FrozenEstimator" else None)
    if inner is not None:
        return _pieces(made, inner, columns, model, known)
    if name == "VotingClassifier" and estimator.voting == "soft":
        return _averaged(made, [(one, columns) for one in estimator.estimators_], estimator.weights, model, known)
    if name == "VotingRegressor":
        return _averaged(made, [(one, columns) for one in estimator.estimators_], estimator.weights, model, known)
    if name == "CalibratedClassifierCV":
        return _calibrated(made, estimator, columns, model, known)
    encoder = getattr(estimator, "_preprocessor", None)  # histogram boosting: categories first, as codes
    columns = columns if encoder is None else made.through_own(encoder, columns)
    if name in known:
        return [_Piece(1.0, columns, known[name](estimator, model))]
    raise NotHeld(f"{name} is not translated.")


def _averaged(made: Preparing, held: list[tuple[Any, Columns]], weights: Any, model: Model, known: Mapping[str, Translate]) -> list[_Piece]:
    shares = np.full(len(held), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    shares = shares / shares.sum()
    found = []
    for share, (estimator, columns) in zip(shares, held, strict=True):
        for piece in _pieces(made, estimator, columns, model, known):
            found.append(_Piece(float(share) * piece.weight, piece.columns, piece.core, piece.after))
    return found


def _calibrated(made: Preparing, estimator: Any, columns: Columns, model: Model, known: Mapping[str, Translate]) -> list[_Piece]:
    """Each estimator of the folds, its decision through its own sigmoid, averaged."""
    if model.task != "binary":
        raise NotHeld("Calibration of several classes is not translated.")
    found = []
    for one in estimator.calibrated_classifiers_:
        calibrator = one.calibrators[0]
        if type(calibrator).__name__ != "_SigmoidCalibration":
            raise NotHeld("Isotonic calibration is not translated.")
        inner = _pieces(made, one.estimator, columns, model, known)
        if len(inner) != 1 or inner[0].after or inner[0].core.after:
            raise NotHeld("Calibration of an average is not translated.")
        core = inner[0].core
        # the decision is what the link is given, where the estimator has one, else P(positive)
        decided = hasattr(one.estimator, "decision_function")
        if decided and core.model.link not in {"identity", "sigmoid"}:
            raise NotHeld(f"Calibration behind {core.model.link} is not translated.")
        body = _without_link(core.model) if decided else core.model
        slope, shift = -float(calibrator.a_), -float(calibrator.b_)
        share = 1.0 / len(estimator.calibrated_classifiers_)
        if isinstance(body, Affine) and body.link == "identity":
            folded = replace(body, weights=body.weights * slope, base=body.base * slope + shift, link="sigmoid")
            found.append(_Piece(share, inner[0].columns, Core(folded, core.before)))
            continue
        bend = (
            p.Shift("multiply", np.array([slope])), p.Shift("add", np.array([shift])), p.Activate("logistic"),
        )  # fmt: skip
        found.append(_Piece(share, inner[0].columns, Core(body, core.before), bend))
    return found


def _without_link(model: Forest | Affine) -> Forest | Affine:
    return replace(model, link="identity", scale=1.0)
