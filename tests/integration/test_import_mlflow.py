"""``rung import mlflow``: what MLflow's own client wrote, read back from our side; broken off and gone on with."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import pytest

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.client.importing.copying import Copier
from rung.client.importing.journal import Journal
from rung.client.importing.opening import open_source
from rung.client.transports import HttpTransport, Transport
from rung.core.clock import to_micros
from rung.core.errors import NotFound, RungError, Unavailable
from rung.core.requests import Request
from tests.integration.mlflow_sources import brought, many
from tests.servers import PostgresServer, RunningServer, free_port, stop, wait_until

pytestmark = pytest.mark.xdist_group("import-mlflow")
A = TypeVar("A")
WRITES = """
import json, os, sys
import mlflow, pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric
from sklearn.linear_model import LogisticRegression

uri, out = sys.argv[1], sys.argv[2]
mlflow.set_tracking_uri(uri)
mlflow.set_registry_uri(uri)
c = MlflowClient()
e = c.create_experiment("first steps / größe", tags={"team": "blue"})
mlflow.set_experiment(experiment_id=e)
frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
with mlflow.start_run(run_name="parent", description="why") as p:
    mlflow.log_params({"depth": 3, "größe": "007"})
    mlflow.log_metrics({"nan": float("nan"), "up": float("inf")}, step=2)
    c.log_batch(p.info.run_id, [Metric("val/loss a", i / 7, 1_700_000_000_000 + i, i) for i in range(50)])
    mlflow.set_tag("notiz", "zeile 1\\nzeile 2")
    mlflow.log_text("hello", "notes/deep/a.txt")
    mlflow.log_input(mlflow.data.from_pandas(frame, name="four rows"), context="training")
    model = LogisticRegression().fit(frame.to_numpy(), [0, 0, 1, 1])
    mlflow.sklearn.log_model(model, name="model", registered_model_name="late", input_example=frame[:2], pip_requirements=[])
    with mlflow.start_run(nested=True, run_name="child"):
        pass
