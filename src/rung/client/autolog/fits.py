"""Following one ``fit`` of an estimator with scikit-learn's protocol: what is logged before it, and after."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rung.client.attachments import parquet_files
from rung.client.autolog import drawings
from rung.client.autolog.guard import quietly
from rung.client.autolog.later import Fitted, remember
from rung.client.autolog.options import Options
from rung.client.autolog.patches import Original, bound
from rung.client.autolog.scores import Judged, judged
from rung.client.autolog.sessions import Session
from rung.client.autolog.tables import columns, described, frame_of, height, name_of, width
from rung.core.errors import RungError
from rung.tracking.records import Input

_SCALARS = ("n_iter_", "inertia_", "oob_score_", "alpha_", "lower_bound_", "noise_variance_", "best_iteration_", "n_features_in_")
_MOST_BARS = 30
_EXAMPLE_ROWS = 100
_TARGETS = ("y", "Y", "y_train", "target")
More = Callable[["Fit"], None]


class Fit:
    """Logs a fit: params and data when it starts; metrics, figures and the model when it has ended. ``more`` adds what else is known."""

    def __init__(
        self, library: str, options: Options, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any], more: More | None = None
    ) -> None:
        self.library = library
        self.options = options
        self.estimator = args[0]
        given = bound(original, args, kwargs)
        names = list(given)
        self.table = given.get("X", args[1] if len(args) > 1 else given.get(names[1]) if len(names) > 1 else None)
        self.target = next((given[name] for name in _TARGETS if given.get(name) is not None), None)
        self.weights = given.get("sample_weight")
        self.called = name_of(self.table)
        self.more = more
        self.at_end: list[Callable[[], None]] = []
        self.session = Session(library, options, type(self.estimator).__name__)
        self._begin()
        self.started = time.perf_counter()

    def _begin(self) -> None:
        inputs: tuple[Input, ...] = ()
        with quietly("the params could not be read"):
            params = params_of(self.estimator)
            params = {"estimator_class": type(self.estimator).__name__, **params}
            if self.options.datasets:
                found = described(self.table, self.called, target=self.target)
                inputs = (found,) if found is not None else ()
            self.session.say(params, inputs)

    def failed(self, error: BaseException) -> None:
        """The fit raised."""
        self.session.close(error)

    def succeeded(self, result: Any) -> None:
        """The fit is done."""
        took = time.perf_counter() - self.started
        session, title = self.session, type(self.estimator).__name__
        try:
            if self.options.models:
                with quietly(f"the {title} is no logged model"):
                    self._keep_model()
            found = Judged()
            with quietly(f"training metrics of {title} are not logged"):
                found = self._judge(took)
            with quietly(f"figures of {title} are not kept"):
                self._draw(found)
            if self.more is not None:
                with quietly(f"more about {title} is not logged"):
                    self.more(self)
            with quietly("curves are not logged"):
                for end in self.at_end:
                    end()
            remember(self.estimator, Fitted(session.run, session.label, session.model, self.table, title))
        finally:
            session.close()

    def _keep_model(self) -> None:
        from rung.client.modelling import log_model  # noqa: PLC0415 - loads the model formats
        from rung.registry.format import FORMATS, format_for  # noqa: PLC0415 - see above

        best = getattr(self.estimator, "best_estimator_", self.estimator)
        names = getattr(best, "feature_name_", None) if self.library == "lightgbm" else None
        example = frame_of(self.table, _EXAMPLE_ROWS, list(names) if names is not None else None)
        if example is None:
            return
        name = self.session.label or "model"
        try:
            model = log_model(best, name, example=example, run=self.session.run, keep_example=self.options.input_examples)
        except RungError:  # no model that can be served: its file is kept all the same, and the reason told
            for path, data in FORMATS.get(format_for(best)).save(best).items():
                self.session.keep(data, f"model/{path}")
            raise
        self.session.model = model.id

    def _judge(self, took: float) -> Judged:
        if self.target is None or height(self.table) is None or self.options.sample_rows == 0 or not can_predict(self.estimator):
            found = Judged()
        else:
            found = judged(self.estimator, self.table, self.target, self.weights, rows=self.options.sample_rows, fit_s=took)
        metrics = {f"training_{key}": value for key, value in found.metrics.items()}
        self.session.measure({"fit_s": took, **_scalars(self.estimator), **metrics})
        if found.rows and found.rows < (height(self.table) or 0):
            self.session.say({}, tags={"rung.autolog.sample_rows": str(found.rows)})
        return found

    def _draw(self, found: Judged) -> None:
        session = self.session
        html = html_of(self.estimator)
        if html:
            session.keep(html, "estimator.html")
        if found.confusion is not None:
            session.keep(drawings.heatmap(found.confusion, found.classes, "Confusion matrix, training"), "training/confusion_matrix.svg")
        if found.roc is not None:
            area = found.metrics.get("roc_auc", float("nan"))
            title = f"ROC curve, training, area {area:.3f}"
            session.keep(drawings.curve(*found.roc, title, ("false positive rate", "true positive rate")), "training/roc_curve.svg")
        weights = importances(self.estimator)
        if weights is not None:
            keep_importance(session, names_of_features(self.estimator, self.table, len(weights)), weights)


def params_of(estimator: Any) -> dict[str, Any]:
    """All params, nested ones too; the estimators among them by their class names."""
    found = estimator.get_params(deep=True)
    return {key: value for key, value in found.items() if key not in {"steps", "transformer_list"}}


def can_predict(estimator: Any) -> bool:
    """Whether it answers for rows: transformers alone are not what one asks for the quality of."""
    return hasattr(estimator, "predict")


def html_of(estimator: Any) -> str:
    """scikit-learn's own diagram of an estimator."""
    draw = getattr(sys.modules.get("sklearn.utils"), "estimator_html_repr", None)
    return str(draw(estimator)) if draw is not None else ""


