"""``rung``: one group of commands a file, found by scanning this package."""

from __future__ import annotations

import os
import pkgutil
import re
import sys
from importlib import import_module
from keyword import iskeyword

import click

import rung
import rung.cli
from rung.cli.frame import EXIT_FAILURE, State, fail

_NOT_COMMANDS = {"entry", "main", "frame", "leaving", "predicting", "model_engine", "model_life", "watching"}
_NOT_COMMANDS |= {"warm_client", "warm_host", "warm_place", "warm_start"}


class _Scanned(click.Group):
    """Finds commands as modules of ``rung.cli`` with an attribute ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(m.name.rstrip("_").replace("_", "-") for m in pkgutil.iter_modules(rung.cli.__path__) if m.name not in _NOT_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = cmd_name.replace("-", "_") + ("_" if iskeyword(cmd_name) else "")
        command: click.Command = import_module(f"rung.cli.{module}").command
        if isinstance(command, click.Group):
            for held in command.commands.values():
                held.short_help = held.short_help or _clause(held.help or "")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # noqa: PLC0415

            near = get_close_matches(args[0], self.list_commands(ctx), n=3)
            if near:
                raise click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", ctx) from None
            raise


def _clause(text: str) -> str:
    """The first clause of a help text: a list of commands shows it whole, where click would cut it off in the middle of a word."""
    first = text.strip().partition("\n\n")[0].replace("\n", " ")
    return re.split(r"(?:[.;:]\s|\.$)", first, maxsplit=1)[0] + "."


@click.group(cls=_Scanned, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(rung.__version__, prog_name="rung")
@click.option("--set", "flags", multiple=True, metavar="NAME=VALUE", help="Override a setting, e.g. --set server.port=8080.")
@click.option("--url", help="Server to talk to instead of the embedded platform.")
@click.option("--token", help="Token to authenticate with (better: RUNG_TOKEN).")
@click.option("--project", help="Project to work in.")
@click.option("--home", help="Home of the embedded platform.")
@click.pass_context
def cli(ctx: click.Context, /, flags: tuple[str, ...], **given: str | None) -> None:
    """Rung: from data to decision, with evidence.

    Start with `rung demo flights`, or `rung init my-project`.
    """
    overrides = {name: value for name, value in given.items() if value is not None}
    for flag in flags:
        name, equals, value = flag.partition("=")
        if not equals:
            raise click.UsageError(f"--set {flag!r} has no '='. Write NAME=VALUE.")
        overrides[name] = value
    ctx.obj = State(flags=overrides)
    ctx.call_on_close(ctx.obj.close)


def main() -> None:
    """Entry point of the ``rung`` command."""
    # Boosting libraries spin while they wait for a core that another process holds; sleeping costs nothing and wins minutes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli(prog_name="rung")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(EXIT_FAILURE)
    except OSError as error:
        fail(
            f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.",
            hint="Check the path, its rights and the free space.",
        )


if __name__ == "__main__":
    main()
