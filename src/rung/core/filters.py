"""The filter language of every search: ``metrics.auc > 0.7 AND (params.model = 'tree' OR tags.kept IS NOT NULL)``.

This module turns text into an expression and knows no tables; each area says which entities and attributes it has.
MLflow's filters are the part of the language without OR, NOT and parentheses; ``only_and`` holds a text to that part.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NoReturn

from rung.core.errors import Invalid
from rung.core.records import Record

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "like", "ilike", "in", "not_in", "missing", "present"]
Entity = Literal["metric", "param", "tag", "attribute", "dataset"]
Value = str | int | float | tuple[str | int | float, ...] | None
ENTITIES: dict[str, Entity] = {
    "metric": "metric", "metrics": "metric", "param": "param", "params": "param", "parameter": "param", "parameters": "param",
    "tag": "tag", "tags": "tag", "attribute": "attribute", "attributes": "attribute", "attr": "attribute", "run": "attribute",
    "dataset": "dataset", "datasets": "dataset",
}  # fmt: skip
_MOST_CHARACTERS = 20_000
_MOST_TERMS = 200
_DEEPEST = 20
_WORD = r"[^\W\d][\w.\-/:@$]*"
_TOKEN = re.compile(
    rf"""\s*(?:
    (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    |(?P<string>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*"|`[^`]+`)
    |(?P<operator><=|>=|!=|<>|==|=|<|>)
    |(?P<word>{_WORD})
    |(?P<mark>[(),.])
    )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Operator] = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_HINT = "Write for example metrics.auc > 0.7 AND params.model = 'tree'."


class Compare(Record):
    """One claim; ``key`` is the attribute's name, or the metric's, param's or tag's. ``quoted`` tells a text from a number."""

    entity: Entity
    key: str
    operator: Operator
    value: Value = None


class All(Record):
    """Every part holds."""

    parts: tuple[Compare | All | Either | Not, ...]


class Either(Record):
    """At least one part holds."""

    parts: tuple[Compare | All | Either | Not, ...]


class Not(Record):
    """The part does not hold."""

    part: Compare | All | Either | Not


Expression = Compare | All | Either | Not


class OrderBy(Record):
    """What a list is sorted by."""

    entity: Entity
    key: str
    descending: bool = False


def parse(text: str, *, only_and: bool = False, entities: Mapping[str, Entity] = ENTITIES) -> All:
    """The expression of a filter; an empty text is an ``All`` without parts. Raises Invalid, naming the place.

    ``entities`` are the words that may stand before a dot, where an area has others.
    """
    if len(text) > _MOST_CHARACTERS:
        _refuse(f"The filter has {len(text)} characters; {_MOST_CHARACTERS} are allowed.")
    if not text.strip():
        return All(parts=())
    found = _Parser(text, only_and=only_and, entities=entities).whole()
    return found if isinstance(found, All) else All(parts=(found,))


def parse_order(text: str) -> OrderBy:
    """One order such as ``metrics.auc DESC``. Raises Invalid."""
    tokens = list(_tokens(text))
    parser = _Parser(text, only_and=True, tokens=tokens)
    entity, key = parser.identifier()
    descending = False
    if parser.at_word("asc", "desc"):
        descending = parser.take()[1].lower() == "desc"
    if not parser.at_end():
        _refuse(f"Order {text!r} goes on after {key!r} with {parser.take()[1]!r}; only ASC or DESC may follow.")
    return OrderBy(entity=entity, key=key, descending=descending)


def comparisons(expression: Expression) -> Iterator[Compare]:
    """Every comparison in an expression."""
    if isinstance(expression, Compare):
        yield expression
    elif isinstance(expression, Not):
        yield from comparisons(expression.part)
    else:
        for part in expression.parts:
            yield from comparisons(part)


def holds(expression: Expression, get: Callable[[Entity, str], str | int | float | None]) -> bool:
    """Whether an expression holds of something whose values ``get`` tells; of what it has not, only IS NULL holds."""
    if isinstance(expression, All):
        return all(holds(part, get) for part in expression.parts)
    if isinstance(expression, Either):
        return any(holds(part, get) for part in expression.parts)
    if isinstance(expression, Not):
        return not holds(expression.part, get)
    held, how, value = get(expression.entity, expression.key), expression.operator, expression.value
    if how in {"missing", "present"}:
        return (held is None) == (how == "missing")
    if held is None or value is None:
        return False
    if how in {"in", "not_in"}:
        return (held in value) == (how == "in") if isinstance(value, tuple) else False
    if how in {"like", "ilike"}:
        return like(str(value), str(held), ignore_case=how == "ilike")
    if isinstance(held, str) != isinstance(value, str) or isinstance(value, tuple):
        return how == "!="
    return _ORDERED[how](held, value)


def like(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether a text is like a pattern: ``%`` stands for any characters, ``_`` for one."""
    parts = {"%": ".*", "_": "."}
    regex = "".join(parts.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(regex, text, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


_ORDERED: dict[str, Callable[..., bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            _refuse(f"The filter cannot be read at {text[place : place + 20].strip()!r}.")
        yield match.lastgroup, match.group(match.lastgroup)
        place = match.end()


class _Parser:
    """Recursive descent over the tokens, with a bound on depth and number of terms."""

    def __init__(
        self, text: str, *, only_and: bool, tokens: list[tuple[str, str]] | None = None, entities: Mapping[str, Entity] = ENTITIES
    ) -> None:
        self._text = text
        self._entities = entities
        self._tokens = list(_tokens(text)) if tokens is None else tokens
        self._at = 0
        self._only_and = only_and
        self._terms = 0

    def whole(self) -> Expression:
        found = self._either(0)
        if not self.at_end():
            _refuse(f"{self._tokens[self._at][1]!r} is not expected in filter {self._text!r}.")
        return found

    def at_end(self) -> bool:
        return self._at >= len(self._tokens)

    def at_word(self, *words: str) -> bool:
        return not self.at_end() and self._tokens[self._at][0] == "word" and self._tokens[self._at][1].lower() in words

    def take(self) -> tuple[str, str]:
        if self.at_end():
            _refuse(f"Filter {self._text!r} ends too early.")
        self._at += 1
        return self._tokens[self._at - 1]

    def identifier(self) -> tuple[Entity, str]:
        kind, text = self.take()
        if kind == "quoted":
            return "attribute", _unquoted(text)
        if kind != "word":
            _refuse(f"{text!r} is no name of a metric, param, tag or attribute.")
        head, dot, key = text.partition(".")
        if not dot:
            if not self.at_end() and self._tokens[self._at] == ("mark", ".") and text.lower() in self._entities:
                self.take()
                return self._entities[text.lower()], self._key()
            return "attribute", text
        if head.lower() not in self._entities:
            _refuse(f"{head!r} is none of metrics, params, tags, attributes, datasets.")
        return self._entities[head.lower()], key or self._key()

    def _key(self) -> str:
        kind, text = self.take()
        if kind not in {"quoted", "word"} or not _unquoted(text):
            _refuse(f"{text!r} is no key; put keys with odd characters in backticks.")
        return _unquoted(text) if kind == "quoted" else text

    def _either(self, depth: int) -> Expression:
        if depth > _DEEPEST:
            _refuse(f"The filter is nested deeper than {_DEEPEST} levels.")
        parts = [self._all(depth)]
        while self.at_word("or"):
            self._beyond_and("OR")
            self.take()
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Either(parts=tuple(parts))

    def _all(self, depth: int) -> Expression:
        parts = [self._one(depth)]
        while self.at_word("and"):
            self.take()
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else All(parts=tuple(parts))

    def _one(self, depth: int) -> Expression:
        if self.at_word("not"):
            self._beyond_and("NOT")
            self.take()
            if depth >= _DEEPEST:
                _refuse(f"The filter is nested deeper than {_DEEPEST} levels.")
            return Not(part=self._one(depth + 1))
        if not self.at_end() and self._tokens[self._at] == ("mark", "("):
            self._beyond_and("parentheses")
            self.take()
            inside = self._either(depth + 1)
            self._expect(")")
            return inside
        return self._comparison()

    def _comparison(self) -> Compare:
        self._terms += 1
        if self._terms > _MOST_TERMS:
            _refuse(f"The filter has more than {_MOST_TERMS} comparisons.")
        entity, key = self.identifier()
        kind, text = self.take()
        word = text.lower() if kind == "word" else ""
        if kind == "operator":
            return Compare(entity=entity, key=key, operator=_COMPARE[text], value=self._value())
        if word in {"like", "ilike"}:
            return Compare(entity=entity, key=key, operator="like" if word == "like" else "ilike", value=self._text_value(word))
        if word == "is":
            present = self.at_word("not")
            if present:
                self.take()
            if not self.at_word("null"):
                _refuse(f"After IS comes NULL or NOT NULL, for {key!r}.")
            self.take()
            return Compare(entity=entity, key=key, operator="present" if present else "missing")
        negated = word == "not" and self.at_word("in")
        if negated:
            self.take()
        if negated or word == "in":
            return Compare(entity=entity, key=key, operator="not_in" if negated else "in", value=self._list())
        raise _refusal(f"{text!r} is no comparison of {key!r}; use = != < <= > >= LIKE ILIKE IN IS NULL.")

    def _value(self) -> str | int | float:
        kind, text = self.take()
        if kind == "number":
            return _number(text)
        if kind == "string" or (kind == "quoted" and text.startswith('"')):
            return _unquoted(text)
        raise _refusal(f"{text!r} is no value; texts stand in quotes, numbers without.")

    def _text_value(self, operator: str) -> str:
        value = self._value()
        if not isinstance(value, str):
            _refuse(f"{operator.upper()} compares with a text in quotes, not with {value!r}.")
        return value

    def _list(self) -> tuple[str | int | float, ...]:
        self._expect("(")
        values = [self._value()]
        while not self.at_end() and self._tokens[self._at] == ("mark", ","):
            self.take()
            values.append(self._value())
        self._expect(")")
        return tuple(values)

    def _expect(self, mark: str) -> None:
        if self.take() != ("mark", mark):
            _refuse(f"{mark!r} is missing in filter {self._text!r}.")

    def _beyond_and(self, what: str) -> None:
        if self._only_and:
            _refuse(f"{what} is not part of MLflow's filters, which join comparisons by AND: {self._text!r}.")


def _number(text: str) -> int | float:
    if len(text) > 400:  # noqa: PLR2004 - as long as any double can be written in full
        _refuse(f"A number of {len(text)} digits cannot be compared.")
    whole = None if any(mark in text for mark in ".eE") else int(text)
    return whole if whole is not None and -(2**63) <= whole < 2**63 else float(text)  # databases count no further


def _unquoted(text: str) -> str:
    if text[:1] in {"'", '"', "`"} and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


def _refuse(message: str) -> NoReturn:
    raise _refusal(message)


def _refusal(message: str) -> Invalid:
    return Invalid(message[:1000], code="filter.unreadable", hint=_HINT)
