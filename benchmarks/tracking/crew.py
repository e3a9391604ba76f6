"""Several clients at once, each a process of its own with MLflow's unmodified client."""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

_SPAWN = multiprocessing.get_context("spawn")


def crew(size: int, url: str, token: str, kind: str, seconds: float) -> list[tuple[int, float]]:
    """Clients that begin together: how many points each logged in how many seconds. ``kind`` is metric or batch."""
    if token:
        os.environ["MLFLOW_TRACKING_TOKEN"] = token
    gate, answers = _SPAWN.Barrier(size), _SPAWN.Queue()
    workers = [_SPAWN.Process(target=_log, args=(gate, answers, url, kind, seconds)) for _ in range(size)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return found


def _log(gate: Any, answers: Any, url: str, kind: str, seconds: float) -> None:
    from benchmarks.tracking.measures import batch
    from benchmarks.tracking.population import experiment_id, mlflow_client

    client = mlflow_client(url)
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
