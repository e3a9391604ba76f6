"""Branches and maps while a pipeline is traced: ``when``, ``otherwise``, ``either``, ``unmapped``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from rung.core.errors import Invalid
from rung.pipelines.conditions import Clause, clause_of
from rung.pipelines.tracing import Either, Handle, Tracer, Unmapped, operands_in, tracer

T = TypeVar("T")


class Branch:
    """The steps that run when a condition holds. Made by ``when`` and ``otherwise``; it can be entered more than once."""

    def __init__(self, held: Tracer, clause: Clause) -> None:
        self.held = held
        self.clause = clause
        self._open: list[AbstractContextManager[None]] = []

    def __enter__(self) -> Branch:
        entered = self.held.branch(self.clause)
        entered.__enter__()
        self._open.append(entered)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.pop().__exit__(kind, error, trace)

    def __bool__(self) -> NoReturn:
        raise Invalid(
            "Whether a branch is taken is not known while the pipeline is traced.",
            code="pipelines.value_in_trace", hint="Use it in `with`: `with when(…) as good:`, `with otherwise(good):`.",
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<when {self.clause}>"


def when(condition: object) -> Branch:
    """Steps called in this block run only when the condition holds; the others are skipped, and what takes from them too.

    Args:
        condition: a comparison of an output (``score["auc"] > 0.8``), an output (its truth), or a truth value; join
            several by ``&``, ``|`` and ``~``. Equality is ``.equals(x)``, membership ``.is_in([...])``.

    Raises:
        Invalid: it is none of these, or no pipeline is traced here.
    """
    return Branch(_tracing("when"), clause_of(condition))


def otherwise(branch: Branch) -> Branch:
    """Steps called in this block run when the condition of that branch does not hold."""
    held = _tracing("otherwise")
    if not isinstance(branch, Branch):
        raise Invalid(
            f"otherwise takes a branch, not {branch!r}.",
            code="pipelines.bad_condition",
            hint="Write `with when(…) as good:`, then `with otherwise(good):`.",
        )
    return Branch(held, ~branch.clause)


def either(first: T, *others: T) -> T:
    """The first of several outputs whose step has a result: what comes after the branches of a ``when``."""
    held = _tracing("either")
    handles: list[Handle] = []
    for value in (first, *others):
        if not isinstance(value, (Handle, Either)):
            raise Invalid(
                f"either takes outputs of steps, not {value!r}.",
                code="pipelines.bad_call",
                hint="Let a step answer the value to fall back on.",
            )
        handles += value.handles if isinstance(value, Either) else [value]
    for handle in handles:
        held.own(handle)
    return Either(handles)  # type: ignore[return-value]  # it stands for the value while tracing


def unmapped(value: T) -> T:
    """In ``train.map(x=items, c=unmapped(v))``: every item is given ``v`` as it is."""
    return Unmapped(value)  # type: ignore[return-value]  # .map takes it apart


def spread(name: str, parameters: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arguments of a map by name, and which of them give one item each.

    Positional arguments are mapped and named ones fixed; with named ones only, all but the ``unmapped`` are mapped.

    Raises:
        Invalid: there is nothing to map over, something mapped is no list, or lists differ in length.
    """
    if len(args) > len(parameters):
        raise Invalid(
            f"Step {name!r} takes {len(parameters)} arguments, not {len(args)}.", code="pipelines.bad_call", hint="Leave some out."
        )
    positional = dict(zip(parameters, args, strict=False))
    if double := sorted(set(positional) & set(kwargs)):
        raise Invalid(f"Step {name!r} is given {double[0]!r} twice.", code="pipelines.bad_call", hint="Give it once.")
    given = {**positional, **kwargs}
    fixed = {key for key, value in given.items() if isinstance(value, Unmapped) or (args and key in kwargs)}
    over = tuple(key for key in given if key not in fixed)
    if not over:
        raise Invalid(
            f"Step {name!r} is mapped over nothing.", code="pipelines.bad_map", hint="Give a list: step.map(items), or step.map(x=items)."
        )
    arguments = {key: value.value if isinstance(value, Unmapped) else value for key, value in given.items()}
    lengths = {key: len(items(name, key, arguments[key])) for key in over if not isinstance(arguments[key], (Handle, Either))}
    refuse_lengths(name, lengths)
    return arguments, over


def items(name: str, parameter: str, value: Any) -> list[Any]:
    """The items of a value that a step is mapped over. Raises Invalid for anything but a list, a tuple or a range."""
    if isinstance(value, (list, tuple, range)):
        return list(value)
    hint = "Give a list, a tuple, a range, or the output of a step that answers a list."
    if isinstance(value, (dict, set, frozenset)):
        hint = "Give a list: its order is that of the results, e.g. sorted(…)."
    elif hasattr(value, "__iter__") and not isinstance(value, (str, bytes)):
        hint = "Give list(…) of it."
    raise Invalid(
        f"Step {name!r} cannot be mapped over {parameter}={_short(value)}, a {type(value).__name__}.", code="pipelines.bad_map", hint=hint
    )


def refuse_lengths(name: str, lengths: dict[str, int]) -> None:
    """Raise Invalid when lists that are mapped over together differ in length."""
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise Invalid(
            f"Step {name!r} is mapped over lists of different length: {told}.",
            code="pipelines.bad_map",
            hint="Give lists of the same length; wrap what all items share in unmapped(…).",
        )


def calls(name: str, arguments: dict[str, Any], over: tuple[str, ...]) -> list[dict[str, Any]]:
    """What each item's call is given besides the fixed arguments: one value of every mapped list. Raises Invalid."""
    lists = {key: items(name, key, arguments[key]) for key in over}
    refuse_lengths(name, {key: len(held) for key, held in lists.items()})
    return [dict(zip(over, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _tracing(what: str) -> Tracer:
    held = tracer()
    if held is None:
        raise Invalid(
            f"{what}(…) works while a pipeline is traced.", code="pipelines.not_tracing", hint="Call it in a function under @pipeline."
        )
    return held


def _short(value: Any) -> str:
    text = "…" if next(operands_in(value), None) is not None else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - a message, not a dump
