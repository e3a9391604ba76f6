"""Conditions on outputs: what stands for a value while a pipeline is traced can be compared, and the comparison judged later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from rung.core.errors import Invalid
from rung.pipelines.records import Condition, Operator

_HINT = "Move the decision into a step, branch with `with when(…):`, or take it from a parameter of the pipeline."
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "in": lambda a, b: a in b,
}


class Operand:
    """What stands for a value that is not there yet. Comparing it makes a clause; asking for its value is refused."""

    @property
    def source(self) -> str:
        """``step`` or ``step.index``; the sources of an ``either`` with ``|`` between them."""
        raise NotImplementedError

    @property
    def path(self) -> tuple[str | int, ...]:
        """The items taken out of the output, outermost first."""
        raise NotImplementedError

    def equals(self, other: object) -> Clause:
        """Whether it is equal to a value or to another output."""
        return _compared("==", self, other)

    def is_in(self, values: object) -> Clause:
        """Whether it is one of the values of a list."""
        if not isinstance(values, (list, tuple, set, frozenset, range)) or any(isinstance(item, Operand) for item in values):
            raise Invalid(
                f"is_in takes a list of values, not {values!r}.", code="pipelines.bad_condition", hint='Write .is_in(["a", "b"]).'
            )
        return Clause("in", self, sorted(values, key=repr) if isinstance(values, (set, frozenset)) else list(values))

    def __lt__(self, other: object) -> Clause:
        return _compared("<", self, other)

    def __le__(self, other: object) -> Clause:
        return _compared("<=", self, other)

    def __gt__(self, other: object) -> Clause:
        return _compared(">", self, other)

    def __ge__(self, other: object) -> Clause:
        return _compared(">=", self, other)

    def __eq__(self, other: object) -> bool:
        if self is not other:
            self._refuse("equality", "Write .equals(…) for a condition of `when`.")
        return True

    def __ne__(self, other: object) -> bool:
        if self is not other:
            self._refuse("equality", "Write ~….equals(…) for a condition of `when`.")
        return False

    __hash__ = object.__hash__

    def __and__(self, other: object) -> Clause:
        return Clause("and", parts=(clause_of(self), clause_of(other)))

    def __rand__(self, other: object) -> Clause:
        return Clause("and", parts=(clause_of(other), clause_of(self)))

    def __or__(self, other: object) -> Clause:
        return Clause("or", parts=(clause_of(self), clause_of(other)))

    def __ror__(self, other: object) -> Clause:
        return Clause("or", parts=(clause_of(other), clause_of(self)))

    def __invert__(self) -> Clause:
        return Clause("not", parts=(clause_of(self),))

    def __bool__(self) -> NoReturn:  # noqa: PLE0304 - it refuses
        self._refuse("truth")

    def __len__(self) -> NoReturn:  # noqa: PLE0303 - it refuses
        self._refuse("length")

    def __float__(self) -> NoReturn:
        self._refuse("number")

    def __int__(self) -> NoReturn:
        self._refuse("number")

    def __index__(self) -> NoReturn:  # noqa: PLE0305 - it refuses
        self._refuse("number")

    def __contains__(self, item: object) -> NoReturn:
        self._refuse("content")

    def __str__(self) -> NoReturn:  # noqa: PLE0307 - it refuses
        self._refuse("text", "Make the text inside a step; a handle in an f-string would freeze its name into it.")

    def __format__(self, spec: str) -> NoReturn:
        self._refuse("text", "Make the text inside a step; a handle in an f-string would freeze its name into it.")

    def _arithmetic(self, *_: object) -> NoReturn:
        self._refuse("number", "Calculate inside a step.")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _arithmetic
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = __round__ = _arithmetic
    __matmul__ = __rmatmul__ = _arithmetic

    def __repr__(self) -> str:
        return f"<output of {self.source}{''.join(f'[{part!r}]' for part in self.path)}>"

    def _refuse(self, what: str, hint: str = _HINT) -> NoReturn:
        raise Invalid(
            f"The {what} of the output of step {self.source!r} is not known while the pipeline is traced.",
            code="pipelines.value_in_trace",
            hint=hint,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise Invalid(
            f"The output of step {self.source!r} has no attribute {name!r} while the pipeline is traced.",
            code="pipelines.value_in_trace",
            hint='Take an item with ["…"], or use the attribute inside a step.',
        )


@dataclass(frozen=True, eq=False)
class Clause:
    """A condition in the making: an operand compared with a value or with another operand, or clauses joined by and, or, not.

    ``true`` without an operand is the constant ``value``.
    """

    operator: Operator
    operand: Operand | None = None
    value: Any = None
    parts: tuple[Clause, ...] = field(default=())

    def __and__(self, other: object) -> Clause:
        return Clause("and", parts=(self, clause_of(other)))

    def __rand__(self, other: object) -> Clause:
        return Clause("and", parts=(clause_of(other), self))

    def __or__(self, other: object) -> Clause:
        return Clause("or", parts=(self, clause_of(other)))

    def __ror__(self, other: object) -> Clause:
        return Clause("or", parts=(clause_of(other), self))

    def __invert__(self) -> Clause:
        return self.parts[0] if self.operator == "not" else Clause("not", parts=(self,))

    def __bool__(self) -> NoReturn:
        raise Invalid(
            f"Whether {self} is not known while the pipeline is traced.",
            code="pipelines.value_in_trace",
            hint="Branch with `with when(…):`; join conditions by & | ~ in brackets, not by and, or, not or a chain such as a < b < c.",
        )

    def __str__(self) -> str:
        if self.operator in {"and", "or"}:
            return f" {self.operator} ".join(f"({part})" if part.operator in {"and", "or"} else str(part) for part in self.parts)
        if self.operator == "not":
            return f"not ({self.parts[0]})"
        if self.operator == "true":
            return str(bool(self.value)) if self.operand is None else _told(self.operand)
        assert self.operand is not None  # noqa: S101 - comparisons are made by operands
        other = _told(self.value) if isinstance(self.value, Operand) else repr(self.value)
        return f"{_told(self.operand)} {self.operator} {other}"

    def __repr__(self) -> str:
        return f"<condition {self}>"


def clause_of(value: object) -> Clause:
    """What ``when`` was given, as a clause: a bare output asks for its truth. Raises Invalid."""
    if isinstance(value, Clause):
        return value
    if isinstance(value, Operand):
        return Clause("true", value)
    if isinstance(value, bool):
        return Clause("true", None, value)
    raise Invalid(
        f"{value!r} is no condition.",
        code="pipelines.bad_condition",
        hint='Compare an output, as in when(score["auc"] > 0.8), or give True or False.',
    )


def operands_of(clause: Clause) -> Iterator[Operand]:
    """Every operand of a clause."""
    if clause.operand is not None:
        yield clause.operand
    if isinstance(clause.value, Operand):
        yield clause.value
    for part in clause.parts:
        yield from operands_of(part)


def holds(clause: Clause, look: Callable[[Operand], Any]) -> bool:
    """Whether a clause is true of the values that ``look`` answers. Raises Invalid where they cannot be compared."""
    if clause.operator == "and":
        return all(holds(part, look) for part in clause.parts)
    if clause.operator == "or":
        return any(holds(part, look) for part in clause.parts)
    if clause.operator == "not":
        return not holds(clause.parts[0], look)
    value = clause.value if clause.operand is None else look(clause.operand)
    other = look(clause.value) if isinstance(clause.value, Operand) else clause.value
    try:
        return bool(value) if clause.operator == "true" else bool(_ORDER[clause.operator](value, other))
    except Exception as error:  # the operators of any type may raise anything
        kinds = type(value).__name__ + ("" if clause.operator == "true" else f" with {type(other).__name__}")
        raise Invalid(
            f"The condition {clause} cannot be judged: {kinds}: {error}.",
            code="pipelines.bad_condition",
            hint="Compare a number, a text or a truth; let a step make one.",
        ) from error


def condition_of(clause: Clause) -> Condition:
    """The clause as a record. Of two outputs compared, the right one is the only part: its truth stands for its value."""
    parts = (Clause("true", clause.value),) if isinstance(clause.value, Operand) else clause.parts
    return Condition(
        operator=clause.operator,
        source=clause.operand.source if clause.operand is not None else "",
        path=clause.operand.path if clause.operand is not None else (),
        value=None if isinstance(clause.value, Operand) else _plain(clause.value),
        parts=tuple(condition_of(part) for part in parts),
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, list, type(None))) else repr(value)


def _compared(operator: Operator, operand: Operand, other: object) -> Clause:
    if isinstance(other, Clause):
        raise Invalid(
            f"{operand!r} {operator} {other!r} compares an output with a condition.",
            code="pipelines.bad_condition",
            hint="Join conditions by & and |, each in brackets.",
        )
    return Clause(operator, operand, other)


def _told(operand: Operand) -> str:
    return operand.source + "".join(f"[{part!r}]" for part in operand.path)
