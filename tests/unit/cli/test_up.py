"""``rung up`` says what is wrong with how it was started."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rung.cli.main import cli


@pytest.mark.parametrize("command", ["up", "server", "serve"])
def test_a_number_that_is_no_port_is_refused(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), command, "--port", "99999"])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: 99999 is no port.\n")
