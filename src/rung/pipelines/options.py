"""What ``@step`` may be told, checked value by value: every refusal names the option, the value and what to write instead."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypedDict, Unpack, get_args

from rung.core.errors import Invalid
from rung.pipelines.records import RunRule, StepOptions

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_DOTTED = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_MOST_RETRIES = 100
_MOST_FACTOR = 100
_MOST_PRIORITY = 100
_MOST_AT_ONCE = 10_000
_LONGEST = 250
_OTHERS = ("name", "after", "salt")


class StepWishes(TypedDict, total=False):
    """The options of ``@step`` that are about running it."""

    retries: int
    backoff: str | float
    backoff_factor: float
    backoff_most: str | float
    jitter: float
    retry_on: type[BaseException] | str | Iterable[type[BaseException] | str]
    timeout: str | float | None
    cpus: float | None
    gpus: float | None
    memory: str | int | None
    resources: Mapping[str, float]
    cache: bool
    ttl: str | float | None
    isolated: bool
    executor: str
    environment: str
    secrets: Iterable[str]
    run: RunRule
    concurrency_group: str
    concurrency_limit: int
    priority: int
    tolerance: float | None
    files: Iterable[str]
    variables: Iterable[str]


def step_options(name: str, **wishes: Unpack[StepWishes]) -> StepOptions:
    """The options as a record. Raises Invalid naming the step, the option and the value."""
    checked: dict[str, Any] = {}
    for option, value in wishes.items():
        if option not in _CHECKS:
            from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

            known = sorted({*_CHECKS, *_OTHERS})
            near = get_close_matches(option, known, n=1, cutoff=0.5)
            hint = (f"Did you mean {near[0]!r}? " if near else "") + f"Options: {', '.join(known)}."
            _refuse(f"Step {name!r}: there is no option {option!r}.", "pipelines.unknown_option", hint)
        field, check = _CHECKS[option]
        try:
            checked[field] = check(value)
        except _Wrong as wrong:
            _refuse(f"Step {name!r}: {option}={value!r} is not {wrong.wanted}.", wrong.code, wrong.hint)
    if checked.get("ttl_s") is not None and checked.get("cache") is False:
        _refuse(f"Step {name!r} has a ttl but is not cached.", "pipelines.bad_option", "Leave out ttl, or cache=False.")
    if checked.get("run", "on_success") != "on_success":
        checked.setdefault("cache", False)  # such a step is there for its effect
    alone = checked.get("timeout_s") is not None or checked.get("memory_bytes") is not None or bool(checked.get("environment"))
    return StepOptions(**{**checked, "isolated": checked.get("isolated", False) or alone})


def seconds(value: str | float | None) -> float | None:
    """Seconds of a number or of text such as ``90``, ``"90s"``, ``"1.5h"``. Raises Invalid.

    >>> seconds("30m")
    1800.0
    """
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return None if value is None else float(value)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value) if isinstance(value, str) else None
    if not found:
        _refuse(f"{value!r} is not a length of time.", "pipelines.bad_duration", 'Write seconds, or "30s", "10m", "2h", "1d".')
    return float(found[1]) * _SECONDS[found[2] or "s"]


def size_in_bytes(value: str | int | None) -> int | None:
    """Bytes of a number or of text such as ``"512MB"`` or ``"2GiB"``. Raises Invalid.

    >>> size_in_bytes("2GiB")
    2147483648
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", value.lower()) if isinstance(value, str) else None
    if not found or found[2] not in _BYTES:
        _refuse(f"{value!r} is not an amount of memory.", "pipelines.bad_size", 'Write bytes, or "512MB", "2GiB".')
    return int(float(found[1]) * _BYTES[found[2]])


class _Wrong(Exception):
    def __init__(self, wanted: str, hint: str, code: str = "pipelines.bad_option") -> None:
        self.wanted, self.hint, self.code = wanted, hint, code


def _whole(low: int, high: int) -> Any:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _Wrong(f"a whole number from {low} to {high}", f"Write one, e.g. {max(low, 1)}.")
        return value

    return check


def _number(low: float, high: float = math.inf, *, above: bool = False, none: bool = False) -> Any:
    words = f"a number {'above' if above else 'from'} {low:g}" + (f" to {high:g}" if math.isfinite(high) else "" if above else " on")

    def check(value: Any) -> float | None:
        if none and value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and low <= value <= high):
            raise _Wrong(words, "Write such a number.")
        if above and value == low:
            raise _Wrong(words, "Write such a number, or leave the option out.")
        return float(value)

    return check


