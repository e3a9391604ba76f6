"""A release to an environment on another server, by HTTP: the package is carried there, run there and entered here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.client.transports import HttpTransport
from rung.core.errors import Conflict, Unavailable
from rung.core.settings import load_settings
from rung.pipelines.project import forget_modules
from tests.servers import RunningServer

PROJECT = "from rung import pipeline, step\n@step\ndef double(n: int) -> int:\n    return 2 * n\n@pipeline\ndef twice(n: int = 21):\n    return double(n)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project folder whose environments are told by each test."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "pipelines.py").write_text(PROJECT)
    (place / "requirements.lock").write_text("")
    _forget(place)
    yield place
    _forget(place)


def test_a_package_runs_on_the_environments_own_server(folder: Path, fresh_server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rung.toml").write_text(f'[environments.staging]\nurl = "{fresh_server.url}"\n[environments.production]\n')
    monkeypatch.setenv("RUNG_TOKEN_STAGING", fresh_server.token)
    with Client(local_transport(load_settings(folder, environ={}))) as here:
        package = here.packages.build("twice")
        staged = here.packages.release(package.digest, "staging", params={"n": 5})
        assert (staged.status, staged.url) == ("succeeded", fresh_server.url)
        assert here.packages.release(package.digest, "production").status == "succeeded"
        assert here.packages.check().holds
    there = Client(HttpTransport(fresh_server.url, fresh_server.token))
    try:
        run = there.pipelines.get(str(staged.pipeline_run)).run
        assert (run.environment, run.package, there.pipelines.output(run.id)) == ("staging", package.digest, 10)
        assert there.packages.get(package.digest).package.origin == f"release {staged.id}"
        assert there.pipelines.reproduce(run.id).likeness == "identical"
    finally:
        there.close()


def test_a_server_that_does_not_answer_is_a_failed_release(folder: Path) -> None:
    (folder / "rung.toml").write_text('[environments.staging]\nurl = "http://127.0.0.1:9"\n[environments.production]\n')
    with Client(local_transport(load_settings(folder, environ={}))) as here:
        package = here.packages.build("twice")
        with pytest.raises(Unavailable):
            here.packages.release(package.digest, "staging")
        assert [release.status for release in here.packages.releases()] == ["failed"]
        with pytest.raises(Conflict, match="its newest run there has failed"):
            here.packages.release(package.digest, "production")


def _forget(place: Path) -> None:
    forget_modules(place.resolve())
    sys.modules.pop("pipelines", None)
    while str(place) in sys.path:
        sys.path.remove(str(place))