def importances(estimator: Any) -> np.ndarray | None:
    """One weight a feature: of trees their importance, of linear models the coefficients' size; of a pipeline its last step's."""
    last = getattr(estimator, "best_estimator_", estimator)
    steps = getattr(last, "steps", None)
    last = steps[-1][1] if steps else last
    try:
        found = getattr(last, "feature_importances_", None)
        found = found if found is not None else getattr(last, "coef_", None)
    except (AttributeError, ValueError):  # boosters refuse for some settings
        return None
    if found is None or hasattr(found, "tocsr"):
        return None
    array = np.asarray(found, dtype=np.float64)
    array = np.abs(array).mean(axis=0) if array.ndim > 1 else array
    return array if array.ndim == 1 and array.size else None


def names_of_features(estimator: Any, table: Any, count: int) -> list[str]:
    """Names of the features that the weights belong to."""
    last = getattr(estimator, "best_estimator_", estimator)
    steps = getattr(last, "steps", None)
    names: Any = None
    if steps and len(steps) > 1:
        try:
            names = last[:-1].get_feature_names_out()
        except (AttributeError, ValueError, TypeError):  # a step that does not know its outputs' names
            names = None
    if names is None or len(names) != count:
        names = getattr(last, "feature_names_in_", None)
    if names is None or len(names) != count:
        names = columns(table) if width(table) == count else None
    return [str(name) for name in names] if names is not None and len(names) == count else [f"f{place}" for place in range(count)]


def keep_importance(session: Session, names: list[str], weights: np.ndarray, called: str = "feature_importance") -> None:
    """Weights as a table, and the largest as a figure."""
    order = np.argsort(-np.abs(weights), kind="stable")
    table = {"feature": [names[place] for place in order], "importance": [float(weights[place]) for place in order]}
    for path, content in parquet_files(table, f"{called}.parquet").items():
        session.keep(content, path)
    top = order[:_MOST_BARS]
    title = "Feature importance" if len(names) <= _MOST_BARS else f"Feature importance, {_MOST_BARS} of {len(names)}"
    session.keep(drawings.bars([names[place] for place in top], [float(weights[place]) for place in top], title), f"{called}.svg")


def _scalars(estimator: Any) -> Mapping[str, float]:
    found = {}
    for name in _SCALARS:
        try:
            value = getattr(estimator, name, None)
        except (AttributeError, ValueError):
            continue  # a property that needs what was not asked for
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
            found[name.rstrip("_")] = float(value)
    return found
