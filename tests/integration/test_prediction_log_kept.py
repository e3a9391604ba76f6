"""The prediction log of a deployment: what is kept, asked for, compacted, counted, erased and pruned."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.cli.main import cli
from rung.client.client import Client
from rung.core.errors import Invalid
from rung.engine import log_keeping
from rung.engine.log_keeping import LogKeeper
from rung.serving import records as r
from rung.serving.live import live_table
from rung.serving.log import log_folder, segments
from rung.serving.log_records import CountPredictions, ErasePredictions, ListRemovals, PrunePredictions, QueryPredictions
from rung.serving.options import DeploymentOptions, LogOptions
from rung.serving.predictions import SCHEMA

NAME = "tiny"


def deployed(client: Client, rows: int = 400, **logging: object) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({"a": generator.normal(size=rows), "b": generator.normal(size=rows), "age": np.arange(rows) % 80})
    model = LogisticRegression().fit(frame.head(200).select("a", "b", "age"), (frame["a"] > 0).head(200).to_numpy().astype(int))
    client.registry.register(NAME, model, example=frame.head(20), label="y")
    client.serving.deploy(NAME, NAME, 1, environment="staging", options=DeploymentOptions(logging=LogOptions(**logging)))  # type: ignore[arg-type]
    return frame


def ids(n: int) -> list[str]:
    return [f"p{i:05d}" for i in range(n)]


def test_what_is_answered_is_read_back_before_and_after_compaction(client: Client, transport: LocalTransport) -> None:
    frame = deployed(client)
    times = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=i) for i in range(frame.height)]
    answered = client.serving.predict(NAME, frame, event_times=times, ids=ids(frame.height), batch=37)
    before = client.serving.predictions(NAME)
    assert before["prediction_id"].to_list() == ids(frame.height)
    assert before["event_time"].to_list() == times
    assert before["score"].to_list() == answered["score"].to_list()
    assert before.select(frame.columns).equals(frame)
    assert transport.call(r.CompactLog()) > 0
    after = client.serving.predictions(NAME)
    assert after.equals(before)
    transport.call(r.CompactLog())  # what files stand for is removed by the next call
    folder = log_folder(
        transport.platform.settings.home_path, next(iter(log_folder(transport.platform.settings.home_path, "x").parent.iterdir())).name
    )
    assert not segments(folder, sealed_only=True)
    assert client.serving.predictions(NAME).equals(before)
    part = client.serving.predictions(NAME, times[10], times[20])
    assert part["prediction_id"].to_list() == ids(20)[10:]
    found = client.serving.find("p00017")
    assert found.inputs["age"] == 17
    assert found.latency_ms >= 0


def test_many_small_files_become_one(client: Client, transport: LocalTransport) -> None:
    frame = deployed(client)
    for i in range(11):
        client.serving.predict(NAME, frame.slice(i * 10, 10), ids=ids(110)[i * 10 : i * 10 + 10])
        transport.call(r.CompactLog())
    held = transport.platform.database.read(lambda c: c.exec_driver_sql("select count(*), sum(rows) from prediction_file").one())
    assert held[0] <= 10
    assert held[1] == 110
    assert sorted(client.serving.predictions(NAME)["prediction_id"].to_list()) == ids(110)
    assert sum(x.logged for x in transport.call(CountPredictions(deployment=NAME))) == 110


def test_a_share_is_kept_and_all_are_counted(client: Client, transport: LocalTransport) -> None:
    frame = deployed(client, share=0.25)
    client.serving.predict(NAME, frame, ids=ids(frame.height))
    kept = set(client.serving.predictions(NAME)["prediction_id"].to_list())
    assert 60 < len(kept) < 140  # a binomial of 400 and a quarter is within 60 to 140 but for one in ten thousand
    (count,) = transport.call(CountPredictions(deployment=NAME))
    assert (count.logged, count.unlogged) == (len(kept), 400 - len(kept))
    assert sum(row.rows for row in client.serving.served(NAME)) == 400
    client.serving.predict(NAME, frame, ids=ids(frame.height))
    assert set(client.serving.predictions(NAME)["prediction_id"].to_list()) == kept  # the same ids again


def test_masked_columns_are_hashes_that_join_and_dropped_ones_are_gone(client: Client, transport: LocalTransport) -> None:
    frame = deployed(client, masked=("age",), dropped=("b",))
    client.serving.predict(NAME, frame, ids=ids(frame.height))
    held = client.serving.predictions(NAME)
    assert "b" not in held.columns
    assert held["age"].dtype == pl.String
    assert held["age"].str.len_chars().to_list() == [32] * 400
    joined = held.select("prediction_id", "age").join(pl.DataFrame({"prediction_id": ids(400), "true": frame["age"]}), on="prediction_id")
    assert joined.group_by("age").agg(pl.col("true").n_unique())["true"].to_list() == [1] * 80
    assert joined["age"].n_unique() == 80
    # the hash of 17 finds the rows of 17, whoever asks by the value
    gone = transport.call(ErasePredictions(deployment=NAME, column="age", value=17, reason="asked to"))
    assert gone == 5
    assert client.serving.predictions(NAME).height == 395


def test_no_bytes_of_a_dropped_column_reach_the_home(client: Client, transport: LocalTransport) -> None:
    frame = deployed(client, rows=200, dropped=("a",))
    secret = 1234.56789012345
    client.serving.predict(NAME, frame.with_columns(a=pl.lit(secret)).head(50))
    needle = np.array([secret]).tobytes()
    home = transport.platform.settings.home_path
    logs = list((home / "predictions").rglob("*"))
    assert any(path.is_file() for path in logs)
    assert not [path for path in logs if path.is_file() and needle in path.read_bytes()]


def test_conditions_choose_rows_on_the_server(client: Client, transport: LocalTransport) -> None:
    frame = deployed(client)
    client.serving.predict(NAME, frame, ids=ids(frame.height))
    ask = lambda **more: transport.call(QueryPredictions(deployment=NAME, limit=1000, **more))  # noqa: E731 - one line
    assert {row["age"] for row in ask(where="age in (3, 4) and not a is null").rows} == {3, 4}
    assert len(ask(where="a > 0 or b <= 0").rows) == frame.filter((pl.col("a") > 0) | (pl.col("b") <= 0)).height
    assert len(ask(ids=("p00001", "p00002", "nobody")).rows) == 2
    assert len(ask(number=2).rows) == 0
    table = ask(columns=("prediction_id", "age"), where="event_time > '2000-01-01'")
    assert table.columns == ("prediction_id", "age")
    assert len(table.rows) == 400
    page = transport.call(QueryPredictions(deployment=NAME, limit=10))
    assert page.more
    assert len(page.rows) == 10
    for wrong in ("nobody = 1", "age = 'x'", "age >", "age = 1; drop", "(((age = 1)", "age = 1 or", "__import__('os')"):
        with pytest.raises(Invalid):
            ask(where=wrong)


def test_erasure_reaches_files_and_open_segments_and_keeps_the_counts(client: Client, transport: LocalTransport) -> None:
    frame = deployed(client)
    client.serving.predict(NAME, frame.head(200), ids=ids(400)[:200])
    transport.call(r.CompactLog())
    client.serving.predict(NAME, frame.tail(200), ids=ids(400)[200:])
    assert transport.call(ErasePredictions(column="age", value=5, reason="ticket 12")) == 5
    left = client.serving.predictions(NAME)
    assert left.height == 395
    assert 5 not in left["age"].to_list()
    assert transport.call(ErasePredictions(ids=("p00000",))) == 1
    removals = transport.call(ListRemovals(deployment=NAME))
    assert [note.rows for note in removals] == [1, 5]
    assert removals[1].reason == "ticket 12"
    assert removals[1].value_hash != "5"
    assert sum(count.logged for count in transport.call(CountPredictions(deployment=NAME))) == 400
    with pytest.raises(Invalid):
        transport.call(ErasePredictions(column="age"))


def test_retention_removes_what_is_old_and_says_so(client: Client, transport: LocalTransport) -> None:
    frame = deployed(client)
    client.serving.predict(NAME, frame, ids=ids(frame.height))
    transport.call(r.CompactLog())
    with pytest.raises(Invalid):
        transport.call(PrunePredictions())
    assert transport.call(PrunePredictions(days=1)) == 0
    transport.platform.database.write(lambda c: c.exec_driver_sql("update prediction_file set created_at = 0"))
    assert transport.call(PrunePredictions(days=1)) == 400
    assert client.serving.predictions(NAME).height == 0
    (note,) = transport.call(ListRemovals())
    assert (note.cause, note.rows) == ("retention", 400)
    assert sum(count.answered for count in transport.call(CountPredictions(deployment=NAME))) == 400


def test_labels_are_joined_where_they_are_known_and_sql_answers(client: Client) -> None:
    frame = deployed(client)
    client.serving.predict(NAME, frame, ids=ids(frame.height))
    assert client.serving.predictions(NAME, labels=True)["label"].null_count() == 400
    client.monitoring.add_labels(NAME, pl.DataFrame({"prediction_id": ids(400)[:100], "label": [i % 2 for i in range(100)]}))
    held = client.serving.predictions(NAME, labels=True, where="age < 80", columns=["age"])
    assert held.columns == [*SCHEMA, "age", "label"]
    assert held.sort("prediction_id")["label"].to_list() == [i % 2 for i in range(100)] + [None] * 300
    answered = client.serving.sql(NAME, "select version, count(*) as n, sum(label) as late from predictions group by version")
    assert answered.rows() == [(1, 400, 50)]
    for wrong in ("select nobody from predictions", "select * from read_csv('/etc/passwd')"):
        with pytest.raises(Invalid):
            client.serving.sql(NAME, wrong)


def test_every_command_of_the_group_does_what_it_says(client: Client, transport: LocalTransport, tmp_path: Path) -> None:
    frame = deployed(client)
    client.serving.predict(NAME, frame, ids=ids(frame.height))
    home = str(transport.platform.settings.home_path)
    transport.close()

    def rung(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["--home", home, *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    listed = json.loads(rung("predictions", "list", NAME, "--where", "age = 7", "--column", "age", "--column", "prediction_id", "--json"))
    assert [row["age"] for row in listed["rows"]] == [7] * 5
    assert "p00007" in rung("predictions", "list", NAME, "--id", "p00007")
    assert "age" in rung("predictions", "show", "p00007")
    (counted,) = json.loads(rung("predictions", "count", NAME, "--json"))
    assert counted["logged"] == 400
    for name in ("all.parquet", "all.csv"):
        rung("predictions", "export", NAME, str(tmp_path / name))
    assert pl.read_parquet(tmp_path / "all.parquet").height == pl.read_csv(tmp_path / "all.csv").height == 400
    assert "400" in rung("predictions", "sql", NAME, "select count(*) as n from predictions")
    assert json.loads(rung("predictions", "erase", "--column", "age", "--value", "7", "--yes", "--json")) == {"count": 5}
    assert "erasure" in rung("predictions", "removals", NAME)
    rung("predictions", "prune", "--days", "3")
    rung("predictions", "compact")
    assert "No deployment has a sink." in rung("predictions", "sinks")
    done = CliRunner().invoke(cli, ["--home", home, "predictions", "show", "nobody"])
    assert done.exit_code == 4


def test_the_engine_compacts_and_tells_on_its_own(client: Client, transport: LocalTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_keeping, "_LOOK_S", 0.01)
    monkeypatch.setattr(log_keeping, "_COMPACT_S", 0.01)
    frame = deployed(client)
    client.serving.predict(NAME, frame, ids=ids(frame.height))
    live_table(transport.platform.database, transport.platform.blobs, transport.platform.settings).close()  # seals
    keepers = [LogKeeper(transport.platform, f"engine-{n}") for n in range(2)]
    home = transport.platform.settings.home_path / "predictions"
    until = time.monotonic() + 120
    while list(home.rglob("*.seg")) and time.monotonic() < until:
        for keeper in keepers:
            keeper.tick()
        time.sleep(0.02)
    for keeper in keepers:
        keeper.close()
    assert not list(home.rglob("*.seg"))
    assert client.serving.predictions(NAME).height == 400
    assert sum(count.logged for count in transport.call(CountPredictions(deployment=NAME))) == 400
