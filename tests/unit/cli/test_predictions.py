"""``rung predictions`` shows answers, with their labels, in what room there is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from rung.cli.main import cli
from rung.cli.predictions import _fitting
from rung.client.client import Client
from rung.monitoring.records import Label

FRAME = pl.DataFrame({"x": [float(i) for i in range(40)], "y": [0, 1] * 20})


@pytest.fixture(autouse=True)
def _asked(tmp_path: Path, home: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_HOME", str(home))
    client.registry.register("tiny", LogisticRegression().fit(FRAME.select("x"), FRAME["y"]), example=FRAME.select("x"), label="y")
    client.serving.deploy("tiny", "tiny", 1, environment="dev")
    client.serving.predict("tiny", FRAME.select("x").head(3), ids=["a", "b", "c"])
    client.monitoring.add_labels("tiny", [Label(prediction_id="b", label=1.0, arrived_at=datetime.now(UTC))])


def said(*words: str) -> list[list[str]]:
    done = CliRunner().invoke(cli, ["predictions", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_answers_are_listed_with_the_labels_that_have_arrived() -> None:
    columns, *rows = said("list", "tiny", "--labels", "--column", "x")
    assert sorted([dict(zip(columns, row, strict=True)) for row in rows], key=lambda row: row["prediction_id"]) == [
        {"prediction_id": "a", "x": "0", "label": ""},
        {"prediction_id": "b", "x": "1", "label": "1"},
        {"prediction_id": "c", "x": "2", "label": ""},
    ]


def test_instants_are_told_with_their_zone() -> None:
    columns, *rows = said("list", "tiny")
    assert all(row[columns.index("answered_at")].endswith("Z") for row in rows)


def test_one_prediction_is_told_as_names_and_values() -> None:
    lines = [" ".join(line).split() for line in said("show", "b")]
    assert lines[0] == ["id", "b"]
    assert ["label", "1"] in lines


def test_a_terminal_gets_as_many_columns_as_fit_and_always_the_logs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names, row = ["prediction_id", "score", "first", "second"], ["a", "0.5", "1.25", "2.5"]
    for columns, fit in ((80, 4), (29, 3), (10, 2)):  # 15 + 7 for the log's own, 7 and 8 for the inputs
        monkeypatch.setenv("COLUMNS", str(columns))
        assert _fitting(names, [row]) == fit


def test_a_column_that_is_no_input_can_be_dropped_and_the_refusal_says_how(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "rows.csv")
    done = CliRunner().invoke(cli, ["predict", "tiny", "rows.csv"])
    assert done.exit_code == 2
    assert "unknown y" in done.stderr
    assert "`--drop y` leaves that column out" in done.stderr
    assert CliRunner().invoke(cli, ["predict", "tiny", "rows.csv", "--drop", "y"]).exit_code == 0
