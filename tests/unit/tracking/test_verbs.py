"""Tables, figures, models, searches and offline runs."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

import rung
from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.client.modelling import MANIFEST, Manifest
from rung.client.places import place_of
from rung.client.syncing import sync
from rung.client.uncommitted import uncommitted
from rung.core.errors import Invalid, Unavailable
from rung.tracking.records import MetricPoint, MetricSeries


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_HOME", str(home))


ROWS = [{"month": 3, "auc": 0.7, "note": "a"}, {"month": 4, "auc": float("nan"), "note": None}]


@pytest.mark.parametrize(
    "table",
    [
        ROWS,
        pl.DataFrame(ROWS),
        pl.DataFrame(ROWS).lazy(),
        pd.DataFrame(ROWS),
        pa.Table.from_pylist(ROWS),
        {"month": [3, 4], "auc": [0.7, 0.6]},
    ],
    ids=["rows", "polars", "lazy", "pandas", "arrow", "columns"],
)
def test_a_table_is_kept_as_parquet_with_a_preview(client: Client, table: Any, tmp_path: Path) -> None:
    with rung.start_run(client=client) as run:
        kept = rung.log_table(table, "tables/scores.parquet")
    (tmp_path / "t.parquet").write_bytes(client.transport.get_blob(kept.digest))
    assert pl.read_parquet(tmp_path / "t.parquet")["month"].to_list() == [3, 4]
    preview = json.loads(client.tracking.read_artifact(run.id, "tables/scores.preview.json"))
    assert preview["rows"] == 2
    assert preview["head"][0][:2] == [3, 0.7]


@pytest.mark.parametrize("table", ["text", 3, object(), b"x"])
def test_what_is_no_table_is_refused(client: Client, table: Any) -> None:
    with rung.start_run(client=client), pytest.raises(Invalid, match="is no table"):
        rung.log_table(table)


def test_figures_of_matplotlib_and_pillow_and_bytes_are_kept(client: Client) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure()
    figure.subplots().plot([1, 2])
    with rung.start_run(client=client) as run:
        rung.log_figure(figure, "curves/a.svg")
        rung.log_figure(figure)
        rung.log_figure(Image.new("RGB", (4, 4)), "image.webp")
        rung.log_figure(b"\x89PNG", "raw.png")
        for wrong, path in ((3, "x.png"), (figure, "x.exe"), (Image.new("RGB", (1, 1)), "x.txt")):
            with pytest.raises(Invalid, match=r"figure|x\."):
                rung.log_figure(wrong, path)
    kept = {item.path: item.media_type for item in client.tracking.artifacts(run.id)}
    assert kept == {"curves/a.svg": "image/svg+xml", "figure.png": "image/png", "image.webp": "image/webp", "raw.png": "image/png"}


def test_texts_dicts_and_folders_are_kept(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    for number in range(20):
        (folder / "deep" / f"{number}.txt").write_text(str(number))
    with rung.start_run(client=client) as run:
        rung.log_text("grüße", "notes/a.txt")
        rung.log_dict({"a": np.arange(3), "b": np.float32(0.5), "c": Path("x"), "d": datetime(2013, 1, 1, tzinfo=UTC)}, "config.json")
        assert len(rung.log_artifacts(folder, "all")) == 20
        with pytest.raises(Invalid, match=r"does not end in \.json"):
            rung.log_dict({}, "config.yaml")
        with pytest.raises(Invalid, match="log_artifacts"):
            rung.log_artifact(folder)
        with pytest.raises(Invalid, match="There is no file"):
            rung.log_artifact("nothing.txt")
    assert client.tracking.read_artifact(run.id, "notes/a.txt").decode() == "grüße"
    assert json.loads(client.tracking.read_artifact(run.id, "config.json")) == {
        "a": [0, 1, 2], "b": 0.5, "c": "x", "d": "2013-01-01T00:00:00Z"
    }  # fmt: skip
    assert client.tracking.read_artifact(run.id, "all/deep/7.txt") == b"7"
    written = client.tracking.download_artifacts(run.id, tmp_path / "copy", "all")
    assert len(written) == 20


def fitted() -> tuple[LogisticRegression, pl.DataFrame]:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.normal(size=60), "b": generator.normal(size=60)})
    return LogisticRegression().fit(frame, frame["a"] > frame["b"]), pl.from_pandas(frame)


def test_a_logged_model_keeps_its_files_and_how_to_read_them(client: Client) -> None:
    estimator, frame = fitted()
    with rung.start_run("models", client=client) as run:
        model = rung.log_model(estimator, "ranker", example=frame, label="late", tags={"stage": "try"})
    found = client.tracking.logged_model(model.id)
    assert (found.status, found.name, found.run, found.type) == ("ready", "ranker", run.id, "skops")
    assert found.experiment_number == client.tracking.get(run.id).experiment_number
    assert found.tags["stage"] == "try"
    manifest = msgspec.json.decode(client.tracking.read_artifact(f"m-{model.id}", MANIFEST), type=Manifest)
    assert (manifest.task, [field.name for field in manifest.signature.inputs]) == ("binary", ["a", "b"])
    paths = {item.path for item in client.tracking.artifacts(f"m-{model.id}")}
    assert paths == {MANIFEST, "example.parquet", *[file.path for file in manifest.files]}
    assert [link.model for link in client.tracking.get(run.id).models] == [model.id]


def test_a_model_is_registered_on_the_way(client: Client) -> None:
    estimator, frame = fitted()
    with rung.start_run("models", client=client) as run:
        model = rung.log_model(estimator, example=frame, label="late", register_as="delays")
        with pytest.raises(Invalid, match="name of its label"):
            rung.log_model(estimator, example=frame, register_as="delays")
        with pytest.raises(Invalid, match="has no example"):
            rung.log_model(estimator)
    version = client.registry.version("delays", 1)
    assert (version.run_id, version.tags["rung.logged_model"]) == (run.id, model.id)
    assert client.tracking.logged_model(model.id).tags["rung.version"] == "delays:1"


def test_runs_are_found_as_a_frame(client: Client, transport: LocalTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    import rung.client.current as module

    monkeypatch.setattr(module, "_client", lambda: client)
    for depth, kind in ((3, "tree"), (5, 7), (8, "forest")):
        with rung.start_run("frames", params={"depth": depth, "kind": kind}, tags={"kept": "yes"}):
            rung.log_metric("auc", depth / 10)
    frame = rung.search_runs("metrics.auc > 0.4", experiments="frames", order_by="metrics.auc DESC")
    assert frame["params.depth"].to_list() == [8, 5]
    assert frame["params.kind"].to_list() == ["forest", "7"]
    assert frame["metrics.auc"].to_list() == [0.8, 0.5]
    assert frame["run"].to_list() == ["frames:3", "frames:2"]
    assert isinstance(rung.search_runs(limit=1, as_pandas=True), pd.DataFrame)
    assert rung.search_runs("metrics.auc > 9").height == 0
    assert rung.get_run("frames:1").params["depth"] == 3
    history = rung.history("frames:1", "auc")
    assert (history.columns, history["value"].to_list()) == (["step", "at", "value"], [0.3])
    with pytest.raises(Invalid):
        rung.search_runs("metrics.auc >")


def synced(client: Client, root: Path) -> list[tuple[str, str]]:
    return [(item.outcome, item.message) for item in sync(root, client.transport, place_of(client.transport))]


def test_an_offline_run_arrives_whole_with_its_artifacts_and_models(client: Client, home: Path) -> None:
    estimator, frame = fitted()
    with rung.start_run("field", "buoy", params={"depth": 3}, tags={"a": "b"}, offline=True) as run:
        for step in range(500):
            rung.log_metric("loss", 1 / (step + 1), step)
        with rung.start_run("field", offline=True) as child:
            rung.log_param("inner", 1)
        rung.log_artifact(b"text", "notes.txt")
        rung.log_table(ROWS)
        model = rung.log_model(estimator, example=frame, label="late", register_as="delays")
    assert client.tracking.search().items == ()
    assert synced(client, home / "spool") == [("sent", ""), ("sent", "")]
    found = client.tracking.get(run.id)
    assert (found.name, found.status, found.params, found.tags["a"]) == ("buoy", "succeeded", {"depth": 3}, "b")
    assert client.transport.get_blob(found.lock)
    assert client.tracking.get(child.id).parent == run.id
    assert client.tracking.history(run.id, "loss").total == 500
    assert client.tracking.read_artifact(run.id, "notes.txt") == b"text"
    assert client.tracking.logged_model(model.id).experiment_number == found.experiment_number
    assert client.tracking.logged_model(model.id).status == "ready"
    assert client.registry.version("delays", 1).run_id == run.id
    assert synced(client, home / "spool") == []


class Failing:
    """A transport that fails at its n-th call, after or before the platform has kept what it was sent."""

    def __init__(self, inner: LocalTransport, at: int, *, after: bool) -> None:
        self._inner, self._left, self._after = inner, at, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def call(self, request: Any) -> Any:
        return self._sometimes(lambda: self._inner.call(request))

    def put_blob(self, source: Any) -> Any:
        return self._sometimes(lambda: self._inner.put_blob(source))

    def _sometimes(self, work: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Unavailable("away", code="transport.unreachable")
        answer = work()
        if self._left == 0:
            raise Unavailable("answer lost", code="transport.unreachable")
        return answer


@pytest.mark.parametrize("after", [False, True])
def test_a_sync_broken_off_anywhere_is_finished_by_the_next_without_doubles(
    client: Client, transport: LocalTransport, home: Path, *, after: bool
) -> None:
    estimator, frame = fitted()
    with rung.start_run("field", offline=True) as run:
        rung.log_metrics({"loss": 0.5, "auc": 0.7}, step=1)
        rung.log_artifact(b"text", "notes.txt")
        rung.log_metrics({"loss": 0.4}, step=2)
        rung.log_model(estimator, example=frame, label="late", register_as="delays")
    for at in range(1, 60):
        faulty = Failing(transport, at % 5 + 1, after=after)
        outcomes = [item.outcome for item in sync(home / "spool", faulty, place_of(transport))]  # type: ignore[arg-type]  # as a transport does
        if outcomes == ["sent"]:
            break
        assert outcomes == ["failed"]
    assert client.tracking.get(run.id).status == "succeeded"
    assert [point.value for point in client.tracking.history(run.id, "loss").points] == [0.5, 0.4]
    assert len(client.registry.versions("delays").items) == 1
    assert len(client.tracking.logged_models().items) == 1
    assert not (home / "spool" / run.id).exists()


def test_a_full_spool_drops_points_loudly_and_the_run_says_how_many(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import rung.client.outbox as module

    monkeypatch.setenv("RUNG_SPOOL_MB", "1")
    with rung.start_run(client=client) as run, monkeypatch.context() as away:
        away.setattr(module.Outbox, "_sends_all", lambda self, dispatch: True)
        for step in range(100_000):
            rung.log_metric("loss", 0.5, step)
        assert run._outbox is not None
        dropped = run._outbox.dropped
        with pytest.raises(Unavailable, match="reached its 1 MiB"):
            run._outbox.blob(b"x" * (1 << 20))
    found = client.tracking.get(run.id)
    assert 0 < dropped < 100_000
    assert found.tags["rung.dropped_points"] == str(dropped)
    assert client.tracking.history(run.id, "loss").total == 100_000 - dropped
    assert capsys.readouterr().err.count("Points are being dropped") == 1


def test_a_dirty_tree_leaves_its_patch_without_files_of_secrets(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True, capture_output=True
        )

    git("init", "-q")
    for name in ("train.py", ".env", "server.key", "tokenizer.py"):
        (repository / name).write_text("one\n")
    git("add", "-A")
    git("commit", "-qm", "first")
    assert uncommitted(repository) == b""
    uncommitted.cache_clear()
    for name in ("train.py", ".env", "server.key", "tokenizer.py"):
        (repository / name).write_text("two\n")
    patch = uncommitted(repository).decode()
    uncommitted.cache_clear()
    assert "b/train.py" in patch
    assert "b/tokenizer.py" in patch
    assert ".env" not in patch
    assert "server.key" not in patch


def test_records_show_themselves_in_notebooks_escaped(client: Client) -> None:
    with rung.start_run("<b>", params={"<i>": "<script>"}, client=client) as run:
        rung.log_metric("loss", 0.5)
    page = client.tracking.get(run.id)._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "<svg" in client.tracking.history(run.id, "loss")._repr_html_()
    assert "&lt;b&gt;" in client.tracking.experiment("<b>")._repr_html_()
    nothing = MetricSeries(run=run.id, key="x", points=(MetricPoint(key="x", value=float("nan")),), total=1, thinned=False)
    assert "No finite values" in nothing._repr_html_()
