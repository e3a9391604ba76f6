"""Bodies that mislead: tables that unpack to far more than they are, names that are there twice, times of no calendar."""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rung.core.errors import Invalid
from rung.registry.records import Field, ModelVersion, Signature
from rung.serving.checking import matrix_check
from rung.serving.codecs.arrow_sizes import announced
from rung.serving.codecs.frames import ARROW, CSV, PARQUET
from rung.serving.inference import CODECS, Asked, Call

VERSION = ModelVersion(
    id="0" * 32, model="m", number=1, digest="blake3:" + "7" * 64, format="skops", files=(), size_bytes=0,
    signature=Signature(inputs=tuple(Field(name=name, dtype="Float64", nullable=name == "c") for name in "abc")), task="binary", label="y",
    classes=(0, 1), threshold=None, datasets=(), libraries={}, created_at=datetime(2024, 1, 1, tzinfo=UTC), created_by="x",
)  # fmt: skip


@dataclass(frozen=True)
class Speaking:
    """A deployment as codecs see it."""

    version: ModelVersion = VERSION
    numeric: bool = True
    name: str = "m"
    graph: object | None = None


def asked(codec: str, body: bytes | str, media: str = "application/json", limit: int = 1 << 20, **headers: str) -> Asked:
    held = {b"content-type": media.encode()} | {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return CODECS.get(codec).decode(Call("POST", "/", held, b"", body.encode() if isinstance(body, str) else body, limit), Speaking())


def refused(*arguments: Any, **named: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        asked(*arguments, **named)
    return caught.value


def arrow(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def rows(n: int, names: str = "abc") -> pa.Table:
    return pa.Table.from_arrays([pa.array(np.zeros(n))] * len(names), names=list(names))


@pytest.mark.parametrize("codec", ["oip", "mlflow"])
@pytest.mark.parametrize("media", [ARROW, PARQUET])
def test_a_small_table_that_stands_for_a_huge_one_is_too_large(codec: str, media: str) -> None:
    many = rows(1_000_000)
    body = arrow(many, compression="zstd") if media == ARROW else parquet(many, compression="zstd")
    assert len(body) < 100_000
    assert refused(codec, body, media).code == "request.too_large"
    few = rows(30_000)
    body = arrow(few, compression="zstd") if media == ARROW else parquet(few, compression="zstd")
    assert asked(codec, body, media).rows.height == 30_000


def test_columns_without_bytes_are_counted_too() -> None:
    nothing = pa.table({name: pa.nulls(500_000_000) for name in "abc"})
    body = arrow(nothing)
    assert len(body) < 1000
    assert refused("oip", body, ARROW).code == "request.too_large"


def test_a_text_that_a_table_repeats_counts_as_often_as_it_is_there() -> None:
    table = pa.table({"a": pa.array(["x" * 10_000] * 1000).dictionary_encode(), "b": [1.0] * 1000, "c": [1.0] * 1000})
    body = parquet(table)
    assert len(body) < 20_000
    assert refused("oip", body, PARQUET).code in {"request.too_large", "registry.bad_input"}
    texts = pa.table({"a": pa.array(["x" * 10_000] * 1000), "b": [1.0] * 1000, "c": [1.0] * 1000})
    assert refused("oip", parquet(texts), PARQUET).code == "request.too_large"


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_what_an_arrow_stream_announces_is_what_is_in_it(compression: str | None) -> None:
    table = pa.table({"a": np.arange(1000.0), "é": ["x"] * 1000, "n": pa.nulls(1000)})
    said = announced(arrow(table, compression=compression))
    assert (said.names, said.rows) == (["a", "é", "n"], 1000)
    assert said.size == pytest.approx(table.nbytes, abs=200)


def test_arrow_with_a_name_twice_or_far_too_many_is_told_so() -> None:
    assert "'a' is there twice" in refused("oip", arrow(rows(2, "aab")), ARROW).message
    wide = pa.Table.from_arrays([pa.array([1.0])] * 2000, names=[f"c{place}" for place in range(2000)])
    for media, body in ((ARROW, arrow(wide)), (PARQUET, parquet(wide))):
        error = refused("oip", body, media)
        assert error.code in {"serving.columns", "serving.bad_batch"}
        assert len(error.message) < 500


def test_damaged_arrow_streams_are_refused_whatever_the_damage() -> None:
    whole = arrow(rows(50), compression="zstd")
    draw = np.random.default_rng(0)
    for _ in range(400):
        body = bytearray(whole[: draw.integers(1, len(whole) + 1)])
        for place in draw.integers(0, len(body), 3):
            body[place] = draw.integers(0, 256)
        try:
            announced(bytes(body))
        except ValueError:
            continue


def test_csv_of_a_hundred_thousand_columns_is_refused_at_once() -> None:
    begun = time.process_time()
    for body in (b"," * 100_000 + b"\n", b'"\n"' + b"," * 100_000):
        error = refused("mlflow", body, CSV)
        assert (error.code, "100001 columns" in error.message) == ("serving.columns", True)
    assert time.process_time() - begun < 20  # measured 0.01 s; what grows with the square takes minutes


def test_a_column_named_twice_is_refused_in_csv_and_json() -> None:
    assert "'a' is named twice" in refused("mlflow", "a,a,b,c\n1,2,3,4\n", CSV).message
    twice = '{"a":1,"a":2,"b":3,"c":4}'
    for codec, body in (
        ("mlflow", f'{{"dataframe_records":[{twice}]}}'),
        ("mlflow", f'{{"dataframe_records":[{twice.replace("3", "NaN")}]}}'),
        ("mlflow", '{"inputs":{"a":[1],"a" : [2],"b":[3],"c":[4]}}'),
        ("vertex", f'{{"instances":[{twice}]}}'),
        ("kserve", f'{{"instances":[{twice}]}}'),
        ("azureml", f'{{"input_data":[{twice}]}}'),
    ):
        assert "'a' is there twice" in refused(codec, body).message
    spaced = json.dumps({"instances": [{"a": 1, "b": 3, "c": 4}]}, indent=2).replace('":', '" :')
    assert asked("vertex", spaced).rows.height == 1


def test_an_empty_cell_of_csv_is_missing_where_the_model_takes_missing_values() -> None:
    found = asked("mlflow", "a,b,c\n1,2,\n", CSV).rows.matrix
    assert found is not None
    assert np.isnan(found[0, 2])
    assert "b has 1 null" in refused("mlflow", "a,b,c\n1,,3\n", CSV).message
    assert asked("mlflow", "a,b,c\n", CSV).rows.height == 0


@pytest.mark.parametrize(
    "when",
    [2**62, -(2**62), 253_402_300_800_000_000, -62_135_596_800_000_001, 1_700_000_000, 1_700_000_000_000, 1_700_000_000_000_000_000,
     "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1700-01-01T00:00:00Z", {}, True],
)  # fmt: skip
def test_event_times_of_no_calendar_and_of_other_units_are_refused(when: Any) -> None:
    body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}], "parameters": {"event_time": when}}
    assert refused("oip", json.dumps(body)).code == "serving.bad_times"


