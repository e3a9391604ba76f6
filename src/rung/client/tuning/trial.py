"""A trial as its objective sees it: params, and a word with the tuner while it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from rung.client import scalars
from rung.client.active import ActiveRun
from rung.client.tuning.records import Asked, Plan
from rung.core.errors import Invalid


class Pruned(Exception):
    """Raise it in an objective to give the trial up: ``if trial.should_prune(): raise rung.Pruned``."""


class Judge(Protocol):
    """Whoever decides about pruning; the tuner itself, or a line to it from another process."""

    def report(self, number: int, value: float, step: int) -> None:
        """Take an intermediate value."""
        ...

    def should_prune(self, number: int) -> bool:
        """Whether a trial is worth no more."""
        ...


class Trial(Mapping[str, Any]):
    """One trial: its params by name, as a mapping, so that ``train(**trial)`` works.

    Attributes:
        number: its place in the sweep, from 0.
        params: what was chosen for it.
        seed: a seed of its own, made of the sweep's seed and its number; a repeated trial has the one of the first attempt.
        run: the run it logs to, which is the current run while the objective executes.
        worker: which of the workers executes it, from 0; for example to choose a GPU.
    """

    def __init__(self, asked: Asked, params: Mapping[str, Any], run: ActiveRun, plan: Plan, judge: Judge, worker: int) -> None:
        self.number = asked.number
        self.params = dict(params)
        self.seed = asked.seed
        self.run = run
        self.worker = worker
        self.last: dict[str, tuple[float, int]] = {}
        self._plan = plan
        self._judge = judge
        self._reported: set[int] = set()

    def report(self, value: float, step: int) -> None:
        """Log an intermediate value of the sweep's metric; the pruner sees it.

        Raises:
            Invalid: it is no number, or the sweep has several metrics: log those by ``rung.log_metric``.
        """
        if len(self._plan.metrics) > 1:
            raise Invalid(
                f"The sweep has {len(self._plan.metrics)} metrics, so nothing can be pruned.", code="tuning.several_metrics",
                hint="Log each by rung.log_metric.",
            )  # fmt: skip
        self.run.log_metric(self._plan.metrics[0], value, step)

    def should_prune(self) -> bool:
        """Whether the trial falls so far behind others at the same step that it should raise ``rung.Pruned``."""
        return self._judge.should_prune(self.number)

    def hear(self, key: str, value: float, step: int) -> None:
        """Take note of a metric logged in this trial, by whichever function."""
        if key not in self._plan.metrics:
            return
        self.last[key] = (value, step)
        # The first value of a step counts: a pruner that has judged by it must not see another.
        if self._plan.prunes and step >= 0 and step not in self._reported:
            self._reported.add(step)
            self._judge.report(self.number, value, step)

    @property
    def steps(self) -> int:
        """How many steps the pruner has seen."""
        return len(self._reported)

    def result(self, given: Any) -> tuple[float, ...]:
        """The metrics' values from what the objective gave back, else from what it logged last. Raises Invalid."""
        names = self._plan.metrics
        if given is None:
            missing = [name for name in names if name not in self.last]
            if missing:
                raise Invalid(
                    f"The objective returned nothing and logged no {' and no '.join(missing)}.", code="tuning.no_value",
                    hint=f"Return the value, or log it: rung.log_metric({missing[0]!r}, …).",
                )  # fmt: skip
            return tuple(self.last[name][0] for name in names)
        if isinstance(given, Mapping):
            missing = [name for name in names if name not in given]
            if missing:
                raise Invalid(
                    f"The objective's result has no {missing[0]!r}; it has {', '.join(map(repr, given)) or 'nothing'}.",
                    code="tuning.no_value", hint="Return every metric of the sweep.",
                )  # fmt: skip
            return tuple(scalars.number(name, given[name]) for name in names)
        values = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        if len(values) != len(names):
            raise Invalid(
                f"The objective returned {len(values)} values for {len(names)} metrics ({', '.join(names)}).", code="tuning.no_value",
                hint="Return one number a metric, in their order.",
            )  # fmt: skip
        return tuple(scalars.number(name, value) for name, value in zip(names, values, strict=True))

    def __getitem__(self, name: str) -> Any:
        try:
            return self.params[name]
        except KeyError:
            raise KeyError(f"{name!r}; the space has {', '.join(self.params)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)

    def __repr__(self) -> str:
        return f"Trial({self.number}, {', '.join(f'{name}={value!r}' for name, value in self.params.items())})"
