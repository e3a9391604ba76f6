"""Parameters of a pipeline: their types, defaults, units and bounds, read from the signature of its function."""

from __future__ import annotations

import contextlib
import enum
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.core.records import decoded
from rung.data.records import DatasetRef
from rung.pipelines.conditions import Operand
from rung.pipelines.outputs import type_name
from rung.pipelines.records import ParamSpec


@dataclass(frozen=True)
class Param:
    """What an annotation says of a parameter: ``Annotated[float, Param(ge=0, le=1, unit="km", doc="…")]``.

    Args:
        ge: the smallest value; None for none.
        le: the greatest value; None for none.
        unit: what a number counts, for people.
        doc: what it is for.
    """

    ge: float | None = None
    le: float | None = None
    unit: str = ""
    doc: str = ""

    def __post_init__(self) -> None:
        for name, value in (("ge", self.ge), ("le", self.le)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)):
                raise Invalid(f"Param({name}={value!r}) is no bound.", code="pipelines.bad_bound", hint="Write a number.")
        if self.ge is not None and self.le is not None and self.ge > self.le:
            raise Invalid(f"Param(ge={self.ge}, le={self.le}) lets nothing pass.", code="pipelines.bad_bound", hint="Swap the bounds.")
        if not isinstance(self.unit, str) or not isinstance(self.doc, str):
            raise Invalid("Param takes texts as unit and doc.", code="pipelines.bad_bound", hint='Write unit="km".')


def param_specs(function: Callable[..., Any]) -> tuple[ParamSpec, ...]:
    """What a pipeline's function takes, as records."""
    hints = type_hints(function)
    return tuple(_spec(name, parameter, hints.get(name)) for name, parameter in inspect.signature(function).parameters.items())


def refuse_outside(pipeline: str, spec: ParamSpec, value: Any) -> None:
    """Raise Invalid for a value outside the bounds of a parameter, or that is none of its choices."""
    if spec.choices and value is not None and value not in spec.choices:
        raise _wrong(pipeline, spec.name, f"is {value!r}", f"It is one of {', '.join(map(repr, spec.choices))}.")
    if (spec.minimum is None and spec.maximum is None) or value is None:
        return
    unit = f" {spec.unit}" if spec.unit else ""
    bounds = " and ".join(
        f"{word} {bound:g}{unit}" for word, bound in (("at least", spec.minimum), ("at most", spec.maximum)) if bound is not None
    )
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            raise _wrong(pipeline, spec.name, f"is {item!r}, which is no number", f"It is {bounds}.")
        # "not >=" rather than "<": what is not a number is outside too
        if not ((spec.minimum is None or item >= spec.minimum) and (spec.maximum is None or item <= spec.maximum)):
            raise _wrong(pipeline, spec.name, f"is {item!r}{unit}, not {bounds}", f"Pass a value that is {bounds}.")


def typed_params(pipeline: str, function: Callable[..., Any], given: Mapping[str, Any], *, complete: bool = True) -> dict[str, Any]:
    """Plain values as the types of the function's parameters.

    Args:
        complete: refuse when a parameter without a default is missing.

    Raises:
        Invalid: a parameter is unknown, missing, of the wrong type, out of its bounds, or none of its choices.
    """
    known = inspect.signature(function).parameters
    for name in given:
        if name not in known:
            raise Invalid(
                f"Pipeline {pipeline!r} has no parameter {name!r}.",
                code="pipelines.unknown_param",
                hint=f"It has: {', '.join(known) or 'none'}.",
            )
    missing = [name for name, p in known.items() if p.default is inspect.Parameter.empty and name not in given]
    if missing and complete:
        raise Invalid(
            f"Pipeline {pipeline!r} needs a value for {', '.join(missing)}.",
            code="pipelines.missing_param",
            hint=f"Pass -p {missing[0]}=….",
        )
    hints = type_hints(function)
    refuse_defaults(pipeline, function)
    found = {}
    for name, value in given.items():
        found[name] = _typed(pipeline, name, value, hints.get(name, _type_of_default(known[name])))
        refuse_outside(pipeline, _spec(name, known[name], hints.get(name)), _plain_choice(found[name]))
    return found


