"""The space a sweep searches: what each param may be, from Python, from a text such as ``float:1e-4:1e-1:log``, or from YAML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.client import scalars
from rung.core.errors import Invalid, RungError

Plain = None | bool | int | float | str
Label = Plain
_FORMS = "int:2:10, int:2:10:2 (step), float:1e-4:0.1:log, choice:a,b,c"
_MOST_PLACES = 100_000
_KINDS = ("int", "float", "choice")


@dataclass(frozen=True)
class Int:
    """Whole numbers from ``low`` to ``high``, both included; with ``log`` small ones as likely as large ones.

    >>> list(Int(2, 8, step=3).grid())
    [2, 5, 8]
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                if not (isinstance(value, float) and value.is_integer()):
                    raise _refused(f"Int: {name} is {value!r}, no whole number.", "Use rung.Float for fractions.")
                object.__setattr__(self, name, int(value))
        _check_range("Int", self.low, self.high, self.step, log=self.log)
        if self.log and self.step != 1:
            raise _refused(f"Int({self.low}, {self.high}) has both log and step {self.step}.", "Give one of them.")

    def grid(self) -> Sequence[int]:
        """Every value."""
        return range(self.low, self.high + 1, self.step)

    def described(self) -> dict[str, Any]:
        """The form that YAML and the sweep's file use."""
        more = {"log": True} if self.log else {"step": self.step} if self.step != 1 else {}
        return {"int": [self.low, self.high], **more}


@dataclass(frozen=True)
class Float:
    """Numbers from ``low`` to ``high``, in steps of ``step`` where it is given; with ``log`` each order of magnitude alike."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if value is None and name == "step":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise _refused(f"Float: {name} is {value!r}, no finite number.", "Give numbers: rung.Float(1e-4, 0.1, log=True).")
            object.__setattr__(self, name, float(value))
        _check_range("Float", self.low, self.high, self.step, log=self.log)
        if self.log and self.step is not None:
            raise _refused(f"Float({self.low:g}, {self.high:g}) has both log and step.", "Give one of them.")

    def grid(self) -> Sequence[float]:
        """Every value. Raises Invalid without a step, when there are too many to name."""
        if self.low == self.high:
            return [self.low]
        if self.step is None:
            raise _refused(
                f"Float({self.low:g}, {self.high:g}) has no step, so a grid over it has no end.",
                "Give a step, or name the values: rung.Choice(0.001, 0.01, 0.1).",
            )
        # The width over the step may come out a hair below the whole number it is.
        return [self.low + index * self.step for index in range(math.floor((self.high - self.low) / self.step + 1e-9) + 1)]

    def described(self) -> dict[str, Any]:
        """The form that YAML and the sweep's file use."""
        more = {"log": True} if self.log else {} if self.step is None else {"step": self.step}
        return {"float": [self.low, self.high], **more}


class Choice:
    """One of some options, which have no order: texts, numbers, lists, classes; as arguments or as one list."""

    def __init__(self, *options: Any) -> None:
        if len(options) == 1 and isinstance(options[0], (list, tuple, set, frozenset, range)):
            options = tuple(sorted(options[0], key=str) if isinstance(options[0], (set, frozenset)) else options[0])
        if not options:
            raise _refused("Choice has no options.", "Name them: rung.Choice('linear', 'tree').")
        self.options = options
        labels = [_label(option) for option in options]
        seen = {(type(label), label) for label in labels}
        if len(seen) < len(labels):
            twice = next(label for index, label in enumerate(labels) if label in labels[:index])
            raise _refused(f"Choice names {twice!r} twice.", "Name each option once.")
        # 1 and True are one key to Python, 1 and 1.0 too: then their texts tell them apart.
        self.labels: tuple[Label, ...] = tuple(labels) if len(set(labels)) == len(labels) else tuple(repr(label) for label in labels)

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.options))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self.labels == other.labels

    def __hash__(self) -> int:
        return hash(self.labels)

    def grid(self) -> Sequence[Label]:
        """Every option's label."""
        return self.labels

    def described(self) -> dict[str, Any]:
        """The form that YAML and the sweep's file use."""
        plain = all(_is_json(option) for option in self.options)
        return {"choice": list(self.options) if plain else list(self.labels)}

    def option(self, label: Label) -> Any:
        """What a label stands for."""
        return self.options[self.labels.index(label)]


