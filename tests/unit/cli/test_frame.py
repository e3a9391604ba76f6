"""What every command shares: exit codes, JSON, tables, help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rung.cli.frame import EXIT_CODES, cell
from rung.cli.main import cli
from rung.core.errors import ERRORS
from rung.server.errors import STATUS


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), *arguments])


def test_every_error_class_has_an_exit_code_and_a_status() -> None:
    assert set(EXIT_CODES) == set(ERRORS) == set(STATUS)


def test_numbers_read_as_people_write_them() -> None:
    assert [cell(x) for x in (0.123456, 86400.0, 1234567.8, 1e20, 3.0)] == ["0.1235", "86400", "1234568", "1e+20", "3"]


def test_help_names_every_command_with_a_sentence(home: Path) -> None:
    result = run(home, "--help")
    assert result.exit_code == 0
    for word in ("audit", "token", "settings", "up", "lineage"):
        assert word in result.output


def test_a_misspelt_command_names_the_nearest(home: Path) -> None:
    result = run(home, "tokn")
    assert result.exit_code == 2
    assert "token" in result.output


def test_json_is_the_record(home: Path) -> None:
    made = json.loads(run(home, "project", "create", "churn", "--json").stdout)
    assert made["name"] == "churn"
    assert [p["name"] for p in json.loads(run(home, "project", "list", "--json").stdout)] == ["churn", "default"]


def test_an_error_has_message_hint_and_code(home: Path) -> None:
    run(home, "project", "create", "churn")
    result = run(home, "project", "create", "churn")
    assert result.exit_code == 1
    assert "'churn' exists" in result.stderr
    assert "another name" in result.stderr


def test_an_error_under_json_is_json(home: Path) -> None:
    result = run(home, "token", "revoke", "0" * 32, "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["error"]["code"] == "governance.no_token"


@pytest.mark.parametrize("name", ["a b", "", "../x", "x" * 200])
def test_a_bad_name_is_refused_before_anything_is_written(home: Path, name: str) -> None:
    assert run(home, "project", "create", name).exit_code == 2
    assert [p["name"] for p in json.loads(run(home, "project", "list", "--json").stdout)] == ["default"]


def test_a_home_that_cannot_be_made_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(tmp_path / "file" / "home", "project", "list")
    assert result.exit_code == 1
    assert "cannot be made" in result.stderr


def test_the_audit_log_verifies_from_the_command_line(home: Path) -> None:
    run(home, "project", "create", "churn")
    result = run(home, "audit", "verify")
    assert result.exit_code == 0
    assert "chain intact" in result.stdout


def test_lineage_of_nothing_is_not_found(home: Path) -> None:
    assert run(home, "lineage", "model_version=churn:3").exit_code == 4


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shell_completion_is_printed(home: Path, shell: str) -> None:
    result = run(home, "completion", shell)
    assert result.exit_code == 0
    assert "_RUNG_COMPLETE" in result.output
