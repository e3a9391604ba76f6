"""Tracing: while a pipeline's function runs, its calls of steps become the nodes of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from rung.core.errors import Invalid
from rung.pipelines.records import StepSpec

if TYPE_CHECKING:
    from rung.pipelines.authoring import Pipeline, Step

_NO_VALUE = "Move the decision into a step, or take it from a parameter of the pipeline."


class Handle:
    """Stands for an output of a step while its pipeline is traced.

    It can be handed to other steps, unpacked when the step's annotation is a ``tuple[...]``, and indexed, which takes
    the item when the value is there.
    """

    def __init__(self, tracer: Tracer, key: str, *, count: int, index: int | None = None, path: tuple[str | int, ...] = ()) -> None:
        self.tracer = tracer
        self.key = key
        self.count = count
        self.index = index
        self.path = path

    def after(self, *earlier: Handle) -> Handle:
        """This output, whose step now also waits for those of ``earlier``."""
        for handle in earlier:
            self.tracer.wait(self.key, handle.key)
        return self

    @property
    def source(self) -> str:
        """``step`` or ``step.index``: what a plan shows as the origin of an input."""
        return self.key if self.index is None else f"{self.key}.{self.index}"

    def __getitem__(self, item: str | int) -> Handle:
        if self.index is None and self.count > 1 and isinstance(item, int) and not self.path:
            if not -self.count <= item < self.count:
                raise Invalid(
                    f"Step {self.key!r} has {self.count} outputs, not one at {item}.",
                    code="pipelines.no_output",
                    hint="Look at its return annotation.",
                )
            return Handle(self.tracer, self.key, count=self.count, index=item % self.count)
        return Handle(self.tracer, self.key, count=self.count, index=self.index, path=(*self.path, item))

    def __iter__(self) -> Iterator[Handle]:
        if self.count == 1 or self.index is not None:
            raise Invalid(
                f"The output of step {self.key!r} cannot be unpacked: how many it has is not declared.",
                code="pipelines.not_unpackable",
                hint="Annotate the step's return type as tuple[..., ...].",
            )
        return iter([self[index] for index in range(self.count)])

    def __bool__(self) -> NoReturn:  # noqa: PLE0304 - it refuses
        self._refuse("truth")

    def __len__(self) -> NoReturn:  # noqa: PLE0303 - it refuses
        self._refuse("length")

    def __float__(self) -> NoReturn:
        self._refuse("number")

    def __int__(self) -> NoReturn:
        self._refuse("number")

    def __lt__(self, other: object) -> NoReturn:
        self._refuse("order")

    __gt__ = __le__ = __ge__ = __lt__

    def __repr__(self) -> str:
        return f"<output of {self.source}>"

    def _refuse(self, what: str) -> NoReturn:
        raise Invalid(
            f"The {what} of the output of step {self.key!r} is not known while the pipeline is traced.",
            code="pipelines.value_in_trace",
            hint=_NO_VALUE,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Invalid(
            f"The output of step {self.key!r} has no attribute {name!r} while the pipeline is traced.",
            code="pipelines.value_in_trace",
            hint=_NO_VALUE,
        )


def handles_in(value: Any) -> Iterator[Handle]:
    """Every handle inside a value, through lists, tuples and dicts."""
    if isinstance(value, Handle):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from handles_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from handles_in(item)


@dataclass
class Node:
    """One call of a step: its arguments, with handles where earlier outputs go, and whom it waits for."""

    key: str
    step: Step[..., Any]
    arguments: dict[str, Any]
    needs: list[str]


@dataclass
class Plan:
    """The nodes of a pipeline in the order of their calls, and what the pipeline answers."""

    pipeline: str
    nodes: dict[str, Node]
    answer: Any

    def specs(self) -> tuple[StepSpec, ...]:
        """The plan as records."""
        return tuple(
            StepSpec(
                key=node.key,
                step=node.step.name,
                target=node.step.target,
                options=node.step.options,
                needs=tuple(node.needs),
                inputs={name: sources for name, value in node.arguments.items() if (sources := tuple(h.source for h in handles_in(value)))},
                outputs=node.step.outputs,
                doc=(node.step.function.__doc__ or "").strip().partition("\n")[0][:500],
            )
            for node in self.nodes.values()
        )


@dataclass
class Tracer:
    """Collects the nodes of one pipeline."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def add(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handle:
        """A node for a call of a step; the handle of its output. Raises Invalid when the arguments do not fit."""
        try:
            bound = step.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise Invalid(
                f"Step {step.name!r} cannot be called like that: {error}.",
                code="pipelines.bad_call",
                hint="Compare the call with the step's signature.",
            ) from None
        bound.apply_defaults()
        for name, parameter in step.signature.parameters.items():
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
                raise Invalid(
                    f"Step {step.name!r} has a parameter {name!r} that has no name of its own in a plan.",
                    code="pipelines.bad_signature",
                    hint="Use plain named parameters.",
                )
        needs = list(dict.fromkeys(handle.key for handle in handles_in(list(bound.arguments.values()))))
        key = self._key(step.name)
        self.nodes[key] = Node(key=key, step=step, arguments=dict(bound.arguments), needs=needs)
        return Handle(self, key, count=len(step.outputs))

    def wait(self, later: str, earlier: str) -> None:
        """Let one node wait for another."""
        if earlier not in self.nodes[later].needs:
            self.nodes[later].needs.append(earlier)

    def _key(self, name: str) -> str:
        if name not in self.nodes:
            return name
        number = 2
        while f"{name}-{number}" in self.nodes:
            number += 1
        return f"{name}-{number}"


