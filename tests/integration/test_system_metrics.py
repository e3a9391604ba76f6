"""System metrics of real runs: they come, they stop with the run, and they cost little."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import rung
from rung.client.active import ActiveRun
from rung.client.client import Client
from rung.client.system import _watched
from rung.core.errors import Conflict, Invalid
from tests.servers import wait_until


@pytest.fixture(autouse=True)
def _own_home(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNG_HOME", str(home))
    monkeypatch.chdir(tmp_path)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "rung-system"]


def _readings(client: Client, run: str) -> int:
    if "system/cpu_percent" not in client.tracking.get(run).metrics:
        return 0
    return len(client.tracking.history(run, "system/cpu_percent").points)


def test_a_run_logs_how_busy_the_machine_is_until_it_is_closed(client: Client) -> None:
    with rung.start_run("busy", client=client) as run:
        rung.log_system_metrics(every_s=0.1)
        begun = time.monotonic()
        wait_until(lambda: _readings(client, run.id) >= 2, 120, lambda: "it does not measure")
        assert _threads()
    took = time.monotonic() - begun
    wait_until(lambda: not _threads(), 60, lambda: "it still measures")
    assert run.id not in _watched
    held = client.tracking.get(run.id)
    assert held.status == "succeeded"
    assert {"system/cpu_percent", "system/memory_used_mib", "system/process_cpu_percent", "system/process_memory_mib"} <= set(held.metrics)
    points = client.tracking.history(run.id, "system/cpu_percent").points
    assert 2 <= len(points) <= took / 0.1 + 2
    time.sleep(0.3)
    assert len(client.tracking.history(run.id, "system/cpu_percent").points) == len(points)


def test_a_run_shorter_than_the_interval_has_one_reading(client: Client) -> None:
    with rung.start_run("busy", client=client, system_metrics=True) as run:
        time.sleep(4)  # the next regular one would come after ten
    assert len(client.tracking.history(run.id, "system/cpu_percent").points) == 1


def test_a_setting_asks_for_them_everywhere(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_SYSTEM_METRICS", "true")
    with rung.start_run("busy", client=client) as run:
        assert run.id in _watched
    with rung.start_run("busy", client=client, system_metrics=False) as run:
        assert run.id not in _watched


def test_an_offline_run_has_them_too() -> None:
    with rung.start_run("busy", offline=True) as run:
        rung.log_system_metrics(every_s=0.1)
        time.sleep(0.25)
    assert run.closed


def test_asking_twice_measures_once(client: Client) -> None:
    with rung.start_run("busy", client=client):
        rung.log_system_metrics(every_s=0.1)
        rung.log_system_metrics(every_s=0.1)
        wait_until(lambda: len(_threads()) == 1, 60, lambda: str(_threads()))
        rung.log_system_metrics(every_s=0.2)
        wait_until(lambda: len(_threads()) == 1, 60, lambda: str(_threads()))


@pytest.mark.parametrize("every", [0, -1, 0.01, float("nan")])
def test_an_interval_too_short_is_refused(client: Client, every: float) -> None:
    with rung.start_run("busy", client=client), pytest.raises(Invalid, match="System metrics every"):
        rung.log_system_metrics(every_s=every)


def test_without_a_run_there_is_nothing_to_log_to() -> None:
    with pytest.raises(Conflict):
        rung.log_system_metrics()


def test_a_reading_that_fails_ends_the_measuring_and_not_the_run(
    client: Client, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import psutil

    def fail() -> None:
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    with rung.start_run("busy", client=client) as run:
        rung.log_system_metrics(every_s=0.1)
        time.sleep(0.3)
        rung.log_metric("loss", 1.0)
    assert client.tracking.get(run.id).status == "succeeded"
    assert "the driver is gone" in capfd.readouterr().err


def test_a_run_that_others_close_is_measured_until_it_ends(client: Client) -> None:
    started = client.tracking.start("busy")
    rung.log_system_metrics(every_s=0.1, run=ActiveRun(client, started.id, None, owned=False))  # as in a pipeline's step
    wait_until(lambda: "system/cpu_percent" in client.tracking.get(started.id).metrics, 60, lambda: "no reading")
    client.tracking.finish(started.id)
    wait_until(lambda: not _threads(), 60, lambda: "it still measures")
    assert started.id not in _watched
    assert client.tracking.get(started.id).metrics["system/cpu_percent"] >= 0
