"""Views, joins and training sets through the one door."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.client.transports import Transport
from rung.core.errors import Invalid, NotFound
from rung.core.settings import Settings
from rung.data.records import Expectation
from rung.features.asof import join
from rung.features.records import Feature, FeatureView, ViewRef

NOON = datetime(2013, 3, 1, 12, tzinfo=UTC)
ROWS = pl.DataFrame({"k": ["a", "a"], "at": [NOON, NOON + timedelta(hours=1)], "x": [1.0, 2.0]})
VIEW = FeatureView(name="v", entity=("k",), dataset="rows", time_column="at", ttl_s=3600, features=(Feature(name="x"),))
LABELS = pl.DataFrame({"k": ["a", "b", "a"], "t": [NOON + timedelta(minutes=30)] * 2 + [NOON + timedelta(hours=3)]})


def test_the_same_definition_keeps_its_number(client: Client) -> None:
    assert client.features.apply(VIEW).number == 1
    assert client.features.apply(VIEW).number == 1
    changed = FeatureView(name="v", entity=("k",), dataset="rows", time_column="at", features=VIEW.features)
    assert client.features.apply(changed).number == 2
    assert [item.number for item in client.features.list().items] == [2]
    assert client.features.get("v", 1).view == VIEW


def test_join_training_set_and_read_agree_on_every_transport(any_transport: Transport) -> None:
    client = Client(any_transport)
    client.data.add("rows", ROWS)
    client.features.apply(VIEW)
    assert client.features.join(LABELS, ["v"], "t")["x"].to_list() == [1.0, None, None]
    made = client.features.training_set("set", labels=LABELS, views=["v"], time_column="t")
    assert client.data.frame("set", made.number)["x"].to_list() == [1.0, None, None]
    assert client.features.manifest("set").uses[0].matched == 1
    row, other = client.features.read(["v"], [{"k": "a"}, {"k": "b"}], as_of=NOON + timedelta(hours=3))
    assert (row.values[0].value, row.values[0].status, row.values[0].event_time) == (None, "expired", NOON + timedelta(hours=1))
    assert (other.values[0].value, other.values[0].status) == (None, "missing")
    causes = {(edge.source.kind, edge.source.id) for edge in client.governance.trace("dataset_version", "set:1").edges}
    assert {("feature_view", "v"), ("dataset_version", "rows:1")} <= causes


def test_all_versions_are_one_history_in_which_the_later_wins(client: Client) -> None:
    view = FeatureView(name="v", entity=("k",), dataset="rows", time_column="at", versions="all", features=VIEW.features)
    client.data.add("rows", ROWS)
    client.data.add("rows", ROWS.with_columns(x=pl.col("x") * 10).head(1))
    client.features.apply(view)
    asked = pl.DataFrame({"k": ["a", "a"], "t": [NOON, NOON + timedelta(hours=1)]})
    assert client.features.join(asked, ["v"], "t")["x"].to_list() == [10.0, 2.0]
    assert client.features.join(asked, [ViewRef(name="v", dataset_number=1)], "t")["x"].to_list() == [1.0, 2.0]


def test_a_correction_is_seen_only_once_it_was_known() -> None:
    rows = pl.DataFrame({"k": ["a", "a"], "at": [NOON, NOON], "known": [NOON, NOON + timedelta(hours=2)], "x": [1.0, 9.0]})
    view = FeatureView(name="v", entity=("k",), dataset="d", time_column="at", created_column="known", features=(Feature(name="x"),))
    asked = pl.DataFrame({"k": ["a", "a"], "t": [NOON + timedelta(hours=1), NOON + timedelta(hours=2)]})
    assert join(asked, [(view, rows)], "t")["x"].to_list() == [1.0, 9.0]


def test_four_restatements_of_one_event_give_the_latest_in_any_order() -> None:
    view = FeatureView(
        name="v", entity=("k",), dataset="d", time_column="at", created_column="known", mode="event", features=(Feature(name="x"),)
    )
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        rows = pl.DataFrame({"k": ["a"] * 4, "at": [NOON] * 4, "known": [NOON + timedelta(hours=i) for i in order], "x": order})
        assert join(pl.DataFrame({"k": ["a"], "t": [NOON]}), [(view, rows)], "t")["x"].to_list() == [3]


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (LABELS.with_columns(pl.col("t").dt.replace_time_zone(None)), "features.naive_time"),
        (LABELS.with_columns(t=pl.lit(None).cast(pl.Datetime("us", "UTC"))), "features.null_time"),
        (LABELS.with_columns(t=pl.lit(7)), "features.not_a_time"),
        (LABELS.with_columns(k=pl.lit(7)), "features.key_type"),
        (LABELS.drop("k"), "features.no_column"),
        (LABELS.drop("t"), "features.no_column"),
        (LABELS.with_columns(x=pl.lit(1)), "features.twice"),
    ],
)
def test_unfit_label_rows_are_refused(labels: pl.DataFrame, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        join(labels, [(VIEW, ROWS)], "t")
    assert caught.value.code == code


def test_naive_times_are_read_in_the_zone_that_is_given() -> None:
    local = pl.DataFrame({"k": ["a"], "t": [datetime(2013, 3, 1, 7, 30)]})  # 12:30 UTC
    assert join(local, [(VIEW, ROWS)], "t", zone="America/New_York")["x"].to_list() == [1.0]


def test_nanoseconds_are_floored() -> None:
    rows = ROWS.with_columns(pl.col("at").cast(pl.Datetime("ns", "UTC")) + pl.duration(nanoseconds=999))
    assert join(pl.DataFrame({"k": ["a"], "t": [NOON]}), [(VIEW, rows)], "t")["x"].to_list() == [1.0]


def test_empty_sources_and_empty_labels_are_no_trouble() -> None:
    assert join(LABELS, [(VIEW, ROWS.clear())], "t")["x"].to_list() == [None] * 3
    assert join(LABELS.clear(), [(VIEW, ROWS)], "t").shape == (0, 3)


def test_a_view_of_what_is_not_there_is_refused(client: Client) -> None:
    client.data.add("rows", ROWS.drop("x"))
    with pytest.raises(Invalid, match="'x'"):
        client.features.apply(VIEW)
    with pytest.raises(NotFound, match="nothing"):
        client.features.join(LABELS, ["nothing"], "t")


def test_views_and_training_sets_are_kept_on_every_database(any_settings: Settings) -> None:
    transport = local_transport(any_settings)
    client = Client(transport)
    client.data.expect("rows", Expectation(kind="not_null", arguments={"column": "x"}))
    assert client.data.add("rows", ROWS).validation == "passed"
    client.features.apply(VIEW)
    client.features.training_set("set", labels=LABELS, views=["v"], time_column="t")
    again = client.features.training_set("set", labels=LABELS, views=["v"], time_column="t")
    assert (again.number, client.features.manifest("set").uses[0].view) == (1, "v")
    assert client.data.profile("set") == client.data.profile("set")
    transport.close()
