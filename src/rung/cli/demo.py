"""``rung demo``: the whole loop on real data, as a project you can keep."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from rung.cli.frame import EXIT_FAILURE, EXIT_USAGE, fail


@click.group("demo", short_help="The whole loop on real data.")
def command() -> None:
    """The whole loop on real data, as a project you can keep."""


@command.command("flights")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-project"), show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures to this file.")
@click.option("--months", type=click.IntRange(1, 10), default=10, show_default=True, help="Months from March on.")
@click.option("--exit", "leave", is_flag=True, help="End without offering the server.")
def flights(folder: Path, json_file: Path | None, months: int, leave: bool) -> None:  # noqa: FBT001 - click passes options by name
    """336,776 flights of 2013: trained, gated, served, watched, diagnosed, retrained, with money and maturity at the end.

    \b
    Example: rung demo flights --months 3 --exit
    """
    target = json_file.resolve() if json_file else None
    project = _fresh_project(folder.resolve())
    told = ["--json", str(target)] if target else []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNG_")}
    done = subprocess.run([sys.executable, "story.py", "--months", str(months), *told], cwd=project, env=environment, check=False)
    if done.returncode:
        sys.exit(EXIT_FAILURE)
    if not leave and sys.stdin.isatty() and click.confirm("Open the server on what it left?", default=True):
        subprocess.run([sys.executable, "-m", "rung.cli.main", "up"], cwd=project, env=environment, check=False)
    else:
        click.echo(f"Look around: cd {folder} && rung up")


def _fresh_project(folder: Path) -> Path:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "story.py").is_file():
            fail(f"{folder} is not empty.", hint="Name another folder: --folder NAME.", code=EXIT_USAGE)
        shutil.rmtree(folder)
    shutil.copytree(_example(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".rung", "*.log"))
    (folder / ".gitignore").write_text(".rung/\n__pycache__/\n*.log\n", "utf-8")
    identity = ["-c", "user.name=Rung demo", "-c", "user.email=demo@rung.invalid"]
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "the flights project"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


def _example() -> Path:
    import rung  # noqa: PLC0415

    package = Path(rung.__file__).resolve().parent
    places = [package / "examples" / "flights", package.parent.parent / "examples" / "flights"]
    found = next((place for place in places if (place / "story.py").is_file()), None)
    if found is not None:
        return found
    return fail("The example project is not installed.", hint="Install rung[demo] again.")
