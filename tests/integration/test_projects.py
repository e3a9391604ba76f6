"""Work in one of several projects: what a command, a script or a step is told lies in the project it works in, wherever it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rung.app.local import local_transport
from rung.client.client import Client, connect
from rung.core.errors import NotFound
from rung.core.settings import load_settings
from tests.servers import running_server

PIPELINES = """
import os, subprocess, sys
import rung
from rung import pipeline, step

@step(cache=False)
def here() -> list[str]:
    return sorted(found.name for found in rung.connect().data.list().items)

@step(cache=False, timeout="1m")
def apart() -> list[str]:
    rung.connect().data.add("made", b"x")
    return sorted(found.name for found in rung.connect().data.list().items)

@step(cache=False, timeout="1m")
def by_command() -> str:
    return subprocess.run([sys.executable, "-m", "rung.cli.main", "data", "list"], capture_output=True, text=True, check=True).stdout

@pipeline
def look():
    return here(), apart(), by_command()
"""


def rung(folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RUNG_")}
    command = [sys.executable, "-m", "rung.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env={**clean, **(environ or {})}, capture_output=True, text=True, timeout=120, check=False)


def test_an_embedded_platform_answers_for_the_project_that_is_named(tmp_path: Path) -> None:
    with connect(folder=tmp_path) as client:
        client.data.add("first", b"1")
        client.governance.create_project("other")
    settings = load_settings(tmp_path, environ={}, flags={"project": "other"})
    with Client(local_transport(settings)) as other:
        assert other.data.list().items == ()
        other.data.add("second", b"2")
    with connect(project="other", folder=tmp_path) as again:
        assert [found.name for found in again.data.list().items] == ["second"]
    with connect(folder=tmp_path) as client:
        assert [found.name for found in client.data.list().items] == ["first"]
    with (
        Client(local_transport(load_settings(tmp_path, environ={}, flags={"project": "none"}))) as nowhere,
        pytest.raises(NotFound, match="none"),
    ):
        nowhere.data.list()
    said = rung(tmp_path, "--project", "nope", "data", "list")
    assert said.returncode != 0
    assert "There is no project 'nope'" in said.stderr
    assert "rung project create" in said.stderr


def test_a_step_works_in_the_project_of_its_run_in_whatever_process(tmp_path: Path) -> None:
    (tmp_path / "pipelines.py").write_text(PIPELINES)
    with connect(folder=tmp_path) as client:
        client.data.add("first", b"1")
        client.governance.create_project("other")
    for project, names in (("other", ["second"]), ("default", ["first"])):
        with Client(local_transport(load_settings(tmp_path, environ={}, flags={"project": project}))) as client:
            if project == "other":
                client.data.add("second", b"2")
            run = client.pipelines.run("look")
            assert run.status == "succeeded", run.error
            here, apart, listed = (client.pipelines.output(run.id, made.name) for made in run.outputs)
            assert here in (names, sorted([*names, "made"]))
            assert apart == sorted([*names, "made"])
            assert names[0] in listed
            assert not any(name in listed for name in {"first", "second"} - set(names))


def test_who_works_on_a_server_can_make_the_project_that_the_folder_names(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "rung.toml").write_text('project = "churn"\n')
    with running_server(tmp_path / "home", tmp_path) as server:
        environ = {"RUNG_URL": server.url, "RUNG_TOKEN": server.token}
        said = rung(tmp_path / "folder", "data", "list", environ=environ)
        assert "There is no project 'churn'" in said.stderr
        assert rung(tmp_path / "folder", "project", "create", "churn", environ=environ).returncode == 0
        assert "churn" in rung(tmp_path / "folder", "project", "list", environ=environ).stdout
        assert rung(tmp_path / "folder", "data", "list", environ=environ).returncode == 0


def test_looking_at_projects_first_makes_the_one_that_the_folder_names(tmp_path: Path) -> None:
    (tmp_path / "rung.toml").write_text('project = "churn"\n')
    assert "churn" in rung(tmp_path, "project", "list").stdout
    assert rung(tmp_path, "data", "list").returncode == 0


def test_a_pipeline_that_a_server_does_not_know_is_packaged_from_the_folder_and_run_there(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "server").mkdir()
    (tmp_path / "folder" / "rung.toml").write_text('project = "churn"\n')
    (tmp_path / "folder" / "pipelines.py").write_text(PIPELINES)
    with running_server(tmp_path / "home", tmp_path / "server") as server:
        environ = {"RUNG_URL": server.url, "RUNG_TOKEN": server.token}
        assert rung(tmp_path / "folder", "project", "create", "churn", environ=environ).returncode == 0
        assert "`rung run NAME`" in rung(tmp_path / "folder", "pipeline", "list", environ=environ).stdout
        with connect(server.url, server.token, "churn") as client:
            client.data.add("theirs", b"1")
            said = rung(tmp_path / "folder", "run", "look", "--no-cache", environ=environ)
            assert said.returncode == 0, said.stderr
            assert "packaged as" in said.stderr
            (run,) = client.pipelines.runs("look").items
            assert run.package
            assert {tuple(client.pipelines.output(run.id, made.name)) for made in run.outputs[1:2]} == {("made", "theirs")}
        with connect(server.url, server.token) as client:
            assert client.data.list().items == ()
        unknown = rung(tmp_path / "folder", "run", "none", environ=environ)
        assert "There is no pipeline 'none'" in unknown.stderr
