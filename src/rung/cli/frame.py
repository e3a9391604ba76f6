"""What every command shares: settings and client of the invocation, ``--json``, tables, errors with exit codes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from rung.client.client import Client
    from rung.core.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
_LONG, _TOO_LONG = 1e4, 1e15  # between them a float is written out, without decimals
EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_NOT_MET, EXIT_NOT_FOUND = 0, 1, 2, 3, 4
# Every error class has its code here; a test asks that all six do.
EXIT_CODES = {
    "not_found": EXIT_NOT_FOUND,
    "already_exists": EXIT_FAILURE,
    "invalid": EXIT_USAGE,
    "conflict": EXIT_FAILURE,
    "denied": EXIT_FAILURE,
    "unavailable": EXIT_FAILURE,
}


@dataclass
class State:
    """One invocation: its overrides, whether JSON is wanted, and what must be closed at its end."""

    flags: dict[str, str] = field(default_factory=dict)
    json: bool = False
    client: Client | None = None

    def close(self) -> None:
        """Close the client if one was opened."""
        if self.client is not None:
            self.client.close()
            self.client = None


def state() -> State:
    """The state of the running command."""
    found = click.get_current_context().find_object(State)
    if found is None:
        raise click.UsageError("This command runs below `rung`.")
    return found


def settings() -> Settings:
    """Settings in force for the running command."""
    from rung.core.settings import load_settings  # noqa: PLC0415 - `rung --help` must not pay for msgspec

    return load_settings(flags=state().flags)


def client() -> Client:
    """The client of the running command; opened once, closed at its end."""
    held = state()
    if held.client is None:
        from rung.client.client import Client  # noqa: PLC0415 - see settings()
        from rung.client.transports import open_transport  # noqa: PLC0415

        held.client = Client(open_transport(settings()))
    return held.client


def verb(function: F) -> F:
    """Add ``--json`` to a command, and turn Rung's errors into a message, a hint and an exit code."""

    @click.option("--json", "as_json", is_flag=True, help="Answer as JSON on standard output.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, **options: Any) -> Any:
        state().json = as_json
        from rung.core.errors import RungError  # noqa: PLC0415 - see settings()

        try:
            return function(*args, **options)
        except RungError as error:
            if as_json:
                _print_json({"error": {"kind": error.kind, "code": error.code, "message": error.message, "hint": error.hint}})
            fail(error.message, hint=error.hint, code=EXIT_CODES.get(error.kind, EXIT_FAILURE))

    return run  # type: ignore[return-value]


class DefaultGroup(click.Group):
    """A group that does its one usual thing when no subcommand is named: the command called ``default``."""

    default = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, with the default put before those that name no subcommand."""
        if not args or (args[0] not in self.commands and args[0] not in {"-h", "--help"}):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class VersionsGroup(click.Group):
    """Commands about a model's version: those that take MODEL NUMBER take MODEL:NUMBER too, as every message writes it."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command with its arguments, a version parted in two."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, rest if command is None else self.split(command, rest)

    @staticmethod
    def split(command: click.Command, args: list[str]) -> list[str]:
        """The arguments with the first one, ``late:3``, as two where the command takes a model and a number."""
        if [p.name for p in command.params if isinstance(p, click.Argument)][:2] != ["model", "number"]:
            return args
        valued = {name for p in command.params if isinstance(p, click.Option) and not p.is_flag for name in p.opts}
        at = 0
        while at < len(args) and args[at].startswith("-"):
            at += 2 if args[at] in valued else 1
        model, colon, number = args[at].partition(":") if at < len(args) else ("", "", "")
        return [*args[:at], model, number, *args[at + 1 :]] if colon and number.isdigit() else args


def fail(message: str, *, hint: str | None = None, code: int = EXIT_FAILURE) -> NoReturn:
    """Say what went wrong on standard error, and end with an exit code."""
    click.secho(f"Error: {message}", fg="red", err=True)
    if hint:
        click.echo(hint, err=True)
    sys.exit(code)


def note(message: str) -> None:
    """A line for the person at the terminal; on standard error, silent under --json."""
    if not state().json:
        click.echo(message, err=True)


def show(answer: Any, columns: Sequence[str] | None = None, *, title: str | None = None, empty: str = "Nothing yet.") -> None:
    """Show an answer: JSON if asked for, a table for several records, lines of name and value for one.

    Args:
        answer: a record, a tuple or list of records, or a ``Page``.
        columns: field names to show, dotted for nested ones; default all that are short.
        title: heading of the table.
        empty: what to say when there is nothing; name the command that makes the first one.
    """
    if state().json:
        _print_json(answer)
        return
    items = getattr(answer, "items", None) if _is_page(answer) else answer
    if isinstance(items, (tuple, list)):
        if not items:
            click.echo(empty)
            return
        names = list(columns or _short_fields(items[0]))
        table(names, [[_at(item, name) for name in names] for item in items], title=title)
        return
    if hasattr(answer, "__struct_fields__"):
        names = list(columns or answer.__struct_fields__)
        width = max(len(name) for name in names)
        if title:
            click.secho(title, bold=True)
        for name in names:
            click.echo(f"{name.ljust(width)}  {cell(_at(answer, name))}")
        return
    click.echo(cell(answer))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """A table: drawn on a terminal, tab-separated when piped."""
    rows = [[cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(value.replace("\n", " ") for value in row))
        return
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - drawn only on a terminal
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(*columns, title=title, box=SIMPLE_HEAD, title_justify="left")
    for row in rows:
        drawn.add_row(*[Text(value) for value in row])
    Console().print(drawn)


def cell(value: Any) -> str:
    """A value as one cell: short floats, local-free instants, dashes for nothing."""
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if _LONG <= abs(value) < _TOO_LONG else f"{value:.4g}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat(sep=" ", timespec="seconds")).replace("+00:00", "Z") if hasattr(value, "hour") else str(value)
    if isinstance(value, (tuple, list)):
        return ", ".join(cell(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={cell(item)}" for key, item in value.items())
    if hasattr(value, "__struct_fields__"):
        return " ".join(cell(getattr(value, name)) for name in value.__struct_fields__)
    return str(value)


def _print_json(answer: Any) -> None:
    import msgspec  # noqa: PLC0415 - see settings()

    click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())


def _is_page(answer: Any) -> bool:
    return getattr(answer, "__struct_fields__", ()) == ("items", "next")


def _at(item: Any, name: str) -> Any:
    for part in name.split("."):
        item = item.get(part) if isinstance(item, dict) else getattr(item, part)
    return item


def _short_fields(item: Any) -> list[str]:
    return [name for name in item.__struct_fields__ if not isinstance(getattr(item, name), (dict, tuple, list))]
