"""What becomes of the nodes of a plan as others end: run, be skipped, or be held back by a failure. Pure, for every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from rung.pipelines.conditions import Clause, Operand, holds, operands_of
from rung.pipelines.tracing import Either, Handle, Node, handles_in, operands_in

State = Literal["waiting", "done", "failed", "skipped", "blocked"]
Fate = Literal["wait", "run", "skip", "block"]
"""``skipped`` and ``skip``: a condition did not hold. ``blocked`` and ``block``: something it needs failed, or the run was stopped."""


def fate(node: Node, state: Callable[[str], State], look: Callable[[Operand], Any], *, stopped: bool = False) -> Fate:
    """What to do with a node now.

    A step runs when every step it waits for has ended, its conditions hold, and what it takes has a result; of an
    ``either`` one alternative is enough. A step that only waits for a skipped one runs. ``run="always"`` runs however
    the others ended, ``run="on_failure"`` when one of them failed; both are given None for what has no result.

    Args:
        state: how another node has ended, or ``waiting``.
        look: the value of an operand of a condition, asked only where it has a result.
        stopped: a step failed and the pipeline stops: ordinary steps are held back.

    Raises:
        Invalid: a condition cannot be judged.
    """
    rule = node.step.options.run
    if stopped and rule == "on_success":
        return "block"
    states = [state(key) for key in node.needs]
    if "waiting" in states:
        return "wait"
    failed = not {"failed", "blocked"}.isdisjoint(states)
    for clause in node.conditions:
        found = _judged(clause, state, look)
        if found != "run":
            return found
    if rule == "always":
        return "run"
    if rule == "on_failure":
        return "run" if failed else "skip"
    taken = [operand for value in node.arguments.values() for operand in operands_in(value)]
    lacking = [missing for operand in taken if (missing := _missing(operand, state))]
    if lacking:
        return "block" if "block" in lacking else "skip"
    asked = [operand for clause in node.conditions for operand in operands_of(clause)]
    spared = {handle.key for operand in (*taken, *asked) if isinstance(operand, Either) for handle in operand.handles}
    held_back = any(found in {"failed", "blocked"} for key, found in zip(node.needs, states, strict=True) if key not in spared)
    return "block" if held_back else "run"


def chosen(operand: Operand, state: Callable[[str], State]) -> Handle | None:
    """The handle that an operand stands for now that its steps have ended; None when it has no result."""
    return next((handle for handle in handles_in(operand) if state(handle.key) == "done"), None)


def _judged(clause: Clause, state: Callable[[str], State], look: Callable[[Operand], Any]) -> Fate:
    lacking = [missing for operand in operands_of(clause) if (missing := _missing(operand, state))]
    if lacking:
        return "block" if "block" in lacking else "skip"
    return "run" if holds(clause, look) else "skip"


def _missing(operand: Operand, state: Callable[[str], State]) -> Fate | None:
    """How a node fares that takes an operand without a result; None where there is one."""
    if chosen(operand, state) is not None:
        return None
    return "block" if any(state(handle.key) in {"failed", "blocked"} for handle in handles_in(operand)) else "skip"