def refuse_defaults(pipeline: str, function: Callable[..., Any]) -> None:
    """Raise Invalid for a default outside the bounds of its parameter."""
    hints = type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not inspect.Parameter.empty and parameter.default is not None:
            spec = _spec(name, parameter, hints.get(name))
            refuse_outside(pipeline, spec, _plain_choice(parameter.default))


def refuse_values(pipeline: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise Invalid for arguments of a plain call that are out of bounds; outputs of steps are let pass, their values are not there yet."""
    parameters = inspect.signature(function).parameters
    hints = type_hints(function)
    for name, value in {**dict(zip(parameters, args, strict=False)), **kwargs}.items():
        if name in parameters and not isinstance(value, Operand):
            refuse_outside(pipeline, _spec(name, parameters[name], hints.get(name)), _plain_choice(value))


def dataset_ref(text: str) -> DatasetRef:
    """A dataset version from ``name:number``. Raises Invalid."""
    name, _, number = text.rpartition(":")
    return decoded({"dataset": name, "number": int(number) if number.isdigit() else number}, DatasetRef)


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The function's annotations; none where they exist for type checkers only, and parameters are taken as they come."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _spec(name: str, parameter: inspect.Parameter, hint: Any) -> ParamSpec:
    required = parameter.default is inspect.Parameter.empty
    told = next((item for part in _parts(hint) for item in getattr(part, "__metadata__", ()) if isinstance(item, Param)), Param())
    shown = parameter.annotation if hint is None else hint
    return ParamSpec(
        name=name, type=shown[:500] if isinstance(shown, str) else type_name(shown), required=required,
        default=None if required else _plain(parameter.default), unit=told.unit, doc=told.doc,
        minimum=None if told.ge is None else float(told.ge), maximum=None if told.le is None else float(told.le), choices=_choices(hint),
    )  # fmt: skip


def _choices(hint: Any) -> tuple[Any, ...]:
    for part in _parts(hint):
        bare = part.__origin__ if hasattr(part, "__metadata__") else part
        if typing.get_origin(bare) is typing.Literal:
            return typing.get_args(bare)
        if isinstance(bare, type) and issubclass(bare, enum.Enum):
            return tuple(_plain_choice(member) for member in bare)
    return ()


def _parts(hint: Any) -> Iterator[Any]:
    """An annotation, and what stands beside None in it."""
    yield hint
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        options = [part for part in typing.get_args(hint) if part is not type(None)]
        yield from options if len(options) == 1 else ()


def _typed(pipeline: str, name: str, value: Any, hint: Any) -> Any:
    if hint is None:
        return value
    if isinstance(value, str) and DatasetRef in _parts(hint):
        return dataset_ref(value)
    if isinstance(value, str) and hint is not str and _is_container(hint):
        with contextlib.suppress(msgspec.DecodeError):
            value = msgspec.json.decode(value)
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(pipeline, name, f"is {str(value)[:100]!r}: {error}", f"Its type is {type_name(hint)}.") from None
    except TypeError:
        return value  # a type that msgspec does not know, such as a frame: only Python can pass one


def _wrong(pipeline: str, name: str, what: str, hint: str) -> Invalid:
    return Invalid(f"Parameter {name!r} of pipeline {pipeline!r} {what}.".replace("..", "."), code="pipelines.bad_param", hint=hint)


def _type_of_default(parameter: inspect.Parameter) -> Any:
    return type(parameter.default) if isinstance(parameter.default, (bool, int, float)) else None


def _is_container(hint: Any) -> bool:
    kinds = [typing.get_origin(hint) or hint, *(typing.get_origin(a) or a for a in typing.get_args(hint))]
    return any(
        isinstance(kind, type) and (issubclass(kind, (list, tuple, dict, set, frozenset)) or hasattr(kind, "__struct_fields__"))
        for kind in kinds
    )


def _plain_choice(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _plain(value: Any) -> Any:
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, msgspec.MsgspecError):
        return repr(value)[:200]
