"""A small language for columns: arithmetic, comparisons, texts and times of the rows at hand, and nothing else.

It is written like Python (``log(amount) / (1 + visits)``, ``"gold" if spent > 1000 else "plain"``) and read by Python's
own parser, but only the forms below are let through, each checked for its types before any row comes. There are no
loops, no attributes but those of nodes, no names but columns, so what is written can neither run code nor go on for ever.

Missing values stay missing: a number is NaN, a text None, a time NaT. A comparison with one is false, and what has no
finite value (a division by zero, the logarithm of nothing) is missing, too.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.serving.graph.functions import FUNCTIONS, Kind, Values, instants, truth

Column = Callable[[str], Values]
Made = tuple[Kind, Callable[[Column], Any]]
_LONGEST, _DEEPEST, _LONG = 4000, 60, 200
_WORDS: dict[str, tuple[Kind, Any]] = {
    "true": ("truth", np.bool_(1)), "false": ("truth", np.bool_(0)), "null": ("null", None),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: np.true_divide, ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod, ast.Pow: np.float_power,
}  # fmt: skip
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**"}
_EQUALITY = (ast.Eq, ast.NotEq)


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: the kind of its values, the columns it reads, and how it is worked out for n rows."""

    text: str
    kind: Kind
    columns: tuple[str, ...]
    work: Callable[[Column], Any]

    def values(self, column: Column, rows: int) -> Values:
        """Its value in each row, an array of shape (rows,); NumPy's warnings about odd numbers are the caller's to still."""
        return shaped(self.work(column), self.kind, rows)


