"""A run on a cluster of three nodes that loses one: it completes, its attempts are seen, and nothing counts twice."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.xdist_group("ray-cluster"),
]  # Ray's own warnings when it starts

PROJECT = """
import time
from rung import pipeline, step

def say(line):
    with open({marks!r}, "a") as file:
        file.write(line + "\\n")

@step
def items() -> list[int]:
    return list(range({items}))

@step(executor="ray")
def work(item: int) -> int:
    import ray
    node = ray.get_runtime_context().get_node_id()
    say(f"began {{item}} {{node}}")
    time.sleep(0.4)
    while node in open({marks!r}).read().partition("doomed")[2].split()[:1]:
        time.sleep(0.05)
    print("worked on", item)
    say(f"ended {{item}}")
    return item * item

@step(executor="ray", resources={{"left": 1}})
def total(squares: list[int]) -> int:
    return sum(squares)

@pipeline
def squares():
    return total(work.map(items(), batch=2))
"""
ITEMS = 24


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs no step and two nodes with two cores each, all on this machine."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}, shutdown_at_exit=False)
    made.lost = made.add_node(num_cpus=2, resources={"right": 1})
    made.add_node(num_cpus=2, resources={"left": 1})
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def project(tmp_path: Path, cluster: Any) -> Path:
    """A project whose map runs on the cluster."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "rung.toml").write_text(f'[engine]\nray_address = "{cluster.address}"\n')
    (folder / "pipelines.py").write_text(PROJECT.format(marks=str(tmp_path / "marks"), items=ITEMS))
    (tmp_path / "marks").touch()
    return folder


def test_a_run_completes_when_a_node_dies_under_it(project: Path, cluster: Any) -> None:
    marks = project.parent / "marks"

    def at_work_there() -> set[str]:
        said = [line.split() for line in marks.read_text().splitlines()]
        ended = {line[1] for line in said if line[0] == "ended"}
        return {line[1] for line in said if line[0] == "began" and line[2:] == [cluster.lost.node_id]} - ended

    def lose_a_node() -> None:
        until = time.monotonic() + 400
        while marks.read_text().count("ended") < 4 and time.monotonic() < until:
            time.sleep(0.02)
        with marks.open("a") as file:
            file.write(f"doomed {cluster.lost.node_id}\n")  # what is at work there ends no more: processes outlive their node for a while
        time.sleep(0.5)
        while not at_work_there() and time.monotonic() < until:
            time.sleep(0.02)
        cluster.remove_node(cluster.lost, allow_graceful=False)

    killer = threading.Thread(target=lose_a_node)
    killer.start()
    with Client(local_transport(load_settings(project, environ={}))) as client:
        run = client.pipelines.run("squares")
        killer.join()
        assert run.status == "succeeded", run.error
        assert run.outputs[0].inline == str(sum(item * item for item in range(ITEMS))).encode()
        detail = client.pipelines.get(run.id)
        steps = {step.key: step for step in detail.steps}
        assert (steps["work"].items, steps["work"].items_done, steps["work"].items_failed, steps["work"].executor) == (
            ITEMS,
            ITEMS,
            0,
            "ray",
        )
        statuses = Counter(attempt.status for attempt in detail.attempts)
        assert statuses["lost"] >= 1  # the loss is seen …
        assert statuses["failed"] == 0  # … and is no failure of the step's
        held = [item.position for item in client.pipelines.items(run.id, "work")]
        assert sorted(held) == list(range(ITEMS))  # each item has one end
    began = Counter(line.split()[1] for line in marks.read_text().splitlines() if line.startswith("began"))
    assert set(began) == {str(item) for item in range(ITEMS)}
    assert sum(began.values()) <= ITEMS + 3 * statuses["lost"]  # only what was lost ran again
