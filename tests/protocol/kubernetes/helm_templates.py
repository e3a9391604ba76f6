"""A chart's templates rendered without Helm: the part of its language that our chart needs, and an error for everything else.

What it makes is held against Helm's own rendering where Helm is there. Sources: Go's text/template; Helm, Chart Template Guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.S)
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[()|]|[^\s()|]+)')
_OPENS = ("if", "with", "range", "define")


@dataclass
class Block:
    """A text, an action, or a block of either with what follows its ``else``."""

    kind: str
    said: str = ""
    body: list[Block] = field(default_factory=list)
    otherwise: list[Block] = field(default_factory=list)


def rendered(chart: Path, values: Mapping[str, Any], *, name: str, namespace: str) -> list[dict[str, Any]]:
    """The objects that a chart makes of its values and others in their place."""
    said = yaml.safe_load((chart / "Chart.yaml").read_text())
    root = {
        "Values": _merged(yaml.safe_load((chart / "values.yaml").read_text()), values),
        "Chart": {key[:1].upper() + key[1:]: value for key, value in said.items()},
        "Release": {"Name": name, "Namespace": namespace, "Service": "Helm"},
    }
    defined: dict[str, list[Block]] = {}
    parsed = {path.name: _parsed(path.read_text(), defined) for path in sorted((chart / "templates").iterdir())}
    found = []
    for file, blocks in parsed.items():
        if file.endswith(".yaml"):
            found += [one for one in yaml.safe_load_all(Rendering(defined).of(blocks, root)) if isinstance(one, dict)]
    return found


def _merged(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, Mapping):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _parsed(text: str, defined: dict[str, list[Block]]) -> list[Block]:
    top: list[Block] = []
    open_: list[tuple[Block, list[Block]]] = []
    into, at, trims = top, 0, False
    for action in _ACTION.finditer(text):
        before = text[at : action.start()]
        before = before.lstrip() if trims else before
        into.append(Block("text", before.rstrip() if action[1] else before))
        at, trims = action.end(), bool(action[3])
        word, _, rest = action[2].partition(" ")
        if word in _OPENS:
            block = Block(word, rest.strip())
            if word == "define":
                defined[json.loads(block.said)] = block.body
            else:
                into.append(block)
            open_.append((block, into))
            into = block.body
        elif word == "else":
            assert not rest.strip(), f"unknown: {action[0]}"
            into = open_[-1][0].otherwise
        elif word == "end":
            into = open_.pop()[1]
        elif not action[2].startswith("/*"):
            into.append(Block("say", action[2]))
    assert not open_, f"{open_[-1][0].kind} has no end"
    into.append(Block("text", text[at:].lstrip() if trims else text[at:]))
    return top


class Rendering:
    """Templates with those that were defined."""

    def __init__(self, defined: Mapping[str, list[Block]]) -> None:
        self._defined = defined
        self._functions: dict[str, Callable[..., Any]] = {
            "include": lambda name, dot: self.of(self._defined[name], dot), "quote": lambda value: json.dumps(_text(value)),
            "nindent": lambda n, text: "\n" + _indented(n, text), "indent": _indented, "toString": _text,
            "toYaml": lambda value: yaml.safe_dump(value, default_flow_style=False).rstrip("\n"),
            "default": lambda other, value=None: value or other, "trunc": lambda n, text: text[:n],
            "trimSuffix": lambda end, text: text.removesuffix(end), "printf": lambda form, *values: form % tuple(map(_text, values)),
            "dict": lambda *pairs: dict(zip(pairs[::2], pairs[1::2], strict=True)), "not": lambda value: not value,
            "and": lambda *values: next((value for value in values if not value), values[-1]),
            "or": lambda *values: next((value for value in values if value), values[-1]), "eq": lambda one, other: one == other,
        }  # fmt: skip

    def of(self, blocks: list[Block], dot: Any) -> str:
        """The text of blocks, said of ``dot``."""
        parts = []
        for block in blocks:
            if block.kind == "text":
                parts.append(block.said)
            elif block.kind == "say":
                parts.append(_text(self._value(block.said, dot)))
            else:
                value = self._value(block.said, dot)
                if block.kind == "range":
                    parts += [self.of(block.body, item) for item in value or ()]
                elif value:
                    parts.append(self.of(block.body, value if block.kind == "with" else dot))
                else:
                    parts.append(self.of(block.otherwise, dot))
        return "".join(parts)

    def _value(self, said: str, dot: Any) -> Any:
        tokens = _TOKEN.findall(said)
        value = self._piped(tokens, dot)
        assert not tokens, f"unknown: {said}"
        return value

    def _piped(self, tokens: list[str], dot: Any) -> Any:
        value: list[Any] = []
        while True:
            words = []
            while tokens and tokens[0] not in {"|", ")"}:
                words.append(self._word(tokens, dot))
            first, *given = [*words, *value]
            value = [first(*given) if callable(first) else first]
            if not tokens or tokens[0] == ")":
                return value[0]
            tokens.pop(0)

    def _word(self, tokens: list[str], dot: Any) -> Any:
        token = tokens.pop(0)
        if token == "(":
            value = self._piped(tokens, dot)
            assert tokens.pop(0) == ")"
            return value
        if token[0] == '"':
            return json.loads(token)
        if token.lstrip("-").isdigit():
            return int(token)
        if token[0] == ".":
            for part in filter(None, token.split(".")):
                dot = dot[part]  # Helm says nothing of a value that is not there; here it is a mistake
            return dot
        assert token in self._functions, f"unknown: {token}"
        return self._functions[token]


def _indented(n: int, text: str) -> str:
    return "\n".join(" " * n + line for line in text.split("\n"))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