_TRACER: ContextVar[Tracer | None] = ContextVar("rung_tracer", default=None)


def tracer() -> Tracer | None:
    """The trace in progress here, if any."""
    return _TRACER.get()


def trace(pipeline: Pipeline[..., Any], params: Mapping[str, Any]) -> Plan:
    """The plan of a pipeline with these parameters. Raises Invalid for wrong parameters, calls and cycles."""
    held = Tracer()
    try:
        bound = pipeline.signature.bind(**params)
    except TypeError as error:
        known = ", ".join(pipeline.signature.parameters) or "none"
        raise Invalid(f"Pipeline {pipeline.name!r}: {error}.", code="pipelines.bad_params", hint=f"Its parameters: {known}.") from None
    token = _TRACER.set(held)
    try:
        answer = pipeline.function(*bound.args, **bound.kwargs)
    finally:
        _TRACER.reset(token)
    _declared(held)
    refuse_cycles({key: tuple(node.needs) for key, node in held.nodes.items()})
    return Plan(pipeline=pipeline.name, nodes=held.nodes, answer=answer)


def refuse_cycles(needs: Mapping[str, tuple[str, ...]]) -> None:
    """Raise Invalid, naming the cycle, when nodes wait for each other."""
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(needs.get(start, ())))] if start not in done else []
        path = [start] if stack else []
        while stack:
            key, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(key)
                stack.pop()
                path.pop()
            elif following in path:
                cycle = [*path[path.index(following) :], following]
                raise Invalid(
                    f"Steps wait for each other: {' -> '.join(cycle)}.", code="pipelines.cycle", hint="Take one of these dependencies out."
                )
            elif following not in done:
                path.append(following)
                stack.append((following, iter(needs.get(following, ()))))


def _declared(held: Tracer) -> None:
    by_step: dict[str, list[str]] = {}
    for key, node in held.nodes.items():
        by_step.setdefault(node.step.name, []).append(key)
    for key, node in held.nodes.items():
        for name in node.step.after:
            if name not in by_step:
                raise Invalid(
                    f"Step {node.step.name!r} is declared to run after {name!r}, which is not in the pipeline.",
                    code="pipelines.unknown_step", hint=f"Steps here: {', '.join(by_step)}.",
                )  # fmt: skip
            for earlier in by_step[name]:
                held.wait(key, earlier)
