"""Plans to be exported: which arguments of steps are parameters of the pipeline, so that they stay parameters over there.

While such a plan is traced, a parameter's value is of a kind that remembers its name; what arrives at a step as it was
given is that parameter. What the pipeline's function computes from one is fixed with the value it has at the export.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rung.core.errors import Invalid, RungError
from rung.pipelines.authoring import Pipeline
from rung.pipelines.conditions import Clause, operands_of
from rung.pipelines.describing import typed_params
from rung.pipelines.tracing import Either, Handle, Node, Plan, operands_in, trace


class _Text(str):
    param: str


class _Whole(int):
    param: str


class _Real(float):
    param: str


class _Items(list[Any]):
    param: str


class _Fields(dict[str, Any]):
    param: str


_KINDS: dict[type, type] = {str: _Text, int: _Whole, float: _Real, list: _Items, dict: _Fields}
_SAMPLES: dict[type, Any] = {str: "", int: 1, float: 1.0, bool: False, list: [], dict: {}}


@dataclass(frozen=True)
class Param:
    """A parameter of an exported pipeline."""

    name: str
    kind: type
    default: Any = None
    required: bool = False


@dataclass(frozen=True)
class Exported:
    """A plan, the parameters that stay open in it, and what the reader should know."""

    plan: Plan
    params: tuple[Param, ...]
    switches: Mapping[tuple[str, str], str]
    notes: tuple[str, ...] = ()

    def param_of(self, node: Node, argument: str, value: Any) -> str | None:
        """The parameter that an argument is, None for any other value."""
        return value.param if isinstance(value, (_Text, _Whole, _Real, _Items, _Fields)) else self.switches.get((node.key, argument))


def exported_plan(pipeline: Pipeline[..., Any], given: Mapping[str, Any]) -> Exported:
    """The plan of a pipeline for another engine; ``given`` replaces defaults.

    Raises:
        Invalid: the pipeline cannot be traced without the value of a parameter that has no default.
    """
    values, params = _values(pipeline, typed(pipeline, given) if given else {})
    try:
        plan = trace(pipeline, values)
    except (RungError, ValueError, TypeError, KeyError, IndexError) as error:
        missing = [p.name for p in params if p.required]
        if not missing:
            raise
        raise Invalid(
            f"Pipeline {pipeline.name!r} cannot be traced without {', '.join(missing)}: {error}",
            code="exchange.needs_value", hint=f"Pass -p {missing[0]}=… as an example.",
        ) from error  # fmt: skip
    switches = _switches(pipeline, values, params, plan)
    used = set(switches.values()) | {value.param for node in plan.nodes.values() for value in _leaves(list(node.arguments.values()))}
    fixed = [p.name for p in params if p.name not in used]
    notes = tuple(f"Parameter {name!r} reaches no step as it is: what depends on it is fixed as of this export." for name in fixed)
    return Exported(plan=plan, params=tuple(p for p in params if p.name in used), switches=switches, notes=notes)


def plain(value: Any) -> Any:
    """A value without the memory of which parameter it was. Raises TypeError for what was none."""
    for kind, remembering in _KINDS.items():
        if isinstance(value, remembering):
            return kind(value)
    raise TypeError(f"{type(value).__name__} has no plain form")


def effective_conditions(plan: Plan) -> dict[str, tuple[Clause, ...]]:
    """Each node's conditions with those of the nodes it takes from: a step is skipped with what it needs."""
    found: dict[str, tuple[Clause, ...]] = {}
    for key, node in plan.nodes.items():
        held = {id(clause): clause for clause in node.conditions}
        for operand in operands_in(list(node.arguments.values())):
            handles = () if isinstance(operand, Either) else (operand,)
            for handle in handles:
                held |= {id(clause): clause for clause in found.get(handle.key, ())}
        found[key] = tuple(held.values())
    return found


def conditions_sources(clauses: tuple[Clause, ...]) -> list[str]:
    """Keys of the nodes whose outputs are compared."""
    return list(dict.fromkeys(op.key for clause in clauses for op in operands_of(clause) if isinstance(op, Handle)))


def typed(pipeline: Pipeline[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, by the types of the parameters; samples stand in for what is missing meanwhile."""
    missing = [p for p in _values(pipeline, {})[1] if p.required and p.name not in given]
    found = typed_params(pipeline, {**{p.name: _SAMPLES[p.kind] for p in missing}, **given})
    return {name: found[name] for name in given}


def _values(pipeline: Pipeline[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Param]]:
    hints = typing.get_type_hints(pipeline.function) if pipeline.function.__annotations__ else {}
    values: dict[str, Any] = {}
    params: list[Param] = []
    for name, parameter in pipeline.signature.parameters.items():
        required = parameter.default is inspect.Parameter.empty and name not in given
        default = given.get(name, None if required else parameter.default)
        hint = typing.get_origin(hints.get(name)) or hints.get(name)
        kind = next((k for k in (bool, str, int, float, list, dict) if hint is k), None)
        kind = kind or next((k for k in _SAMPLES if type(default) is k), None)
        if kind is None:
            if not required:  # of a kind without a word over there: fixed; without a value the trace names it
                values[name] = default
            continue
        value = _SAMPLES[kind] if required else default
        params.append(Param(name, kind, None if required else default, required))
        values[name] = _marked(name, kind, value)
    return values, params


def _marked(name: str, kind: type, value: Any) -> Any:
    if kind is bool or value is None:
        return value
    marked = _KINDS[kind](value)
    marked.param = name
    return marked


def _switches(pipeline: Pipeline[..., Any], values: dict[str, Any], params: list[Param], plan: Plan) -> dict[tuple[str, str], str]:
    """Arguments that are boolean parameters: they turn when the parameter does. True and False remember no name."""
    found: dict[tuple[str, str], str] = {}
    for param in params:
        if param.kind is not bool:
            continue
        other = trace(pipeline, {**values, param.name: not values[param.name]})
        if list(other.nodes) != list(plan.nodes):
            continue
        for key, node in plan.nodes.items():
            for name, value in node.arguments.items():
                if value is values[param.name] and other.nodes[key].arguments[name] is (not values[param.name]):
                    found[key, name] = param.name
    return found


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple(_KINDS.values())):
        return [value]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return []
