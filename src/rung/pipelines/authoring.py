"""``@step`` and ``@pipeline``: plain functions that become a plan when a pipeline is traced.

A step called outside a pipeline is the function it decorates, so it is tested by calling it. Inside one, a call adds a
node to the plan and answers a handle that stands for the output; a handle knows no value, so decisions belong into
steps or into ``when``. A pipeline called as a function is traced and carried out at once, in memory.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack, overload

from rung.core.errors import Invalid
from rung.pipelines.branching import calls, spread
from rung.pipelines.local import evaluated
from rung.pipelines.options import NAME, StepWishes, seconds, size_in_bytes, step_options
from rung.pipelines.outputs import output_names
from rung.pipelines.parameters import refuse_defaults, refuse_values
from rung.pipelines.records import FailureRule, StepOptions
from rung.pipelines.tracing import called, tracer

__all__ = ["Pipeline", "Step", "output_names", "pipeline", "seconds", "size_in_bytes", "step"]
P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function that the engine can run, cache, retry and show. Made by ``@step``."""

    def __init__(self, function: Callable[P, R], *, name: str, options: StepOptions, after: tuple[str, ...] = (), salt: str = "") -> None:
        self.function = function
        self.name = _named(name, "step")
        self.options = options
        self.after = after
        self.salt = salt
        self.outputs = output_names(function)
        self.signature = inspect.signature(function)
        functools.update_wrapper(self, function)
        _refuse_signature(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's own answer; in a trace, a handle in its place."""
        active = tracer()
        if active is None:
            return self.function(*args, **kwargs)
        return active.add(self, args, kwargs)  # type: ignore[return-value]  # a handle stands for the value while tracing

    def map(self, *items: Any, batch: int = 0, **arguments: Any) -> list[R]:
        """The step's answer for each item of a list, in its order: ``train.map(rates, data=d)``.

        Positional arguments are lists, one item a call, and named ones are the same for all. With named arguments only,
        all are lists but those in ``unmapped(…)``: ``train.map(rate=rates, data=unmapped(d))``.

        Args:
            batch: items that one task works on; 0 lets the engine choose.

        Raises:
            Invalid: nothing or no list is mapped over, or lists differ in length.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 0:
            _refuse(
                f"Step {self.name!r}: batch={batch!r} is not a number of items.", "pipelines.bad_map",
                "Write a whole number; a parameter that is called batch is mapped by position.",
            )  # fmt: skip
        given, over = spread(self.name, list(self.signature.parameters), items, arguments)
        active = tracer()
        if active is not None:
            return active.add_map(self, (), given, over=over, batch=batch)  # type: ignore[return-value]  # see __call__
        fixed = {name: value for name, value in given.items() if name not in over}
        return [self.function(**fixed, **item) for item in calls(self.name, given, over)]  # type: ignore[call-arg]  # by name

    @property
    def target(self) -> str:
        """``module:qualified name``, by which another process finds the step."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def __repr__(self) -> str:
        return f"<step {self.name}>"


class Pipeline(Generic[P, R]):
    """A function whose calls of steps make a plan. Made by ``@pipeline``."""

    def __init__(
        self, function: Callable[P, R], *, name: str, on_failure: FailureRule = "stop", concurrency_group: str = "",
        concurrency_limit: int = 1, priority: int = 0,
    ) -> None:  # fmt: skip
        self.function = function
        self.name = _named(name, "pipeline")
        self.on_failure = on_failure
        self.concurrency_group = concurrency_group
        self.concurrency_limit = concurrency_limit
        self.priority = priority
        self.signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the pipeline answers, carried out here and now; inside another pipeline its steps join that plan."""
        active = tracer()
        refuse_values(self.name, self.function, args, kwargs)
        if active is None:
            return evaluated(called(self, kwargs, args))  # type: ignore[no-any-return]  # the values in the place of handles
        with active.opened(self):
            return self.function(*args, **kwargs)

    @property
    def target(self) -> str:
        """``module:qualified name``."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *, name: str | None = None, after: Iterable[str | Step[..., Any]] = (), salt: str = "", **options: Unpack[StepWishes]
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a step.

    Args:
        name: how plans and tables call it; default the function's name.
        retries: how often to try again after a failure.
        backoff: pause before the first retry, seconds or ``"10s"``; ``backoff_factor`` times as long before each further
            one, at most ``backoff_most``; ``jitter`` is the share (0 to 1) that chance may add.
        retry_on: exceptions worth a retry, classes or names; default all.
        timeout: seconds, or text such as ``"30m"``; a step with a timeout runs in a process of its own.
        cpus: cores it needs; ``gpus`` and ``resources`` (amounts by name) likewise.
        memory: bytes it may use, or text such as ``"2GiB"``; such a step runs in a process of its own.
        cache: False for a step that is run for its side effects; the default where ``run`` is not ``on_success``.
        ttl: how long its cached result is good, such as ``"7d"``.
        isolated: run it in a process of its own even without a limit.
        executor: the executor it wishes, whatever the run has.
        environment: a lock or requirements file of the project: the step runs in an environment made of it.
        secrets: names of secrets it may ask for by ``rung.secret(name)``.
        run: ``on_success``; ``always`` runs it however the steps before it end, ``on_failure`` only when one failed.
        concurrency_group: steps of the same group share ``concurrency_limit`` places.
        priority: from -100 to 100; higher ones start first.
        tolerance: the relative difference a reproduction of it may show.
        files: globs of what it reads besides its inputs, ``variables`` of the environment likewise: they enter its key.
        after: steps it waits for although it takes nothing from them.
        salt: any text; another text makes the step new to the cache.

    Raises:
        Invalid: an option has a value it cannot have, or this is no plain function.
    """
    if function is not None:
        return _step(function)
    return functools.partial(_step, **options)


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *, name: str | None = None, on_failure: FailureRule = "stop", concurrency_group: str = "", concurrency_limit: int = 1, priority: int = 0
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function that calls steps a pipeline.

    Args:
        name: how it is run; default the function's name.
        on_failure: ``stop`` starts nothing more when a step has failed; ``continue`` goes on with what does not need it.
        concurrency_group: runs of the same group share ``concurrency_limit`` places; the others wait.
        priority: from -100 to 100; higher ones are taken first.
    """
    if function is not None:
        return _pipeline(function)
    return functools.partial(_pipeline, **options)


def _step(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    after: Iterable[str | Step[..., Any]] = (),
    salt: str = "",
    **options: Unpack[StepWishes],
) -> Step[..., Any]:
    _refuse_other("step", function)
    called = name or function.__name__
    if isinstance(after, str) or not isinstance(after, Iterable):
        _refuse(f"Step {called!r}: after={after!r} is not a list of steps.", "pipelines.bad_option", 'Write a list, such as ["publish"].')
    earlier = [item.name if isinstance(item, Step) else item for item in after]
    if wrong := [item for item in earlier if not isinstance(item, str)]:
        _refuse(f"Step {called!r}: after holds {wrong[0]!r}, no step.", "pipelines.bad_option", "Write names of steps, or steps.")
    if not isinstance(salt, str):
        _refuse(f"Step {called!r}: salt={salt!r} is not a text.", "pipelines.bad_option", "Write a text.")
    return Step(function, name=called, options=step_options(called, **options), after=tuple(earlier), salt=salt)


def _pipeline(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    on_failure: FailureRule = "stop",
    concurrency_group: str = "",
    concurrency_limit: int = 1,
    priority: int = 0,
) -> Pipeline[..., Any]:
    _refuse_other("pipeline", function)
    called = name or function.__name__
    if on_failure not in {"stop", "continue"}:
        _refuse(f"Pipeline {called!r}: on_failure={on_failure!r} is not a rule.", "pipelines.bad_option", "Write stop or continue.")
    refuse_defaults(called, function)
    shared = step_options(called, concurrency_group=concurrency_group, concurrency_limit=concurrency_limit, priority=priority)
    return Pipeline(
        function, name=called, on_failure=on_failure, concurrency_group=shared.concurrency_group,
        concurrency_limit=shared.concurrency_limit, priority=shared.priority,
    )  # fmt: skip


def _refuse_other(what: str, function: Any) -> None:
    """Raise Invalid for anything but a plain function with a name."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        told, hint = f"the async {function.__qualname__}", "Take away async; run the event loop inside it: asyncio.run(…)."
    elif inspect.isgeneratorfunction(function):
        told, hint = f"the generator {function.__qualname__}", "Return a list instead of using yield."
    elif isinstance(function, (Step, Pipeline)):
        told, hint = f"{function!r}, which is decorated already", "Decorate it once."
    elif not inspect.isfunction(function):
        told, hint = repr(function), "Decorate a def; keep a class and what it does in a function that uses it."
    elif function.__name__ == "<lambda>":
        told, hint = "a lambda", "Write a def: a plan calls it by its name."
    else:
        return
    _refuse(f"@{what} takes a plain function, not {told}.", "pipelines.not_a_function", hint)


def _refuse_signature(step: Step[..., Any]) -> None:
    """Raise Invalid for parameters that have no name of their own in a plan."""
    for name, parameter in step.signature.parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**" if parameter.kind is parameter.VAR_KEYWORD else ""
            _refuse(
                f"Step {step.name!r} has a parameter {stars + name!r} that has no name of its own in a plan.",
                "pipelines.bad_signature",
                "Use plain named parameters; take a list or a dict for many values.",
            )
    first = next(iter(step.signature.parameters), "")
    if first in {"self", "cls"} and "." in step.function.__qualname__.rpartition("<locals>.")[2]:
        _refuse(
            f"Step {step.function.__qualname__!r} is a method.", "pipelines.not_a_function", "Write a function that takes what it needs."
        )


def _named(name: str, what: str) -> str:
    if not isinstance(name, str) or not NAME.match(name):
        _refuse(f"{name!r} cannot name a {what}.", "pipelines.bad_name", "Use letters, digits, dot, dash and underscore.")
    return name


def _refuse(message: str, code: str, hint: str) -> NoReturn:
    raise Invalid(message, code=code, hint=hint)
