"""Writes docs/reference/*.md from the code: requests, settings, families, commands. A test holds them up to date."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

import rung
from rung.app.opening import import_operations
from rung.cli.main import cli
from rung.core.families import Family
from rung.core.requests import OPERATIONS, answer_type
from rung.core.settings import explained_settings

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- written by scripts/reference.py; do not edit -->\n\n"


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    return {
        "requests.md": requests_page(),
        "settings.md": settings_page(),
        "families.md": families_page(),
        "commands.md": commands_page(),
    }


def requests_page() -> str:
    """Every request: operation, permission, effect, fields, answer."""
    import_operations()
    lines = ["# Requests", "", "`POST /api/<operation>` with the fields as JSON; the typed client has a method for each.", ""]
    area = ""
    for name in sorted(OPERATIONS):
        kind = OPERATIONS[name]
        if name.partition(".")[0] != area:
            area = name.partition(".")[0]
            lines += [f"## {area}", ""]
        fields = ", ".join(f"`{f.name}`{'' if f.required else ' (optional)'}" for f in msgspec.structs.fields(kind)) or "no fields"
        lines += [
            f"### `{name}`",
            "",
            _first(kind.__doc__),
            "",
            f"Needs `{kind.permission}`; effect {kind.effect}. Fields: {fields}. Answer: `{_type(answer_type(kind))}`.",
            "",
        ]
    return "\n".join(lines)


def settings_page() -> str:
    """Every setting: name, default, meaning, variable."""
    _, explained = explained_settings(Path("/nonexistent"), environ={})
    lines = [
        "# Settings",
        "",
        "`rung.toml` < environment variable < flag. `rung settings` shows what is in force and why.",
        "",
        "| setting | default | environment | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{s.name}` | `{s.value}` | `RUNG_{s.name.replace('.', '_').upper()}` | {s.doc} |" for s in explained]
    return "\n".join([*lines, ""])


def families_page() -> str:
    """Every family and its members."""
    lines = ["# Families", "", "Kinds of plug-in. Outsiders add members by an entry point in the group `rung.<family>`.", ""]
    for family in sorted(_families(), key=lambda f: f.name):
        lines += [
            f"## `{family.name}` (`{family.package}`)",
            "",
            *(f"- `{name}`: {_first(getattr(member, '__doc__', None) or type(member).__doc__)}" for name, member in family.items()),
            "",
        ]
    return "\n".join(lines)


def commands_page() -> str:
    """Every command with its help."""
    lines = [
        "# Commands",
        "",
        "Every command takes `--json`. Exit codes: 0 ok, 1 failure, 2 usage, 3 gate or level not met, 4 not found.",
        "",
    ]
    with click.Context(cli, info_name="rung") as context:
        for path, command in _walk(cli, "rung", context):
            lines += [f"## `{path}`", "", (command.help or command.short_help or "").replace("\b\n", "").strip(), ""]
    return "\n".join(lines)


def _walk(group: click.Group, path: str, context: click.Context) -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        here = f"{path} {name}"
        found.append((here, command))
        if isinstance(command, click.Group):
            found += _walk(command, here, context)
    return found


def _families() -> list[Family[Any]]:
    found: dict[str, Family[Any]] = {}
    for module in pkgutil.walk_packages(rung.__path__, "rung."):
        if ".examples" in module.name or module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Family):
                found[value.name] = value
    return list(found.values())


def _type(kind: Any) -> str:
    return (
        str(kind.__name__ if isinstance(kind, type) and not getattr(kind, "__args__", None) else kind)
        .replace("rung.", "")
        .replace("typing.", "")
    )


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n    ", " ").replace("\n", " ")


def main() -> int:
    """Write the pages, or with ``--check`` say which are stale."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if not path.is_file() or path.read_text("utf-8") != NOTE + text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(NOTE + text, "utf-8")
    print(f"stale: {', '.join(stale) or 'none'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
