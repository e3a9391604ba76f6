"""Conditions on logged predictions, as people write them: ``distance > 1000 and carrier in ('AA', 'UA')``.

    condition  = both { "or" both }
    both       = one { "and" one }
    one        = "not" one | "(" condition ")" | name test
    test       = ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
               | ["not"] "in" "(" value { "," value } ")" | "is" ["not"] "null"
    name       = letters, digits, "_", "."; or anything in double quotes
    value      = number | 'text' | true | false; two quotes are one inside text

Nothing else is understood, so nothing else can be done with it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from rung.core.errors import Invalid

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")+")|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"""
    r"""|(?P<word>[^\W\d][\w.]*)|(?P<sign><=|>=|!=|<>|==|[=<>(),]))"""
)
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_WORDS = {"and", "or", "not", "in", "is", "null", "true", "false"}
_DEEPEST = 50


def condition(text: str, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """The condition over columns of a schema. Raises Invalid, saying where it is not understood or which column there is not."""
    return _Parser(text, schema).whole()


def columns_of(text: str) -> set[str]:
    """Names of columns that a condition speaks of. Raises Invalid."""
    return {token[1] for token in _tokens(text) if token[0] == "name" or (token[0] == "word" and token[1].lower() not in _WORDS)}


class _Parser:
    def __init__(self, text: str, schema: Mapping[str, pl.DataType]) -> None:
        self._text, self._schema = text, schema
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> pl.Expr:
        found = self._either()
        if self._at < len(self._tokens):
            raise self._wrong("'and', 'or' or the end")
        return found

    def _either(self) -> pl.Expr:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _invalid(self._text, len(self._text), f"at most {_DEEPEST} levels")
        found = self._both()
        while self._took("or"):
            found = found | self._both()
        self._depth -= 1
        return found

    def _both(self) -> pl.Expr:
        found = self._one()
        while self._took("and"):
            found = found & self._one()
        return found

    def _one(self) -> pl.Expr:
        negations = 0
        while self._took("not"):
            negations += 1
        if self._took("("):
            found = self._either()
            self._need(")")
        else:
            found = self._test()
        return ~found if negations % 2 else found

    def _test(self) -> pl.Expr:
        name = self._name()
        column = pl.col(name)
        if self._took("is"):
            negated = self._took("not")
            self._need("null")
            return column.is_not_null() if negated else column.is_null()
        negated = self._took("not")
        if self._took("in"):
            self._need("(")
            values = [self._value(name)]
            while self._took(","):
                values.append(self._value(name))
            self._need(")")
            found = column.is_in(values)
            return ~found if negated else found
        sign = self._next()
        if negated or sign[1] not in _COMPARE:
            self._at -= 1
            raise self._wrong("=, !=, <, <=, >, >=, in or is")
        found = _COMPARE[sign[1]](column, pl.lit(self._value(name)))
        assert isinstance(found, pl.Expr)  # noqa: S101 - an operator on a column
        return found

    def _name(self) -> str:
        kind, value, _ = self._next()
        if kind != "name" and (kind != "word" or value.lower() in _WORDS):
            self._at -= 1
            raise self._wrong("the name of a column")
        if value not in self._schema:
            raise Invalid(
                f"There is no column {value!r} in the log.", code="serving.no_column", hint=f"Known: {', '.join(self._schema) or 'none'}."
            )
        return value

    def _value(self, name: str) -> Any:
        kind, value, _ = self._next()
        dtype = self._schema[name]
        if kind == "text":
            return self._instant(value) if dtype.is_temporal() else self._as(dtype == pl.String, name, value)
        if kind == "number":
            number = float(value) if re.search(r"[.eE]", value) else int(value)
            return self._as(dtype.is_numeric(), name, number)
        if kind == "word" and value.lower() in {"true", "false"}:
            return self._as(dtype == pl.Boolean, name, value.lower() == "true")
        self._at -= 1
        raise self._wrong("a number, 'text', true or false")

    def _as(self, fits: bool, name: str, value: Any) -> Any:  # noqa: FBT001 - said at the call
        if not fits:
            raise Invalid(
                f"Column {name!r} is {self._schema[name]}; it cannot be compared with {value!r}.",
                code="serving.bad_condition",
                hint="Write numbers bare, text in single quotes.",
            )
        return value

    def _instant(self, value: str) -> datetime:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise _invalid(self._text, self._tokens[self._at - 1][2], "a time such as '2026-01-31T12:00:00Z'") from None
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)

    def _next(self) -> tuple[str, str, int]:
        if self._at >= len(self._tokens):
            raise _invalid(self._text, len(self._text), "more")
        self._at += 1
        return self._tokens[self._at - 1]

    def _took(self, said: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][0] in {"word", "sign"} and self._tokens[self._at][1].lower() == said:
            self._at += 1
            return True
        return False

    def _need(self, said: str) -> None:
        if not self._took(said):
            raise self._wrong(repr(said))

    def _wrong(self, expected: str) -> Invalid:
        return _invalid(self._text, self._tokens[self._at][2] if self._at < len(self._tokens) else len(self._text), expected)


def _tokens(text: str) -> list[tuple[str, str, int]]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise _invalid(text, at, "a name, a value or a comparison")
        kind = match.lastgroup or ""
        value = match[kind]
        if kind in {"text", "quoted"}:
            value = value[1:-1].replace(value[0] * 2, value[0])
        found.append(("name" if kind == "quoted" else kind, value, match.start(kind)))
        at = match.end()
    return found


def _invalid(text: str, at: int, expected: str) -> Invalid:
    got = text[at : at + 20].strip() or "the end"
    return Invalid(
        f"The condition is not understood at character {at + 1}: expected {expected}, got {got!r}.",
        code="serving.bad_condition",
        hint="Write it like: distance > 1000 and carrier in ('AA', 'UA') and not dep_delay is null.",
    )