c.set_terminated(p.info.run_id, "FINISHED", end_time=1_800_000_000_000)
c.set_registered_model_alias("late", "challenger", "1")
c.set_model_version_tag("late", "1", "checked", "yes")
c.update_registered_model("late", "what it is")
c.set_registered_model_tag("late", "owner", "ann")
c.update_model_version("late", "1", "first version")
c.create_model_version("late", c.get_model_version("late", "1").source, p.info.run_id)
c.delete_model_version("late", "2")
c.create_model_version("late", c.get_model_version("late", "1").source, p.info.run_id)
c.transition_model_version_stage("late", "3", "Staging")
gone = c.create_experiment("gone")
c.create_run(gone, run_name="kept in it")
c.delete_experiment(gone)
dead = c.create_run(e, run_name="dead", start_time=1_700_000_000_000).info.run_id
c.log_metric(dead, "m", 1.0, timestamp=5)
c.set_terminated(dead, "KILLED", end_time=1_700_000_001_000)
c.delete_run(dead)
c.create_run("0", run_name="in default")
json.dump({"parent": p.info.run_id, "dead": dead, "experiment": e}, open(out, "w"))
"""


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, dict[str, str]]]:
    """By kind, the URI of what the real client wrote, and the ids in it."""
    folder = tmp_path_factory.mktemp("written")
    (folder / "write.py").write_text(WRITES)
    found = {}
    environment = {**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    for kind, uri in (("folder", f"file:{folder}/mlruns"), ("sqlite", f"sqlite:///{folder}/mlflow.db")):
        place = folder / kind
        place.mkdir()
        done = subprocess.run(
            [sys.executable, str(folder / "write.py"), uri, str(place / "ids.json")], cwd=place, env=environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found[kind] = (str(folder / "mlruns") if kind == "folder" else uri, json.loads((place / "ids.json").read_text()))
    return found


@pytest.fixture(params=["folder", "sqlite"])
def source(request: pytest.FixtureRequest, written: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """What the client wrote, in each form in turn."""
    found: tuple[str, dict[str, str]] = written[request.param]
    return found


def test_everything_the_client_wrote_is_here(
    source: tuple[str, dict[str, str]], transport: LocalTransport, client: Client, tmp_path: Path
) -> None:
    uri, ids = source
    report = brought(uri, transport, tmp_path / "j.db")
    assert report.differences == ()
    assert report.found == report.here
    run = client.tracking.get(ids["parent"])
    assert (run.experiment, run.name, run.status, run.created_by) == (
        "first steps / größe",
        "parent",
        "succeeded",
        os.environ.get("USER", "root"),
    )
    assert run.ended_at is not None
    assert to_micros(run.ended_at) == 1_800_000_000_000_000
    assert run.params == {"depth": "3", "größe": "007"}
    assert (run.tags["notiz"], run.tags["mlflow.note.content"]) == ("zeile 1\nzeile 2", "why")
    assert math.isnan(run.metrics["nan"])
    assert run.metrics["up"] >= 1.7976931348623157e308
    points = client.tracking.history(run.id, "val/loss a").points
    assert [(p.step, p.value, p.at and to_micros(p.at)) for p in points] == [
        (i, i / 7, 1_700_000_000_000_000 + i * 1000) for i in range(50)
    ]
    (used,) = run.inputs
    assert (used.name, used.tags["mlflow.data.context"]) == ("four rows", "training")
    assert client.tracking.read_artifact(run.id, "notes/deep/a.txt") == b"hello"
    assert len(run.models) == 1
    dead = client.tracking.get(ids["dead"])
    assert (dead.status, dead.deleted_at is not None, dead.metrics) == ("cancelled", True, {"m": 1.0})
    child = next(item for item in client.tracking.search(experiments=[run.experiment]).items if item.name == "child")
    assert child.parent == run.id
    assert [item.name for item in client.tracking.search(experiments=["default"]).items] == ["in default"]


def test_models_come_with_numbers_aliases_and_stages_and_can_be_asked(
    source: tuple[str, dict[str, str]], transport: LocalTransport, client: Client, tmp_path: Path
) -> None:
    uri, ids = source
    brought(uri, transport, tmp_path / "j.db")
    model = client.registry.model("late")
    assert (model.description, model.tags, model.aliases["challenger"]) == ("what it is", {"owner": "ann"}, 1)
    versions = {item.number: item for item in client.registry.versions("late").items}
    assert set(versions) == {1, 3}
    first = versions[1]
    assert (first.description, first.tags, first.run_id, first.format, first.unservable) == (
        "first version", {"checked": "yes"}, ids["parent"], "skops", "",
    )  # fmt: skip
    assert [field.name for field in first.signature.inputs] == ["x"]
    assert versions[3].stage == "staging"


def test_a_second_import_changes_nothing(
    source: tuple[str, dict[str, str]], transport: LocalTransport, client: Client, tmp_path: Path
) -> None:
    first = brought(source[0], transport, tmp_path / "j.db")
    again = brought(source[0], transport, tmp_path / "j.db")
    anew = brought(source[0], transport, tmp_path / "other.db", again=True)
    assert first.differences == again.differences == anew.differences == ()
    assert first.here == again.here == anew.here
    assert (first.skipped, again.skipped > 0) == (0, True)
    assert client.tracking.history(source[1]["parent"], "val/loss a").total == 50


def test_a_dry_run_tells_and_leaves_nothing(
    source: tuple[str, dict[str, str]], transport: LocalTransport, client: Client, tmp_path: Path
) -> None:
    opened, journal = open_source(source[0], None, {}), Journal(tmp_path / "j.db")
    report = Copier(opened, transport, journal).look()
    journal.close()
    opened.close()
    assert report.dry
    assert (report.found["experiments"], report.found["runs"], report.found["registered_models"], report.found["versions"]) == (3, 5, 1, 2)
    assert client.tracking.search().items == ()


def test_only_some_experiments_and_only_since_an_instant(
    source: tuple[str, dict[str, str]], transport: LocalTransport, client: Client, tmp_path: Path
) -> None:
    uri, ids = source
    report = brought(uri, transport, tmp_path / "j.db", experiments=["first steps / größe"], since_ms=1_700_000_000_001)
    assert report.here["experiments"] == 1
    assert {item.name for item in client.tracking.search().items} == {"parent", "child"}
    with pytest.raises(NotFound):
        client.tracking.get(ids["dead"])
    missing = brought(uri, transport, tmp_path / "j.db", experiments=["nobody's"])
    assert missing.differences == ('there is no experiment "nobody\'s" at the source',)


class Breaking:
    """A transport that stops answering after some calls, as a server that goes away."""

    def __init__(self, inner: Transport, calls: int) -> None:
        self._inner, self._left = inner, calls

    def call(self, request: Request[A]) -> A:
        self._left -= 1
        if self._left < 0:
            raise Unavailable("Gone.", code="test.gone")
        return self._inner.call(request)

    def put_blob(self, source: bytes | Path) -> str:
        return self._inner.put_blob(source)

    def get_blob(self, digest: str) -> bytes:
        return self._inner.get_blob(digest)

    def close(self) -> None:
        self._inner.close()


@pytest.mark.parametrize("calls", [1, 3, 6, 9, 12, 15])
def test_an_import_broken_off_anywhere_goes_on_to_the_same_end(
    written: dict[str, Any], transport: LocalTransport, tmp_path: Path, calls: int
) -> None:
    uri = written["sqlite"][0]
    with pytest.raises(RungError):
        brought(uri, Breaking(transport, calls), tmp_path / "j.db")
    report = brought(uri, transport, tmp_path / "j.db")
    assert report.differences == ()
    assert report.found == report.here


def test_a_killed_import_goes_on_where_it_was(tmp_path: Path) -> None:
    uri = many(tmp_path / "many.db", 3000)
    (tmp_path / "artifacts").mkdir()
    command = [
        sys.executable, "-m", "rung.cli.main", "--home", str(tmp_path / "home"), "import", "mlflow", uri, "--artifacts", str(tmp_path / "artifacts"), "--json",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    journals = tmp_path / "home" / "imports"
    wait_until(lambda: any(path.stat().st_size > 100_000 for path in journals.glob("*.db-wal")), 180, lambda: "nothing was imported")
    process.kill()
    process.wait()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["skipped"] > 0
    assert (report["here"]["runs"], report["here"]["params"], report["here"]["points"]) == (3000, 15_000, 18_000)
    assert report["differences"] == []


def test_a_long_history_comes_whole_and_a_number_that_is_free_is_kept(transport: LocalTransport, client: Client, tmp_path: Path) -> None:
    report = brought(many(tmp_path / "long.db", 2, points=60_000), transport, tmp_path / "j.db", artifacts=False)
    assert (report.here["points"], report.differences) == (240_000, ())
    run = client.tracking.get(f"{1:032x}")
    assert (run.experiment_number, run.git_commit, run.created_by) == (7, "abc123", "ann")
    assert client.tracking.history(run.id, "m1").total == 60_000


def test_a_number_that_is_taken_becomes_the_next_and_an_experiment_of_that_name_is_joined(
    transport: LocalTransport, client: Client, tmp_path: Path
) -> None:
    for number in range(7):
        client.tracking.create_experiment(f"ours {number}")
    brought(many(tmp_path / "many.db", 3), transport, tmp_path / "j.db", artifacts=False)
    assert client.tracking.get(f"{1:032x}").experiment_number == 8
    other = tmp_path / "other.db"
    many(other, 1)
    with sqlite3.connect(other) as connection:
        connection.execute("UPDATE experiments SET name = 'ours 2'")
        connection.execute("UPDATE runs SET run_uuid = ?", ("f" * 32,))
    brought(f"sqlite:///{other}", transport, tmp_path / "k.db", artifacts=False)
    assert client.tracking.get("f" * 32).experiment == "ours 2"


def test_a_run_that_is_here_already_in_another_experiment_is_named(transport: LocalTransport, tmp_path: Path) -> None:
    brought(many(tmp_path / "many.db", 3), transport, tmp_path / "j.db", artifacts=False)
    with sqlite3.connect(tmp_path / "many.db") as connection:
        connection.execute("UPDATE experiments SET name = 'renamed meanwhile'")
    report = brought(f"sqlite:///{tmp_path / 'many.db'}", transport, tmp_path / "k.db", artifacts=False)
    assert any("is of experiment 'many'" in text for text in report.differences)


def test_a_server_is_read_through_its_own_api(
    written: dict[str, Any], server: RunningServer, transport: LocalTransport, client: Client, tmp_path: Path
) -> None:
    # Our own server speaks MLflow's protocol, so it is a source like any other.
    remote = HttpTransport(server.url, server.token)
    brought(written["sqlite"][0], remote, tmp_path / "first.db")
    remote.close()
    opened, journal = open_source(server.url, None, {"MLFLOW_TRACKING_TOKEN": server.token}), Journal(tmp_path / "j.db")
    report = Copier(opened, transport, journal).copy()
    journal.close()
    opened.close()
    assert report.differences == ()
    assert {kind: report.here[kind] for kind in report.found} == report.found
    ids = written["sqlite"][1]
    run = client.tracking.get(ids["parent"])
    assert (run.params["größe"], run.models[0].direction) == ("007", "out")
    assert client.tracking.history(run.id, "val/loss a").total == 50
    assert client.tracking.read_artifact(run.id, "notes/deep/a.txt") == b"hello"
    assert client.tracking.get(ids["dead"]).deleted_at is not None
    assert {item.number for item in client.registry.versions("late").items} == {1, 3}


def test_a_server_with_other_credentials_refuses(server: RunningServer) -> None:
    with pytest.raises(RungError, match="credentials"):
        open_source(server.url, None, {"MLFLOW_TRACKING_TOKEN": "wrong"})


def test_a_server_that_is_none_of_mlflow_is_refused(server: RunningServer) -> None:
    with pytest.raises(RungError):
        open_source(f"{server.url}/healthz", None, {})


@pytest.mark.slow
def test_mlflows_own_server_is_read(written: dict[str, Any], transport: LocalTransport, client: Client, tmp_path: Path) -> None:
    uri, ids = written["sqlite"]
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port), "--backend-store-uri", uri],
        cwd=tmp_path, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                opened = open_source(f"http://127.0.0.1:{port}", None, {})
                break
            except Unavailable:
                assert time.monotonic() < deadline
        journal = Journal(tmp_path / "j.db")
        report = Copier(opened, transport, journal).copy()
        journal.close()
        opened.close()
    finally:
        stop(process)
    assert report.differences == ()
    assert client.tracking.get(ids["parent"]).params == {"depth": "3", "größe": "007"}
    assert {item.number for item in client.registry.versions("late").items} == {1, 3}


def test_a_postgresql_database_is_read(postgres: PostgresServer, transport: LocalTransport, client: Client, tmp_path: Path) -> None:
    import psycopg

    many(tmp_path / "many.db", 20)
    url = postgres.new_database()
    with sqlite3.connect(tmp_path / "many.db") as there, psycopg.connect(url) as here:
        for name, sql in there.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            here.execute(sql.replace("FLOAT", "DOUBLE PRECISION").replace("is_nan BOOLEAN", "is_nan INTEGER"))
            for row in there.execute(f"SELECT * FROM {name}").fetchall():
                here.execute(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(row))})", row)
    report = brought(url, transport, tmp_path / "j.db", artifacts=False)
    assert report.differences == ()
    assert (report.here["runs"], report.here["points"]) == (20, 120)
