"""Versions, profiles, expectations and lineage through the one door."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rung.client.client import Client
from rung.core.errors import Conflict, Invalid, NotFound
from rung.data.expectations import EXPECTATIONS
from rung.data.records import Expectation
from rung.storage.outbox import recent

ROWS = pl.DataFrame({"k": ["a", "b", "a", None], "x": [1.0, math.nan, math.inf, 4.0], "n": [1, 2, 3, None]})


def test_the_same_content_is_the_same_version(client: Client) -> None:
    first = client.data.add("rows", ROWS)
    again = client.data.add("rows", ROWS.clone())
    other = client.data.add("rows", ROWS.head(3))
    assert (first.number, again.number, other.number) == (1, 1, 2)
    assert [item.number for item in client.data.versions("rows").items] == [2, 1]


def test_a_csv_and_its_frame_are_the_same_content(client: Client, tmp_path: Path) -> None:
    (tmp_path / "january.csv").write_text("a,b\n1,x\n2,y\n")
    (tmp_path / "copy.csv").write_text("a,b\n1,x\n2,y\n")
    assert client.data.add("t", tmp_path / "january.csv").number == 1
    assert client.data.add("t", tmp_path / "copy.csv").number == 1
    assert client.data.add("t", pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})).number == 1


def test_rows_come_back_as_they_went_nan_and_infinity_included(client: Client) -> None:
    client.data.add("rows", ROWS)
    assert client.data.frame("rows").equals(ROWS, null_equal=True)


def test_nan_of_a_pandas_frame_stays_nan(client: Client) -> None:
    client.data.add("p", pd.DataFrame({"x": [1.0, np.nan]}))
    profile = client.data.profile("p").columns[0]
    assert (profile.nulls, profile.nans) == (0, 1)


def test_the_profile_agrees_with_the_hand(client: Client) -> None:
    client.data.add("rows", ROWS)
    k, x, n = client.data.profile("rows").columns
    assert (k.nulls, k.distinct, k.top[0].value, k.top[0].count) == (1, 2, "a", 2)
    # finite values of x are 1 and 4: mean 2.5, population deviation 1.5, median 2.5
    assert (x.nans, x.infinities, x.minimum, x.maximum, x.mean, x.std) == (1, 1, 1.0, 4.0, 2.5, 1.5)
    assert next(q.value for q in x.quantiles if q.share == 0.5) == 2.5
    assert x.histogram is not None
    assert sum(x.histogram.counts) == 2
    assert (n.nulls, n.distinct, n.mean) == (1, 3, 2.0)


def test_a_folder_of_other_files_keeps_them_by_path(client: Client, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "in" / "b.txt").write_text("b")
    version = client.data.add("files", tmp_path / "in")
    assert (version.format, version.rows, [file.path for file in version.files]) == ("files", None, ["b.txt", "deep/a.png"])
    client.data.fetch("files", tmp_path / "out")
    assert (tmp_path / "out" / "deep" / "a.png").read_bytes() == b"\x89PNG"


def test_a_folder_of_parquet_files_is_one_table(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "months"
    folder.mkdir()
    for month in (1, 2):
        pl.DataFrame({"month": [month, month]}).write_parquet(folder / f"m{month}.parquet")
    assert client.data.add("months", folder).rows == 4
    pl.DataFrame({"other": [1]}).write_parquet(folder / "m3.parquet")
    with pytest.raises(Invalid, match="misses month"):
        client.data.add("months", folder)


@pytest.mark.parametrize(("name", "content"), [("x.parquet", b"no"), ("x.parquet", b""), ("x.csv", b""), ("x.csv", b"a,b\n1\n")])
def test_a_bad_file_leaves_nothing_behind(client: Client, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Invalid):
        client.data.add("bad", tmp_path / name)
    with pytest.raises(NotFound):
        client.data.dataset("bad")


def test_what_is_no_frame_is_refused(client: Client) -> None:
    with pytest.raises(Invalid, match="object"):
        client.data.add("x", object())


def test_a_broken_blocking_claim_marks_the_version_and_stops_who_requires_it(client: Client) -> None:
    client.data.expect("rows", Expectation(kind="not_null", arguments={"column": "n"}))
    version = client.data.add("rows", ROWS)
    assert version.validation == "failed"
    with pytest.raises(Conflict, match="rows:1 failed its validation"):
        client.data.require_valid("rows")
    result = client.data.validation("rows").results[0]
    assert (result.failing, result.examples[0].row, result.examples[0].values) == (1, 3, {"n": None})
    platform = client.transport.platform  # type: ignore[attr-defined]
    project = client.governance.who_am_i().project.id
    kinds = [entry.kind for entry in platform.database.read(lambda connection: recent(connection, project))]
    assert {"data.version_added", "data.validation_failed"} <= set(kinds)


def test_a_broken_warning_lets_the_version_pass(client: Client) -> None:
    client.data.expect("rows", Expectation(kind="between", arguments={"column": "n", "low": 2}, blocking=False))
    assert client.data.add("rows", ROWS).validation == "warned"
    assert client.data.require_valid("rows").number == 1


CLAIMS = [
    ("not_null", {"column": "k"}, True, False),
    ("unique", {"column": "id"}, True, False),
    ("unique", {"columns": ["id", "k"]}, True, False),
    ("no_duplicates", {}, True, False),
    ("between", {"column": "x", "low": 0, "high": 10}, True, False),
    ("in_set", {"column": "k", "values": ["a", "b"]}, True, False),
    ("matches", {"column": "k", "pattern": "[a-c]"}, True, False),
    ("finite", {"column": "x"}, True, False),
    ("schema", {"columns": {"id": "Int64", "x": "Float64"}}, True, True),
    ("schema", {"columns": {"id": "Int64"}, "exact": True}, False, False),
    ("row_count", {"low": 2, "high": 2}, True, False),
    ("compare_columns", {"left": "x", "right": "y", "operator": ">="}, True, False),
    ("freshness", {"column": "at", "hours": 24}, True, False),
    ("not_null", {"column": "absent"}, False, False),
]
GOOD = pl.DataFrame({"id": [1, 2], "k": ["a", "b"], "x": [1.0, 2.0], "y": [1.0, 1.0], "at": [datetime(2013, 1, 1, tzinfo=UTC)] * 2})
BAD = pl.DataFrame(
    {"id": [1, 1, 1], "k": ["zz", "zz", None], "x": [-math.inf] * 3, "y": [1.0] * 3, "at": [datetime(2012, 1, 1, tzinfo=UTC)] * 3}
).select(pl.all())


@pytest.mark.parametrize(("kind", "arguments", "good", "bad"), CLAIMS)
def test_each_claim_tells_good_from_bad(client: Client, kind: str, arguments: dict, good: bool, bad: bool) -> None:
    client.data.expect("t", Expectation(kind=kind, arguments=arguments))
    doubled = pl.concat([BAD, BAD])
    as_of = datetime(2013, 1, 1, 12, tzinfo=UTC)
    assert (client.data.add("t", GOOD, as_of=as_of).validation == "passed") is good
    assert (client.data.add("t", doubled, as_of=as_of).validation == "passed") is bad


def test_every_kind_of_claim_is_tried_above() -> None:
    assert {kind for kind, *_ in CLAIMS} == set(EXPECTATIONS.names())


def test_proposals_hold_on_the_version_they_come_from(client: Client) -> None:
    client.data.add("t", pl.concat([GOOD] * 30))
    proposed = client.data.infer_expectations("t")
    assert proposed
    client.data.expect("t", *proposed)
    assert client.data.validate("t").status == "passed"


def test_a_difference_names_columns_types_and_what_moved(client: Client) -> None:
    client.data.add("t", pl.DataFrame({"a": [1.0, 2.0, 3.0], "gone": [1, 1, 1], "c": [1, 2, 3]}))
    client.data.add("t", pl.DataFrame({"a": [11.0, 12.0, 13.0], "c": ["1", "2", "3"], "new": [1, 1, 1]}))
    found = client.data.diff("t")
    assert [column.name for column in found.added_columns] == ["new"]
    assert [column.name for column in found.removed_columns] == ["gone"]
    assert [(change.column, change.before, change.after) for change in found.changed_types] == [("c", "Int64", "String")]
    moved = next(item for item in found.statistics if (item.column, item.statistic) == ("a", "mean"))
    # the older deviation is sqrt(2/3), the mean moved by 10
    assert moved.shift == pytest.approx(10 / math.sqrt(2 / 3))


def test_lineage_leads_from_the_file_and_the_parent(client: Client, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    raw = client.data.add("raw", tmp_path / "t.csv")
    client.data.add("clean", pl.DataFrame({"a": [1]}), derived_from=[raw])
    edges = {(e.source.kind, e.target.id) for e in client.governance.trace("dataset_version", "clean:1").edges}
    assert ("dataset_version", "clean:1") in edges
    assert ("source", "raw:1") in edges