def _duration(*, none: bool = True, zero: bool = False) -> Any:
    def check(value: Any) -> float | None:
        if value is None and none:
            return None
        hint = 'Write seconds, or "30s", "10m", "2h", "1d".'
        try:
            found = seconds(value)
        except Invalid:
            found = None
        if found is None or not math.isfinite(found) or found < 0 or (found == 0 and not zero):
            raise _Wrong("a length of time", hint, "pipelines.bad_duration")
        return found

    return check


def _size(value: Any) -> int | None:
    try:
        found = size_in_bytes(value)
    except Invalid:
        found = 0
    if found is not None and found <= 0:
        raise _Wrong("an amount of memory", 'Write bytes, or "512MB", "2GiB".', "pipelines.bad_size")
    return found


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("True or False", "Write True or False.")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > _LONGEST:
        raise _Wrong("a text", f"Write a text of at most {_LONGEST} characters.")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or (value and not NAME.match(value)):
        raise _Wrong("a name", "Use letters, digits, dot, dash and underscore.")
    return value


def _path(value: Any) -> str:
    text = _text(str(value) if hasattr(value, "__fspath__") else value)
    if text.startswith("/") or ".." in text.split("/"):
        raise _Wrong("a file of the project", 'Write a path below the project\'s folder, such as "locks/gpu.txt".')
    return text


def _texts(what: str, check: Any) -> Any:
    def every(value: Any) -> tuple[str, ...]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise _Wrong(f"a list of {what}", f'Write a list, such as ["{what.rstrip("s")}"].')
        return tuple(check(item) for item in value)

    return every


def _rule(value: Any) -> str:
    if value not in get_args(RunRule):
        raise _Wrong("a rule", f"Write one of {', '.join(get_args(RunRule))}.")
    return str(value)


def _exceptions(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, type)) or not isinstance(value, Iterable):
        value = (value,)
    return tuple(_exception(item) for item in value)


def _exception(item: Any) -> str:
    if isinstance(item, type) and issubclass(item, BaseException):
        return item.__qualname__ if item.__module__ == "builtins" else f"{item.__module__}.{item.__qualname__}"
    if isinstance(item, str) and _DOTTED.match(item):
        return item
    raise _Wrong("an exception or a list of them", 'Write classes or names, such as (TimeoutError, "httpx.HTTPError").')


def _resources(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise _Wrong("a table of amounts", 'Write amounts by name, such as {"tpu": 1}.')
    amount = _number(0, above=True)
    return {_word(key): amount(item) for key, item in value.items() if key != "" or _word("?")}


_CHECKS: dict[str, tuple[str, Any]] = {
    "retries": ("retries", _whole(0, _MOST_RETRIES)),
    "backoff": ("backoff_s", _duration(none=False, zero=True)),
    "backoff_factor": ("backoff_factor", _number(1, _MOST_FACTOR)),
    "backoff_most": ("backoff_most_s", _duration(none=False, zero=True)),
    "jitter": ("jitter", _number(0, 1)),
    "retry_on": ("retry_on", _exceptions),
    "timeout": ("timeout_s", _duration()),
    "cpus": ("cpus", _number(0, above=True, none=True)),
    "gpus": ("gpus", _number(0, above=True, none=True)),
    "memory": ("memory_bytes", _size),
    "resources": ("resources", _resources),
    "cache": ("cache", _truth),
    "ttl": ("ttl_s", _duration()),
    "isolated": ("isolated", _truth),
    "executor": ("executor", _word),
    "environment": ("environment", _path),
    "secrets": ("secrets", _texts("names", _word)),
    "run": ("run", _rule),
    "concurrency_group": ("concurrency_group", _text),
    "concurrency_limit": ("concurrency_limit", _whole(1, _MOST_AT_ONCE)),
    "priority": ("priority", _whole(-_MOST_PRIORITY, _MOST_PRIORITY)),
    "tolerance": ("tolerance", _number(0, none=True)),
    "files": ("files", _texts("patterns", _text)),
    "variables": ("variables", _texts("names", _text)),
}


def _refuse(message: str, code: str, hint: str) -> NoReturn:
    raise Invalid(message, code=code, hint=hint)
