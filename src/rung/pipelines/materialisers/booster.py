"""Boosters of LightGBM and XGBoost in the libraries' own formats; their scikit-learn classes are estimators."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Payload


@MATERIALISERS.member("lightgbm")
class LightGBM:
    """lightgbm.Booster, as its text."""

    rank = 65

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a booster of LightGBM."""
        library = sys.modules.get("lightgbm")
        return library is not None and isinstance(value, library.Booster)

    @staticmethod
    def dump(value: Any) -> Payload:
        """The model's text, with every iteration."""
        return Payload(value.model_to_string(num_iteration=-1).encode(), {"best_iteration": value.best_iteration})

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The booster."""
        import lightgbm  # noqa: PLC0415 - only where a booster of it is read

        booster = lightgbm.Booster(model_str=_bytes(payload).decode())
        booster.best_iteration = payload.meta["best_iteration"]
        return booster

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Equal or not: its numbers stand in its text."""
        return _compared(original.model_to_string(), repeated.model_to_string())


@MATERIALISERS.member("xgboost")
class XGBoost:
    """xgboost.Booster, as UBJSON."""

    rank = 65

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is a booster of XGBoost."""
        library = sys.modules.get("xgboost")
        return library is not None and isinstance(value, library.Booster)

    @staticmethod
    def dump(value: Any) -> Payload:
        """The model in UBJSON."""
        return Payload(bytes(value.save_raw("ubj")))

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The booster."""
        import xgboost  # noqa: PLC0415 - only where a booster of it is read

        booster = xgboost.Booster()
        booster.load_model(bytearray(_bytes(payload)))
        return booster

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Equal or not."""
        return _compared(original.save_raw("ubj"), repeated.save_raw("ubj"))


def _compared(original: Any, repeated: Any) -> Difference:
    return Difference("identical", "equal") if original == repeated else Difference("different", "the trees are others")


def _bytes(payload: Payload) -> bytes:
    return payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
