"""``rung model`` and ``rung webhook``: what happens to a version, and what bad input is answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from sklearn.linear_model import LogisticRegression

from rung.cli.main import cli
from rung.client.client import Client

FRAME = pl.DataFrame({"x": [float(i % 17) for i in range(300)], "late": [i % 17 > 8 for i in range(300)]})
MODEL = LogisticRegression().fit(FRAME.select("x"), FRAME["late"].to_numpy())
ID = "0" * 32


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_HOME", str(home))


@pytest.fixture
def late(client: Client) -> Client:
    """A client with two versions of the model `late`."""
    client.data.add("flights", FRAME)
    for _ in range(2):
        client.registry.register("late", MODEL, example=FRAME.select("x"), label="late", datasets=[("test", "flights", 1)])
    return client


def ask(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def answer(*words: str) -> Any:
    done = ask(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("late")
def test_a_version_may_be_written_with_a_colon() -> None:
    assert answer("model", "show", "late:1")["number"] == 1
    assert answer("model", "engine", "late:2") == answer("model", "engine", "late", "2")
    assert answer("model", "evaluate", "late:2", "flights:1")["number"] == 2
    assert answer("model", "tag", "--set", "of=flights:1", "late:1")["tags"] == {"of": "flights:1"}
    assert ask("model", "show", "late:first").exit_code != 0


@pytest.mark.usefixtures("late")
def test_models_and_versions_are_found_by_tags_and_stages() -> None:
    answer("model", "describe", "late", "--description", "Will it be late?")
    assert answer("model", "tag", "late", "--set", "team=blue")["tags"] == {"team": "blue"}
    assert [m["name"] for m in answer("model", "list", "--where", "tags.team = 'blue'", "--sort", "updated_at DESC")["items"]] == ["late"]
    assert answer("model", "tag", "late", "2", "-s", "kind=candidate", "-s", "draft=1")["tags"] == {"draft": "1", "kind": "candidate"}
    assert answer("model", "tag", "late", "2", "-r", "draft")["tags"] == {"kind": "candidate"}
    assert answer("model", "stage", "late", "1", "staging")["stage"] == "staging"
    found = answer("model", "search", "tags.kind = 'candidate' OR stage = 'staging'", "--sort", "number")
    assert [v["number"] for v in found["items"]] == [1, 2]
    first = answer("model", "search", "--limit", "1")
    assert answer("model", "search", "--limit", "1", "--after", first["next"])["items"] != first["items"]
    shown = ask("model", "show", "late", "2").output
    for part in ("late:2", "digest", "size_bytes", "input_example", "Float64", "kind=candidate"):
        assert part in shown
    assert "No version meets the filter" in ask("model", "search", "tags.kind = 'none'").output


@pytest.mark.usefixtures("late")
def test_a_version_is_rejected_taken_back_and_approved_by_others_only() -> None:
    assert answer("model", "approvals", "late", "--need", "1", "--role", "maintainer")["needed"] == 1
    said = answer("model", "reject", "late", "1", "The slices look odd.")
    assert answer("model", "approvals", "late", "1")["rejected_by"] == [said["by"]]
    shown = ask("model", "approvals", "late", "1")
    assert "The slices look odd." in shown.output
    refused = ask("model", "promote", "late", "1", "--override", "no time to wait", "--json")
    assert (refused.exit_code, "says no: The slices look odd." in refused.output) == (3, True)
    assert answer("model", "revoke", said["id"])["revoked_by"] == said["by"]
    own = ask("model", "approve", "late", "1", "--json")
    assert (own.exit_code, json.loads(own.stdout)["error"]["code"]) == (1, "registry.own_version")


def test_a_deleted_version_is_listed_and_restored_and_files_are_written(late: Client, tmp_path: Path) -> None:
    assert answer("model", "delete", "late", "2")["deleted_at"]
    assert [v["number"] for v in answer("model", "versions", "late", "--deleted")["items"]] == [2]
    assert [v["number"] for v in answer("model", "versions", "late")["items"]] == [1]
    assert answer("model", "restore", "late", "2")["deleted_at"] is None
    (path,) = answer("model", "download", "late", "--to", "here")
    assert (tmp_path / path).stat().st_size == late.registry.version("late", 2).size_bytes
    again = ask("model", "download", "late", "--to", "here")
    assert again.exit_code == 1
    assert "holds something" in again.output
    assert ask("model", "example", "late", "--to", "rows.csv").exit_code == 0
    assert pl.read_csv(tmp_path / "rows.csv").columns == ["x"]
    assert set(answer("model", "example", "late")[0]) == {"x"}
    assert answer("model", "rename", "late", "later")["name"] == "later"
    assert answer("model", "delete", "later")["name"] == "later"
    assert [m["name"] for m in answer("model", "list", "--deleted")] == ["later"]
    assert answer("model", "restore", "later")["versions"] == 2


@pytest.mark.usefixtures("late")
def test_what_was_logged_is_registered_and_completed() -> None:
    made = answer("model", "register-logged", "copies", "models:/late/1", "--tag", "kind=copy")
    assert (made["number"], made["label"], made["tags"]) == (1, "late", {"kind": "copy"})
    assert "not kept here" in answer("model", "register-logged", "far", "s3://bucket/model")["unservable"]
    assert answer("model", "describe", "far", "1", "--label", "late", "--task", "multiclass", "--class", "1", "--class", "b")[
        "classes"
    ] == [1, "b"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("show nothing", 4), ("show late 99", 4), ("show late --alias nobody", 4), ("show late 0", 2), ("show a/b", 2), ("search nonsense", 2),
        ("search stage=production", 2), ("list --where nothing=1", 2), ("list --sort nothing", 2), ("search --limit 0", 2),
        ("search --after x", 2), ("versions late --limit 100000", 2), ("versions nothing", 4), ("tag late --set novalue", 2),
        ("tag late 1 --set =x", 2), ("tag nothing --set a=b", 4), ("describe late", 2), ("describe late --label x", 2),
        ("describe late 1 --label other", 1), ("describe late 1 --threshold nan", 2), ("describe late 9 --label x", 4), ("stage late 1 gone", 2),
        ("stage late 9 staging", 4), ("stage late 1 production", 1), ("approve late 1 --digest x", 2), ("approve late 1 --until yesterday", 2),
        ("approvals late --need 11", 2), ("approvals late --role x", 2), ("reject late 1 ", 2), (f"revoke {ID}", 4), ("revoke x", 2),
        ("rename late a/b", 2), ("rename nothing x", 4), ("delete late 9", 4), ("delete nothing", 4), ("restore nothing", 4), ("restore late 9", 4),
        ("register-logged late /etc/passwd", 2), ("register-logged late runs:/x/model", 2), (f"register-logged late models:/m-{ID}", 4),
        (f"register-logged late runs:/{ID}/model", 4), ("register-logged late models:/nothing/1", 4), ("register-logged late ", 2),
        ("register-logged late models:/late/99999999999", 2), ("download late 9 --to x", 4), ("example late 9", 4), ("alias late latest 1", 2),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("late")
def test_bad_input_of_models_ends_in_a_sentence(words: str, code: int) -> None:
    done = ask("model", *words.split(" "))
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_webhooks_are_made_changed_and_forgotten(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "correct horse")
    made = answer("webhook", "add", "ci", "https://93.184.216.34/hook", "-e", "verdict.passed", "--secret-from", "HOOK_SECRET")
    assert made["signed"]
    assert "correct horse" not in ask("webhook", "list").output
    off = answer("webhook", "update", made["id"], "--off", "-e", "run.finished", "--name", "builds")
    assert (off["status"], off["events"], off["name"], off["signed"]) == ("disabled", ["run.finished"], "builds", True)
    monkeypatch.setenv("HOOK_SECRET", "")
    assert not answer("webhook", "update", made["id"], "--on", "--secret-from", "HOOK_SECRET")["signed"]
    assert answer("webhook", "deliveries", made["id"]) == []
    assert "model_version.created" in answer("webhook", "events")
    assert answer("webhook", "remove", made["id"]) == {}
    assert client.webhooks.list().items == ()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("add ci https://127.0.0.1/x -e run.finished", 2), ("add ci https://example.org -e nothing", 2), ("add ci https://example.org", 2),
        ("add ci ftp://example.org -e run.finished", 2), ("add ci https://example.org -e run.finished --secret-from NO_SUCH_VARIABLE", 2),
        (f"update {ID} --on", 4), (f"update {ID}", 2), ("update x --on", 4), (f"test {ID}", 4), (f"test {ID} -e nothing", 2),
        (f"deliveries {ID}", 4), (f"retry {ID}", 4), (f"remove {ID}", 4), ("remove x", 4),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("client")
def test_bad_input_of_webhooks_ends_in_a_sentence(words: str, code: int) -> None:
    done = ask("webhook", *words.split(" "))
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
