"""``rung runs``, ``rung experiments``, ``rung sync``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import rung
from rung.cli.main import cli
from rung.cli.runs import sparkline
from rung.client.client import Client


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_HOME", str(home))


@pytest.fixture
def three_runs(client: Client) -> None:
    for depth in (3, 5, 8):
        with rung.start_run("flights", params={"depth": depth, "kind": "tree"}, client=client):
            rung.log_metric("auc", 0.7 + depth / 100)


def ask(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def answer(*words: str) -> Any:
    done = ask(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_sparkline_spans_the_values_and_marks_what_is_not_finite() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([1, 1]) == "▁▁"
    assert sparkline([0.0, float("nan"), 1.0]) == "▁·█"
    assert sparkline([float("inf")]) == "·"
    assert sparkline([]) == ""
    assert len(sparkline([float(i) for i in range(1000)])) == 60


@pytest.mark.usefixtures("three_runs")
def test_runs_are_listed_and_searched_by_a_filter_and_sorted() -> None:
    listed = answer("runs", "list", "-e", "flights", "-w", "metrics.auc > 0.74", "--sort", "metrics.auc DESC")
    assert [run["number"] for run in listed["items"]] == [3, 2]
    found = answer("runs", "search", "params.depth = 3 OR metrics.auc > 0.77", "-s", "params.depth")
    assert [run["number"] for run in found["items"]] == [1, 3]
    assert "No run meets the filter" in ask("runs", "search", "metrics.auc > 9").output
    wrong = ask("runs", "search", "metrics.auc >", "--json")
    assert (wrong.exit_code, json.loads(wrong.stdout)["error"]["code"]) == (2, "filter.unreadable")


@pytest.mark.usefixtures("three_runs")
def test_compare_shows_what_differs_between_more_than_two() -> None:
    found = answer("runs", "compare", "flights:1", "flights:2", "flights:3")
    assert found["runs"] == ["flights:1", "flights:2", "flights:3"]
    assert found["facts"][0] == {"what": "param", "name": "depth", "values": {"flights:1": 3, "flights:2": 5, "flights:3": 8}}
    assert "kind" not in {fact["name"] for fact in found["facts"]}
    assert "kind" in {fact["name"] for fact in answer("runs", "compare", "flights:1", "flights:2", "--all")["facts"]}
    assert ask("runs", "compare", "flights:1", "flights:9").exit_code == 4


@pytest.mark.usefixtures("three_runs")
def test_experiments_are_listed_renamed_tagged_and_put_aside() -> None:
    assert "flights" in [item["name"] for item in answer("experiments", "list")["items"]]
    assert answer("experiments", "tag", "flights", "team=risk", "draft=yes")["tags"] == {"team": "risk", "draft": "yes"}
    assert answer("experiments", "tag", "flights", "draft=")["tags"] == {"team": "risk"}
    assert [item["name"] for item in answer("experiments", "list", "-w", "tags.team = 'risk'")["items"]] == ["flights"]
    number = answer("experiments", "rename", "flights", "late flights")["number"]
    assert answer("experiments", "show", str(number))["name"] == "late flights"
    assert "late flights:3" in ask("experiments", "show", "late flights").output
    assert answer("experiments", "delete", "late flights")["deleted_at"]
    assert "late flights" not in [item["name"] for item in answer("experiments", "list")["items"]]
    assert answer("experiments", "restore", "late flights")["deleted_at"] is None
    assert ask("experiments", "show", "nothing").exit_code == 4
    assert ask("experiments", "tag", "late flights", "x").exit_code == 2


def test_sync_says_what_waits_and_sends_it(client: Client) -> None:
    assert "Nothing waits" in ask("sync").output
    with rung.start_run("field", "buoy", offline=True) as run:
        rung.log_metric("salinity", 35.2)
    assert [item["outcome"] for item in answer("sync", "--dry-run")] == ["waiting"]
    sent = answer("sync")
    assert [(item["run"], item["name"], item["outcome"], item["points"]) for item in sent] == [(run.id, "field:buoy", "sent", 1)]
    assert client.tracking.get("field:1").metrics == {"salinity": 35.2}
    assert answer("sync") == []


def test_sync_leaves_what_belongs_to_another_platform(client: Client, home: Path) -> None:
    with rung.start_run("mine", client=client) as run:
        folder = home / "spool" / run.id
        rung.log_metric("x", 1.0)
    folder.mkdir()
    (folder / "note.json").write_text(json.dumps({"run": run.id, "platform": "http://elsewhere:7474"}))
    (folder / "0-000000.journal").write_bytes(b"")
    assert [(item["outcome"], item["message"]) for item in answer("sync")] == [("elsewhere", "It belongs to http://elsewhere:7474.")]


def test_sync_names_a_journal_it_cannot_read_and_exits_with_one(client: Client, home: Path) -> None:
    folder = home / "spool" / ("0" * 32)
    folder.mkdir(parents=True)
    (folder / "0-000000.journal").write_bytes(b"no journal at all")
    done = ask("sync", "--json")
    assert done.exit_code == 1
    assert "is no journal" in json.loads(done.stdout)[0]["message"]
