"""Decisions of the registry."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rung.core.errors import Conflict, Invalid
from rung.core.ids import new_id
from rung.registry import records as r
from rung.registry.rules import check_promotion, check_version, merged, passed, reasons, version_digest

AT = datetime(2013, 1, 1, tzinfo=UTC)
FILE = r.ModelFile(path="model.skops", digest="blake3:" + "1" * 64, size_bytes=3)


def request(**changes: object) -> r.RegisterVersion:
    fields: dict[str, object] = {
        "model": "late", "format": "skops", "files": (FILE,), "task": "binary", "label": "late", "classes": (0, 1),
        "signature": r.Signature(inputs=(r.Field(name="x", dtype="Float64"),)),
    }  # fmt: skip
    return r.RegisterVersion(**{**fields, **changes})  # type: ignore[arg-type]


def version(**changes: object) -> r.ModelVersion:
    fields: dict[str, object] = {
        "id": new_id(), "model": "late", "number": 2, "digest": "blake3:" + "0" * 64, "format": "skops", "files": (FILE,), "size_bytes": 3,
        "signature": r.Signature(inputs=()), "task": "binary", "label": "late", "classes": (0, 1), "threshold": None, "datasets": (),
        "libraries": {}, "created_at": AT, "created_by": "owner",
    }  # fmt: skip
    return r.ModelVersion(**{**fields, **changes})  # type: ignore[arg-type]


def verdict(*, ok: bool, champion: int | None = None) -> r.Verdict:
    return r.Verdict(
        id=new_id(), model="late", number=2, passed=ok, reasons=("why",), gates=(), champion=champion, dataset="flights", dataset_number=1,
        evaluation=new_id(), champion_evaluation=None, created_at=AT, created_by="owner",
    )  # fmt: skip


def result(*, ok: bool, blocking: bool = True) -> r.GateResult:
    return r.GateResult(gate="g", passed=ok, blocking=blocking, reason="said")


@pytest.mark.parametrize(
    ("found", "held", "code"),
    [
        (None, None, "registry.no_verdict_yet"),
        (verdict(ok=False), None, "registry.gate_refused"),
        (verdict(ok=True, champion=1), 3, "registry.stale_verdict"),
        (verdict(ok=True, champion=1), 2, "registry.holds_already"),
    ],
)
def test_a_promotion_without_a_passing_verdict_on_todays_champion_is_a_conflict(
    found: r.Verdict | None, held: int | None, code: str
) -> None:
    with pytest.raises(Conflict) as caught:
        check_promotion(r.Promote(model="late", number=2), found, held, version())
    assert caught.value.code == code


def test_a_passing_verdict_or_an_override_lets_a_promotion_through() -> None:
    check_promotion(r.Promote(model="late", number=2), verdict(ok=True, champion=1), 1, version())
    check_promotion(r.Promote(model="late", number=2, override_reason="the other one is broken"), None, 1, version())
    with pytest.raises(Conflict, match="deleted"):
        check_promotion(r.Promote(model="late", number=2, override_reason="the other one is broken"), None, 1, version(deleted_at=AT))


def test_only_blocking_results_refuse() -> None:
    assert passed([result(ok=True), result(ok=False, blocking=False)])
    assert not passed([result(ok=True), result(ok=False)])


def test_a_first_version_is_told_that_nothing_was_compared() -> None:
    assert reasons([result(ok=True)], first=True)[0].startswith("First version")
    assert reasons([result(ok=False), result(ok=True)], first=True) == ("g: said",)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"classes": (0, 1, 2)}, "3 classes"),
        ({"task": "regression"}, "2 classes"),
        ({"task": "multiclass", "threshold": 0.5}, "no threshold"),
        ({"label": "x"}, "among the inputs"),
        ({"signature": r.Signature(inputs=())}, "different names"),
    ],
)
def test_a_version_that_contradicts_itself_is_invalid(changes: dict[str, object], word: str) -> None:
    with pytest.raises(Invalid, match=word):
        check_version(request(**changes), None)


def test_the_digest_covers_what_is_answered_and_nothing_else() -> None:
    assert version_digest(request()) == version_digest(request(description="other", tags={"a": "b"}))
    assert version_digest(request()) != version_digest(request(threshold=0.3))


def test_a_tag_given_as_none_is_removed() -> None:
    assert merged({"a": "1", "b": "2"}, {"a": None, "c": "3"}) == {"b": "2", "c": "3"}