def compiled(text: str, kinds: Mapping[str, Kind], *, wanted: Kind | Literal["any"] = "any") -> Expression:
    """The expression of a text over columns of these kinds.

    Args:
        text: at most 4000 characters.
        kinds: columns that may be read; ``node.column`` for those of another node.
        wanted: the kind it must have; a truth serves as a number.

    Raises:
        Invalid: it is not of the language, names an unknown column or function, or mixes kinds.
    """
    if len(text) > _LONGEST:
        raise _wrong(text[:40] + "…", f"it has {len(text)} characters, more than {_LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _wrong(text, f"it cannot be read: {getattr(error, 'msg', error)}") from None
    reader = _Reader(text, kinds)
    kind, work = reader.made(tree, 0)
    if wanted == "number" and kind == "truth":
        kind, work = "number", _as_number(work)
    if kind == "null":
        kind = wanted if wanted != "any" else "number"
    if wanted not in {"any", kind}:
        raise _wrong(text, f"it is a {kind}, and a {wanted} is wanted")
    return Expression(text=text, kind=kind, columns=tuple(reader.columns), work=work)


def shaped(found: Any, kind: Kind, rows: int) -> Values:
    """A value as an array of its kind and of this length."""
    if kind == "number":
        numbers = np.asarray(np.nan if found is None else found, dtype=np.float64)
        if not np.isfinite(numbers).all():
            numbers = np.where(np.isinf(numbers), np.nan, numbers)
        return numbers if numbers.ndim else np.full(rows, numbers)
    dtype: Any = {"truth": np.bool_, "text": np.object_, "time": "datetime64[us]"}[kind]
    if isinstance(found, np.ndarray) and found.ndim:
        return found.astype(dtype, copy=False)
    made: NDArray[Any] = np.empty(rows, dtype=dtype)
    made[:] = np.datetime64("NaT") if kind == "time" and found is None else found
    return made


class _Reader:
    """Turns a syntax tree into closures, remembering the columns it met."""

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        self.text = text
        self.kinds = kinds
        self.columns: dict[str, None] = {}

    def made(self, node: ast.AST, depth: int) -> Made:
        if depth > _DEEPEST:
            raise _wrong(self.text, f"it is nested deeper than {_DEEPEST}")
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise _wrong(self.text, f"{type(node).__name__} is not of the language")
        found: Made = method(node, depth + 1)
        return found

    def _constant(self, node: ast.Constant, depth: int) -> Made:
        value = node.value
        if value is None or isinstance(value, bool):
            kind, held = _WORDS[{None: "null", True: "true", False: "false"}[value]]
            return kind, lambda _: held
        if isinstance(value, (int, float)):
            try:
                number = np.float64(value)
            except OverflowError:
                raise _wrong(self.text, f"{str(value)[:20]}… is larger than any number") from None
            return "number", lambda _: number
        if isinstance(value, str):
            return "text", lambda _: value
        raise _wrong(self.text, f"{value!r} is not of the language")

    def _name(self, node: ast.Name, depth: int) -> Made:
        if node.id in self.kinds or node.id not in _WORDS:
            return self._column(node.id)
        kind, held = _WORDS[node.id]
        return kind, lambda _: held

    def _attribute(self, node: ast.Attribute, depth: int) -> Made:
        if not isinstance(node.value, ast.Name):
            raise _wrong(self.text, "a dot stands only between a node and its column")
        return self._column(f"{node.value.id}.{node.attr}")

    def _column(self, name: str) -> Made:
        if name not in self.kinds:
            known = ", ".join(sorted(self.kinds)[:40]) or "none"
            raise _wrong(self.text, f"there is no column {name!r}", hint=f"Known: {known}.")
        self.columns[name] = None
        return self.kinds[name], lambda column: column(name)

    def _unaryop(self, node: ast.UnaryOp, depth: int) -> Made:
        kind, work = self.made(node.operand, depth)
        if isinstance(node.op, ast.Not):
            self._asked(kind, "truth", "not")
            return "truth", lambda column: ~truth(work(column))
        self._asked(kind, "number", "-")
        return "number", (lambda column: -work(column)) if isinstance(node.op, ast.USub) else work

    def _binop(self, node: ast.BinOp, depth: int) -> Made:
        if type(node.op) not in _ARITHMETIC:
            raise _wrong(self.text, f"{type(node.op).__name__} is not of the language")
        made, sign = _ARITHMETIC[type(node.op)], _SIGNS[type(node.op)]
        left, right = self._number(node.left, depth, sign), self._number(node.right, depth, sign)
        return "number", lambda column: made(left(column), right(column))

    def _boolop(self, node: ast.BoolOp, depth: int) -> Made:
        parts = [self.made(value, depth) for value in node.values]
        both = isinstance(node.op, ast.And)
        for kind, _ in parts:
            self._asked(kind, "truth", "and" if both else "or")
        works = [work for _, work in parts]

        def work(column: Column) -> Any:
            found = truth(works[0](column))
            for other in works[1:]:
                found = (found & truth(other(column))) if both else (found | truth(other(column)))
            return found

        return "truth", work

    def _compare(self, node: ast.Compare, depth: int) -> Made:
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            return self._membership(node, depth)
        works = []
        left = self.made(node.left, depth)
        for sign, after in zip(node.ops, node.comparators, strict=True):
            if type(sign) not in _COMPARED:
                raise _wrong(self.text, f"{type(sign).__name__} is not of the language; for nothing ask is_null(x)")
            right = self.made(after, depth)
            works.append(self._compared(left, right, sign))
            left = right
        if len(works) == 1:
            return "truth", works[0]
        return "truth", lambda column: np.logical_and.reduce([work(column) for work in works])

    def _compared(self, left: Made, right: Made, sign: ast.cmpop) -> Callable[[Column], Any]:
        (first, a), (second, b) = left, right
        if "null" in {first, second}:
            raise _wrong(self.text, "nothing equals null", hint="Ask is_null(x).")
        if {first, second} == {"number", "truth"}:
            first = second = "number"
        if first == "text" and second == "time":
            first, a = "time", self._as_time(a)
        if first == "time" and second == "text":
            second, b = "time", self._as_time(b)
        if first != second:
            raise _wrong(self.text, f"a {first} is compared with a {second}")
        if first == "text" and not isinstance(sign, _EQUALITY):
            raise _wrong(self.text, "texts are compared by == and != only")
        made = _COMPARED[type(sign)]
        if not isinstance(sign, ast.NotEq):
            return lambda column: truth(made(a(column), b(column)))

        def different(column: Column) -> Any:  # a missing value differs from nothing
            one, other = a(column), b(column)
            return truth(one != other) & _there(one) & _there(other)

        return different

    def _membership(self, node: ast.Compare, depth: int) -> Made:
        listed = node.comparators[0]
        if len(node.ops) > 1 or not isinstance(listed, (ast.List, ast.Tuple, ast.Set)):
            raise _wrong(self.text, "after `in` comes a list of values in brackets")
        kind, work = self.made(node.left, depth)
        values = [self.made(item, depth) for item in listed.elts]
        if kind not in {"text", "number"} or any(other != kind for other, _ in values):
            raise _wrong(self.text, f"a {kind} is looked for in a list of {', '.join(sorted({other for other, _ in values})) or 'nothing'}")
        try:
            known = [_fixed(value) for _, value in values]
        except LookupError:
            raise _wrong(self.text, "the values after `in` are fixed, no columns", hint="Compare with ==.") from None
        out = isinstance(node.ops[0], ast.NotIn)

        def found(column: Column) -> Any:
            given = work(column)
            held = np.isin(given, np.array(known, dtype=np.object_ if kind == "text" else np.float64))
            return (~held & _there(given)) if out else held

        return "truth", found

    def _ifexp(self, node: ast.IfExp, depth: int) -> Made:
        kind, test = self.made(node.test, depth)
        self._asked(kind, "truth", "if")
        (first, a), (second, b) = self._alike([self.made(node.body, depth), self.made(node.orelse, depth)], "if … else …")
        kind = second if first == "null" else first
        return kind, lambda column: _chosen(truth(test(column)), a(column), b(column), kind)

    def _call(self, node: ast.Call, depth: int) -> Made:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise _wrong(self.text, "functions are called by their plain name, without named arguments")
        name = node.func.id
        if name == "col" and len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            return self._column(node.args[0].value)
        if name not in FUNCTIONS:
            raise _wrong(self.text, f"there is no function {name!r}", hint=f"Known: col, {', '.join(sorted(FUNCTIONS))}.")
        function = FUNCTIONS[name]
        parts = [self.made(item, depth) for item in node.args]
        if not function.fewest <= len(parts) <= function.most:
            raise _wrong(self.text, f"{name} takes {function.fewest} to {function.most} values, not {len(parts)}")
        if function.takes == "alike":
            parts = self._alike(parts, name)
        works = [self._fitting(part, function.takes, name) for part in parts]
        kind: Kind = next((k for k, _ in parts if k != "null"), "number") if function.gives == "alike" else function.gives
        made = function.work
        return kind, lambda column: made(*[work(column) for work in works])

    def _fitting(self, part: Made, takes: str, name: str) -> Callable[[Column], Any]:
        kind, work = part
        if takes == "number" and kind == "truth":
            return _as_number(work)
        if takes == "time" and kind == "text":
            return self._as_time(work)
        if takes in {"any", "alike", kind}:
            return work
        raise _wrong(self.text, f"{name} takes a {takes}, not a {kind}")

    def _alike(self, parts: list[Made], where: str) -> list[Made]:
        kinds = {kind for kind, _ in parts} - {"null"}
        if kinds == {"number", "truth"}:
            return [("number", _as_number(work)) if kind == "truth" else (kind, work) for kind, work in parts]
        if len(kinds) > 1:
            raise _wrong(self.text, f"{where} is given a {' and a '.join(sorted(kinds))}")
        return parts

    def _as_time(self, work: Callable[[Column], Any]) -> Callable[[Column], Any]:
        """Times of texts; a fixed text must be one."""
        try:
            fixed = _fixed(work)
        except LookupError:
            return lambda column: instants(work(column))
        at = instants(fixed)
        if fixed is not None and np.isnat(at):
            raise _wrong(self.text, f"{fixed!r} is no time", hint="Write times as 2013-07-01T08:00:00.")
        return lambda _: at

    def _number(self, node: ast.AST, depth: int, where: str) -> Callable[[Column], Any]:
        kind, work = self.made(node, depth)
        if kind == "truth":
            return _as_number(work)
        self._asked(kind, "number", where)
        return work

    def _asked(self, kind: Kind, wanted: Kind, where: str) -> None:
        if kind != wanted:
            raise _wrong(self.text, f"{where} takes a {wanted}, not a {kind}")


def _chosen(test: Any, first: Any, second: Any, kind: Kind) -> Any:
    if kind == "number":
        return np.where(test, np.nan if first is None else first, np.nan if second is None else second)
    if kind == "truth":
        return np.where(test, False if first is None else first, False if second is None else second)
    rows = max(np.size(test), *(np.size(side) if isinstance(side, np.ndarray) else 1 for side in (first, second)))
    return np.where(test, shaped(first, kind, rows), shaped(second, kind, rows))


def _as_number(work: Callable[[Column], Any]) -> Callable[[Column], Any]:
    return lambda column: np.asarray(work(column), dtype=np.float64)


def _fixed(work: Callable[[Column], Any]) -> Any:
    """The value of what reads no column. Raises LookupError for what reads one."""

    def none(name: str) -> Values:
        raise LookupError(name)

    with np.errstate(all="ignore"):
        return work(none)


def _there(values: Any) -> Any:
    """Where a value is not missing; a number's NaN differs from itself."""
    if isinstance(values, str):
        return np.bool_(1)
    if isinstance(values, np.ndarray) and values.dtype == np.object_:
        return np.array([value is not None for value in values], dtype=np.bool_)
    return truth(values == values)  # noqa: PLR0124 - NaN and NaT are the values that differ from themselves


def _wrong(text: str, why: str, hint: str = "See the language of columns in docs/graphs.md.") -> Invalid:
    said = text if len(text) <= _LONG else f"{text[:_LONG]}…"
    return Invalid(f"The expression {said!r} is wrong: {why}.", code="graph.bad_expression", hint=hint)
