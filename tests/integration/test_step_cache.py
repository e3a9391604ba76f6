"""Runs over the cache: what runs again, what need not, and why, on a real home."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.app.local import LocalTransport, local_transport
from rung.client.client import Client
from rung.core.errors import NotFound
from rung.core.settings import Settings, load_settings
from rung.pipelines.libraries import Library, LibraryIndex, Requirement
from rung.pipelines.project import forget_modules
from rung.pipelines.records import Change, GetPipelineRun, RunPipeline
from tests.servers import PostgresServer

PROJECT = """
import os
from pathlib import Path
import numpy as np
from rung import pipeline, step
from helpers import rate

def mark(name):
    with Path({marks!r}).open("a") as file:
        file.write(name + "\\n")

@step
def load(n: int = 3, note: str = "") -> list[int]:
    mark("load")
    return list(range(n))

@step
def square(x: int) -> float:
    mark(f"square {{x}}")
    return x * x * rate()

@step
def total(values: list[float]) -> float:
    mark("total")
    return float(np.sum(values))

@step(ttl="1h")
def price(x: float) -> float:
    mark("price")
    return x

@step(files=("rates/*.txt",), variables=("TAX",))
def taxed(x: float) -> float:
    mark("taxed")
    return x * float(Path("rates/a.txt").read_text()) + float(os.environ.get("TAX", "0"))

@step
def sneaky(x: float) -> float:
    mark("sneaky")
    return x * float((Path(__file__).parent / "secret.txt").read_text()) + float(os.environ.get("HIDDEN", "0"))

@step(isolated=True)
def apart(x: float) -> float:
    return x * float((Path(__file__).parent / "secret.txt").read_text()) + float(os.environ.get("HIDDEN", "0"))

@pipeline
def audited_apart():
    return apart(2.0)

@pipeline
def line(n: int = 3, note: str = ""):
    return total(load(n, note))

@pipeline
def wide(n: int = 3):
    return total(square.map(load(n)))

@pipeline
def inner(n: int = 3):
    return load(n)

@pipeline
def nested(n: int = 3):
    return total(inner(n))

@pipeline
def aged(n: int = 3):
    return price(total(load(n)))

@pipeline
def declared():
    return taxed(2.0)

