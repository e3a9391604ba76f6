"""The filter language: what is read, what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import Invalid
from rung.core.filters import All, Compare, Either, Not, OrderBy, comparisons, parse, parse_order

AUC = Compare(entity="metric", key="auc", operator=">", value=0.7)
TREE = Compare(entity="param", key="model", operator="=", value="tree")
KEPT = Compare(entity="tag", key="kept", operator="present")


def test_an_empty_filter_asks_for_nothing() -> None:
    assert parse("  ") == All(parts=())


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("metrics.auc > 0.7", AUC),
        ("metric.auc>0.7", AUC),
        ("parameters.model = 'tree'", TREE),
        ('params.model == "tree"', TREE),
        ("tags.kept IS NOT NULL", KEPT),
        ("tags.mlflow.parentRunId = 'a'", Compare(entity="tag", key="mlflow.parentRunId", operator="=", value="a")),
        ("metrics.`val/loss a` < -7", Compare(entity="metric", key="val/loss a", operator="<", value=-7)),
        ('metrics."val/loss a" < 1e-3', Compare(entity="metric", key="val/loss a", operator="<", value=0.001)),
        ("status != 'FAILED'", Compare(entity="attribute", key="status", operator="!=", value="FAILED")),
        ("attr.run_id NOT IN ('a', 'b')", Compare(entity="attribute", key="run_id", operator="not_in", value=("a", "b"))),
        ("run_name ilike 'R%'", Compare(entity="attribute", key="run_name", operator="ilike", value="R%")),
        ("params.q = 'it''s'", Compare(entity="param", key="q", operator="=", value="it's")),
        ("metrics.f1-score >= 1", Compare(entity="metric", key="f1-score", operator=">=", value=1)),
        ("datasets.name = 'north'", Compare(entity="dataset", key="name", operator="=", value="north")),
    ],
)
def test_a_comparison_is_read(text: str, one: Compare) -> None:
    assert parse(text) == All(parts=(one,))


def test_or_binds_weaker_than_and_and_not_stronger() -> None:
    text = "metrics.auc > 0.7 and params.model = 'tree' or not tags.kept is not null"
    assert parse(text) == All(parts=(Either(parts=(All(parts=(AUC, TREE)), Not(part=KEPT))),))
    grouped = parse("metrics.auc > 0.7 AND (params.model = 'tree' OR tags.kept IS NOT NULL)")
    assert grouped == All(parts=(AUC, Either(parts=(TREE, KEPT))))
    assert list(comparisons(grouped)) == [AUC, TREE, KEPT]


@pytest.mark.parametrize(
    "text",
    [
        "metrics.auc >", "unknown.key = 1", "metrics.auc > 0.7 0.8", "metrics.auc LIKE 1", "params.x IN ()", "params.x IN ('a'",
        "params.x = 'open", "; drop table run", "metrics. > 1", "= 1", "not", "((((", "tags.a IS 'x'", "params.a = b", "a" * 30_000,
        "(" * 100 + "status = 'x'" + ")" * 100, " and ".join(["status = 'x'"] * 300), f"metrics.a > {'9' * 500}",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


@pytest.mark.parametrize("text", ["status = 'a' OR status = 'b'", "NOT status = 'a'", "(status = 'a')"])
def test_the_mlflow_part_knows_and_only(text: str) -> None:
    parse(text)
    with pytest.raises(Invalid, match="MLflow"):
        parse(text, only_and=True)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        parse(text)


@given(st.text(min_size=1, max_size=30).filter(lambda t: "\x00" not in t))
def test_a_quoted_text_comes_back_whole(text: str) -> None:
    quoted = text.replace("'", "''")
    assert parse(f"tags.a = '{quoted}'") == All(parts=(Compare(entity="tag", key="a", operator="=", value=text),))


def test_orders_are_read() -> None:
    assert parse_order("metrics.auc DESC") == OrderBy(entity="metric", key="auc", descending=True)
    assert parse_order("start_time") == OrderBy(entity="attribute", key="start_time")
    assert parse_order("metrics.`val/loss a` asc") == OrderBy(entity="metric", key="val/loss a")
    for text in ("metrics.a BACKWARDS", "unknown.key", "metrics.a ASC DESC", ""):
        with pytest.raises(Invalid):
            parse_order(text)
