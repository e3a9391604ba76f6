"""``rung import mlflow`` of old, damaged and hostile sources: the rest comes, what does not is named."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from rung.app.local import LocalTransport
from rung.cli.main import cli
from rung.client.client import Client
from rung.client.importing.opening import open_source
from rung.core.errors import Invalid, NotFound, Unavailable
from tests.integration.mlflow_sources import brought, many
from tests.servers import free_port


def test_a_database_of_an_old_mlflow_is_read(transport: LocalTransport, client: Client, tmp_path: Path) -> None:
    # MLflow 1.0: no run names of their own, no steps in their first schema, no is_nan, no inputs, no registry.
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT, lifecycle_stage TEXT);"
            "CREATE TABLE runs (run_uuid TEXT, name TEXT, source_type TEXT, source_name TEXT, entry_point_name TEXT, user_id TEXT, status TEXT,"
            " start_time BIGINT, end_time BIGINT, source_version TEXT, lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER);"
            "CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT); CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);"
            "CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT);"
            "INSERT INTO experiments VALUES (0, 'Default', '', 'active'), (1, 'old', '', 'active');"
        )
        run = "a" * 32
        connection.execute(
            "INSERT INTO runs VALUES (?, '', 'LOCAL', 'train.py', 'main', 'bob', 'FAILED', 1000, 2000, 'deadbeef', 'active', '', 1)", (run,)
        )
        connection.execute("INSERT INTO tags VALUES ('mlflow.runName', 'as a tag', ?)", (run,))
        connection.execute("INSERT INTO metrics VALUES ('m', 0.5, 1500, ?)", (run,))
        connection.execute("INSERT INTO metrics VALUES ('lost', NULL, 1500, ?)", (run,))
    report = brought(str(path), transport, tmp_path / "j.db", artifacts=False)
    assert report.differences == ()
    held = client.tracking.get(run)
    assert (held.name, held.status, held.created_by, held.git_commit, held.context.source) == (
        "as a tag",
        "failed",
        "bob",
        "deadbeef",
        "train.py",
    )
    assert held.metrics["m"] == 0.5
    assert math.isnan(held.metrics["lost"])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A small file store written by hand, in its oldest form: ``run_uuid``, points without steps."""
    root = tmp_path / "mlruns"
    run = root / "0" / ("b" * 32)
    for part in ("metrics", "params", "tags", "artifacts"):
        (run / part).mkdir(parents=True)
    (root / "0" / "meta.yaml").write_text("artifact_location: /x\nexperiment_id: 0\nlifecycle_stage: active\nname: Default\n")
    (run / "meta.yaml").write_text(
        f"artifact_uri: /x\nend_time: 2000\nexperiment_id: 0\nlifecycle_stage: active\nname: ''\nrun_uuid: {'b' * 32}\nsource_name: train.py\n"
        "source_type: 4\nsource_version: ''\nstart_time: 1000\nstatus: 3\ntags: []\nuser_id: bob\n"
    )
    (run / "metrics" / "m").write_text("1000 0.5\n1001 0.25\n1001 0.25\n")
    (run / "params" / "p").write_text("1")
    (run / "artifacts" / "a.txt").write_text("a")
    return root


def test_a_file_store_of_the_first_kind_is_read(store: Path, transport: LocalTransport, client: Client, tmp_path: Path) -> None:
    report = brought(str(store), transport, tmp_path / "j.db")
    assert (report.differences, report.here["points"]) == ((), 2)  # a line that is there twice is one point
    run = client.tracking.get("b" * 32)
    assert (run.status, run.params, run.experiment_number, run.created_by) == ("succeeded", {"p": "1"}, 0, "bob")
    assert [p.value for p in client.tracking.history(run.id, "m").points] == [0.5, 0.25]


def test_damaged_parts_are_named_and_the_rest_comes(store: Path, transport: LocalTransport, client: Client, tmp_path: Path) -> None:
    broken = store / "0" / ("c" * 32)
    broken.mkdir()
    (broken / "meta.yaml").write_text("run_id: [unclosed")
    (store / "1").mkdir()
    (store / "1" / "meta.yaml").write_bytes(b"\xff\xfe\x00")
    run = store / "0" / ("b" * 32)
    (run / "metrics" / "m").write_text("1000 0.5\nnot a point\n1002 x 3\n\n1003 0.75 9\n")
    (run / "tags" / ("t" * 251)).write_text("too long a key") if os.pathconf(run, "PC_NAME_MAX") > 251 else None
    report = brought(str(store), transport, tmp_path / "j.db")
    told = "\n".join((*report.differences, *report.notes))
    for words in ("c" * 32, "experiment 1", "line 2 is no point", "line 3 is no point", "t" * 60):
        assert words in told
    assert [p.value for p in client.tracking.history("b" * 32, "m").points] == [0.5, 0.75]


