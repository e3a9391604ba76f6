"""A pipeline called as a function: traced, then evaluated in memory, step by step, by the rules of every engine.

Nothing is stored, cached or retried, and every step runs in this process; what a step raises comes to the caller as it is.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from rung.pipelines.branching import calls
from rung.pipelines.conditions import Operand
from rung.pipelines.fates import State, chosen, fate
from rung.pipelines.outputs import refuse_wrong_type
from rung.pipelines.tracing import Either, Handle, Node, Plan


class Evaluation:
    """The values of a plan's steps as they come."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.values: dict[str, Any] = {}
        self.states: dict[str, State] = dict.fromkeys(plan.nodes, "waiting")
        self.error: BaseException | None = None

    def answer(self) -> Any:
        """What the pipeline answers, None in the place of outputs that were skipped. Raises what the first failed step raised."""
        followers: dict[str, list[str]] = {}
        missing = {key: len(node.needs) for key, node in self.plan.nodes.items()}
        for key, node in self.plan.nodes.items():
            for earlier in node.needs:
                followers.setdefault(earlier, []).append(key)
        place = {key: position for position, key in enumerate(missing)}
        ready = [(place[key], key) for key, count in missing.items() if count == 0]
        while ready:  # in the order of the calls, wherever that is possible
            _, key = heappop(ready)
            self._run(self.plan.nodes[key])
            for later in followers.get(key, ()):
                missing[later] -= 1
                if missing[later] == 0:
                    heappush(ready, (place[later], later))
        if self.error is not None:
            raise self.error
        return self.resolved(self.plan.answer)

    def look(self, operand: Operand) -> Any:
        """The value an operand stands for; None where it has none."""
        handle = chosen(operand, self.states.__getitem__)
        if handle is None:
            return None
        value = self.values[handle.key]
        if handle.index is not None:
            value = value[handle.index]
        for part in handle.path:
            value = value[part]
        return value

    def resolved(self, value: Any) -> Any:
        """A value with what its handles stand for in their place."""
        if isinstance(value, (Handle, Either)):
            return self.look(value)
        if type(value) in {list, tuple}:
            return type(value)(self.resolved(item) for item in value)
        if type(value) is dict:
            return {key: self.resolved(item) for key, item in value.items()}
        return value

    def _run(self, node: Node) -> None:
        stopped = self.error is not None and self.plan.on_failure == "stop"
        try:
            found = fate(node, self.states.__getitem__, self.look, stopped=stopped)
            if found == "run":
                self.values[node.key] = self._called(node)
        except BaseException as error:
            if self.error is None:
                self.error = error
            if not isinstance(error, Exception):
                raise
            self.states[node.key] = "failed"
            return
        self.states[node.key] = "done" if found == "run" else "blocked" if found == "block" else "skipped"

    def _called(self, node: Node) -> Any:
        step = node.step
        arguments = {name: self.resolved(value) for name, value in node.arguments.items()}
        if node.kind == "step":
            return refuse_wrong_type(step.name, step.function, step.outputs, step.function(**arguments))
        fixed = {name: value for name, value in arguments.items() if name not in node.over}
        return [
            refuse_wrong_type(step.name, step.function, step.outputs, step.function(**fixed, **item))
            for item in calls(step.name, arguments, node.over)
        ]


def evaluated(plan: Plan) -> Any:
    """What a plan answers when it is carried out here and now."""
    return Evaluation(plan).answer()
