"""A search as steps of a pipeline: rounds of trials, each a map, so that trials run, cached and resumed, on any executor.

What a round asks depends on the rounds before and on nothing else: a search that was killed goes on, and one that is run
again comes from the cache. A trial is pruned by what the trials of earlier rounds reported, for it travels with the trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from rung.client.tuning.space import described, space_of, values_of
from rung.client.tuning.strategies import optuna, pruner_of, quiet, sampler_maker
from rung.core.errors import Invalid
from rung.pipelines.authoring import Step, step

Direction = Literal["minimize", "maximize"]


class StudyTrial(Mapping[str, Any]):
    """One trial of a search as its step sees it: its params by name, and whether it is worth going on.

    The step returns ``trial.done(value)``, or ``trial.pruned()`` once ``trial.should_prune()`` says so.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.number = int(told["number"])
        self.params = values_of(space_of(told["space"]), told["labels"])
        self._told = told
        self._reports: dict[int, float] = {}

    def report(self, value: float, at: int) -> None:
        """Say how good it is after so many rounds of its own."""
        self._reports[int(at)] = float(value)

    def should_prune(self) -> bool:
        """Whether trials of earlier rounds were better at this point, by the search's pruner."""
        if not self._reports:
            return False
        library = optuna()
        with quiet():
            study = _study(self._told, library, pruner=pruner_of(self._told["pruner"]))
            # told in one go: a running trial with what was reported so far
            held = study.ask()
            for at, value in sorted(self._reports.items()):
                held.report(value, at)
            return bool(held.should_prune())

    def done(self, value: float) -> dict[str, Any]:
        """The trial's result."""
        return self._result("complete", float(value))

    def pruned(self) -> dict[str, Any]:
        """It was given up."""
        last = self._reports[max(self._reports)] if self._reports else None
        return self._result("pruned", last)

    def _result(self, state: str, value: float | None) -> dict[str, Any]:
        reports = [[at, reported] for at, reported in sorted(self._reports.items())]
        return {"number": self.number, "labels": dict(self._told["labels"]), "params": self.params, "state": state, "value": value,
                "reports": reports}  # fmt: skip

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def __iter__(self) -> Any:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)


@step(name="asked")
def asked(rounds: list[list[dict[str, Any]]], space: dict[str, Any], count: int, rules: dict[str, Any]) -> list[dict[str, Any]]:
    """The trials of the next round, by Optuna, from the results of the rounds before."""
    held = [result for results in rounds for result in results]
    told = {"results": held, "space": space, **rules}
    library = optuna()
    make = sampler_maker(rules["sampler"], rules["seed"], several=False, parallel=True)
    with quiet():
        study = _study(told, library, sampler=make(rules["seed"] + len(held)))
        distributions = _distributions(space)
        chosen = [study.ask(distributions) for _ in range(count)]
    seen = [{key: result[key] for key in ("labels", "state", "value", "reports")} for result in held]
    return [
        {"number": len(held) + place, "labels": dict(trial.params), "space": space, "results": seen, **rules}
        for place, trial in enumerate(chosen)
    ]


@step(name="best")
def best(rounds: list[list[dict[str, Any]]], direction: str) -> dict[str, Any]:
    """The best trial that was not pruned. Raises Invalid when there is none."""
    found = [result for results in rounds for result in results if result["state"] == "complete"]
    if not found:
        raise Invalid("Every trial was pruned.", code="tuning.no_best", hint="Choose pruner='none', or more trials.")
    chosen = (max if direction == "maximize" else min)(found, key=lambda result: result["value"])
    return {**chosen, "trials": sum(len(results) for results in rounds), "pruned": sum(r["state"] == "pruned" for rs in rounds for r in rs)}


def study(
    objective: Step[..., Any],
    space: Mapping[str, Any],
    *,
    trials: int = 20,
    parallel: int = 5,
    direction: Direction = "minimize",
    sampler: str = "tpe",
    pruner: str = "median",
    seed: int = 0,
    **fixed: Any,
) -> Any:
    """Inside of a pipeline: search for the params with which a step answers the best value; the handle of the best trial.

    Args:
        objective: a step whose first parameter takes a ``StudyTrial``'s dict: ``held = StudyTrial(trial)``.
        space: what to choose from, as for ``rung.tune``.
        trials: how many in all, ``parallel`` of them a round.
        fixed: further arguments of the step, the same for every trial.

    Raises:
        Invalid: the space or the numbers make no sense.
    """
    if trials < 1 or parallel < 1:
        raise Invalid(f"A search of {trials} trials, {parallel} a round, is none.", code="tuning.bad_count", hint="Give at least 1.")
    plain = described(space_of(space))
    pruner_of(pruner)
    rules = {"direction": direction, "sampler": sampler, "pruner": pruner, "seed": seed}
    rounds: list[Any] = []
    for begun in range(0, trials, parallel):
        wanted: Any = asked(list(rounds), plain, min(parallel, trials - begun), rules)
        rounds.append(objective.map(wanted, **fixed))
    return best(list(rounds), direction)


def _study(told: Mapping[str, Any], library: Any, **parts: Any) -> Any:
    """An Optuna study in memory that knows the results so far."""
    level = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.ERROR)
    try:
        made = library.create_study(direction=told["direction"], **parts)
    finally:
        library.logging.set_verbosity(level)
    distributions = _distributions(told["space"])
    states = library.trial.TrialState
    for result in told["results"]:
        made.add_trial(
            library.trial.create_trial(
                state=states.PRUNED if result["state"] == "pruned" else states.COMPLETE,
                value=result["value"],
                params=result["labels"],
                distributions=distributions,
                intermediate_values={int(at): value for at, value in result["reports"]},
            )
        )
    return made


def _distributions(space: Mapping[str, Any]) -> dict[str, Any]:
    from rung.client.tuning.ledger import distribution_of  # noqa: PLC0415 - it loads Optuna, which is an extra

    return {name: distribution_of(ranged) for name, ranged in space_of(space).items()}
