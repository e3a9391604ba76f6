"""Triggers in the flat words of ``rung.toml``, of code and of the command line, and what they say as requests.

    [triggers.nightly]
    pipeline = "train"
    cron = "0 6 * * *"
    zone = "Europe/Berlin"
    cooldown = "12h"

The key that names the kind (``cron``, ``dataset``, ``drift``, ``webhook`` …) says what the trigger listens to; all others are
parameters, guard rails, or options of the kind. Lengths of time are written ``90s``, ``2h``; sums a period ``2/week``, ``50/month``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any, get_origin

from msgspec import structs, to_builtins

from rung.core.errors import Invalid
from rung.core.records import decoded
from rung.pipelines.authoring import Pipeline, seconds
from rung.pipelines.trigger_family import TRIGGERS
from rung.pipelines.triggering import AddTrigger, Guards, Trigger, UpdateTrigger

_COMMON = ("pipeline", "kind", "subject", "params", "take", "priority", "package", "environment", "executor", "paused")
_RATES = {"most": "most_period", "budget": "budget_period"}
_PERIODS = ("hour", "day", "week", "month", "year")


class DeclaredTrigger:
    """A trigger that the project's code declares; it exists once the pipelines are registered."""

    def __init__(self, name: str, pipeline: str | Pipeline[..., Any], **words: Any) -> None:
        self.name = name
        target = pipeline if isinstance(pipeline, str) else pipeline.name
        self.request = declared(name, {"pipeline": target, **words})

    def __repr__(self) -> str:
        return f"trigger({self.name!r}, {self.request.pipeline!r})"


def trigger(name: str, pipeline: str | Pipeline[..., Any], **words: Any) -> DeclaredTrigger:
    """Declare, at the top of a module, what starts a pipeline by itself, in the words of ``rung.toml``.

    >>> trigger("nightly", "train", cron="0 6 * * *", cooldown="12h")
    trigger('nightly', 'train')
    """
    return DeclaredTrigger(name, pipeline, **words)


def declared(name: str, words: Mapping[str, Any]) -> AddTrigger:
    """The request that a declaration stands for. Raises Invalid, naming the key that is wrong."""
    kind, subject, rest = _kind_of(name, dict(words))
    plain = {"name": name, "kind": kind, "subject": subject, **_sorted(name, kind, rest)}
    if "pipeline" not in plain:
        raise _bad(f"Trigger {name!r} names no pipeline.", 'Write pipeline = "train".')
    return decoded(plain, AddTrigger)


def edited(held: Trigger, words: Mapping[str, Any]) -> UpdateTrigger:
    """The request that changes a trigger by some words; options and guard rails that are not named stay as they are."""
    words = dict(words)
    member = TRIGGERS.get(held.kind)
    about = {"subject": str(words.pop(member.word))} if member.about and member.word in words else {}
    plain = _sorted(held.name, held.kind, words)
    if strange := [name for name in ("kind", "paused") if name in plain]:
        raise _bad(f"Trigger {held.name!r}: {strange[0]} cannot be edited.", "Remove the trigger and add another, or pause it.")
    options, guards = plain.pop("options"), plain.pop("guards")
    if options:
        plain["options"] = {**held.options, **options}
    if guards:
        plain["guards"] = {**to_builtins(held.guards), **guards}
    return decoded({"name": held.name, **about, **plain}, UpdateTrigger)


def declared_in_code(names: Iterable[str]) -> tuple[AddTrigger, ...]:
    """The triggers that imported modules declare. Raises Invalid for two of one name."""
    found: dict[str, DeclaredTrigger] = {}
    for name in names:
        module: ModuleType | None = sys.modules.get(name)
        for value in list(vars(module).values()) if module else []:
            if isinstance(value, DeclaredTrigger) and found.setdefault(value.name, value) is not value:
                raise _bad(f"Two triggers are called {value.name!r}.", "Give one of them another name.")
    return tuple(item.request for item in found.values())


def kind_words() -> dict[str, str]:
    """The key that stands for each kind."""
    return {member.word: kind for kind, member in TRIGGERS.items()}


def _kind_of(name: str, words: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    by_word = kind_words()
    if "kind" in words:
        kind = str(words.pop("kind"))
        TRIGGERS.get(kind)
        return kind, str(words.pop("subject", "*")), words
    told = [word for word in by_word if word in words and words[word] not in {None, False, ""}]
    if len(told) != 1:
        found = f"{' and '.join(told)}" if told else "nothing"
        raise _bad(f"Trigger {name!r} listens to {found}.", f"Give exactly one of {', '.join(sorted(by_word))}.")
    kind = by_word[told[0]]
    member = TRIGGERS.get(kind)
    if told[0] in member.options.__struct_fields__:
        return kind, "*", words
    given = words.pop(told[0])
    return kind, str(given) if member.about and given is not True else "*", words


def _sorted(name: str, kind: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """Words as fields of the request, options of the kind, and guard rails."""
    options = TRIGGERS.get(kind).options
    fields, lists = options.__struct_fields__, {field.name for field in structs.fields(options) if get_origin(field.type) is tuple}
    plain: dict[str, Any] = {"options": {}, "guards": {}}
    for key, value in words.items():
        place, field, kept = _placed(name, key, value, fields)
        if place == "options" and field in lists and isinstance(kept, str):
            kept = [part.strip() for part in kept.split(",") if part.strip()]
        (plain[place] if place else plain)[field] = kept
    if "zone" in words and "zone" in fields:
        plain["guards"]["zone"] = words["zone"]
    if isinstance(plain["guards"].get("quiet"), str):
        plain["guards"]["quiet"] = [plain["guards"]["quiet"]]
    for key, period in _RATES.items():
        if isinstance(plain["guards"].get(key), str):
            plain["guards"][key], plain["guards"][period] = _rate(name, key, plain["guards"][key])
    return plain


def _placed(name: str, key: str, value: Any, options: tuple[str, ...]) -> tuple[str, str, Any]:
    for place, fields in (("", _COMMON), ("options", options), ("guards", Guards.__struct_fields__)):
        if key in fields:
            return place, key, seconds(value) if key.endswith("_s") and isinstance(value, str) else value
        if f"{key}_s" in fields:
            return place, f"{key}_s", seconds(value)
    known = [*_COMMON, *(field.removesuffix("_s") for field in (*options, *Guards.__struct_fields__)), *kind_words()]
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    raise _bad(f"Trigger {name!r}: there is no {key!r}.", f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}.")


def _rate(name: str, key: str, text: str) -> tuple[float | int, str]:
    amount, _, period = text.partition("/")
    try:
        value: float | int = int(amount) if key == "most" else float(amount)
    except ValueError:
        value = -1
    if value < 0 or period.strip() not in _PERIODS:
        raise _bad(f"Trigger {name!r}: {key} is {text!r}.", f'Write "2/week": a number and one of {", ".join(_PERIODS)}.')
    return value, period.strip()


def _bad(message: str, hint: str) -> Invalid:
    return Invalid(message, code="pipelines.bad_trigger", hint=hint)
