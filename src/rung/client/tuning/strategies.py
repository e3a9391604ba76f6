"""Samplers, which choose params, and pruners, which give trials up, by name; Optuna's own objects are taken too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rung.core.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

GRID = "grid"
NONE = "none"
_SAMPLERS: dict[str, str] = {
    "tpe": "TPESampler", "random": "RandomSampler", GRID: "RandomSampler", "cmaes": "CmaEsSampler", "qmc": "QMCSampler",
    "gp": "GPSampler", "nsga2": "NSGAIISampler",
}  # fmt: skip
_PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    NONE: ("NopPruner", {}),
    "median": ("MedianPruner", {"n_startup_trials": 5}),
    "hyperband": ("HyperbandPruner", {"min_resource": 1, "max_resource": "auto", "reduction_factor": 3}),
    "asha": ("SuccessiveHalvingPruner", {"min_resource": 1, "reduction_factor": 3}),
}
SAMPLERS, PRUNERS = tuple(_SAMPLERS), tuple(_PRUNERS)


def optuna() -> Any:
    """The library. Raises Unavailable when it is not installed."""
    try:
        import optuna  # noqa: PLC0415 - an extra, and most of a second to load
    except ImportError:
        raise Unavailable("Sweeps need Optuna.", code="tuning.no_optuna", hint="Install it: pip install 'rung[tune]'.") from None
    return optuna


def name_of(strategy: Any) -> str:
    """How a sampler or pruner is called in tags."""
    return strategy if isinstance(strategy, str) else type(strategy).__name__


def sampler_maker(strategy: Any, seed: int, *, several: bool, parallel: bool) -> Callable[[int], Any]:
    """What makes the sampler for a trial from the trial's seed; ``seed`` is the sweep's.

    Each trial gets a sampler of its own, made of its own seed: so a sweep that is gone on with chooses what it would have chosen.

    Raises:
        Invalid: there is none of that name. Unavailable: its library is not installed.
    """
    if not isinstance(strategy, str):
        return lambda _: strategy
    if strategy not in _SAMPLERS:
        raise Invalid(f"There is no sampler {strategy!r}.", code="tuning.bad_sampler", hint=f"Choose one of {', '.join(SAMPLERS)}.")
    if several and strategy == "cmaes":
        raise Invalid("The sampler 'cmaes' knows one metric only.", code="tuning.bad_sampler", hint="Choose tpe or nsga2.")
    kind = getattr(optuna().samplers, _SAMPLERS[strategy])
    options: dict[str, Any] = {"constant_liar": True} if strategy == "tpe" and parallel else {}

    def make(of_trial: int) -> Any:
        # Quasi-random points are one sequence, told apart by their place in it: one seed for all.
        with quiet():
            return kind(seed=seed if strategy == "qmc" else of_trial, **options)

    try:
        make(0)
    except ImportError as error:
        raise Unavailable(
            f"The sampler {strategy!r} needs a library that is not installed: {error.name or error}.", code="tuning.no_sampler",
            hint=f"Install it: pip install {error.name or strategy}, or choose tpe.",
        ) from None  # fmt: skip
    return make


def pruner_of(strategy: Any) -> Any:
    """A pruner by name, or the one given. Raises Invalid."""
    if not isinstance(strategy, str):
        return strategy
    if strategy not in _PRUNERS:
        raise Invalid(f"There is no pruner {strategy!r}.", code="tuning.bad_pruner", hint=f"Choose one of {', '.join(PRUNERS)}.")
    kind, options = _PRUNERS[strategy]
    return getattr(optuna().pruners, kind)(**options)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's notes on what it calls experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
