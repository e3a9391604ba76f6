"""``rung package``, ``rung release`` and ``rung reproduce`` from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rung.cli.main import cli
from rung.pipelines.project import forget_modules

PROJECT = """
from rung import pipeline, step

@step
def double(n: int) -> int:
    return 2 * n

@pipeline
def twice(n: int = 21):
    return double(n)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project folder with one pipeline, in which the commands run."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "rung.toml").write_text("[environments.staging]\n[environments.production]\n")
    (place / "pipelines.py").write_text(PROJECT)
    monkeypatch.chdir(place)
    _forget(place)
    yield place
    _forget(place)


def ask(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_a_package_goes_from_the_folder_through_staging_to_production(folder: Path) -> None:
    refused = ask("package")
    assert (refused.exit_code, "no lock" in refused.output) == (2, True)
    built = ask("package", "--freeze", "--out", "twice.rungpkg", "--json")
    digest = json.loads(built.stdout)["digest"]
    short = digest[7:19]
    assert (folder / "twice.rungpkg").is_file()
    early = ask("release", short, "--to", "production")
    assert (early.exit_code, "has not succeeded in staging" in early.output) == (1, True)
    assert ask("release", short, "--to", "staging").exit_code == 0
    done = json.loads(ask("release", short, "--to", "production", "-p", "n=4", "--json").stdout)
    assert (done["status"], done["package"], done["params"]) == ("succeeded", digest, {"n": "4"})
    checked = ask("release", "check")
    assert (checked.exit_code, "All 1 runs" in checked.output) == (0, True)
    assert short in ask("release", "list").output
    assert "double" in ask("package", "show", short).output
    assert "same package" in ask("package", "diff", short, short).output
    assert ask("package", "import", "twice.rungpkg").output.strip() == digest


def test_a_run_from_the_folder_in_production_ends_the_check_with_three() -> None:
    assert ask("--set", "environment=production", "run", "twice").exit_code == 0
    checked = ask("release", "check")
    assert (checked.exit_code, "working folder" in checked.output) == (3, True)


def test_a_reproduction_reads_well_and_its_exit_code_is_its_verdict() -> None:
    ask("run", "twice")
    found = ask("reproduce", "twice:1")
    assert found.exit_code == 0, found.output
    assert "IDENTICAL: every output has the same bytes." in found.output
    assert "The reproduction is identical." in found.output
    assert "identical" in ask("reproduce", "--list", "twice:1").output


def test_bad_words_are_refused_with_a_hint() -> None:
    assert ask("reproduce").exit_code == 2
    assert ask("reproduce", "twice:1", "--all-deployed").exit_code == 2
    assert ask("reproduce", "nothing:1").exit_code == 4
    assert ask("release", "abcdef", "--to", "staging").exit_code == 4
    assert ask("package", "show", "zzz").exit_code == 4
    nowhere = ask("reproduce", "--all-deployed")
    assert (nowhere.exit_code, "nothing is deployed" in nowhere.output) == (1, True)


def _forget(place: Path) -> None:
    forget_modules(place.resolve())
    sys.modules.pop("pipelines", None)
    while str(place) in sys.path:
        sys.path.remove(str(place))
