"""A server with gRPC and a model of three numbers, for foreign clients of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.client.client import connect
from tests.servers import RunningServer, free_port, running_server, wait_until

X = (np.arange(12.0).reshape(4, 3) * 7) % 5
MODEL = LogisticRegression().fit(np.tile(X, (25, 1)), np.tile([0, 1, 0, 1], 25))


@dataclass
class Inference:
    """A server that answers for the deployment ``churn``, over HTTP and gRPC."""

    running: RunningServer
    grpc: str

    @property
    def http(self) -> str:
        """Host and port."""
        return self.running.url.removeprefix("http://")

    @property
    def bearer(self) -> dict[str, str]:
        """The header, or metadata, of the owner."""
        return {"authorization": f"Bearer {self.running.token}"}


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    grpc = pytest.importorskip("grpc")
    folder, port = tmp_path_factory.mktemp("inference"), free_port()
    with running_server(folder / "home", folder, settings=["--set", f"server.grpc_port={port}"]) as running:
        client = connect(running.url, running.token)
        example = pl.DataFrame(np.tile(X, (25, 1)), schema=["a", "b", "c"])
        client.registry.register("churn", MODEL, example=example, label="stays")
        client.serving.deploy("churn", "churn", 1, environment="staging")
        client.close()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ready = grpc.channel_ready_future(channel)
            wait_until(lambda: ready.done() or not _waits(ready), 90, lambda: "gRPC did not come up")
        yield Inference(running, f"127.0.0.1:{port}")


def _waits(ready: object) -> bool:
    import grpc

    try:
        ready.result(timeout=1)  # type: ignore[attr-defined]
    except grpc.FutureTimeoutError:
        return True
    return False
