"""Tracing: while a pipeline's function runs, its calls of steps become the nodes of a plan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rung.core.errors import Invalid, RungError
from rung.pipelines.conditions import Clause, Operand, condition_of, operands_of
from rung.pipelines.faults import line_of
from rung.pipelines.records import FailureRule, NodeKind, StepSpec

if TYPE_CHECKING:
    from rung.pipelines.authoring import Pipeline, Step

_LARGEST_LITERAL = 10_000


class Handle(Operand):
    """Stands for an output of a step while its pipeline is traced.

    It can be handed to other steps, unpacked when the step's annotation is a ``tuple[...]``, indexed, which takes the
    item when the value is there, and compared, which makes a condition for ``when``.
    """

    def __init__(self, tracer: Tracer, key: str, *, count: int, index: int | None = None, path: tuple[str | int, ...] = ()) -> None:
        self.tracer = tracer
        self.key = key
        self.count = count
        self.index = index
        self._path = path

    def after(self, *earlier: Handle) -> Handle:
        """This output, whose step now also waits for those of ``earlier``."""
        for handle in earlier:
            if not isinstance(handle, Handle):
                raise Invalid(
                    f".after takes outputs of steps, not {handle!r}.", code="pipelines.bad_call", hint="Give what a step answered."
                )
            self.tracer.own(handle)
            self.tracer.wait(self.key, handle.key)
        return self

    @property
    def source(self) -> str:
        """``step`` or ``step.index``: what a plan shows as the origin of an input."""
        return self.key if self.index is None else f"{self.key}.{self.index}"

    @property
    def path(self) -> tuple[str | int, ...]:
        """The items taken out of the output."""
        return self._path

    def __getitem__(self, item: str | int) -> Handle:
        item = _item(self, item)
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
            raise _not_unpackable(self)
        return iter([self[index] for index in range(self.count)])


class Either(Operand):
    """Stands for the first of several outputs whose step has a result."""

    def __init__(self, handles: Sequence[Handle]) -> None:
        self.handles = tuple(handles)

    @property
    def source(self) -> str:
        """The sources in order, ``|`` between them."""
        return "|".join(handle.source for handle in self.handles)

    @property
    def path(self) -> tuple[str | int, ...]:
        """Empty: each handle takes its own way."""
        return ()

    def __getitem__(self, item: str | int) -> Either:
        return Either([handle[item] for handle in self.handles])

    def __iter__(self) -> Iterator[Either]:
        counts = {handle.count if handle.index is None else 1 for handle in self.handles}
        if len(counts) > 1 or counts == {1}:
            raise _not_unpackable(self)
        return iter([self[index] for index in range(counts.pop())])


def operands_in(value: Any) -> Iterator[Handle | Either]:
    """Every handle and every ``either`` inside a value, through lists, tuples and dicts.

    Raises Invalid for what cannot be handed on while tracing: conditions, and handles in sets or as keys.
    """
    if isinstance(value, (Handle, Either)):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from operands_in(item)
    elif isinstance(value, dict):
        if any(isinstance(key, (Operand, Clause)) for key in value):
            raise _misplaced("An output as a key of a dict", "Use it as a value, or make the dict inside a step.")
        for item in value.values():
            yield from operands_in(item)
    elif isinstance(value, (set, frozenset)):
        if any(isinstance(item, (Operand, Clause)) for item in value):
            raise _misplaced("An output in a set", "Use a list.")
    elif isinstance(value, Clause):
        raise _misplaced(f"The condition {value}", "Branch on it by `with when(…):`, or compare inside a step.")
    elif isinstance(value, Unmapped):
        raise _misplaced("unmapped(…)", "It belongs into .map(…).")


def handles_in(value: Any) -> Iterator[Handle]:
    """Every handle inside a value, those of an ``either`` included."""
    for operand in operands_in(value):
        if isinstance(operand, Either):
            yield from operand.handles
        else:
            yield operand


class Unmapped(msgspec.Struct, frozen=True):
    """A value that every item of a map is given as it is."""

    value: Any


class Node(msgspec.Struct):
    """One call of a step: its arguments, with handles where earlier outputs go, and whom it waits for.

    A ``map`` calls its step once an item of the parameters in ``over``, ``batch`` items a task (0: as the engine sees
    fit). It runs when all its conditions hold; ``within`` is the way of sub-pipelines that led to it.
    """

    key: str
    step: Step[..., Any]
    arguments: dict[str, Any]
    needs: list[str]
    kind: NodeKind = "step"
    over: tuple[str, ...] = ()
    batch: int = 0
    conditions: tuple[Clause, ...] = ()
    within: str = ""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs; a map answers one list."""
        return ("output",) if self.kind == "map" else self.step.outputs

    def spec(self) -> StepSpec:
        """The node as a record."""
        sources = {name: tuple(operand.source for operand in operands_in(value)) for name, value in self.arguments.items()}
        return StepSpec(
            key=self.key,
            step=self.step.name,
            target=self.step.target,
            options=self.step.options,
            needs=tuple(self.needs),
            inputs={name: found for name, found in sources.items() if found},
            outputs=self.outputs,
            doc=(self.step.function.__doc__ or "").strip().partition("\n")[0][:500],
            kind=self.kind,
            arguments={name: value for name, value in self.arguments.items() if not sources[name] and _is_json(value, [_LARGEST_LITERAL])},
            over=self.over,
            batch=self.batch,
            conditions=tuple(condition_of(clause) for clause in self.conditions),
            within=self.within,
        )


