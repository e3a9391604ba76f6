"""Averages over models of several kinds: a vote of a forest and a line, say. Each is scored as by its own engine.

What one engine translates alone is that engine's: if it was refused there, the same program is not tried under another name.
"""

from __future__ import annotations

from typing import Any

from rung.registry.engine import ENGINES, Model, NotHeld
from rung.registry.program import Program
from rung.registry.translating import EVERY, Core, Translate, translated


@ENGINES.member("average")
class Average:
    """The weighted mean of the scores of what other engines hold."""

    rank = 40
    automatic = True
    tolerance = 1e-9

    @staticmethod
    def compile(model: Model) -> Program:
        """The program. Raises NotHeld."""
        if model.format != "skops":
            raise NotHeld
        kinds: set[str] = set()
        known = {name: _noting(translate, kinds) for name, translate in EVERY.items()}
        program = translated(model, known, "average")
        if len(kinds) == 1:
            raise NotHeld
        return program


def _noting(translate: Translate, kinds: set[str]) -> Translate:
    """The same translation, which leaves in ``kinds`` whose it is."""

    def noted(estimator: Any, model: Model) -> Core:
        kinds.add(translate.__module__)
        return translate(estimator, model)

    return noted