def test_event_times_of_a_table_are_bounded_too() -> None:
    def table(*times: datetime | None) -> bytes:
        sink = io.BytesIO()
        frame = pl.DataFrame({**dict.fromkeys("abc", [1.0] * len(times)), "event_time": pl.Series(times, dtype=pl.Datetime("us", "UTC"))})
        frame.write_parquet(sink)
        return sink.getvalue()

    good = datetime(2013, 7, 1, tzinfo=UTC)
    assert asked("oip", table(good, good), PARQUET).times_us is not None
    for bad in (datetime(9000, 1, 1, tzinfo=UTC), None):
        assert refused("oip", table(good, bad), PARQUET).code == "serving.bad_times"


def test_a_tensor_has_data_or_bytes_not_both() -> None:
    head = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3], "parameters": {"binary_data_size": 24}}]}
    said = json.dumps(head).encode()
    error = refused("oip", said + bytes(24), inference_header_content_length=str(len(said)))
    assert error.code == "oip.binary"


def test_who_names_the_explanation_among_the_outputs_is_explained_to() -> None:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}
    assert asked("oip", json.dumps({"inputs": [tensor], "outputs": [{"name": "explanation"}]})).explain
    assert asked("vertex", json.dumps({"instances": [[1, 2, 3]], "parameters": {"outputs": "explanation"}})).explain


def test_whole_numbers_that_a_double_rounds_are_refused() -> None:
    check = matrix_check(Signature(inputs=(Field(name="n", dtype="Int64"),)))
    check(np.array([[2.0**53 - 1]]))
    for number in (2**53, 2**53 + 1, -(2**53) - 1):
        with pytest.raises(Invalid, match="'n' holds"):
            check(np.array([[number]], dtype=np.float64))