def test_addresses_that_lead_elsewhere_on_this_machine_are_not_followed(
    store: Path, transport: LocalTransport, client: Client, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    run = store / "0" / ("b" * 32)
    (run / "artifacts" / "link").symlink_to(secret / "key")
    (run / "artifacts" / "folder").symlink_to(secret)
    (run / "params" / "link").symlink_to(secret / "key")
    brought(str(store), transport, tmp_path / "j.db")
    assert [item.path for item in client.tracking.artifacts("b" * 32)] == ["a.txt"]
    assert client.tracking.get("b" * 32).params == {"p": "1"}
    shutil.rmtree(run / "artifacts")
    for number, place in enumerate((str(secret), f"file://{secret}", "/x/../" + str(secret), f"{tmp_path}/{'b' * 32}/artifacts")):
        (tmp_path / ("b" * 32)).mkdir(exist_ok=True)
        (tmp_path / ("b" * 32) / "artifacts").mkdir(exist_ok=True)
        (run / "meta.yaml").write_text(
            (run / "meta.yaml")
            .read_text()
            .replace("end_time: 2000", "end_time: 2001")
            .replace("artifact_uri: /x", f"artifact_uri: {place}")
        )
        report = brought(str(store), transport, tmp_path / f"{number}.db")
        assert report.differences, place
        assert [item.path for item in client.tracking.artifacts("b" * 32)] == ["a.txt"]
        (run / "meta.yaml").write_text((run / "meta.yaml").read_text().replace(f"artifact_uri: {place}", "artifact_uri: /x"))


def test_what_does_not_fit_is_cut_and_told(transport: LocalTransport, client: Client, tmp_path: Path) -> None:
    uri = many(tmp_path / "odd.db", 1)
    with sqlite3.connect(tmp_path / "odd.db") as connection:
        run = f"{1:032x}"
        connection.execute("INSERT INTO params VALUES ('long', ?, ?)", ("x" * 9000, run))
        connection.execute("INSERT INTO tags VALUES (?, 'v', ?)", ("k" * 300, run))
        connection.execute("INSERT INTO tags VALUES ('nul', ?, ?)", ("a\0b", run))
        connection.execute("INSERT INTO metrics VALUES ('ns', 1.0, 1700000000000000000, ?, 0, 0)", (run,))
        connection.execute("INSERT INTO runs VALUES ('not-an-id', 'x', '', '', '', '', 'FINISHED', 1, 1, '', 'active', '', 7, NULL)")
    report = brought(uri, transport, tmp_path / "j.db", artifacts=False)
    held = client.tracking.get(run)
    assert (len(str(held.params["long"])), held.tags["nul"], held.metrics["ns"]) == (8000, "a\ufffdb", 1.0)
    assert len(report.notes) == 4
    assert report.differences == ("run 'not-an-id' is left out",)


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"\x00" * 200])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(Invalid, match=r"database"):
        open_source(str(tmp_path / "x.db"), None, {})


def test_what_is_not_there_or_nothing_of_mlflow_is_refused(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "none"), f"sqlite:///{tmp_path}/none.db", str(tmp_path)):
        with pytest.raises(NotFound):
            open_source(uri, None, {})
    with pytest.raises(Invalid):
        open_source("s3://bucket/mlruns", None, {})
    with pytest.raises(Unavailable):
        open_source(f"http://127.0.0.1:{free_port()}", None, {})


def test_the_command_says_what_is_missing_and_ends_with_1(store: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    (store / "0" / ("c" * 32)).mkdir()
    (store / "0" / ("c" * 32) / "meta.yaml").write_text("- no mapping")
    done = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "import", "mlflow", str(store)])
    assert done.exit_code == 1
    assert "runs\t1\t1" in done.output
    assert "c" * 32 in done.output
