"""The demo, with the real data: one month as part of the suite, the whole year in the long sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KEYS = {"months", "retrainings", "planted_fault", "roi", "rehearsal", "trace", "reproduction", "maturity", "timings"}


def play(folder: Path, *options: str, timeout: float) -> dict[str, Any]:
    figures = folder / "figures.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNG_")}
    command = [
        sys.executable,
        "-m",
        "rung.cli.main",
        "demo",
        "flights",
        "--folder",
        str(folder / "project"),
        "--json",
        str(figures),
        "--exit",
    ]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


@pytest.mark.timeout(600)
def test_a_month_of_the_story_ends_well(tmp_path: Path) -> None:
    figures = play(tmp_path, "--months", "1", timeout=580)
    assert set(figures) == KEYS
    assert figures["months"][0]["auc_managed"] > 0.65
    assert figures["reproduction"]["likeness"] == "identical"
    assert {"model_version", "run", "dataset_version", "git_commit", "principal"} <= set(figures["trace"]["nodes"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_year_shows_what_it_promises(tmp_path: Path) -> None:
    figures = play(tmp_path, timeout=1780)
    gains = [month["auc_managed"] - month["auc_static"] for month in figures["months"]]
    assert len(gains) == 10
    assert min(gains) > -0.01
    assert sum(gain > 0.01 for gain in gains) >= 4
    assert figures["planted_fault"]["cause"] == "data_break"
    assert figures["planted_fault"]["columns"] == ["temp"]
    assert figures["planted_fault"]["retrained"] is False
    assert figures["retrainings"]
    assert {"never", "diagnosed_with_cost"} <= {outcome["policy"] for outcome in figures["rehearsal"]["outcomes"]}
    assert figures["reproduction"]["likeness"] in {"identical", "equivalent"}
