"""LightGBM boosters as their own text: numbers and split rules, parsed by LightGBM, no code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from rung.core.errors import Invalid, Unavailable
from rung.core.references import Task
from rung.registry.format import FORMATS, Scorer, only_file

FILE = "model.txt"


@FORMATS.member("lightgbm")
class LightGbm:
    """A ``lightgbm.Booster``, or the classifier and regressor around one. Inputs are numbers, in the order of the fit."""

    rank = 20
    libraries = ("lightgbm", "numpy")

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it is LightGBM's, where that is loaded."""
        library = sys.modules.get("lightgbm")
        return library is not None and isinstance(estimator, (library.Booster, library.LGBMModel))

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """The booster's text."""
        booster = getattr(estimator, "booster_", estimator)
        return {FILE: booster.model_to_string().encode()}

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Unavailable without LightGBM, Invalid for what is no booster of this task."""
        text = _text(only_file(files, FILE))
        try:
            import lightgbm  # noqa: PLC0415 - optional
        except ImportError:
            raise Unavailable("LightGBM is not installed here.", code="registry.no_library", hint="pip install 'rung[lightgbm]'.") from None
        try:
            booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise Invalid(f"LightGBM cannot read the model: {error}.", code="registry.unreadable_model", hint="Register it anew.") from None

        def score(frame: pl.DataFrame) -> np.ndarray:
            found = booster.predict(frame.cast(dict.fromkeys(frame.columns, pl.Float64)).to_numpy())
            return np.asarray(found, dtype=np.float64)

        return score


def _text(data: bytes) -> str:
    """The file as text. LightGBM's parser ends the process on some damaged files, hence the look at its frame first."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text.startswith("tree\n") or "end of trees" not in text:
        raise Invalid("The file is no LightGBM model.", code="registry.unreadable_model", hint="Register it anew.")
    return text
