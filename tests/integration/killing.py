"""Killing workers and servers at random over many runs, and what must be true afterwards, of rows and of side effects."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import Settings, load_settings
from rung.pipelines.records import PipelineRunDetail, StepItem

ITEMS = 12
PROJECT = """
import os, time
from rung import pipeline, step, unmapped

def mark(what, key):
    line = f"{{what}} {{key}} {{os.getpid()}} {{time.time_ns()}}\\n".encode()
    file = os.open({marks!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)

def effect(key, seconds=0.004):
    mark("began", key)
    time.sleep(seconds)
    mark("ended", key)

@step(cache=False)
def start(number: int) -> int:
    effect(f"{{number}}/start")
    return number

@step(cache=False)
def work(number: int, name: str, before: int) -> int:
    effect(f"{{number}}/{{name}}")
    return before + 1

@step(cache=False, retries=3, backoff="0.02s")
def flaky(number: int, name: str, before: int) -> int:
    import rung
    effect(f"{{number}}/{{name}}")
    if rung.context().attempt % 2:
        raise ConnectionError("every first attempt fails")
    return before + 1

@step(cache=False, executor="pool")
def apart(number: int, name: str, before: int) -> int:
    effect(f"{{number}}/{{name}}")
    return before + 1

@step(cache=False)
def item(number: int, name: str, x: int) -> int:
    effect(f"{{number}}/{{name}}/{{x}}", 0.002)
    return 2 * x

@step(cache=False, run="always")
def tidy(number: int, found: list[int]) -> int:
    effect(f"{{number}}/tidy")
    return sum(found)

@pipeline
def thirty(number: int):
    first = start(number)
    lanes = []
    for lane in range(4):
        held = first
        for place in range(4):
            held = work(number, f"work-{{lane}}-{{place}}", held)
        lanes.append(flaky(number, f"flaky-{{lane}}", held))
    lanes.append(apart(number, "apart-0", lanes[0]))
    lanes.append(apart(number, "apart-1", lanes[1]))
    one = item.map(number=unmapped(number), name=unmapped("one"), x=list(range({items})))
    two = item.map(number=unmapped(number), name=unmapped("two"), x=one, batch=3)
    held = work(number, "join", first).after(two)
    for place in range(3):
        held = work(number, f"last-{{place}}", held)
    lanes.append(held)
    return tidy(number, lanes)
"""
STEPS = 30
_ANSWER = 4 * (4 + 1) + 2 * (4 + 2) + 4  # what thirty(0) answers; each of seven lanes starts at the run's number


def write_project(folder: Path, *, database: str = "") -> Settings:
    """A project in a folder whose steps mark what they do in a file beside it."""
    folder.mkdir(parents=True)
    storage = f'[storage]\ndatabase = "{database}"\n' if database else ""
    (folder / "rung.toml").write_text(f"[engine]\nlease_s = 5.0\ntick_s = 0.05\nworkers = 3\n{storage}")
    (folder / "pipelines.py").write_text(PROJECT.format(marks=str(marks_of(folder)), items=ITEMS))
    marks_of(folder).touch()
    return load_settings(folder, environ={})


def marks_of(folder: Path) -> Path:
    """The file of side effects."""
    return folder.parent / "marks"


@dataclass
class Nursery:
    """The warmed process, and the children it has forked."""

    folder: Path
    process: subprocess.Popen[str] = field(init=False)
    children: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = Path(__file__).parents[2]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RUNG_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.nursery", str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=root, env={**environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src"), environ.get("PYTHONPATH", "")])},
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == "ready"

    def fork(self, kind: str) -> int:
        """A new child of a kind."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        self.children[child] = kind
        return child

    def kill(self, child: int) -> str:
        """End a child without a word; what kind it was."""
        os.kill(child, signal.SIGKILL)
        return self.children.pop(child)

    def close(self) -> None:
        """End every child and the nursery."""
        for child in list(self.children):
            with suppress(ProcessLookupError):
                self.kill(child)
        self.process.kill()
        self.process.communicate()


@dataclass
class Toll:
    """What a campaign did."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: list[str] = field(default_factory=list)
    fell: list[str] = field(default_factory=list)
    seconds: float = 0.0


def campaign(folder: Path, *, kills: int, seed: int, every_s: tuple[float, float], workers: int = 3, wait_s: float = 120.0) -> Toll:
    """Kill so many processes at random while runs go on; then let every run come to its end."""
    chance, toll, began = random.Random(seed), Toll(), time.monotonic()
    nursery = Nursery(folder)
    with Client(local_transport(load_settings(folder, environ={}))) as client:
        try:
            client.pipelines.register()
            for kind in ["worker"] * workers + ["server"]:
                nursery.fork(kind)
            while toll.kills.total() < kills:
                _keep_busy(client, toll)
                time.sleep(chance.uniform(*every_s))
                victim = chance.choice(list(nursery.children))
                kind = nursery.children[victim]
                try:
                    nursery.kill(victim)
                    toll.kills[kind] += 1
                except ProcessLookupError:  # it had ended by itself, which no child should
                    nursery.children.pop(victim)
                    toll.fell.append(kind)
                nursery.fork(kind)
            _wait_for(client, toll, wait_s)
        finally:
            nursery.close()
    toll.seconds = time.monotonic() - began
    return toll


def _keep_busy(client: Client, toll: Toll) -> None:
    under_way = [run for run in client.pipelines.runs("thirty", limit=6).items if run.status in {"queued", "running"}]
    for _ in range(2 - len(under_way)):
        toll.runs.append(client.pipelines.run("thirty", {"number": 1000 + len(toll.runs)}, wait=False).id)


def _wait_for(client: Client, toll: Toll, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(client.pipelines.runs("thirty", status=status, limit=1).items for status in ("queued", "running")):
            return
        time.sleep(0.1)


def verify(folder: Path, toll: Toll) -> dict[str, int]:
    """Check every promise of every run; how much there was to check. Raises AssertionError with what does not hold."""
    effects = _effects(marks_of(folder))
    found: Counter[str] = Counter()
    with Client(local_transport(load_settings(folder, environ={}))) as client:
        for number, run in enumerate(toll.runs, start=1000):
            detail = client.pipelines.get(run)
            assert detail.run.status == "succeeded", (run, detail.run.status, detail.run.error)
            assert len(detail.steps) == STEPS
            assert detail.run.outputs[0].inline == str(_ANSWER + 7 * number).encode()
            found["runs"] += 1
            found["steps"] += len(detail.steps)
            found["attempts"] += len(detail.attempts)
            found["lost"] += sum(attempt.status == "lost" for attempt in detail.attempts)
            _verify_steps(number, detail, effects)
            for step in detail.steps:
                if step.items:
                    items = client.pipelines.items(run, step.key, limit=1000)
                    _verify_items(number, step.key, items, effects)
                    found["items"] += len(items)
        assert client.governance.verify_audit().intact
    found["effects"] = sum(len(began) for began in effects.values())
    return dict(found)


def _verify_steps(number: int, detail: PipelineRunDetail, effects: dict[str, list[int]]) -> None:
    for step, name in zip(detail.steps, _names(), strict=True):
        attempts = [attempt for attempt in detail.attempts if attempt.step_run == step.id]
        ended = step.ended_at
        assert step.status == "succeeded", step
        assert ended is not None
        if name is None:  # a map: its items are looked at one by one
            continue
        assert sum(attempt.status == "succeeded" for attempt in attempts) == 1, (step.key, [a.status for a in attempts])
        assert all(attempt.status != "running" for attempt in attempts)
        assert attempts[-1].status == "succeeded", step.key
        began = effects[f"{number}/{name}"]
        assert 1 <= len(began) <= len(attempts), (step.key, began, len(attempts))
        assert max(began) <= ended.timestamp() * 1e9, f"{step.key} began again after it had ended"


def _verify_items(number: int, key: str, items: tuple[StepItem, ...], effects: dict[str, list[int]]) -> None:
    name, inputs = ("one", range(ITEMS)) if key == "item" else ("two", range(0, 2 * ITEMS, 2))
    assert [item.position for item in items] == list(range(ITEMS))
    for item, value in zip(items, inputs, strict=True):
        began = effects[f"{number}/{name}/{value}"]
        assert item.status == "succeeded"
        assert item.outputs[0].inline == str(2 * value).encode()
        assert began
        assert item.ended_at is not None
        assert max(began) <= item.ended_at.timestamp() * 1e9, f"item {item.position} of {key} began again after it had ended"


def _names() -> list[str | None]:
    """The names by which the steps of the plan mark their effects, in its order; None for maps."""
    found: list[str | None] = ["start"]
    for lane in range(4):
        found += [f"work-{lane}-{place}" for place in range(4)] + [f"flaky-{lane}"]
    return [*found, "apart-0", "apart-1", None, None, "join", "last-0", "last-1", "last-2", "tidy"]


def _effects(marks: Path) -> dict[str, list[int]]:
    """When each effect began, by its key, in nanoseconds."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for line in marks.read_text().splitlines():
        what, key, _, at = line.split()
        if what == "began":
            found[key].append(int(at))
    return found
