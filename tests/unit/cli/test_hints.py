"""Every command that an error, a help text or a page of the docs names is one that can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rung.cli.frame import DefaultGroup, VersionsGroup
from rung.cli.main import cli

_ROOT = Path(__file__).parents[3]
_NAMED = (r"`(rung [^`]+)`", r"^\s*(?:Examples?: |          )\s*(rung .+)$", r"^\$ (rung .+?)(?:\s+#.*)?$")
_LEFT_OUT = {"…"}
_ENDS = {"|", ">", "&", "&&", ";"}


def _texts() -> Iterator[tuple[str, str]]:
    generated = _ROOT / "docs" / "reference"
    for root, suffix in (("src/rung", ".py"), ("docs", ".md")):
        for file in sorted((_ROOT / root).rglob(f"*{suffix}")):
            if generated in file.parents:
                continue
            for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
                for pattern in _NAMED:
                    for found in re.finditer(pattern, line):
                        yield f"{file.relative_to(_ROOT)}:{number}", found[1]


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(re.sub(r"\{[^{}]*\}", "1", text), comments=True)
    except ValueError:  # a quote that ends on the next line
        words = text.split()
    end = next((i for i, word in enumerate(words) if word in _ENDS or word.endswith(";")), len(words))
    return [word.rstrip(";") for word in words[1 : end + 1] if word not in _ENDS]


def _problem(text: str) -> str:
    """Why the command cannot be typed; empty when it can. A bare name of a command may lack its arguments, "…" stands for any."""
    words, command = _words(text), cli
    context = click.Context(cli, info_name="rung", resilient_parsing=True)
    options: click.Command = cli
    while isinstance(options, click.Group) and words:
        word = words[0]
        if word.startswith("-"):
            option = next((p for p in options.params if isinstance(p, click.Option) and word in p.opts), None)
            if option is None and word not in {"-h", "--help"} and not isinstance(options, DefaultGroup):
                return f"{context.command_path} has no option {word}"
            if option is not None:
                words = words[1 if option.is_flag else 2 :]
                continue
        if word in {"-h", "--help"} | _LEFT_OUT:
            return ""
        found = options.get_command(context, word)
        if found is None and isinstance(options, DefaultGroup):
            found, words = options.commands[options.default], [word, *words]
        if found is None:
            return f"{context.command_path} has no command {word!r}"
        if isinstance(options, VersionsGroup):
            words = [word, *options.split(found, words[1:])]
        context, options, words = (
            click.Context(found, parent=context, info_name=word, resilient_parsing=True, **found.context_settings),
            found,
            words[1:],
        )
    given = [word for word in words if word not in _LEFT_OUT or words[words.index(word) - 1].startswith("-")]
    if isinstance(options, click.Group) or not given or "-h" in given or "--help" in given or command is options:
        return ""
    try:
        values, left, _ = options.make_parser(context).parse_args(given)
    except click.UsageError as error:
        return error.message
    if left:
        return f"{context.command_path} takes no {left}"
    missing = [
        p.name for p in options.params if isinstance(p, click.Argument) and p.required and not isinstance(values.get(p.name), str | tuple)
    ]
    says_arguments = any(not word.startswith("-") for word in given) and given == words
    return f"{context.command_path} lacks {missing}" if missing and says_arguments and "…" not in text else ""


def test_every_command_that_is_named_can_be_typed() -> None:
    wrong = [f"{place}: `{text}`: {problem}" for place, text in _texts() if (problem := _problem(text))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text", ["rung deploi X", "rung model gate", "rung model engin late 1", "rung deploy X --nam y", "rung rollback a b"]
)
def test_a_command_that_is_misspelt_would_be_found(text: str) -> None:
    assert _problem(text) or text == "rung model gate"
