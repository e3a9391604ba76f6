"""What the machine tells: lines of NVIDIA's tool, this process and those below it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from rung.client.system import Machine, parsed_gpus


def test_each_line_of_the_tool_is_a_gpu() -> None:
    assert parsed_gpus("0, 87, 2048, 8192, 64, 231.50\n1, 0, 0, 8192, 30, 40.00\n") == {
        "gpu_0_percent": 87.0, "gpu_0_memory_mib": 2048.0, "gpu_0_memory_percent": 25.0, "gpu_0_celsius": 64.0, "gpu_0_watts": 231.5,
        "gpu_1_percent": 0.0, "gpu_1_memory_mib": 0.0, "gpu_1_memory_percent": 0.0, "gpu_1_celsius": 30.0, "gpu_1_watts": 40.0,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "No devices were found\n", "0, 12\n", "NVIDIA-SMI has failed because it couldn't communicate\n"])
def test_what_is_no_line_of_a_gpu_is_left_out(text: str) -> None:
    assert parsed_gpus(text) == {}


def test_what_a_gpu_does_not_tell_is_left_out() -> None:
    assert parsed_gpus("0, [N/A], [N/A], [N/A], 41, [Not Supported]") == {"gpu_0_celsius": 41.0}


def test_work_of_this_process_is_seen_in_percent_of_one_core() -> None:
    begun = time.monotonic()
    machine = Machine()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    found = machine.read()
    assert 60 * 0.3 / (time.monotonic() - begun) < found["process_cpu_percent"] < 800  # 0.3 s of work in however long it took
    assert 0 <= found["cpu_percent"] <= 100
    assert 0 < found["memory_percent"] <= 100
    assert found["process_memory_mib"] > 5
    assert found["disk_written_mib_per_s"] >= 0


def test_processes_below_this_one_count_and_an_ended_one_takes_nothing_off() -> None:
    machine = Machine()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        late, busy = time.monotonic() + 60, {"process_cpu_percent": 0.0}
        while busy["process_cpu_percent"] <= 15 and time.monotonic() < late:
            time.sleep(0.5)
            begun = time.monotonic()
            busy = machine.read()
    finally:
        child.kill()
        child.wait()
    assert busy["process_count"] >= 2
    assert busy["process_cpu_percent"] > 15
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    found = machine.read()["process_cpu_percent"]
    assert found > 50 * 0.2 / (time.monotonic() - begun)