Range = Int | Float | Choice
Space = dict[str, Range]


def space_of(given: Mapping[str, Any]) -> Space:
    """A space from what a caller wrote: ranges, lists of options, texts, or YAML's mappings. Raises Invalid, naming the param."""
    if not isinstance(given, Mapping):
        raise _refused(
            f"The space is a {type(given).__name__}, no mapping of names to ranges.", "Write {'lr': rung.Float(1e-4, 0.1, log=True)}."
        )
    if not given:
        raise _refused("The space is empty.", "Name at least one param: {'lr': rung.Float(1e-4, 0.1, log=True)}.")
    found: Space = {}
    for key, value in given.items():
        name = scalars.name(key, "Param")
        try:
            found[name] = _range_of(value)
        except RungError as error:
            raise Invalid(f"Param {name!r}: {error.message}", code=error.code, hint=error.hint) from None
    return found


def values_of(space: Space, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Params of a trial: labels of choices become their options."""
    held: dict[str, Any] = {}
    for name, label in labels.items():
        ranged = space[name]
        held[name] = ranged.option(label) if isinstance(ranged, Choice) else label
    return held


def described(space: Space) -> dict[str, Any]:
    """The space as plain JSON."""
    return {name: ranged.described() for name, ranged in space.items()}


def grid_of(space: Space) -> list[dict[str, Label]]:
    """Every point of a space, the last param's values next to each other. Raises Invalid when there is no end, or too many."""
    sides: dict[str, Sequence[Label]] = {}
    for name, ranged in space.items():
        try:
            sides[name] = ranged.grid()
        except RungError as error:
            raise Invalid(f"Param {name!r}: {error.message}", code=error.code, hint=error.hint) from None
    size = math.prod(len(side) for side in sides.values())
    if size > _MOST_PLACES:
        raise _refused(f"The grid has {size:,} points.", "Choose larger steps, or another sampler.")
    points: list[dict[str, Label]] = [{}]
    for name, side in sides.items():
        points = [{**point, name: value} for point in points for value in side]
    return points


def parsed(text: str) -> tuple[str, Range]:
    """A param as the command line writes it: ``lr=float:1e-4:1e-1:log``. Raises Invalid."""
    name, equals, form = text.partition("=")
    if not equals or not name:
        raise _refused(f"{text!r} names no param.", f"Write NAME=RANGE, for example lr=float:1e-4:0.1:log. Ranges: {_FORMS}.")
    try:
        return scalars.name(name.strip(), "Param"), _from_text(form.strip())
    except RungError as error:
        raise Invalid(f"Param {name!r}: {error.message}", code=error.code, hint=error.hint) from None


def _range_of(value: Any) -> Range:
    if isinstance(value, (Int, Float, Choice)):
        return value
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return Choice(*sorted(value, key=str)) if isinstance(value, (set, frozenset)) else Choice(*value)
    if isinstance(value, Mapping):
        return _from_mapping(value)
    raise _refused(
        f"{value!r} is no range.", "Use rung.Int(2, 10), rung.Float(0.1, 0.9) or rung.Choice('a', 'b'); one value: rung.Choice(3)."
    )


def _from_text(text: str) -> Range:
    kind, _, rest = text.partition(":")
    if kind == "choice":
        if not rest:
            raise _refused("choice names no option.", "Write choice:a,b,c.")
        return Choice(*[_literal(part.strip()) for part in rest.split(",")])
    if kind not in _KINDS:
        raise _refused(f"{text!r} is no range.", f"Write one of {_FORMS}.")
    parts = rest.split(":") if rest else []
    log = "log" in parts
    numbers = [part.removeprefix("step=") for part in parts if part != "log"]
    if len(numbers) not in {2, 3}:
        raise _refused(f"{text!r} needs a low and a high end.", f"Write one of {_FORMS}.")
    return _ranged(kind, numbers[0], numbers[1], log=log, step=numbers[2] if numbers[2:] else None)


def _from_mapping(form: Mapping[str, Any]) -> Range:
    kinds = [kind for kind in _KINDS if kind in form]
    extra = sorted(str(key) for key in set(form) - {*_KINDS, "log", "step"})
    if len(kinds) != 1 or extra:
        what = f"it has {', '.join(extra)}" if extra else "it names no kind" if not kinds else f"it names {' and '.join(kinds)}"
        raise _refused(
            f"{dict(form)!r} is no range: {what}.", "Write {float: [0.0001, 0.1], log: true}, {int: [2, 10]} or {choice: [a, b]}."
        )
    kind, ends = kinds[0], form[kinds[0]]
    if not isinstance(ends, (list, tuple)):
        raise _refused(f"{kind} wants a list, not {ends!r}.", "Write {float: [0.0001, 0.1]} or {choice: [a, b]}.")
    if kind == "choice":
        return Choice(*ends)
    if len(ends) != 2:  # noqa: PLR2004 - low and high
        raise _refused(f"{kind} wants two ends, not {len(ends)}.", f"Write {{{kind}: [2, 10]}}.")
    return _ranged(kind, ends[0], ends[1], log=bool(form.get("log", False)), step=form.get("step"))


def _ranged(kind: str, low: Any, high: Any, *, log: bool, step: Any) -> Range:
    # Ends may be texts: YAML takes 1e-4 for one, since it has no point.
    if kind == "int":
        return Int(_whole(low), _whole(high), log=log, step=1 if step is None else _whole(step))
    return Float(_number(low), _number(high), log=log, step=None if step is None else _number(step))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _refused(f"{value!r} is no number.", f"Write one of {_FORMS}.") from None


def _whole(value: Any) -> int:
    try:
        return int(value) if isinstance(value, str) else value  # Int looks at numbers itself
    except ValueError:
        raise _refused(f"{value!r} is no whole number.", "Use float for fractions.") from None


def _literal(text: str) -> Plain:
    """A number, true, false or null where the text is one; else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, (bool, int, float, str)) else text


def _label(option: Any) -> Label:
    if option is None or isinstance(option, (bool, int, str)):
        return option
    if isinstance(option, float):
        return option if math.isfinite(option) else repr(option)
    if hasattr(option, "item") and not getattr(option, "shape", None):
        return _label(option.item())
    if isinstance(option, (list, tuple, dict)) and _is_json(option):
        return json.dumps(option)
    return str(getattr(option, "__qualname__", None) or repr(option))


def _is_json(option: Any) -> bool:
    try:
        json.dumps(option, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _check_range(kind: str, low: float, high: float, step: float | None, *, log: bool) -> None:
    name = f"{kind}({low:g}, {high:g})"
    if low > high:
        raise _refused(f"{name} ends below where it begins.", f"Swap the ends: rung.{kind}({high:g}, {low:g}).")
    if log and low <= 0:
        raise _refused(f"{name} is logarithmic and begins at {low:g}.", "Begin above 0, or leave log out.")
    if step is not None and step <= 0:
        raise _refused(f"{name} has the step {step:g}.", "Give a step above 0.")
    if step is not None and step > high - low > 0 and not (kind == "Int" and step == 1):
        raise _refused(f"{name} has the step {step:g}, wider than the range.", "Give a smaller step.")


def _refused(message: str, hint: str) -> Invalid:
    return Invalid(message, code="tuning.bad_space", hint=hint)
