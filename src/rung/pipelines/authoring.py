"""``@step`` and ``@pipeline``: plain functions that become a plan when a pipeline is traced.

Outside a trace a step is the function it decorates, so it is tested by calling it. Inside one, a call adds a node to
the plan and answers a handle that stands for the output; a handle knows no value, so decisions belong into steps.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, overload

from rung.core.errors import Invalid
from rung.pipelines.records import StepOptions
from rung.pipelines.tracing import tracer

P = ParamSpec("P")
R = TypeVar("R")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


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

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's own answer; in a trace, a handle in its place."""
        active = tracer()
        if active is None:
            return self.function(*args, **kwargs)
        return active.add(self, args, kwargs)  # type: ignore[return-value]  # a handle stands for the value while tracing

    @property
    def target(self) -> str:
        """``module:qualified name``, by which another process finds the step."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def __repr__(self) -> str:
        return f"<step {self.name}>"


class Pipeline(Generic[P, R]):
    """A function whose calls of steps make a plan. Made by ``@pipeline``; called plainly, it just runs."""

    def __init__(self, function: Callable[P, R], *, name: str) -> None:
        self.function = function
        self.name = _named(name, "pipeline")
        self.signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's own answer; inside another pipeline's trace its steps join that plan."""
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
    *,
    name: str | None = None,
    retries: int = 0,
    timeout: str | float | None = None,
    cpus: float | None = None,
    memory: str | int | None = None,
    cache: bool = True,
    isolated: bool = False,
    after: tuple[str, ...] | list[str] = (),
    salt: str = "",
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a step.

    Args:
        name: how plans and tables call it; default the function's name.
        retries: how often to try again after a failure.
        timeout: seconds, or text such as ``"30m"``; a step with a timeout runs in a process of its own.
        cpus: cores it needs while others run beside it.
        memory: bytes it may use, or text such as ``"2GiB"``; such a step runs in a process of its own.
        cache: False for a step that is run for its side effects.
        isolated: run it in a fresh interpreter even without a timeout.
        after: names of steps it waits for although it takes nothing from them.
        salt: any text; another text makes the step new to the cache.
    """
    if function is not None:
        return _step(function)
    return functools.partial(_step, **options)


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(*, name: str | None = None) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(function: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Make a function that calls steps a pipeline. ``name`` defaults to the function's."""
    if function is not None:
        return Pipeline(function, name=name or function.__name__)
    return lambda inner: Pipeline(inner, name=name or inner.__name__)


def _step(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    retries: int = 0,
    timeout: str | float | None = None,
    cpus: float | None = None,
    memory: str | int | None = None,
    cache: bool = True,
    isolated: bool = False,
    after: tuple[str, ...] | list[str] = (),
    salt: str = "",
) -> Step[..., Any]:
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        _refuse(f"@step takes a plain function, not {function!r}.", "pipelines.not_a_function", "Decorate a def without async and yield.")
    options = StepOptions(
        retries=retries, timeout_s=seconds(timeout), cpus=cpus, memory_bytes=size_in_bytes(memory), cache=cache,
        isolated=isolated or timeout is not None or memory is not None,
    )  # fmt: skip
    return Step(function, name=name or function.__name__, options=options, after=tuple(after), salt=salt)


def seconds(value: str | float | None) -> float | None:
    """Seconds of a number or of text such as ``90``, ``"90s"``, ``"1.5h"``. Raises Invalid.

    >>> seconds("30m")
    1800.0
    """
    if value is None or isinstance(value, (int, float)):
        return None if value is None else float(value)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value)
    if not found:
        _refuse(f"{value!r} is not a length of time.", "pipelines.bad_duration", 'Write seconds, or "30s", "10m", "2h", "1d".')
    return float(found[1]) * _SECONDS[found[2] or "s"]


def size_in_bytes(value: str | int | None) -> int | None:
    """Bytes of a number or of text such as ``"512MB"`` or ``"2GiB"``. Raises Invalid.

    >>> size_in_bytes("2GiB")
    2147483648
    """
    if value is None or isinstance(value, int):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", value.lower())
    if not found or found[2] not in _BYTES:
        _refuse(f"{value!r} is not an amount of memory.", "pipelines.bad_size", 'Write bytes, or "512MB", "2GiB".')
    return int(float(found[1]) * _BYTES[found[2]])


def output_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a function's outputs: one, or as many as its ``tuple[...]`` annotation lists."""
    count = _tuple_length(inspect.signature(function).return_annotation)
    return ("output",) if count is None else tuple(f"output_{index}" for index in range(count))


def _tuple_length(annotation: Any) -> int | None:
    if isinstance(annotation, str):  # the annotation's text is enough, and its names may exist for type checkers only
        try:
            tree = ast.parse(annotation, mode="eval").body
        except SyntaxError:
            return None
        if not isinstance(tree, ast.Subscript) or ast.unparse(tree.value) not in {"tuple", "Tuple", "typing.Tuple"}:
            return None
        items = list(tree.slice.elts) if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        endless = any(isinstance(item, ast.Constant) and item.value is Ellipsis for item in items)
        return None if endless else len(items)
    if typing.get_origin(annotation) is not tuple:
        return None
    arguments = typing.get_args(annotation)
    return None if Ellipsis in arguments else len(arguments)


def _named(name: str, what: str) -> str:
    if not _NAME.match(name):
        _refuse(f"{name!r} cannot name a {what}.", "pipelines.bad_name", "Use letters, digits, dot, dash and underscore.")
    return name


def _refuse(message: str, code: str, hint: str) -> NoReturn:
    raise Invalid(message, code=code, hint=hint)
