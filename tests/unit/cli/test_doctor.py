"""``rung doctor`` tells faults with their remedy, and of what is well nothing to do."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from rung.cli.main import cli


def test_what_is_well_needs_no_remedy_and_the_compiled_part_is_looked_for(home: Path) -> None:
    done = CliRunner().invoke(cli, ["--home", str(home), "doctor", "--json"])
    checks = {check["check"]: check for check in json.loads(done.stdout)}
    assert {"python", "libraries", "extras", "compiled part", "home", "database"} <= set(checks)
    assert all(check["remedy"] == "" for name, check in checks.items() if check["status"] == "ok" and name != "extras")
