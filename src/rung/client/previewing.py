"""What a run would execute, found out without one: the plan is traced here, the cache is asked by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung.client.transports import Transport
from rung.core.ids import new_id
from rung.core.settings import Settings
from rung.engine.driving.keys import key_of, step_parts
from rung.engine.driving.states import Live
from rung.pipelines import caching as c
from rung.pipelines.authoring import Pipeline
from rung.pipelines.describing import typed_params
from rung.pipelines.keying import Keying
from rung.pipelines.project import load_project
from rung.pipelines.records import Artifact, StepRun
from rung.pipelines.rules import why_not_cached
from rung.pipelines.tracing import Node, Plan, trace

_AT_ONCE = 1000


@dataclass
class _Preview:
    """A preview in the making: for each node that has been judged what would become of it, and the outputs that are known."""

    transport: Transport
    codes: Keying
    plan: Plan
    seed: int
    use_cache: bool
    told: dict[str, c.StepPreview] = field(default_factory=dict)
    outputs: dict[str, tuple[Artifact, ...]] = field(default_factory=dict)

    def run(self) -> tuple[c.StepPreview, ...]:
        """Judge every node, as soon as all before it are judged."""
        while waiting := [node for node in self.plan.nodes.values() if node.key not in self.told]:
            ready = [node for node in waiting if all(need in self.told for need in node.needs)]
            for start in range(0, len(ready), _AT_ONCE):
                self._judge(ready[start : start + _AT_ONCE])
        return tuple(self.told[key] for key in self.plan.nodes)

    def _judge(self, nodes: list[Node]) -> None:
        asked: dict[str, c.KeyAsked] = {}
        for node in nodes:
            step = node.step
            refusal = why_not_cached(declared=step.options.cache, wished=self.use_cache, unsure=self.codes.unsure(step))
            if refusal:
                self._tell(node, "run", refusal.removeprefix("Ran: ").rstrip("."))
                continue
            known = all(need in self.outputs for need in node.needs)
            asked[node.key] = self._whole(node) if known else self._partly(node)
        if not asked:
            return
        details = self.codes.take_details()
        for answer in self.transport.call(c.PreviewCache(asked=tuple(asked.values()), details=details | self.codes.details)):
            self._answered(self.plan.nodes[answer.node], answer, known="inputs" in asked[answer.node].parts)

    def _whole(self, node: Node) -> c.KeyAsked:
        row = StepRun(id=new_id(), pipeline_run=new_id(), key=node.key, step=node.step.name, position=0, status="waiting")
        live = Live(node=node, row=row)
        key = key_of(live, self.codes, self.outputs.get, self.seed)
        return c.KeyAsked(node=node.key, step=node.step.name, cache_key=key, parts=live.parts, ttl_s=node.step.options.ttl_s)

    def _partly(self, node: Node) -> c.KeyAsked:
        """A question that cannot be answered by a result: the inputs are not known."""
        parts = step_parts(node, self.codes, self.seed)
        return c.KeyAsked(node=node.key, step=node.step.name, cache_key="unknown", parts=parts)

    def _answered(self, node: Node, answer: c.KeyAnswer, *, known: bool) -> None:
        if answer.hit is not None:
            self.outputs[node.key] = answer.hit.outputs
            self._tell(node, "cached", answer.reason)
        elif known or answer.changes or answer.compared_with is None:
            self._tell(node, "run", answer.reason, answer)
        else:
            open_ = [need for need in node.needs if need not in self.outputs]
            self._tell(node, "unknown", f"it depends on what {', '.join(open_[:5])} will answer", answer)

    def _tell(self, node: Node, would: Any, reason: str, answer: c.KeyAnswer | None = None) -> None:
        if node.conditions and would != "cached":
            reason = f"{reason}, if its condition holds"
        self.told[node.key] = c.StepPreview(
            key=node.key, step=node.step.name, would=would, reason=reason[:1000], changes=answer.changes if answer else (),
            compared_with=answer.compared_with if answer else None,
        )  # fmt: skip


def preview(
    transport: Transport, settings: Settings, pipeline: str | Pipeline[..., Any], params: Mapping[str, Any], *, seed: int, use_cache: bool
) -> tuple[c.StepPreview, ...]:
    """What a run with these parameters would do with each step. Raises NotFound, Invalid as a run would."""
    folder = Path(settings.folder or ".").resolve()
    found = pipeline if isinstance(pipeline, Pipeline) else load_project(settings).pipeline(pipeline)
    plan = trace(found, typed_params(found, params))
    codes = Keying(folder, settings.home_path / "installed", settings.engine.cache_environment)
    codes.prepare({id(node.step): node.step for node in plan.nodes.values()}.values())
    return _Preview(transport, codes, plan, seed, use_cache).run()
