"""Times one server that speaks MLflow's protocol, through MLflow's unmodified client; one JSON object on the last line.

Run as a process of its own for each server: ``python -m benchmarks.tracking.measures URL --pid ROOT``. Compare the
server's processor time first: it says the same on a busy machine, wall time does not.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
)  # fmt: skip

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from benchmarks.tracking.processes import cpu_s

SPAWN = multiprocessing.get_context("spawn")
SEARCHED = "bench_search"
QUERIES: dict[str, dict[str, Any]] = {
    "default order": {},
    "filter and order by metric": {"filter_string": "metrics.x > 0.5", "order_by": ["metrics.x DESC"]},
    "filter by metric and param": {"filter_string": "metrics.x > 0.5 and params.p1 = '7'", "order_by": ["metrics.x DESC"]},
    "order by param": {"order_by": ["params.p0 ASC"]},
    "name LIKE": {"filter_string": "attributes.run_name LIKE 'r99%'"},
}


class Bench:
    """The server under test and what was measured on it."""

    def __init__(self, url: str, pid: int, seconds: float) -> None:
        self.url, self.pid, self.seconds = url, pid, seconds
        self.results: dict[str, dict[str, float | str]] = {}
        self.client = MlflowClient()
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {os.environ.get('MLFLOW_TRACKING_TOKEN', 'none')}"

    def rate(
        self, name: str, call: Callable[[int], Any], *, scale: int = 1, unit: str = "calls/s", seconds: float | None = None, least: int = 3
    ) -> None:
        """Calls for some seconds, at least a few; ``scale`` things are done by one."""
        call(-1)
        lasted: list[float] = []
        server, own, start = cpu_s(self.pid), time.process_time(), time.perf_counter()
        while time.perf_counter() - start < (seconds or self.seconds) or len(lasted) < least:
            before = time.perf_counter()
            call(len(lasted))
            lasted.append(time.perf_counter() - before)
        wall, count = time.perf_counter() - start, len(lasted)
        self.results[name] = {
            "value": count * scale / wall, "unit": unit, "p50_ms": statistics.median(lasted) * 1e3,
            "client_cpu_ms": (time.process_time() - own) / count * 1e3, "server_cpu_ms": (cpu_s(self.pid) - server) / count * 1e3,
        }  # fmt: skip

    def once(self, name: str, call: Callable[[], Any], amount: float, unit: str) -> None:
        """A long call that handles ``amount`` things."""
        server, own, start = cpu_s(self.pid), time.process_time(), time.perf_counter()
        call()
        self.results[name] = {
            "value": amount / (time.perf_counter() - start), "unit": unit, "client_cpu_ms": (time.process_time() - own) * 1e3,
            "server_cpu_ms": (cpu_s(self.pid) - server) * 1e3,
        }  # fmt: skip

    def calls(self) -> None:
        """Single calls of one client."""
        client = self.client
        experiment = experiment_id(client, "bench_calls")
        run = client.create_run(experiment).info.run_id
        self.rate("get_experiment", lambda _: client.get_experiment(experiment))
        self.rate("log_metric", lambda i: client.log_metric(run, "loss", float(i), step=i))
        self.rate("log_param", lambda _: client.log_param(run, "p" + uuid.uuid4().hex, "v"))
        self.rate("set_tag", lambda i: client.set_tag(run, f"t{i % 20}", str(i)))
        self.rate("log_batch of 1000", lambda i: client.log_batch(run, metrics=batch(1000, i * 100)), scale=1000, unit="metrics/s")
        self.rate("create_run", lambda _: client.create_run(experiment))
        full = client.create_run(experiment).info.run_id
        client.log_batch(full, [Metric(f"m{i}", 1.0, 1, 1) for i in range(50)], [Param(f"p{i}", "v") for i in range(50)])
        self.rate("get_run, 50 metrics, 50 params", lambda _: client.get_run(full))

    def clients(self) -> None:
        """Four client processes that begin together."""
        for kind, name in (("metric", "four clients, log_metric"), ("batch", "four clients, log_batch")):
            server = cpu_s(self.pid)
            counts = crew(4, self.url, kind, self.seconds * 1.5)
            done = sum(count for count, _ in counts)
            self.results[name] = {
                "value": sum(count / wall for count, wall in counts), "unit": "metrics/s",
                "server_cpu_ms": (cpu_s(self.pid) - server) / done * 1e3 * (1000 if kind == "batch" else 1),
            }  # fmt: skip

    def search(self) -> None:
        """Pages of 100 out of the runs that were put there beforehand."""
        client = self.client
        ids = [experiment_id(client, SEARCHED)]
        for name, query in QUERIES.items():
            call = lambda _, query=query: client.search_runs(ids, max_results=100, **query)  # noqa: E731
            self.rate(f"search, {name}", call, seconds=self.seconds / 2, least=1)

    def history(self, points: int) -> None:
        """One long series, written, read whole, and thinned for a chart."""
        client = self.client
        run = client.create_run(experiment_id(client, "bench_calls")).info.run_id

        def fill() -> None:
            for first in range(0, points, 1000):
                client.log_batch(run, metrics=[Metric("h", float(i), 1_700_000_000_000 + i, i) for i in range(first, first + 1000)])

        def read() -> None:
            assert len(client.get_metric_history(run, "h")) == points

        self.once(f"history of {points:,}, written", fill, points, "points/s")
        self.once(f"history of {points:,}, read", read, points, "points/s")
        query: dict[str, Any] = {"run_ids": [run], "metric_key": "h", "max_results": 320}
        address = self.url + "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
        self.rate("chart of 320 points", lambda _: self.session.get(address, params=query).raise_for_status(), seconds=self.seconds / 2)

    def artifacts(self, megabytes: int, files: int) -> None:
        """One large file and many small ones through the server's proxy."""
        client = self.client
        run = client.create_run(experiment_id(client, "bench_calls")).info.run_id
        with tempfile.TemporaryDirectory() as folder:
            big, small = Path(folder, "big.bin"), Path(folder, "small")
            with big.open("wb") as file:
                for _ in range(megabytes):
                    file.write(os.urandom(1 << 20))
            small.mkdir()
            for i in range(files):
                (small / f"f{i:05}.bin").write_bytes(os.urandom(4096))

            def down(name: str, size: int) -> None:
                with tempfile.TemporaryDirectory(dir=folder) as target:
                    path = Path(client.download_artifacts(run, name, target))
                    assert sum(p.stat().st_size for p in ([path] if path.is_file() else path.iterdir())) == size

            self.once(f"one file of {megabytes} MB, up", lambda: client.log_artifact(run, str(big)), megabytes, "MB/s")
            self.once(f"one file of {megabytes} MB, down", lambda: down("big.bin", megabytes << 20), megabytes, "MB/s")
            self.once(f"{files} files of 4 KB, up", lambda: client.log_artifacts(run, str(small), "small"), files, "files/s")
            self.once(f"{files} files of 4 KB, down", lambda: down("small", files * 4096), files, "files/s")


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment of a name, made if it is new."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def batch(count: int, first: int) -> list[Metric]:
    """A batch over ten keys."""
    now = int(time.time() * 1000)
    return [Metric(f"b{i % 10}", float(i), now, first + i // 10) for i in range(count)]


def crew(size: int, url: str, kind: str, seconds: float) -> list[tuple[int, float]]:
    """Several clients that begin together: how many points each logged in how many seconds."""
    gate, answers = SPAWN.Barrier(size), SPAWN.Queue()
    workers = [SPAWN.Process(target=log_for, args=(gate, answers, url, kind, seconds)) for _ in range(size)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return found


def log_for(gate: Any, answers: Any, url: str, kind: str, seconds: float) -> None:
    """What one client of a crew does."""
    client = MlflowClient(url)
    run = client.create_run(experiment_id(client, "bench_calls")).info.run_id
    gate.wait()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        if kind == "metric":
            client.log_metric(run, "m", float(done), step=done)
            done += 1
        else:
            client.log_batch(run, metrics=batch(1000, done // 10))
            done += 1000
    answers.put((done, time.perf_counter() - start))


def main() -> None:
    """Measure what was asked for, and tell it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--pid", type=int, required=True, help="root of the server's process tree")
    parser.add_argument("--sections", default="calls,clients,search,history,artifacts")
    parser.add_argument("--seconds", type=float, default=5, help="length of one measure")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--files", type=int, default=2000)
    options = parser.parse_args()
    mlflow.set_tracking_uri(options.url)
    bench = Bench(options.url, options.pid, options.seconds)
    arguments = {"history": (options.points,), "artifacts": (options.megabytes, options.files)}
    for section in options.sections.split(","):
        getattr(bench, section)(*arguments.get(section, ()))
    print(json.dumps(bench.results))


if __name__ == "__main__":
    main()
