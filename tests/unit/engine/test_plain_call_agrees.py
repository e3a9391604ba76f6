"""A pipeline called as a function answers what its run answers, and runs the same steps, whatever it is made of."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rung.client.client import Client
from rung.pipelines.authoring import Pipeline, pipeline, step
from rung.pipelines.branching import either, otherwise, when

_ran: list[str] = []


class Broken(Exception):
    """What some steps raise."""


def _work(name: str, values: list[Any], fails: bool) -> int:
    _ran.append(name)
    if fails:
        raise Broken(name)
    return (sum(value or 0 for value in values) * 7 + len(name) + len(values)) % 10


@step(cache=False)
def ordinary(name: str, values: list[int], fails: bool) -> int:
    return _work(name, values, fails)


@step(run="always")
def always(name: str, values: list[int | None], fails: bool) -> int:
    return _work(name, values, fails)


@step(run="on_failure")
def rescue(name: str, values: list[int | None], fails: bool) -> int:
    return _work(name, values, fails)


@step(cache=False)
def each(x: int, name: str) -> int:
    return _work(f"{name}[{x}]", [x], fails=False)


@step(cache=False)
def numbers(name: str, n: int) -> list[int]:
    _ran.append(name)
    return list(range(n % 4))


@step(cache=False)
def added(name: str, values: list[int]) -> int:
    _ran.append(name)
    return sum(values) % 10


class Composer:
    """Calls steps at random, the same ones for the same seed."""

    def __init__(self, seed: int, size: int, share_failing: float) -> None:
        self.draw = random.Random(seed)
        self.size = size
        self.share_failing = share_failing
        self.handles: list[Any] = []
        self.count = 0

    def block(self, depth: int) -> None:
        """Some steps, branches and maps."""
        for _ in range(self.draw.randint(1, 4)):
            if self.count < self.size:
                self.one(depth)

    def one(self, depth: int) -> None:
        kind = self.draw.random()
        if kind < 0.2 and depth < 3 and self.handles:
            with when(self.condition()) as good:
                self.block(depth + 1)
            if self.draw.random() < 0.6:
                with otherwise(good):
                    self.block(depth + 1)
        elif kind < 0.3 and len(self.handles) > 1:
            self.handles.append(either(*self.draw.sample(self.handles, 2)))
        elif kind < 0.4:
            self.handles.append(added(self.name(), each.map(numbers(self.name(), self.draw.randint(0, 9)), name=self.name())))
        else:
            made = self.draw.choice([ordinary] * 6 + [always, rescue])
            taken = self.draw.sample(self.handles, min(len(self.handles), self.draw.randint(0, 2)))
            self.handles.append(made(self.name(), taken, fails=self.draw.random() < self.share_failing))

    def condition(self) -> Any:
        found = self.draw.choice(self.handles)
        made = [found > 4, found.equals(3), found.is_in([1, 2, 3]), ~(found < 5), (found > 2) & (found < 8), found][self.draw.randrange(6)]
        return made | (self.draw.choice(self.handles) > 6) if self.draw.random() < 0.2 else made

    def name(self) -> str:
        self.count += 1
        return f"s{self.count}"


def composed(seed: int) -> Pipeline[..., Any]:
    draw = random.Random(seed)
    size, share, rule = draw.randint(3, 14), draw.choice([0.0, 0.0, 0.15, 0.4]), draw.choice(["stop", "continue"])

    @pipeline(name=f"random-{seed}", on_failure=rule)  # type: ignore[call-overload]
    def made() -> Any:
        composer = Composer(seed, size, share)
        composer.block(0)
        return composer.handles

    return made  # type: ignore[no-any-return]


def outcome(run: Any) -> tuple[Any, str]:
    try:
        return run(), ""
    except Broken as error:
        return None, str(error)


@pytest.mark.parametrize("seed", range(24))
def test_a_run_and_a_plain_call_agree(seed: int, client: Client) -> None:
    made = composed(seed)
    _ran.clear()
    answered, error = outcome(made)
    plainly = list(_ran)
    _ran.clear()
    run = client.pipelines.run(made)
    assert (run.status == "failed") == bool(error), run.error
    if made.on_failure == "continue" or not error:  # where a pipeline stops, what ran beside the failed step is left to the engine
        assert sorted(_ran) == sorted(plainly)
    if not error:
        steps = {held.key: held.status for held in client.pipelines.get(run.id).steps}
        assert {"skipped", "succeeded"} >= set(steps.values())
        assert [value for value in answered if value is not None] == [_value(client, artifact) for artifact in run.outputs]


def _value(client: Client, artifact: Any) -> Any:
    from pathlib import Path

    from rung.pipelines.items import loaded

    return loaded(artifact, client.transport.get_blob, Path("/nonexistent"))
