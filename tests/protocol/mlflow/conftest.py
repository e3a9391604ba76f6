"""The unmodified MLflow client, pointed at a real ``rung up`` by the two variables a user exports and nothing else.

One server a database engine serves the whole session; every test makes experiments and models under names of its own.
Retries are off, so that a wrong 500 shows at once instead of after minutes. ``MLFLOW_UNDER_TEST`` names another server
to ask instead, MLflow's own for one, to see that the tests are right.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="true",
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    MLFLOW_HTTP_REQUEST_TIMEOUT="60",
)

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent

from rung.client.client import Client
from rung.client.transports import HttpTransport
from tests.servers import PostgresServer, running_server

# A test that says ``@both`` runs on each database engine; all others run on SQLite.
both = pytest.mark.parametrize("database", ["sqlite", "postgresql"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The client and the libraries it patches warn of much that is not ours to change."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@dataclass(frozen=True)
class Served:
    """Where a server is and the token it takes."""

    url: str
    token: str


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Served]]:
    """The server of a database engine, started when it is first asked for."""
    with ExitStack() as stack:
        started: dict[str, Served] = {}

        def of(database: str) -> Served:
            if database not in started:
                folder = tmp_path_factory.mktemp(f"mlflow-{database}")
                started[database] = _start(stack, folder, database, request)
            return started[database]

        yield of


@pytest.fixture
def database() -> str:
    """The database engine behind the server; ``MLFLOW_TESTS_ON=postgresql`` asks everything of the other one."""
    return os.environ.get("MLFLOW_TESTS_ON", "sqlite")


@pytest.fixture
def server(servers: Callable[[str], Served], database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The server, with the two variables set and the client's own memory of experiments and runs empty."""
    served = servers(database)
    _forget()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.url)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", served.token)
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    yield served
    _forget()
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        os.environ.pop(name, None)


@pytest.fixture
def mlflow_client(server: Served) -> MlflowClient:
    """MLflow's own client."""
    return MlflowClient()


@pytest.fixture
def rung_client(server: Served) -> Iterator[Client]:
    """Our own client of the same server, to see what MLflow's calls became."""
    with Client(HttpTransport(server.url, server.token)) as opened:
        yield opened


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Makes a name nobody used before."""
    return lambda stem: f"{stem}-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def experiment(mlflow_client: MlflowClient, fresh: Callable[[str], str]) -> str:
    """Id of a new, empty experiment."""
    return str(mlflow_client.create_experiment(fresh("empty")))


@pytest.fixture
def study(server: Served, fresh: Callable[[str], str]) -> str:
    """Name of a new experiment that the fluent functions log to."""
    name = fresh("study")
    mlflow.set_experiment(name)
    return name


@pytest.fixture
def run(mlflow_client: MlflowClient, experiment: str) -> str:
    """Id of a new run, still running."""
    return str(mlflow_client.create_run(experiment).info.run_id)


@dataclass(frozen=True)
class Wire:
    """Raw HTTP with the client's credentials, for what the client itself would not send."""

    base: str
    token: str

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
        """Any request; ``path`` begins with a slash."""
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return requests.request(method, self.base + path, headers={**bearer, **(headers or {})}, timeout=60, **options)

    def get(self, route: str, **query: Any) -> requests.Response:
        """GET a route of ``/api/2.0/mlflow``."""
        return self.send("GET", f"/api/2.0/mlflow/{route}", params=query)

    def post(self, route: str, body: Any) -> requests.Response:
        """POST JSON to a route of ``/api/2.0/mlflow``."""
        return self.send("POST", f"/api/2.0/mlflow/{route}", json=body)


@pytest.fixture
def wire(server: Served) -> Wire:
    """Raw HTTP to the server."""
    return Wire(server.url, server.token)


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Asserts that a call of the client is answered with an error code; returns the message."""

    def check(code: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        with pytest.raises(MlflowException) as caught:
            call(*args, **kwargs)
        assert caught.value.error_code == code, caught.value
        return str(caught.value)

    return check


def _start(stack: ExitStack, folder: Path, database: str, request: pytest.FixtureRequest) -> Served:
    other = os.environ.get("MLFLOW_UNDER_TEST")
    if other:
        return Served(other, "")
    settings: list[str] = []
    if database == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        settings = ["--set", f"storage.database={postgres.new_database()}"]
    running = stack.enter_context(running_server(folder / "home", folder, settings=settings))
    return Served(running.url, running.token)


def _forget() -> None:
    """End open runs and forget which experiment and which model the fluent functions were told, or remember by themselves."""
    while mlflow.active_run():
        mlflow.end_run()
    fluent._active_experiment_id = None
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    mlflow.clear_active_model()  # set by load_model; whatever is logged next would be said of that model
