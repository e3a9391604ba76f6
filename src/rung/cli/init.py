"""``rung init``: a new project."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click

from rung.cli.frame import EXIT_USAGE, fail, verb

_FILES = {
    "rung.toml.txt": "rung.toml",
    "pipelines.py.txt": "pipelines.py",
    "test_steps.py.txt": "tests/pipelines/test_steps.py",
    "README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
}
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")


@click.command("init", short_help="Make a new project with a training pipeline that runs.")
@click.argument("name")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where to make it; default a folder of that name.")
@verb
def command(name: str, folder: Path | None) -> None:
    """Make a new project: settings, a training pipeline that runs, its test, and a git repository.

    \b
    Example: rung init churn
    """
    from rung.pipelines.testing.scaffold import conftest  # noqa: PLC0415 - other commands need not load it

    if not _NAME.match(name):
        fail(f"{name!r} cannot name a project.", hint="Use letters, digits, '.', '_' and '-'.", code=EXIT_USAGE)
    target = folder or Path(name)
    held = [new for new in _FILES.values() if (target / new).exists()]
    if held:
        fail(f"{target / held[0]} exists.", hint="Choose another folder; nothing was written.", code=EXIT_USAGE)
    target.mkdir(parents=True, exist_ok=True)
    scaffold = Path(__file__).parent / "scaffold"
    for template, new in _FILES.items():
        text = (scaffold / template).read_text("utf-8")
        (target / new).parent.mkdir(parents=True, exist_ok=True)
        (target / new).write_text(text if new == ".gitignore" else text.format(name=name), "utf-8")
    (target / "tests/pipelines/conftest.py").write_text(conftest(), "utf-8")
    if shutil.which("git") and not (target / ".git").exists():
        identity = ["-c", "user.name=Rung", "-c", "user.email=rung@rung.invalid"]
        for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", f"{name}: a new Rung project"]):
            subprocess.run(["git", *arguments], cwd=target, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    click.echo(f"{target} is ready. Next: cd {target} && rung data add NAME rows.csv")
