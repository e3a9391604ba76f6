"""The language of columns: what it works out, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import Invalid
from rung.serving.graph.expressions import compiled
from rung.serving.graph.functions import Kind

COLUMNS = {
    "a": np.array([1.0, 2.0, np.nan]),
    "b": np.array([0.0, 4.0, 5.0]),
    "city": np.array(["Oslo", None, "Rome"], dtype=object),
    "at": np.array(["2013-01-06T23:30", "NaT", "2013-12-31T05:00"], dtype="datetime64[us]"),
    "ok": np.array([True, False, True]),
}
KINDS: dict[str, Kind] = {"a": "number", "b": "number", "city": "text", "at": "time", "ok": "truth"}


def worked(text: str) -> list[object]:
    with np.errstate(all="ignore"):
        return compiled(text, KINDS).values(COLUMNS.__getitem__, 3).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * 2", [1.0, 10.0, None]),
        ("-a ** 2", [-1.0, -4.0, None]),
        ("b / a", [0.0, 2.0, None]),
        ("a / b", [None, 0.5, None]),  # by nothing: missing
        ("log(b)", [None, np.log(4.0), np.log(5.0)]),
        ("max(a, b, 3)", [3.0, 4.0, 5.0]),
        ("coalesce(a, b)", [1.0, 2.0, 5.0]),
        ("1 if a > 1 else 0", [0.0, 1.0, 0.0]),  # a missing value is not more than one
        ("ok + 1", [2.0, 1.0, 2.0]),
        ("round(7 % 4)", [3.0, 3.0, 3.0]),
        ("length(city)", [4.0, None, 4.0]),
        ("hour(at)", [23.0, None, 5.0]),
        ("weekday(at)", [6.0, None, 1.0]),  # a Sunday and a Tuesday
        ("month(at) * 100 + day(at)", [106.0, None, 1231.0]),
        ('seconds_between(at, "2013-01-06T23:00")', [1800.0, None, (358 * 86400 + 6 * 3600)]),
        ("clip(b, 1, 4.5)", [1.0, 4.0, 4.5]),
        ("year(at)", [2013.0, None, 2013.0]),
        ("year(city)", [None, None, None]),  # texts that are no times
        ('year("2013-07")', [2013.0, 2013.0, 2013.0]),
    ],
)
def test_numbers_are_worked_out_and_what_has_no_value_is_missing(text: str, expected: list[float | None]) -> None:
    found = worked(text)
    assert [None if np.isnan(x) else x for x in found] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 1 or b > 4", [False, True, True]),
        ("1 <= a < 2", [True, False, False]),
        ('city == "Oslo"', [True, False, False]),
        ("at > city", [False, False, False]),
        ("starts_with(city, city)", [True, False, True]),
        ('contains("Oslo Bern", city)', [True, False, False]),
        ('city != "Oslo"', [False, False, True]),  # nothing differs from nothing
        ('city in ["Rome", "Bern"]', [False, False, True]),
        ('city not in ["Rome"]', [True, False, False]),
        ("not ok", [False, True, False]),
        ("is_null(city) or is_null(a)", [False, True, True]),
        ('contains(lower(city), "os")', [True, False, False]),
        ('starts_with(city, "R")', [False, False, True]),
        ('at > "2013-06-01"', [False, False, True]),
        ("a != 1", [False, True, False]),
        ("b in [4, 5]", [False, True, True]),
    ],
)
def test_conditions_are_false_where_a_value_is_missing(text: str, expected: list[bool]) -> None:
    assert worked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('concat(city, "-", text(b))', ["Oslo-0", None, "Rome-5"]),
        ('"big" if b > 4 else "small"', ["small", "small", "big"]),
        ('coalesce(city, "nowhere")', ["Oslo", "nowhere", "Rome"]),
        ('upper(strip("  x "))', ["X", "X", "X"]),
        ("city if ok else null", ["Oslo", None, "Rome"]),
    ],
)
def test_texts_are_made(text: str, expected: list[str | None]) -> None:
    assert worked(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("c + 1", "no column 'c'"),
        ("a + city", "takes a number, not a text"),
        ("a and b", "takes a truth, not a number"),
        ("city > 1", "a text is compared with a number"),
        ("city < 'x'", "texts are compared by == and != only"),
        ("a == null", "nothing equals null"),
        ("eval('1')", "no function 'eval'"),
        ("__import__('os')", "no function '__import__'"),
        ("a.__class__.__bases__", "a dot stands only between a node and its column"),
        ("a.__class__", "no column 'a.__class__'"),
        ("[x for x in a]", "ListComp is not of the language"),
        ("lambda: 1", "Lambda is not of the language"),
        ("(a := 1)", "NamedExpr is not of the language"),
        ("f'{a}'", "JoinedStr is not of the language"),
        ("a[0]", "Subscript is not of the language"),
        ("log(a, b)", "takes 1 to 1 values, not 2"),
        ("log(x=a)", "without named arguments"),
        ("a +", "cannot be read"),
        ("1j", "is not of the language"),
        ("a is b", "is_null(x)"),
        ("1 if a else 2", "takes a truth, not a number"),
        ("1 if ok else city", "is given a number and a text"),
        ("1" * 400, "larger than any number"),
        ("a in [b]", "fixed, no columns"),
        ("a in [1, b]", "fixed, no columns"),
        ("at > 'soon'", "'soon' is no time"),
        ("hour('2020-01-01T25:00')", "is no time"),
        ("at > 'now'", "'now' is no time"),
        ("-" * 100 + "a", "nested deeper"),
        ("a" * 5000, "more than 4000"),
    ],
)
def test_what_is_not_of_the_language_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(Invalid, match="expression") as caught:
        compiled(text, KINDS)
    assert reason in caught.value.message


def test_an_expression_tells_the_columns_it_reads_and_the_kind_it_gives() -> None:
    found = compiled("hour(at) > b", KINDS)
    assert (found.kind, found.columns) == ("truth", ("at", "b"))


def test_a_column_with_any_name_is_read_by_col() -> None:
    found = compiled('col("a b") * 2', {"a b": "number"})
    assert found.values(lambda _: np.array([4.0]), 1).tolist() == [8.0]


def test_a_truth_serves_where_a_number_is_wanted_and_a_text_does_not() -> None:
    assert compiled("a > b", KINDS, wanted="number").values(COLUMNS.__getitem__, 3).tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(Invalid, match="a number is wanted"):
        compiled("city", KINDS, wanted="number")


@given(st.text(max_size=60))
def test_no_text_does_more_than_be_refused_or_worked_out(text: str) -> None:
    try:
        found = compiled(text, KINDS)
    except Invalid:
        return
    with np.errstate(all="ignore"):
        assert found.values(COLUMNS.__getitem__, 3).shape == (3,)


@given(
    st.recursive(
        st.sampled_from(["a", "b", "1", "0", "2.5"]),
        lambda x: st.tuples(x, st.sampled_from("+-*/"), x).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    )
)
def test_arithmetic_is_that_of_python_on_each_row(text: str) -> None:
    found = worked(text)
    for row in range(2):
        try:
            expected = eval(text, {}, {name: float(COLUMNS[name][row]) for name in ("a", "b")})
        except (ZeroDivisionError, OverflowError):
            continue
        if np.isfinite(expected):
            assert found[row] == pytest.approx(expected, nan_ok=True) or np.isnan(found[row])