class Plan(msgspec.Struct):
    """The nodes of a pipeline in the order of their calls, and what the pipeline answers.

    With ``on_failure`` ``continue``, steps that do not depend on a failed one still run.
    """

    pipeline: str
    nodes: dict[str, Node]
    answer: Any
    on_failure: FailureRule = "stop"

    def specs(self) -> tuple[StepSpec, ...]:
        """The plan as records."""
        return tuple(node.spec() for node in self.nodes.values())


class Tracer(msgspec.Struct):
    """Collects the nodes of one pipeline."""

    nodes: dict[str, Node] = msgspec.field(default_factory=dict)
    conditions: tuple[Clause, ...] = ()
    open_pipelines: tuple[Pipeline[..., Any], ...] = ()
    within: str = ""
    _numbers: dict[str, int] = msgspec.field(default_factory=dict)
    _groups: dict[str, int] = msgspec.field(default_factory=dict)
    _edges: set[tuple[str, str]] = msgspec.field(default_factory=set)
    _ordered: set[str] = msgspec.field(default_factory=set)

    def add(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handle:
        """A node for a call of a step; the handle of its output. Raises Invalid when the arguments do not fit."""
        return self._add(step, _bound(step, args, kwargs), kind="step")

    def add_map(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, over: tuple[str, ...], batch: int) -> Handle:
        """A node that calls a step once an item; the handle of the list of results."""
        return self._add(step, _bound(step, args, kwargs), kind="map", over=over, batch=batch)

    def _add(
        self, step: Step[..., Any], arguments: dict[str, Any], *, kind: NodeKind, over: tuple[str, ...] = (), batch: int = 0
    ) -> Handle:
        try:
            handles = list(handles_in(list(arguments.values())))
        except RecursionError:
            raise Invalid(
                f"An argument of step {step.name!r} is nested too deeply or holds itself.", code="pipelines.bad_call", hint="Flatten it."
            ) from None
        for handle in handles:
            self.own(handle)
        for clause in self.conditions:
            handles += [handle for operand in operands_of(clause) for handle in handles_in(operand)]
        key = _free_key(step.name, self.nodes, self._numbers)
        needs = list(dict.fromkeys(handle.key for handle in handles))
        self._edges.update((key, earlier) for earlier in needs)
        node = Node(key, step, arguments, needs, kind, over, batch, self.conditions, self.within)
        self.nodes[key] = node
        return Handle(self, key, count=len(node.outputs))

    def own(self, handle: Handle) -> None:
        """Raise Invalid for a handle of another trace."""
        if handle.tracer is not self:
            raise Invalid(
                f"{handle!r} comes from another call of a pipeline.",
                code="pipelines.foreign_output",
                hint="Call the step inside this pipeline; do not keep its answer in a global variable.",
            )

    def wait(self, later: str, earlier: str) -> None:
        """Let one node wait for another."""
        self._ordered.add(later)
        if (later, earlier) not in self._edges:
            self._edges.add((later, earlier))
            self.nodes[later].needs.append(earlier)

    def waits(self, key: str) -> bool:
        """Whether a node takes something from another or was told to wait for one; conditions do not count."""
        return key in self._ordered or any(True for _ in handles_in(list(self.nodes[key].arguments.values())))

    @contextmanager
    def branch(self, clause: Clause) -> Iterator[None]:
        """Let the nodes added meanwhile depend on a condition."""
        for operand in operands_of(clause):
            for handle in handles_in(operand):
                self.own(handle)
        before, self.conditions = self.conditions, (*self.conditions, clause)
        try:
            yield
        finally:
            self.conditions = before

    @contextmanager
    def opened(self, pipeline: Pipeline[..., Any]) -> Iterator[None]:
        """Let the nodes added meanwhile lie within a sub-pipeline. Raises Invalid when it is open already."""
        if pipeline in self.open_pipelines:
            way = [held.name for held in self.open_pipelines[self.open_pipelines.index(pipeline) :]]
            raise Invalid(
                f"Pipeline {pipeline.name!r} calls itself: {' -> '.join([*way, pipeline.name])}.",
                code="pipelines.recursion",
                hint="A plan has an end: use .map(…) over a list, or a loop with a fixed count.",
            )
        pipelines, within = self.open_pipelines, self.within
        if pipelines:
            name = f"{within}/{pipeline.name}" if within else pipeline.name
            number = self._groups[name] = self._groups.get(name, 0) + 1
            self.within = name if number == 1 else f"{name}-{number}"
        self.open_pipelines = (*pipelines, pipeline)
        try:
            yield
        finally:
            self.open_pipelines, self.within = pipelines, within


_TRACER: ContextVar[Tracer | None] = ContextVar("rung_tracer", default=None)


def tracer() -> Tracer | None:
    """The trace in progress here, if any."""
    return _TRACER.get()


def trace(pipeline: Pipeline[..., Any], params: Mapping[str, Any]) -> Plan:
    """The plan of a pipeline with these parameters. Raises Invalid for wrong parameters, calls and cycles, and for what its function raises."""
    try:
        return called(pipeline, params)
    except RungError:
        raise
    except (Exception, SystemExit) as error:
        where = line_of(error, Path(pipeline.function.__code__.co_filename).parent)
        raise Invalid(
            f"Pipeline {pipeline.name!r} makes no plan: {type(error).__name__}: {error}{where}.",
            code="pipelines.broken_pipeline",
            hint="Mend its function, which runs before any step does; what must wait for a step's result belongs into a step.",
        ) from error


def called(pipeline: Pipeline[..., Any], params: Mapping[str, Any], args: Sequence[Any] = ()) -> Plan:
    """Like ``trace``, and raises what the pipeline's function raises, as a function does."""
    held = Tracer()
    try:
        bound = pipeline.signature.bind(*args, **params)
    except TypeError as error:
        known = ", ".join(pipeline.signature.parameters) or "none"
        raise Invalid(f"Pipeline {pipeline.name!r}: {error}.", code="pipelines.bad_params", hint=f"Its parameters: {known}.") from None
    token = _TRACER.set(held)
    try:
        with held.opened(pipeline):
            answer = pipeline.function(*bound.args, **bound.kwargs)
    finally:
        _TRACER.reset(token)
    for handle in handles_in(answer):
        held.own(handle)
    _declared(held)
    refuse_cycles({key: node.needs for key, node in held.nodes.items()})
    return Plan(pipeline=pipeline.name, nodes=held.nodes, answer=answer, on_failure=pipeline.on_failure)


def refuse_cycles(needs: Mapping[str, Sequence[str]]) -> None:
    """Raise Invalid, naming the cycle, when nodes wait for each other."""
    done: set[str] = set()
    for start in needs:
        if start in done:
            continue
        path = {start: None}  # the way here, in order, and quick to search
        stack = [(start, iter(needs[start]))]
        while stack:
            key, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(key)
                stack.pop()
                del path[key]
            elif following in path:
                way = list(path)
                cycle = [*way[way.index(following) :], following]
                raise Invalid(
                    f"Steps wait for each other: {' -> '.join(cycle)}.", code="pipelines.cycle", hint="Take one of these dependencies out."
                )
            elif following not in done:
                path[following] = None
                stack.append((following, iter(needs.get(following, ()))))


def _declared(held: Tracer) -> None:
    """Enter the order that steps declare: ``after``, and that a step for every ending waits for what was called before it."""
    by_step: dict[str, list[str]] = {}
    for key, node in held.nodes.items():
        by_step.setdefault(node.step.name, []).append(key)
    ordinary: list[str] = []
    for key, node in held.nodes.items():
        waits = held.waits(key)
        for name in node.step.after:
            if name not in by_step:
                raise Invalid(
                    f"Step {node.step.name!r} is declared to run after {name!r}, which is not in the pipeline.",
                    code="pipelines.unknown_step", hint=f"Steps here: {', '.join(by_step)}.",
                )  # fmt: skip
            for earlier in by_step[name]:
                held.wait(key, earlier)
        if node.step.options.run == "on_success":
            ordinary.append(key)
        elif not waits and not node.step.after:
            for earlier in ordinary:
                held.wait(key, earlier)


def _bound(step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        bound = step.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise Invalid(
            f"Step {step.name!r} cannot be called like that: {error}.",
            code="pipelines.bad_call",
            hint="Compare the call with the step's signature.",
        ) from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _free_key(name: str, taken: Mapping[str, Any], numbers: dict[str, int]) -> str:
    number = numbers.get(name, 0) + 1
    key = name if number == 1 else f"{name}-{number}"
    while key in taken:
        number += 1
        key = f"{name}-{number}"
    numbers[name] = number
    return key


def _item(operand: Operand, item: Any) -> str | int:
    if isinstance(item, bool) or not isinstance(item, (str, int)):
        raise Invalid(
            f"{operand!r} cannot be indexed by {item!r} while the pipeline is traced.",
            code="pipelines.value_in_trace",
            hint="Index it by a text or a whole number, or take the part inside a step.",
        )
    return item


def _not_unpackable(operand: Operand) -> Invalid:
    return Invalid(
        f"The output of step {operand.source!r} cannot be unpacked: how many it has is not declared.",
        code="pipelines.not_unpackable",
        hint="Annotate the step's return type as tuple[..., ...]; for each item of a list, use .map(…).",
    )


def _misplaced(what: str, hint: str) -> Invalid:
    return Invalid(f"{what} cannot be given to a step or answered.", code="pipelines.bad_argument", hint=hint)


def _is_json(value: Any, room: list[int]) -> bool:
    """Whether a value is plain JSON, of not more parts than there is room for."""
    room[0] -= 1 + (len(value) >> 3 if type(value) is str else 0)
    if room[0] < 0:
        return False
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(_is_json(item, room) for item in value)
    if kind is dict:
        return all(type(key) is str and _is_json(item, room) for key, item in value.items())
    return value is None or kind in {str, bool} or (kind is int and -(2**63) <= value < 2**63)
