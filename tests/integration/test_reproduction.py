"""Reproduction as a whole: equal outputs, and a clear difference when data or a package is changed behind a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.errors import Conflict, NotFound, Unavailable
from rung.core.settings import load_settings
from rung.engine.loop import Engine
from rung.engine.reproducing import comparing
from rung.pipelines.project import files_of, forget_modules
from rung.pipelines.reproducing import DeployedVersion, FileReproductionReport, OutputComparison, Reproduce, Reproduction
from tests.unit.pipelines.wheels import wheel

LEARNING = """
import polars as pl
from sklearn.linear_model import LinearRegression

import rung
from rung import pipeline, step


@step
def read(path: str) -> pl.DataFrame:
    return pl.read_csv(path)

@step
def fit(rows: pl.DataFrame) -> LinearRegression:
    model = LinearRegression().fit(rows.select("x"), rows["y"].to_numpy())
    rung.log_metric("slope", float(model.coef_[0]))
    return model

@pipeline
def train(path: str = "data.csv"):
    return fit(read(path))

@step(cache=False)
def enter(model: LinearRegression, rows: pl.DataFrame) -> int:
    return rung.register_model("line", model, example=rows.select("x"), label="y").number

@pipeline
def learn(path: str = "data.csv"):
    rows = read(path)
    return enter(fit(rows), rows)

@step
def summary(dataset: rung.DatasetRef) -> int:
    return rung.connect().data.frame(dataset.dataset, dataset.number)["x"].sum()

@pipeline
def count(dataset: rung.DatasetRef):
    return summary(dataset)
"""
PLAIN = """
import random
import socket
from pathlib import Path

from rung import pipeline, step


@step(environment="tiny.txt")
def rate() -> float:
    import tiny
    return tiny.RATE

@step
def priced(value: float) -> float:
    return value * 10

@pipeline
def price():
    return priced(rate())

