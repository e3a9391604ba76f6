"""LightGBM boosters as their own text: numbers and split rules, parsed by LightGBM, no code."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import (
    FORMATS,
    RowsScorer,
    Scorer,
    Traits,
    booster_errors,
    check_task,
    coded,
    missing_library,
    numbers,
    only_file,
    ordered,
    scores,
    unreadable,
    unscorable,
)
from rung.registry.lightgbm_text import CATEGORIES, checked_lightgbm, lightgbm_head
from rung.registry.records import Field

FILE = "model.txt"
_BINARY = frozenset({"binary"})
_MULTICLASS = frozenset({"multiclass", "multiclassova"})
_UNKNOWN = frozenset({"", "custom", "none"})


@FORMATS.member("lightgbm")
class LightGbm:
    """A ``lightgbm.Booster``, or the classifier and regressor around one. Texts are taken where it was fitted on categories."""

    rank = 20
    libraries = ("lightgbm", "numpy")
    endings = (".lgb", ".txt")

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
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """LightGBM's text, whatever it was called."""
        return {FILE: data}

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """What the head of the text says."""
        return _traits(_text(only_file(files, FILE)))

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Unavailable without LightGBM, Invalid for what is no booster of this task."""
        text = _text(only_file(files, FILE))
        found = _traits(text)
        check_task(found, task)
        try:
            import lightgbm  # noqa: PLC0415 - optional
        except ImportError:
            raise missing_library("LightGBM", "lightgbm") from None
        try:
            booster = lightgbm.Booster(model_str=text)
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise unreadable("LightGBM cannot read the model", error) from None
        names = [field.name for field in found.inputs]
        categories, known = _categories(text), _known(text)

        def matrix(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            try:
                return scores(booster.predict(rows), task)
            except booster_errors() as error:
                raise unscorable(error) from None

        def score(frame: pl.DataFrame) -> NDArray[np.float64]:
            asked = ordered(frame, names)
            if categories:
                asked = coded(asked, _places(asked, known, categories))
            return matrix(numbers(asked))

        return score if categories else RowsScorer(score, matrix)


def _traits(text: str) -> Traits:
    head = lightgbm_head(text)
    objective = head.get("objective", "").partition(" ")[0]
    categories = _categories(text)
    known = _known(text)
    texts = dict(zip(known, categories, strict=True)) if len(known) == len(categories) else {}
    names = head["feature_names"].split(" ")
    inputs = tuple(
        Field(name=name, dtype=str(pl.Series(texts[place]).dtype) if place in texts else "Float64", nullable=True)
        for place, name in enumerate(names)
    )
    if objective in _UNKNOWN:
        return Traits(
            inputs=inputs, reason="The booster was fitted with an objective of its own, so its file does not say what it answers."
        )
    if objective in _BINARY:
        return Traits(task="binary", classes=(0, 1), inputs=inputs)
    if objective in _MULTICLASS:
        return Traits(task="multiclass", classes=tuple(range(int(head["num_class"]))), inputs=inputs)
    return Traits(task="regression", inputs=inputs)


def _known(text: str) -> list[int]:
    """Places of the columns fitted on codes: the head lists their codes, and a range for the others; nothing for those unused."""
    infos = lightgbm_head(text).get("feature_infos", "").split(" ")
    return [place for place, info in enumerate(infos) if info not in {"none", ""} and not info.startswith("[")]


def _categories(text: str) -> list[list[Any]]:
    """Values of each column fitted as pandas categories, in order of those columns; the codes are their places."""
    start = text.rfind(f"\n{CATEGORIES}")
    if start < 0:
        return []
    try:
        found = json.loads(text[start + 1 + len(CATEGORIES) :].splitlines()[0])
        return msgspec.convert(found, list[list[str | int | float | bool]] | None) or []
    except (ValueError, IndexError, RecursionError, msgspec.ValidationError):
        raise unreadable("The LightGBM model's categories cannot be read") from None


def _places(frame: pl.DataFrame, known: list[int], categories: list[list[Any]]) -> dict[int, pl.Series]:
    """Which columns hold which categories: LightGBM pairs them, in order, with the columns that hold texts.

    Raises:
        Invalid: neither the model's head nor the types of the columns tell them.
    """
    texts = [place for place, kind in enumerate(frame.dtypes) if not kind.is_numeric() and kind != pl.Boolean]
    places = known if len(known) == len(categories) else texts
    if len(places) != len(categories) or not set(texts) <= set(places):
        raise Invalid(
            f"The model was fitted on {len(categories)} columns of categories, and {len(texts)} hold texts.",
            code="registry.bad_input",
            hint="Give categories as texts.",
        )
    return {place: pl.Series(values) for place, values in zip(places, categories, strict=True)}


def _text(data: bytes) -> str:
    """The file as text, looked through first."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    return checked_lightgbm(text)
