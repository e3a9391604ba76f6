"""Admission: what a machine has is given out once, GPUs by number; what can never fit is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import EngineSettings, load_settings
from rung.engine.admission import Admission, Machine, machine_of
from rung.pipelines.project import forget_modules
from rung.pipelines.records import StepOptions

MACHINE = Machine(cpus=4, memory_bytes=8 * 10**9, gpus=("0", "1"))


def test_slots_cores_and_memory_are_given_out_once() -> None:
    held = Admission(MACHINE)
    first = held.take("pool", 3, StepOptions(cpus=3, memory_bytes=6 * 10**9), local=True)
    assert first is not None
    assert held.take("pool", 3, StepOptions(cpus=2), local=True) is None
    assert held.take("pool", 3, StepOptions(memory_bytes=3 * 10**9), local=True) is None
    second = held.take("pool", 3, StepOptions(cpus=1, memory_bytes=2 * 10**9), local=True)
    third = held.take("pool", 3, StepOptions(), local=True)
    assert None not in (second, third)
    assert held.take("pool", 3, StepOptions(), local=True) is None  # no slot
    assert held.take("ray", 9, StepOptions(cpus=64), local=False) is not None  # its cores are not of this machine
    held.give(first)
    assert held.take("pool", 3, StepOptions(cpus=3), local=True) is not None


def test_gpus_are_given_by_number_and_shares_share_one() -> None:
    held = Admission(MACHINE)
    half = held.take("pool", 9, StepOptions(gpus=0.5), local=True)
    other = held.take("pool", 9, StepOptions(gpus=0.5), local=True)
    assert half is not None
    assert other is not None
    assert half.gpus == other.gpus == {"0": 0.5}
    whole = held.take("pool", 9, StepOptions(gpus=1), local=True)
    assert whole is not None
    assert whole.gpus == {"1": 1.0}
    assert held.take("pool", 9, StepOptions(gpus=0.1), local=True) is None
    held.give(whole)
    held.give(half)
    held.give(other)
    both = held.take("pool", 9, StepOptions(gpus=2), local=True)
    assert both is not None
    assert both.gpus == {"0": 1.0, "1": 1.0}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (StepOptions(cpus=8), "Step 'fit' asks for 8 cpus, and this worker has 4 (engine.cpus)."),
        (StepOptions(memory_bytes=16 * 10**9), "Step 'fit' asks for 16 GB of memory, and this worker has 8 (engine.memory_gb)."),
        (StepOptions(gpus=3), "Step 'fit' asks for 3 gpus, and this worker has 2 (engine.gpus)."),
        (StepOptions(cpus=4, gpus=2), ""),
    ],
)
def test_what_can_never_fit_is_told_with_wish_and_have(options: StepOptions, told: str) -> None:
    assert Admission(MACHINE).refusal("fit", options) == told


def test_settings_bound_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    found = machine_of(EngineSettings(cpus=1.5, memory_gb=2))
    assert (found.cpus, found.memory_bytes, found.gpus) == (1.5, 2 * 10**9, ("3", "5"))
    assert machine_of(EngineSettings(gpus=1)).gpus == ("0",)
    assert machine_of(EngineSettings()).cpus >= 1


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Client]:
    """A project with a step that wants a GPU, on a worker that is told to have two."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "rung.toml").write_text("[engine]\ngpus = 2\n")
    (folder / "pipelines.py").write_text(
        "import os\nfrom rung import pipeline, step\n\n"
        "@step(gpus=1, cache=False)\ndef seen() -> str:\n    return os.environ['CUDA_VISIBLE_DEVICES']\n\n"
        "@pipeline\ndef look():\n    return seen()\n"
    )
    with Client(local_transport(load_settings(folder, environ={}))) as client:
        yield client
    forget_modules(folder)
    sys.modules.pop("pipelines", None)
    sys.path[:] = [place for place in sys.path if place != str(folder)]


def test_a_step_sees_the_gpu_it_was_given_and_its_time_is_recorded(project: Client) -> None:
    run = project.pipelines.run("look")
    assert (run.status, run.error) == ("succeeded", "")
    assert project.pipelines.output(run.id) == "0"
    assert run.gpu_s > 0
    assert project.pipelines.get(run.id).steps[0].executor == "pool"