@step
def call(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plug:
        return plug.recv(2).decode()

@pipeline
def reach(port: int):
    return call(port)

@step
def square(x: int) -> float:
    if x == 3 and Path(MARK).exists():
        return 9.5
    return float(x * x)

@step
def add(values: list[float]) -> float:
    return sum(values)

@pipeline
def squares():
    return add(square.map(list(range(6))))

@step
def chance(count: int) -> list[float]:
    return [random.random() for _ in range(count)]

@step(tolerance=0.5)
def near() -> float:
    return 2.0 if Path(MARK).exists() else 1.5

@pipeline
def wobbly():
    return [chance(3), near()]
"""

pytestmark = pytest.mark.timeout(900)  # every step of a reproduction starts an interpreter that loads scikit-learn


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project folder with data beside it, and in it the working folder."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "rung.toml").write_text('pipelines = ["learning", "plain"]\n')
    (place / "learning.py").write_text(LEARNING)
    (place / "plain.py").write_text(PLAIN.replace("MARK", repr(str(tmp_path / "mark"))))
    (place / "data.csv").write_text("x,y\n1,2\n2,4\n3,6\n4,8\n")
    wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 2.5\n"})
    (place / "tiny.txt").write_text(f"tiny @ file://{tmp_path}/wheels/tiny-1.0-py3-none-any.whl\n")
    monkeypatch.chdir(place)
    _forget(place)
    yield place
    _forget(place)


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    """A client of the project's own platform."""
    with Client(local_transport(load_settings(folder, environ={}))) as opened:
        yield opened


def test_a_training_is_repeated_to_the_byte_and_the_report_says_so(client: Client) -> None:
    run = client.pipelines.run("train")
    found = client.pipelines.reproduce(run.id)
    assert (found.likeness, found.first_diverging_step, found.changes) == ("identical", "", ())
    assert [(m.metric, m.original, m.difference) for m in found.metrics] == [("slope", pytest.approx(2.0), 0.0)]
    assert found.network in {"kernel", "guard"}
    text = client.pipelines.reproduction_text(found.id)
    assert "IDENTICAL" in text
    assert "The libraries here are those recorded" in text
    trace = client.governance.trace("pipeline_run", run.id, direction="down")
    assert ("reproduction", found.id) in {(node.kind, node.id) for node in trace.nodes}


def test_a_verdict_is_filed_with_the_end_of_its_run_or_neither_is(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    run = client.pipelines.run("squares")
    compared, asked = comparing.compare_runs, []

    def broken_off(*given: Any) -> Any:
        save = compared(*given)
        asked.append(1)
        if len(asked) == 1:  # as by a kill at this moment
            raise RuntimeError("it was broken off")
        return save

    monkeypatch.setattr(comparing, "compare_runs", broken_off)
    wish = client.transport.call(Reproduce(id=run.id))
    engine = Engine(client.transport.platform)
    try:
        engine.run_until_idle()
    finally:
        engine.stop()
    assert client.pipelines.get(wish.id).run.status == "succeeded"
    assert [(found.repeated_as, found.likeness) for found in client.pipelines.reproductions(run.id)] == [(wish.id, "identical")]
    assert len(asked) == 2


def test_a_run_that_cannot_be_compared_fails_with_the_reason(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible(*_: Any) -> Any:
        raise NotFound("Blob blake3:00 is gone.", code="blobs.not_found", hint="Look in a backup.")

    run = client.pipelines.run("squares")
    monkeypatch.setattr(comparing, "compare_runs", impossible)
    with pytest.raises(Unavailable, match="It cannot be compared: Blob blake3:00 is gone"):
        client.pipelines.reproduce(run.id)


def test_data_changed_behind_a_run_is_the_cause_of_its_difference(client: Client, folder: Path) -> None:
    run = client.pipelines.run("train")
    (folder / "data.csv").write_text("x,y\n1,2\n2,4\n3,6\n4,9\n")
    found = client.pipelines.reproduce(run.id)
    assert (found.likeness, found.first_diverging_step) == ("different", "read")
    assert (found.changes[0].kind, found.changes[0].subject) == ("data", "file data.csv")
    table = _output(found, "read")
    assert [(p.name, p.detail) for p in table.parts] == [("y", "1 of 4 values differ")]
    model = _output(found, "fit")
    assert "recorded rows" in model.detail
    assert any(metric.likeness == "different" for metric in found.metrics)
    assert "data      file data.csv: was blake3:" in client.pipelines.reproduction_text(found.id)


def test_a_package_changed_behind_a_run_is_the_cause_of_its_difference(client: Client, tmp_path: Path) -> None:
    run = client.pipelines.run("price")
    assert client.pipelines.output(run.id) == 25.0
    assert client.pipelines.reproduce(run.id).likeness == "identical"
    wheel(tmp_path / "wheels", "tiny", "1.0", {"tiny.py": "RATE = 3.5\n"})
    found = client.pipelines.reproduce(run.id)
    assert (found.likeness, found.first_diverging_step) == ("different", "rate")
    assert found.changes[0].kind == "package"
    assert found.changes[0].subject.endswith("tiny-1.0-py3-none-any.whl")
    assert "was 2.5, is 3.5" in _output(found, "rate").detail


def test_a_dataset_version_is_fixed_and_its_damage_is_told(client: Client, folder: Path) -> None:
    client.data.add("numbers", pl.DataFrame({"x": [1, 2, 3]}))
    run = client.pipelines.run("count", {"dataset": "numbers"})
    assert list(run.inputs) == ["dataset numbers:1"]
    client.data.add("numbers", pl.DataFrame({"x": [1, 2, 4]}))
    assert client.pipelines.reproduce(run.id).likeness == "identical"
    digest = client.data.get("numbers", 1).files[0].digest
    _damage(folder / ".rung", digest, client)
    found = client.pipelines.reproduce(run.id)
    assert found.likeness == "different"
    first = found.changes[0]
    assert (first.kind, first.subject, first.was, first.now) == ("data", "dataset numbers:1", digest, "damaged")


def test_a_run_whose_code_is_damaged_cannot_be_repeated(client: Client, folder: Path) -> None:
    run = client.pipelines.run("wobbly")
    _damage(folder / ".rung", files_of(run.code, client.transport.get_blob)["plain.py"], client)
    with pytest.raises(Unavailable, match="cannot be repeated") as caught:
        client.pipelines.reproduce(run.id)
    assert caught.value.code == "pipelines.not_restored"


def test_packages_and_reproductions_work_the_same_on_each_database(backend: str, folder: Path, request: pytest.FixtureRequest) -> None:
    flags = {"storage.database": request.getfixturevalue("postgres").new_database()} if backend == "postgresql" else {}
    (folder / "requirements.lock").write_text("# nothing but Rung\n")
    with Client(local_transport(load_settings(folder, environ={}, flags=flags))) as client:
        package = client.packages.build("wobbly", "squares")
        staged = client.packages.release(package.digest, "staging", pipeline="wobbly")
        found = client.pipelines.reproduce(str(staged.pipeline_run))
        assert (staged.status, found.likeness) == ("succeeded", "identical")
        assert client.packages.release(package.digest, "production", pipeline="wobbly").status == "succeeded"
        assert client.packages.check().holds
        assert client.packages.approvals(package.digest, "production").missing == ""
        assert client.pipelines.reproduction(found.id) == found


def test_a_repeated_step_does_not_reach_the_network(client: Client) -> None:
    import socket
    import threading

    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        plug.listen()

        def answer() -> None:
            for _ in range(2):
                other, _ = plug.accept()
                other.sendall(b"ok")
                other.close()

        threading.Thread(target=answer, daemon=True).start()
        run = client.pipelines.run("reach", {"port": plug.getsockname()[1]})
        closed = client.pipelines.reproduce(run.id)
        opened = client.pipelines.reproduce(run.id, network=True)
    assert (closed.likeness, closed.first_diverging_step) == ("different", "call")
    assert (opened.likeness, opened.network) == ("identical", "open")


def test_a_map_is_compared_item_by_item(client: Client, tmp_path: Path) -> None:
    run = client.pipelines.run("squares")
    assert client.pipelines.reproduce(run.id).likeness == "identical"
    (tmp_path / "mark").touch()
    found = client.pipelines.reproduce(run.id)
    assert (found.likeness, found.first_diverging_step) == ("different", "square")
    assert [(c.item, c.likeness) for c in found.comparisons if c.step == "square"] == [(None, "identical"), (3, "different")]
    assert "5 of 6 items" in next(c.detail for c in found.comparisons if c.step == "square")


def test_a_declared_tolerance_makes_a_difference_equivalent(client: Client, tmp_path: Path) -> None:
    run = client.pipelines.run("wobbly")
    (tmp_path / "mark").touch()
    found = client.pipelines.reproduce(run.id)
    assert found.likeness == "equivalent"
    assert {c.step: c.likeness for c in found.comparisons} == {"chance": "identical", "near": "equivalent"}
    assert _output(found, "near").tolerance == 0.5


def test_libraries_are_built_anew_when_that_is_asked(client: Client, folder: Path, tmp_path: Path) -> None:
    (folder / "requirements.lock").write_text(f"tiny @ file://{tmp_path}/wheels/tiny-1.0-py3-none-any.whl\n")
    run = client.pipelines.run("wobbly")
    found = client.pipelines.reproduce(run.id, rebuild=True)
    assert (found.likeness, found.rebuilt) == ("identical", True)
    assert found.notes[0].startswith("The libraries were built anew from requirements.lock")


def test_everything_deployed_is_reproduced_and_reported(client: Client, folder: Path) -> None:
    client.pipelines.run("learn")
    client.registry.register("loose", _fitted(), example=pl.DataFrame({"x": [1.0, 2.0]}), label="y")
    client.serving.deploy("lines", "line", 1, override_reason="a test")
    client.serving.deploy("loose", "loose", 1, override_reason="a test")
    report = client.pipelines.reproduce_deployed()
    told = {entry.version.model: (entry.likeness, entry.problem) for entry in report.entries}
    assert told["line"] == ("identical", "")
    assert told["loose"][0] == ""
    assert "not made by a pipeline run" in told["loose"][1]
    assert not report.holds
    client.serving.undeploy("loose")
    assert client.pipelines.reproduce_deployed().holds
    (folder / "data.csv").write_text("x,y\n1,2\n2,4\n3,6\n4,9\n")
    changed = client.pipelines.reproduce_deployed()
    assert (changed.holds, changed.entries[0].first_diverging_step, changed.entries[0].changes[0].kind) == (False, "read", "data")
    assert client.pipelines.reproduction_reports()[0].id == changed.id
    assert b'"holds":false' in client.transport.get_blob(changed.digest)


def test_a_report_takes_no_reproduction_of_another_run(client: Client) -> None:
    found = client.pipelines.reproduce(client.pipelines.run("wobbly").id)
    version = DeployedVersion(
        deployment="d", environment="production", model="m", number=1, pipeline_run="0" * 32, reproduction=found.id
    )  # fmt: skip
    with pytest.raises(Conflict, match="not of"):
        client.transport.call(FileReproductionReport(versions=(version,)))


def test_side_effects_are_repeated_only_when_asked(client: Client) -> None:
    run = client.pipelines.run("learn")
    assert client.pipelines.reproduce(run.id).not_repeated == ("enter",)
    again = client.pipelines.reproduce(run.id, repeat=["enter"])
    assert (again.not_repeated, again.first_diverging_step) == ((), "enter")  # the second version has another number
    with pytest.raises(NotFound, match="no step 'nothing'"):
        client.pipelines.reproduce(run.id, repeat=["nothing"])


def _fitted() -> LinearRegression:
    return LinearRegression().fit(pl.DataFrame({"x": [1.0, 2.0]}), [2.0, 4.0])


def _output(found: Reproduction, step: str) -> OutputComparison:
    return next(c for c in found.comparisons if c.step == step)


def _damage(home: Path, digest: str, client: Client) -> None:
    """Change one byte of a blob where it lies."""
    data = client.transport.get_blob(digest)
    middle = data[len(data) // 2 - 8 : len(data) // 2 + 8]
    for file in (home / "blobs").rglob("*"):
        if file.is_file() and middle in (held := file.read_bytes()):
            file.chmod(0o644)
            place = held.index(middle)
            file.write_bytes(held[:place] + bytes([held[place] ^ 1]) + held[place + 1 :])
            return
    raise AssertionError(f"blob {digest} is in no file")


def _forget(place: Path) -> None:
    forget_modules(place.resolve())
    for name in ("learning", "plain"):
        sys.modules.pop(name, None)
    while str(place) in sys.path:
        sys.path.remove(str(place))
