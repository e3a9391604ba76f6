"""What LightGBM and XGBoost have in common: a curve an iteration, the best iteration, importances, and native training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.client.autolog.fits import Fit, keep_importance
from rung.client.autolog.guard import inside, quietly
from rung.client.autolog.options import Options
from rung.client.autolog.sessions import Session
from rung.tracking.records import Input

if TYPE_CHECKING:
    import polars as pl


class Curves:
    """Logs the values of each evaluation set an iteration, every n-th and the last; gives up at the first failure."""

    def __init__(self, session: Session, every: int) -> None:
        self._session = session
        self._every = every
        self._skipped: tuple[int, dict[str, float]] | None = None
        self._works = True

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """The values after an iteration, counted from 0."""
        if not self._works or not values:
            return
        if iteration % self._every:
            self._skipped = iteration, dict(values)
            return
        self._skipped = None
        self._send(iteration, values)

    def end(self) -> None:
        """Training is over: the last values, if they were skipped."""
        if self._skipped is not None:
            self._send(*self._skipped)
            self._skipped = None

    def _send(self, iteration: int, values: Mapping[str, float]) -> None:
        self._works = False
        with quietly("curves are not logged"):
            self._session.run.log_metrics({self._session.key(key): float(value) for key, value in values.items()}, iteration)
            self._works = True


class Training:
    """Logs one call of a library's native ``train``."""

    def __init__(self, library: str, options: Options, params: Mapping[str, Any], data: Data) -> None:
        self.library = library
        self.options = options
        self.data = data
        self.session = Session(library, options, library)
        self.curves = Curves(self.session, options.every_n_steps)
        with quietly("the params could not be logged"):
            self.session.say(params, (data.described,) if data.described is not None and options.datasets else ())
        self.started = time.perf_counter()

    def failed(self, error: BaseException) -> None:
        """Training raised."""
        self.session.close(error)

    def succeeded(self, result: Any) -> None:
        """Training is done; ``result`` is the booster."""
        took = time.perf_counter() - self.started
        try:
            with quietly("curves are not logged"):
                self.curves.end()
            if self.options.models and self.data.example is not None:
                with quietly("the booster is not kept"):
                    self._keep(result)
            with quietly("the best iteration is not logged"):
                self.session.measure({"fit_s": took, **best_of(result)})
            with quietly("feature importance is not kept"):
                for kind, (names, weights) in importances_of(result).items():
                    keep_importance(self.session, names, weights, f"feature_importance_{kind}")
        finally:
            self.session.close()

    def _keep(self, booster: Any) -> None:
        from rung.client.modelling import log_model  # noqa: PLC0415 - loads the model formats

        model = log_model(
            booster,
            self.session.label or "model",
            example=self.data.example,
            run=self.session.run,
            keep_example=self.options.input_examples,
        )
        self.session.model = model.id


class Crossing:
    """Logs one call of a library's ``cv``: the curves of its means and deviations."""

    def __init__(self, library: str, options: Options, params: Mapping[str, Any], data: Data) -> None:
        self.library = library
        self.options = options
        self.session = Session(library, options, f"{library} cv")
        with quietly("the params could not be logged"):
            self.session.say(params, (data.described,) if data.described is not None and options.datasets else ())

    def failed(self, error: BaseException) -> None:
        """The cross-validation raised."""
        self.session.close(error)

    def succeeded(self, result: Any) -> None:
        """It is done; ``result`` has a list of values for each name."""
        try:
            columns = {key.replace(" ", "/", 1): list(result[key]) for key in result if not hasattr(result[key], "boosters")}
            for step in range(max(map(len, columns.values()), default=0)):
                if step % self.options.every_n_steps == 0:
                    self.session.run.log_metrics({self.session.key(key): float(held[step]) for key, held in columns.items()}, step)
        finally:
            self.session.close()


class Data:
    """What is known of the data of a native training: some rows, and what is said of it."""

    def __init__(self, example: pl.DataFrame | None = None, described: Input | None = None) -> None:
        self.example = example
        self.described = described


def curves_inside(library: str) -> Curves | None:
    """Where a booster trained inside of a fit logs its curves: to the fit, if the booster is what it fits."""
    outer = inside.get()
    if not isinstance(outer, Fit) or not _is_of(library, outer):
        return None
    held = Curves(outer.session, outer.options.every_n_steps)
    outer.at_end.append(held.end)
    return held


def log_best(fit: Fit) -> None:
    """What a fitted booster of scikit-learn's protocol says of its best iteration."""
    steps = getattr(fit.estimator, "steps", None)
    estimator = steps[-1][1] if steps else fit.estimator
    booster = getattr(estimator, "booster_", None) or estimator.get_booster()
    fit.session.measure(best_of(booster))


def best_of(booster: Any) -> dict[str, float]:
    """Best iteration and score of a booster that was stopped early; nothing of others."""
    best = getattr(booster, "best_iteration", None) if not hasattr(booster, "attr") else _attribute(booster, "best_iteration")
    if best is None or int(best) < 0 or (int(best) == 0 and not hasattr(booster, "attr")):
        return {}
    found = {"best_iteration": float(best)}
    score = getattr(booster, "best_score", None) if not hasattr(booster, "attr") else _attribute(booster, "best_score")
    if isinstance(score, Mapping):
        found |= {f"best_{data}/{metric}": float(value) for data, held in score.items() for metric, value in held.items()}
    elif score is not None:
        found["best_score"] = float(score)
    return found


def importances_of(booster: Any) -> dict[str, tuple[list[str], np.ndarray]]:
    """Gains and counts of splits by feature, of the boosters of either library."""
    if hasattr(booster, "feature_importance"):
        names = [str(name) for name in booster.feature_name()]
        return {kind: (names, np.asarray(booster.feature_importance(kind), dtype=np.float64)) for kind in ("gain", "split")}
    found = {}
    for kind, asked in (("gain", "gain"), ("split", "weight")):
        scores = booster.get_score(importance_type=asked)
        if scores:
            names = list(booster.feature_names or scores)
            weights = [scores.get(name, 0.0) for name in names]
            found[kind] = names, np.asarray([np.mean(item) for item in weights], dtype=np.float64)
    return found


def _attribute(booster: Any, name: str) -> float | None:
    held = booster.attr(name)
    return None if held is None else float(held)


def _is_of(library: str, fit: Fit) -> bool:
    steps = getattr(fit.estimator, "steps", None)
    estimator = steps[-1][1] if steps else fit.estimator
    return any(kind.__module__.partition(".")[0] == library for kind in type(estimator).__mro__)
