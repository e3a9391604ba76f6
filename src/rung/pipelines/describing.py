"""What a pipeline tells of itself, and parameters as they come from outside turned into what its function expects."""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from rung.core.errors import Invalid, RungError
from rung.core.records import decoded
from rung.data.records import DatasetRef
from rung.pipelines.authoring import Pipeline
from rung.pipelines.records import ParamSpec, PipelineInfo, StepSpec
from rung.pipelines.tracing import trace


def described(pipeline: Pipeline[..., Any], *, code: str, now: datetime) -> PipelineInfo:
    """The pipeline's parameters, and its plan where every parameter has a default."""
    hints = _hints(pipeline)
    specs = []
    for name, parameter in pipeline.signature.parameters.items():
        required = parameter.default is inspect.Parameter.empty
        default = None if required else _plain(parameter.default)
        specs.append(ParamSpec(name=name, type=_type_name(hints.get(name, parameter.annotation)), required=required, default=default))
    steps: tuple[StepSpec, ...] = ()
    if not any(spec.required for spec in specs):
        # A plan that cannot be traced is reported when the pipeline is run; the list of pipelines still shows it.
        with contextlib.suppress(RungError):
            steps = trace(pipeline, {}).specs()
    return PipelineInfo(
        name=pipeline.name, target=pipeline.target, doc=inspect.cleandoc(pipeline.function.__doc__ or ""), params=tuple(specs), steps=steps,
        code=code, seen_at=now,
    )  # fmt: skip


def typed_params(pipeline: Pipeline[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values as the types of the pipeline's parameters. Raises Invalid for unknown, missing and wrong ones."""
    known = pipeline.signature.parameters
    for name in given:
        if name not in known:
            raise Invalid(
                f"Pipeline {pipeline.name!r} has no parameter {name!r}.",
                code="pipelines.unknown_param",
                hint=f"It has: {', '.join(known) or 'none'}.",
            )
    missing = [name for name, p in known.items() if p.default is inspect.Parameter.empty and name not in given]
    if missing:
        raise Invalid(
            f"Pipeline {pipeline.name!r} needs a value for {', '.join(missing)}.",
            code="pipelines.missing_param",
            hint=f"Pass -p {missing[0]}=….",
        )
    hints = _hints(pipeline)
    return {name: _typed(pipeline.name, name, value, hints.get(name, _type_of_default(known[name]))) for name, value in given.items()}


def _typed(pipeline: str, name: str, value: Any, hint: Any) -> Any:
    if hint is None:
        return value
    if isinstance(value, str) and hint is DatasetRef:
        return dataset_ref(value)
    if isinstance(value, str) and hint is not str and _is_container(hint):
        with contextlib.suppress(msgspec.DecodeError):
            value = msgspec.json.decode(value)
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"Parameter {name!r} of pipeline {pipeline!r}: {error}.", code="pipelines.bad_param", hint=f"Its type is {_type_name(hint)}."
        ) from None
    except TypeError:
        return value  # a type that msgspec does not know, such as a frame: only Python can pass one


def _type_of_default(parameter: inspect.Parameter) -> Any:
    return type(parameter.default) if isinstance(parameter.default, (bool, int, float)) else None


def dataset_ref(text: str) -> DatasetRef:
    """A dataset version from ``name:number``. Raises Invalid."""
    name, _, number = text.rpartition(":")
    return decoded({"dataset": name, "number": int(number) if number.isdigit() else number}, DatasetRef)


def _is_container(hint: Any) -> bool:
    kinds = [typing.get_origin(hint) or hint, *(typing.get_origin(a) or a for a in typing.get_args(hint))]
    return any(
        isinstance(kind, type) and (issubclass(kind, (list, tuple, dict, set, frozenset)) or hasattr(kind, "__struct_fields__"))
        for kind in kinds
    )


def _hints(pipeline: Pipeline[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(pipeline.function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}  # annotations that exist for type checkers only: parameters are taken as they come


def _type_name(hint: Any) -> str:
    if hint is inspect.Parameter.empty:
        return ""
    return (hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint))[:500]


def _plain(value: Any) -> Any:
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, msgspec.MsgspecError):
        return repr(value)[:200]
