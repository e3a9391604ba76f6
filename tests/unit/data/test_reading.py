"""CSV in, canonical Parquet out, or one error that names the place."""

from __future__ import annotations

import math

import polars as pl
import pytest

from rung.core.errors import Invalid
from rung.data.reading import parsed_csv

NULLS = ("", "NA", "NULL", "null")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (b"", "data.empty_file", "is empty"),
        (b"\n \n", "data.empty_file", "is empty"),
        (b"a,b\n1,2,3\n", "data.ragged_csv", "line 2 has 3 values, the header has 2"),
        (b"a,b\n1,2\n3\n", "data.ragged_csv", "line 3 has 1 values"),
        (b'a,b\n"1,5",2\n3\n', "data.ragged_csv", "line 3 has 1 values"),
        (b'a,b\n1,"open\n', "data.not_csv", "line 2"),
        (b"a,a\n1,2\n", "data.duplicate_column", "column 'a' twice"),
        (b"a,,c\n1,2,3\n", "data.unnamed_column", "column 2"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "data.not_csv", "not text: line 3"),
        (b"a,b\n1,2\n\xff,3\n", "data.not_csv", "line 3 holds byte 0xff"),
    ],
)
def test_what_is_no_csv_is_refused_with_the_place(text: bytes, code: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        parsed_csv(text, "flights.csv", NULLS, "")
    assert caught.value.code == code
    assert said in caught.value.message
    assert "flights.csv" in caught.value.message


def test_types_come_from_all_rows_and_gaps_are_null() -> None:
    frame = parsed_csv(b"n,x,at,s\n1,NA,2013-01-01T05:00:00Z,a\n,nan,,b\n3,-inf,2013-01-02T05:00:00Z,c\n4,1.5,,d\n", "t.csv", NULLS, "")
    assert [str(dtype) for dtype in frame.dtypes] == ["Int64", "Float64", "Datetime(time_unit='us', time_zone='UTC')", "String"]
    assert frame["n"].to_list() == [1, None, 3, 4]
    assert frame["x"][0] is None
    assert math.isnan(frame["x"][1])
    assert frame["x"][2] == -math.inf


def test_a_quoted_line_break_and_separator_belong_to_the_value() -> None:
    frame = parsed_csv(b'a,b\n"x, y\nz",1\n', "t.csv", NULLS, "")
    assert frame.rows() == [("x, y\nz", 1)]


@pytest.mark.parametrize("mark", [b",", b";", b"\t", b"|"])
def test_the_separator_is_found_in_the_header(mark: bytes) -> None:
    assert parsed_csv(b"a" + mark + b"b\n1" + mark + b"2\n", "t.csv", NULLS, "").rows() == [(1, 2)]


def test_windows_line_ends_and_a_byte_order_mark_are_no_data() -> None:
    frame = parsed_csv(b"\xef\xbb\xbfa,b\r\n1,2\r\n", "t.csv", NULLS, "")
    assert frame.equals(pl.DataFrame({"a": [1], "b": [2]}))
