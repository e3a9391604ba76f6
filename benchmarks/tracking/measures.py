"""The measures: the same calls of MLflow's unmodified client to every server in turn, slice by slice.

Compare the server's processor time first: it says the same on a busy machine, wall time does not.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from benchmarks.tracking.board import Board
from benchmarks.tracking.crew import crew
from benchmarks.tracking.population import LONG, SEARCHED, SERIES, experiment_id, mlflow_client
from benchmarks.tracking.processes import cpu_s
from benchmarks.tracking.servers import Server
from benchmarks.tracking.sizes import Sizes

Call = Callable[[int], Any]
QUERIES: dict[str, dict[str, Any]] = {
    "default order": {},
    "filter and order by metric": {"filter_string": "metrics.x > 0.5", "order_by": ["metrics.x DESC"]},
    "filter by metric and param": {"filter_string": "metrics.x > 0.5 and params.p1 = '7'", "order_by": ["metrics.x DESC"]},
    "order by param": {"order_by": ["params.p0 ASC"]},
    "name LIKE": {"filter_string": "attributes.run_name LIKE 'r99%'"},
}


@dataclass
class Spent:
    """What the slices of one measure on one server took."""

    calls: int = 0
    server_s: float = 0.0
    database_s: float = 0.0
    client_s: float = 0.0
    rates: list[float] = field(default_factory=list)


class Bench:
    """Some servers on databases of one kind, measured in turn. ``postgres`` is the root of PostgreSQL's processes."""

    def __init__(self, servers: Sequence[Server], database: str, board: Board, sizes: Sizes, postgres: int | None = None) -> None:
        self._servers, self._database, self._board, self._sizes, self._postgres = servers, database, board, sizes, postgres
        self._sessions = {server.name: _session(server) for server in servers}
        self._clients = {server.name: mlflow_client(server.url) for server in servers}

    def calls(self) -> None:
        """Single calls of one client."""
        runs = {server.name: self._new_run(server) for server in self._servers}
        experiments = {server.name: experiment_id(self._clients[server.name], "bench_calls") for server in self._servers}
        full = {server.name: self._full_run(server) for server in self._servers}

        def of(call: Callable[[MlflowClient, str, int], Any], ids: dict[str, str] = runs) -> Callable[[Server], Call]:
            return lambda server: lambda i: call(self._clients[server.name], ids[server.name], i)

        self._rate("create_run", of(lambda client, experiment, _: client.create_run(experiment), experiments))
        self._rate("log_metric", of(lambda client, run, i: client.log_metric(run, "loss", float(i), step=i)))
        self._rate("log_param", of(lambda client, run, _: client.log_param(run, "p" + uuid.uuid4().hex, "v")))
        self._rate("set_tag", of(lambda client, run, i: client.set_tag(run, f"t{i % 20}", str(i))))
        self._rate("log_batch of 1000 metrics", of(lambda client, run, i: client.log_batch(run, metrics=batch(1000, i * 100))))
        self._rate("get_run, 50 metrics and params", of(lambda client, run, _: client.get_run(run), full))
        self._rate("get_experiment", of(lambda client, experiment, _: client.get_experiment(experiment), experiments))

    def clients(self) -> None:
        """Four client processes that begin together."""
        for kind, name in (("metric", "four clients, log_metric"), ("batch", "four clients, log_batch")):
            for server in self._servers:
                mark = cpu_s(server.pid)
                counts = crew(4, server.url, server.token, kind, self._sizes.seconds)
                done = sum(count for count, _ in counts)
                self._add(server, name, "metrics/s", sum(count / wall for count, wall in counts))
                self._add(server, f"{name}, server CPU a metric", "CPU ms", (cpu_s(server.pid) - mark) / done * 1e3)

    def search(self) -> None:
        """Pages of 100 out of the runs that were put there beforehand."""
        ids = {server.name: [experiment_id(self._clients[server.name], SEARCHED)] for server in self._servers}
        for name, query in QUERIES.items():

            def make(server: Server, query: dict[str, Any] = query) -> Call:
                client, experiments = self._clients[server.name], ids[server.name]
                return lambda _: _full_page(client.search_runs(experiments, max_results=100, **query), query)

            self._rate(f"search, {name}", make, wall=True)

    def pages(self, prefix: str, experiment: str = SEARCHED) -> None:
        """The same pages without MLflow's client, which takes longer to read one than we to make it; wall time of the answer."""
        for name, query in QUERIES.items():

            def make(server: Server, query: dict[str, Any] = query) -> Call:
                ids = [experiment_id(self._clients[server.name], experiment)]
                body = {
                    "experiment_ids": ids,
                    "max_results": 100,
                    "filter": query.get("filter_string", ""),
                    "order_by": query.get("order_by", []),
                }
                url, session = f"{server.url}/api/2.0/mlflow/runs/search", self._sessions[server.name]
                return lambda _: session.post(url, json=body).raise_for_status()

            self._rate(f"{prefix}page of 100, {name}", make, wall=True)

    def history(self) -> None:
        """One long series read whole, many short ones together, and a chart."""
        long = {server.name: self._run_named(server, LONG) for server in self._servers}
        short = {server.name: [self._run_named(server, f"series {i}") for i in range(self._sizes.series)] for server in self._servers}

        def whole(server: Server) -> Call:
            client, run = self._clients[server.name], long[server.name]
            return lambda _: _counted(len(client.get_metric_history(run, "h")), self._sizes.points)

        def bulk(server: Server) -> Call:
            query = {"run_id": short[server.name], "metric_key": "h", "max_results": 25_000}
            return lambda _: self._get(server, "/ajax-api/2.0/mlflow/metrics/get-history-bulk", query)

        def chart(server: Server) -> Call:
            query = {"run_ids": [long[server.name]], "metric_key": "h", "max_results": 320}
            return lambda _: self._get(server, "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", query)

        self._rate(f"history of {self._sizes.points:,} points", whole, wall=True)
        self._rate(f"bulk history, {self._sizes.series} runs of 1,000 points", bulk, wall=True)
        self._rate("chart of 320 points", chart, wall=True)

    def artifacts(self) -> None:
        """One large file and many small ones through the server's proxy."""
        megabytes, files = self._sizes.megabytes, self._sizes.files
        with tempfile.TemporaryDirectory(prefix="rung-bench-files-") as name:
            folder = Path(name)
            big, small = folder / "big.bin", folder / "small"
            big.write_bytes(os.urandom(1 << 20) * megabytes)
            small.mkdir()
            for i in range(files):
                (small / f"f{i:05}.bin").write_bytes(os.urandom(4096))
            for server in self._servers:
                self._transfers(server, folder, big, small)

    def _transfers(self, server: Server, folder: Path, big: Path, small: Path) -> None:
        mlflow.set_tracking_uri(server.url)
        client, run = self._clients[server.name], self._new_run(server)
        megabytes, files = self._sizes.megabytes, self._sizes.files

        def down(name: str, size: int) -> None:
            with tempfile.TemporaryDirectory(dir=folder) as target:
                path = Path(client.download_artifacts(run, name, target))
                _counted(sum(item.stat().st_size for item in ([path] if path.is_file() else path.iterdir())), size)

        self._once(server, "large file, up", lambda: client.log_artifact(run, str(big)), megabytes, "MB/s")
        self._once(server, "large file, down", lambda: down("big.bin", megabytes << 20), megabytes, "MB/s")
        self._once(server, "small files, up", lambda: client.log_artifacts(run, str(small), "small"), files, "files/s")
        self._once(server, "small files, down", lambda: down("small", files * 4096), files, "files/s")

    def _rate(self, name: str, make: Callable[[Server], Call], *, wall: bool = False) -> None:
        """Calls for some seconds a server, in slices that alternate; ``wall`` shows the milliseconds of a call instead of calls a second.

        The first call is not counted, unless it alone takes as long as the whole measure.
        """
        spent = {server.name: Spent() for server in self._servers}
        made = {server.name: make(server) for server in self._servers}
        length = self._sizes.seconds / self._sizes.rounds
        slow = set()
        for server in self._servers:
            self._slice(server, made[server.name], 0, first := Spent())
            if 1 / first.rates[0] >= self._sizes.seconds:
                spent[server.name] = first
                slow.add(server.name)
        for number in range(self._sizes.rounds):
            for place in range(len(self._servers)):
                server = self._servers[(place + number) % len(self._servers)]
                if server.name not in slow:
                    self._slice(server, made[server.name], length, spent[server.name])
        for server in self._servers:
            taken = spent[server.name]
            for rate in taken.rates:
                self._add(server, name, "ms" if wall else "calls/s", 1e3 / rate if wall else rate)
        for server in self._servers:
            taken = spent[server.name]
            self._add(server, f"{name}, server CPU", "CPU ms", taken.server_s / taken.calls * 1e3)
            if self._postgres is not None:
                self._add(server, f"{name}, PostgreSQL's CPU", "CPU ms", taken.database_s / taken.calls * 1e3)
            self._board.client.setdefault(self._database, {}).setdefault(name, {})[server.name] = taken.client_s / taken.calls * 1e3

    def _slice(self, server: Server, call: Call, seconds: float, spent: Spent) -> None:
        theirs, database = cpu_s(server.pid), self._database_s()
        own, start = time.process_time(), time.perf_counter()
        done = 0
        while done == 0 or time.perf_counter() - start < seconds:
            call(spent.calls + done)
            done += 1
        spent.rates.append(done / (time.perf_counter() - start))
        spent.client_s += time.process_time() - own
        spent.server_s += cpu_s(server.pid) - theirs
        spent.database_s += self._database_s() - database
        spent.calls += done

    def _once(self, server: Server, name: str, call: Callable[[], Any], amount: float, unit: str) -> None:
        mark, start = cpu_s(server.pid), time.perf_counter()
        call()
        self._add(server, name, unit, amount / (time.perf_counter() - start))
        self._add(server, f"{name}, server CPU of all", "CPU ms", (cpu_s(server.pid) - mark) * 1e3)

    def _add(self, server: Server, name: str, unit: str, value: float) -> None:
        self._board.add(self._database, server.name, name, unit, value)

    def _database_s(self) -> float:
        return 0.0 if self._postgres is None else cpu_s(self._postgres)

    def _new_run(self, server: Server) -> str:
        client = self._clients[server.name]
        return str(client.create_run(experiment_id(client, "bench_calls")).info.run_id)

    def _full_run(self, server: Server) -> str:
        run = self._new_run(server)
        metrics, params = [Metric(f"m{i}", 1.0, 1, 1) for i in range(50)], [Param(f"p{i}", "v") for i in range(50)]
        self._clients[server.name].log_batch(run, metrics, params)
        return run

    def _run_named(self, server: Server, name: str) -> str:
        client = self._clients[server.name]
        found = client.search_runs([experiment_id(client, SERIES)], f"attributes.run_name = '{name}'")
        return str(found[0].info.run_id)

    def _get(self, server: Server, path: str, query: dict[str, Any]) -> None:
        answer = self._sessions[server.name].get(server.url + path, params=query)
        answer.raise_for_status()
        _counted(len(answer.json()["metrics"]) > 0, 1)


def batch(count: int, first: int) -> list[Metric]:
    """A batch over ten keys."""
    now = int(time.time() * 1000)
    return [Metric(f"b{i % 10}", float(i), now, first + i // 10) for i in range(count)]


def _session(server: Server) -> requests.Session:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {server.token or 'none'}"
    return session


def _full_page(page: Sequence[Any], query: dict[str, Any]) -> None:
    if not page or (not query and len(page) != 100):
        raise RuntimeError(f"{query} found {len(page)} runs")


def _counted(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"found {found}, not {wanted}")
