"""The form that starts a pipeline: a field for each parameter, and what is wrong with what was written into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.pipelines.parameters import refuse_outside
from rung.pipelines.records import Params, ParamSpec, PipelineInfo
from rung.ui.blocks import Part, Visit
from rung.ui.words import prose

_NUMBERS: dict[str, type] = {"int": int, "float": float}
_TRUTH = {"true": True, "false": False, "yes": True, "no": False}
PREFIX = "param."


def run_form(visit: Visit, info: PipelineInfo) -> Part:
    """The form, filled with what the address says, with a line below each field that cannot be taken."""
    held = {name.removeprefix(PREFIX): text for name, text in visit.query.items() if name.startswith(PREFIX)}
    problems = read(info, held)[1] if "checked" in visit.query else {}
    fields = [_field(spec, held.get(spec.name, ""), problems.get(spec.name, "")) for spec in info.params]
    values = {
        "pipeline": info.name, "fields": fields, "problems": len(problems), "seed": visit.query.get("seed", ""), "fresh": visit.query.get("fresh", ""),
        "executor": visit.query.get("executor", ""), "audit": visit.query.get("audit", ""), "priority": visit.query.get("priority", ""),
    }  # fmt: skip
    return Part("run_form.html", values, "Run it")


def read(info: PipelineInfo, texts: Mapping[str, str]) -> tuple[Params, dict[str, str]]:
    """Parameters from the texts of a form, empty ones left out, and what is wrong with them by name."""
    params: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for spec in info.params:
        text = texts.get(spec.name, "").strip()
        if not text:
            if spec.required:
                problems[spec.name] = "It has no default, so it needs a value."
            continue
        try:
            params[spec.name] = _value(spec, text)
            refuse_outside(info.name, spec, params[spec.name])
        except Invalid as error:
            problems[spec.name] = error.hint or error.message
    return params, problems


def _value(spec: ParamSpec, text: str) -> Any:
    if spec.choices:
        found = [choice for choice in spec.choices if str(choice) == text]
        if not found:
            raise Invalid("", code="ui.bad_field", hint=f"It is one of {', '.join(map(str, spec.choices))}.")
        return found[0]
    if spec.type in _NUMBERS:
        try:
            return msgspec.convert(text, _NUMBERS[spec.type], strict=False)
        except msgspec.ValidationError:
            what = "a whole number" if spec.type == "int" else "a number"
            raise Invalid("", code="ui.bad_field", hint=f"{text[:80]!r} is not {what}.") from None
    if spec.type == "bool":
        if text.lower() not in _TRUTH:
            raise Invalid("", code="ui.bad_field", hint=f"{text[:80]!r} is neither true nor false.")
        return _TRUTH[text.lower()]
    if spec.type in {"str", "DatasetRef", "date", "datetime"} or text[0] not in "[{":
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Invalid("", code="ui.bad_field", hint=f"This begins like JSON and is none: {error}.") from None


def _field(spec: ParamSpec, text: str, problem: str) -> dict[str, Any]:
    options = [str(choice) for choice in spec.choices] or (["true", "false"] if spec.type == "bool" else [])
    bounds = " to ".join(f"{bound:g}" if bound is not None else "any" for bound in (spec.minimum, spec.maximum))
    about = [spec.doc, f"from {bounds}" if spec.minimum is not None or spec.maximum is not None else ""]
    default = "" if spec.required else shown(spec.default)
    return {
        "name": PREFIX + spec.name, "label": spec.name, "type": spec.type, "unit": spec.unit, "about": prose(", ".join(part for part in about if part)),
        "default": default, "required": spec.required, "value": text, "options": options, "problem": problem,
    }  # fmt: skip


def shown(value: object) -> str:
    """A default or a parameter as it is written into a field."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return str(value)
