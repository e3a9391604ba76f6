"""``rung autolog``: a script as it is, with what it trains logged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from sklearn.linear_model import LogisticRegression

assert __name__ == "__main__"
print("args", sys.argv[1:])
LogisticRegression(C=float(sys.argv[1])).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
if len(sys.argv) > 2:
    raise ValueError(sys.argv[2])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


def rung(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RUNG_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-c", "from rung.cli.main import main; main()", *args]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_a_script_runs_with_its_own_arguments_and_its_fit_is_logged(folder: Path) -> None:
    done = rung(folder, "autolog", "--json", "-e", "churn", "train.py", "0.5")
    assert done.returncode == 0, done.stderr
    first, _, rest = done.stdout.partition("\n")
    assert first == "args ['0.5']"
    (run,) = json.loads(rest)
    assert (run["experiment"], run["name"], run["status"], run["params"]["C"]) == ("churn", "LogisticRegression", "succeeded", 0.5)


def test_a_script_that_fails_shows_its_traceback_and_fails_its_run(folder: Path) -> None:
    done = rung(folder, "autolog", "-n", "nightly", "-m", "train", "2.0", "no luck")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: no luck")
    assert "rung/cli" not in done.stderr
    (run,) = json.loads(rung(folder, "runs", "list", "--json").stdout)["items"]
    assert (run["name"], run["status"], run["error"]) == ("nightly", "failed", "ValueError: no luck")


def test_a_missing_script_is_a_usage_error(folder: Path) -> None:
    done = rung(folder, "autolog", "nothing.py")
    assert done.returncode == 2
    assert "There is no script 'nothing.py'" in done.stderr
