"""Predictor: a loaded version that checks its input against the signature and answers scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.records import Class, Signature

if TYPE_CHECKING:
    import polars as pl

    from rung.registry.format import Scorer
    from rung.registry.program import Program
    from rung.stats.ensembles import Alone

Extra = Literal["refuse", "drop"]
Floats = NDArray[np.float64]
_NUMBERS = ("Float", "Int", "UInt", "Boolean")


@dataclass(frozen=True)
class Predictor:
    """A version ready to answer. It holds no state, so threads may share it.

    ``engine`` names what scores: "native" is the model's own library. ``score_matrix``, of a compiled engine and of a library that
    answers to it as to frames: float64 of shape (n, inputs) in the signature's order, C-contiguous, NaN where a value is missing, to
    the scores; it checks no nulls and no types.
    One for texts gives ``score_columns`` instead: a list of values for each input, None where one is missing.
    ``cost_us`` is what one row takes, in microseconds; ``program`` the compiled one, for who wants to look into it; ``alone`` the one
    model of Rung's compiled part that scores a matrix as it comes, where nothing else is done.
    """

    model: str
    number: int
    digest: str
    signature: Signature
    task: Task
    classes: tuple[Class, ...]
    threshold: float | None
    scorer: Scorer
    engine: str = "native"
    score_matrix: Callable[[Floats], Floats] | None = None
    score_columns: Callable[[Sequence[Sequence[Any]]], Floats] | None = None
    cost_us: float = 1000.0
    program: Program | None = None
    alone: Alone | None = None

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        """A compiled one travels to other processes as its program: what scores holds addresses of this process."""
        if self.program is None:
            return super().__reduce_ex__(protocol)
        from rung.registry.compiled import program_predictor  # noqa: PLC0415 - it imports this module

        told = ("model", "number", "digest", "signature", "task", "classes", "threshold")
        return program_predictor, ({name: getattr(self, name) for name in told}, self.program)

    @property
    def numeric(self) -> bool:
        """Whether every input is a number or a truth value, so that rows can be a matrix."""
        return all(field.dtype.startswith(_NUMBERS) for field in self.signature.inputs)

    def predict_scores(self, frame: pl.DataFrame, *, extra: Extra = "refuse") -> Floats:
        """Scores of the rows: P(positive) of shape (n,), P(class) of shape (n, k), or values of shape (n,).

        Raises:
            Invalid: columns are missing, too many (unless they shall be dropped), of another type, or null where the
                model was never given a null, all of them named; or the model itself refuses a value, say a category it
                never met.
        """
        from rung.registry.matching import UNSCORABLE, matched  # noqa: PLC0415 - Polars only for those who ask with frames

        asked = matched(frame, self.signature, extra=extra)
        if not asked.height:
            return np.zeros((0, len(self.classes))) if self.task == "multiclass" else np.zeros(0)
        try:
            return self.scorer(asked)
        except UNSCORABLE as error:
            raise unscorable(self.model, self.number, error) from None


def unscorable(model: str, number: int, error: Exception) -> Invalid:
    """What a caller is told whose rows a model refused."""
    return Invalid(
        f"{model}:{number} cannot score these rows: {' '.join(str(error).split())[:300]}",
        code="registry.unscorable",
        hint="Send values of the kind it was fitted on.",
    )


def __getattr__(name: str) -> Any:
    """What stands in ``matching``, for those who ask here: Polars is loaded only then."""
    if name in {"matched", "dtype_of", "signature_of", "UNSCORABLE"}:
        from rung.registry import matching  # noqa: PLC0415 - see above

        return getattr(matching, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