@pipeline
def audited():
    return sneaky(2.0)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project folder."""
    place = tmp_path / "project"
    (place / "rates").mkdir(parents=True)
    (place / "rung.toml").write_text('project = "default"\n')
    (place / "pipelines.py").write_text(PROJECT.format(marks=str(tmp_path / "marks")))
    (place / "helpers.py").write_text("def rate():\n    return 2.0\n")
    (place / "rates" / "a.txt").write_text("2.0")
    (place / "secret.txt").write_text("3.0")
    monkeypatch.chdir(place)
    forget_modules(place)
    for name in ("pipelines", "helpers"):
        sys.modules.pop(name, None)
    yield place
    for name in ("pipelines", "helpers"):
        sys.modules.pop(name, None)
    while str(place) in sys.path:
        sys.path.remove(str(place))


@pytest.fixture
def project(folder: Path, tmp_path: Path) -> Iterator[Client]:
    """A client of an embedded platform whose home lies beside the project."""
    transport = local_transport(_settings(folder, tmp_path))
    yield Client(transport)
    transport.close()


def _settings(folder: Path, tmp_path: Path, **flags: str) -> Settings:
    return load_settings(folder, environ={}, flags={"home": str(tmp_path / "home"), **flags})


def _ran(tmp_path: Path) -> list[str]:
    """What ran since the last look."""
    file = tmp_path / "marks"
    found = file.read_text().split("\n")[:-1] if file.exists() else []
    file.unlink(missing_ok=True)
    return sorted(found)


def _reason(client: Client, run: str, key: str) -> str:
    return next(step.reason for step in client.transport.call(GetPipelineRun(id=run)).steps if step.key == key)


def test_a_step_whose_input_came_out_equal_does_not_run(project: Client, tmp_path: Path) -> None:
    project.pipelines.run("line")
    assert _ran(tmp_path) == ["load", "total"]
    project.pipelines.run("line", {"note": "other"})
    assert _ran(tmp_path) == ["load"]


def test_a_map_runs_its_new_items_only(project: Client, tmp_path: Path) -> None:
    project.pipelines.run("wide")
    assert _ran(tmp_path) == ["load", "square 0", "square 1", "square 2", "total"]
    run = project.pipelines.run("wide", {"n": 4})
    assert _ran(tmp_path) == ["load", "square 3", "total"]
    assert project.pipelines.output(run.id) == 28.0
    project.pipelines.run("wide")
    assert _ran(tmp_path) == []


def test_an_edit_that_changes_no_value_stops_at_the_map(project: Client, folder: Path, tmp_path: Path) -> None:
    project.pipelines.run("wide")
    _ran(tmp_path)
    (folder / "helpers.py").write_text("def rate():\n    return 1.0 + 1.0\n")
    run = project.pipelines.run("wide")
    assert _ran(tmp_path) == ["square 0", "square 1", "square 2"]
    assert _reason(project, run.id, "square") == "Ran: code helpers.py:rate changed."
    assert _reason(project, run.id, "total").startswith("Cached")


def test_steps_of_a_sub_pipeline_share_the_results_of_others(project: Client, tmp_path: Path) -> None:
    project.pipelines.run("inner", {"n": 3})
    _ran(tmp_path)
    project.pipelines.run("nested", {"n": 3})
    assert _ran(tmp_path) in (["total"], ["load", "total"])  # a step's seed is its place in the plan, which a sub-pipeline may name anew
    project.pipelines.run("nested", {"n": 3})
    assert _ran(tmp_path) == []


def test_each_change_is_told_by_name(project: Client, folder: Path, tmp_path: Path) -> None:
    first = project.pipelines.run("wide")
    second = project.pipelines.run("wide", {"n": 4})
    told = {item.key: item for item in project.pipelines.explain(second.id)}
    assert told["load"].reason == "Ran: parameter n changed from 3 to 4."
    assert told["load"].changes == (Change(part="parameter", name="n", before="3", after="4"),)
    assert told["total"].reason == "Ran: input values changed."
    held = project.transport.call(GetPipelineRun(id=first.id))
    assert told["total"].compared_with == next(step.id for step in held.steps if step.key == "total")
    assert project.pipelines.explain("wide:1", "load")[0].reason == "Ran: it has no earlier result."
    with pytest.raises(NotFound):
        project.pipelines.explain(second.id, "nothing")


def test_a_bump_of_a_library_runs_what_reaches_it_and_nothing_else(
    project: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def index(**versions: str) -> LibraryIndex:
        held = {"numpy": "2.0", "base": "1.0", "other": "1.0", **versions}
        requires = {"numpy": (Requirement("base"),)}
        return LibraryIndex({n: Library(n, v, requires.get(n, ())) for n, v in held.items()}, {n: (n,) for n in held})

    def run_with(found: LibraryIndex) -> str:
        monkeypatch.setattr("rung.pipelines.keying.library_index", lambda cache: found)
        return project.pipelines.run("line").id

    run_with(index())
    _ran(tmp_path)
    run_with(index(other="2.0"))
    assert _ran(tmp_path) == []
    run = run_with(index(base="1.1"))
    assert _ran(tmp_path) == ["total"]
    assert _reason(project, run, "total") == "Ran: base 1.0 → 1.1."


def test_a_result_that_is_too_old_is_made_again(folder: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    from rung.app.opening import open_platform
    from rung.core.clock import FixedClock

    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    platform, first = open_platform(_settings(folder, tmp_path), clock)
    assert first is not None
    client = Client(LocalTransport(platform, token=first.secret))
    try:
        client.pipelines.run("aged")
        _ran(tmp_path)
        clock.advance(timedelta(minutes=59))
        client.pipelines.run("aged")
        assert _ran(tmp_path) == []
        clock.advance(timedelta(minutes=2))
        run = client.pipelines.run("aged")
        assert _ran(tmp_path) == ["price"]
        assert _reason(client, run.id, "price") == "Ran: its result is older than 3600 s."
    finally:
        platform.close()


def test_declared_files_and_variables_enter_the_key(project: Client, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pipelines.run("declared")
    project.pipelines.run("declared")
    assert _ran(tmp_path) == ["taxed"]
    (folder / "rates" / "a.txt").write_text("3.0")
    run = project.pipelines.run("declared")
    assert _reason(project, run.id, "taxed") == "Ran: file rates/a.txt changed."
    assert project.pipelines.output(run.id) == 6.0
    monkeypatch.setenv("TAX", "1")
    run = project.pipelines.run("declared")
    assert _reason(project, run.id, "taxed") == "Ran: variable TAX is new."
    assert project.pipelines.output(run.id) == 7.0


def test_an_audited_run_says_what_a_step_read_undeclared(project: Client, tmp_path: Path) -> None:
    run = project.pipelines.run("audited", audit=True)
    (told,) = project.pipelines.explain(run.id)
    assert told.undeclared == ("file secret.txt", "variable HIDDEN")
    again = project.pipelines.run("declared", audit=True)
    assert project.pipelines.explain(again.id)[0].undeclared == ()


def test_an_audit_sees_into_a_process_of_its_own(project: Client) -> None:
    run = project.pipelines.run("audited_apart", audit=True)
    assert (run.status, project.pipelines.explain(run.id)[0].undeclared) == ("succeeded", ("file secret.txt", "variable HIDDEN"))


def test_checkouts_with_homes_of_their_own_share_results_by_database_and_blobs(
    folder: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    database, other = postgres.new_database(), tmp_path / "other" / "checkout"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("__pycache__"))
    ran = []
    for number, place in enumerate((folder, other)):
        for name in ("pipelines", "helpers"):
            sys.modules.pop(name, None)
        flags = {"home": str(tmp_path / f"home{number}"), "storage.database": database, "storage.blobs": f"file://{tmp_path / 'blobs'}"}
        first = number == 0
        if not first:  # the second home is shown the token that the first made
            flags["token"] = (tmp_path / "home0" / "token").read_text().strip()
        transport = local_transport(load_settings(place, environ={}, flags=flags))
        try:
            run = Client(transport).pipelines.run("line")
            ran.append((run.status, _ran(tmp_path)))
        finally:
            transport.close()
            forget_modules(place)
            sys.path[:] = [path for path in sys.path if path != str(place)]
    assert ran == [("succeeded", ["load", "total"]), ("succeeded", [])]


def test_what_an_audit_found_can_enter_the_keys(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = local_transport(_settings(folder, tmp_path, **{"engine.cache_undeclared": "true"}))
    client = Client(transport)
    try:
        client.pipelines.run("audited", audit=True)
        _ran(tmp_path)
        client.pipelines.run("audited")
        client.pipelines.run("audited")
        assert _ran(tmp_path) == ["sneaky"]  # once, under the key that has what the audit found
        (folder / "secret.txt").write_text("4.0")
        run = client.pipelines.run("audited")
        assert _reason(client, run.id, "sneaky") == "Ran: file secret.txt changed."
        assert client.pipelines.output(run.id) == 8.0
        monkeypatch.setenv("HIDDEN", "1")
        assert client.pipelines.output(client.pipelines.run("audited").id) == 9.0
        (folder / "secret.txt").unlink()
        assert client.pipelines.run("audited").status == "failed"
    finally:
        transport.close()


def test_dropping_from_the_cache_makes_a_step_run(project: Client, tmp_path: Path) -> None:
    project.pipelines.run("line")
    _ran(tmp_path)
    assert project.cache.clear(step="total") == 1
    project.pipelines.run("line")
    assert _ran(tmp_path) == ["total"]


def test_two_runs_at_once_answer_the_same_and_leave_one_result(project: Client, tmp_path: Path) -> None:
    from rung.engine.loop import Engine

    platform = project.transport.platform  # type: ignore[attr-defined]
    Engine(platform).register()
    wishes = [project.transport.call(RunPipeline(pipeline="wide", params={"n": 6})) for _ in range(4)]
    engines = [Engine(platform) for _ in wishes]
    ended: list[str] = []

    def work(engine: Engine, run: str) -> None:
        ended.append(engine.execute(run).status)

    threads = [threading.Thread(target=work, args=(engine, wish.id)) for engine, wish in zip(engines, wishes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["succeeded"] * 4
    assert {project.pipelines.output(wish.id) for wish in wishes} == {110.0}
    assert len([item for item in project.cache.list(limit=100).items if item.step == "square[]"]) == 6


def test_another_process_hits_what_this_one_kept(project: Client, folder: Path, tmp_path: Path) -> None:
    import subprocess

    project.pipelines.run("line")
    _ran(tmp_path)
    project.transport.close()
    for seed in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": seed, "RUNG_HOME": str(tmp_path / "home")}
        subprocess.run([sys.executable, "-m", "rung.cli.main", "run", "line"], cwd=folder, env=environ, check=True, capture_output=True)
    assert _ran(tmp_path) == []


def test_a_dry_run_says_what_would_run_and_runs_nothing(project: Client, folder: Path, tmp_path: Path) -> None:
    told = {item.key: item for item in project.pipelines.preview("wide")}
    assert (told["load"].would, told["load"].reason) == ("run", "it has no earlier result")
    assert (told["square"].would, told["total"].would) == ("run", "run")
    assert _ran(tmp_path) == []
    project.pipelines.run("wide")
    assert {item.would for item in project.pipelines.preview("wide")} == {"cached"}
    told = {item.key: item for item in project.pipelines.preview("wide", {"n": 4})}
    assert (told["load"].would, told["load"].reason) == ("run", "parameter n changed from 3 to 4")
    assert told["square"].would == "unknown"
    assert "load" in told["square"].reason
    (folder / "helpers.py").write_text("def rate():\n    return 3.0\n")
    told = {item.key: item for item in project.pipelines.preview("wide", {"n": 4})}
    assert (told["square"].would, told["square"].reason) == ("run", "code helpers.py:rate changed")
    told = {item.key: item for item in project.pipelines.preview("wide")}
    assert (told["load"].would, told["square"].would, told["total"].would) == ("cached", "run", "unknown")
    _ran(tmp_path)
    assert project.pipelines.runs("wide").items[0].number == 1
