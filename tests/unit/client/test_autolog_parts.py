"""Parts of autolog that need no training: names, digests, figures, patches, imports."""

from __future__ import annotations

import logging
import random
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from rung.client.autolog import drawings, guard
from rung.client.autolog.guard import STRICT, inside, nested, observed, quietly, untouched_randomness
from rung.client.autolog.imports import Awaiting
from rung.client.autolog.later import data_name
from rung.client.autolog.patches import Patches, bound
from rung.client.autolog.scores import affordable
from rung.client.autolog.sessions import plain
from rung.client.autolog.tables import described, frame_of, name_of, some_rows, spread


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("X_test", "test"),
        ("test_x", "test"),
        ("X", "eval"),
        ("", "eval"),
        ("y_val", "val"),
        ("X_holdout_2013", "holdout_2013"),
        ("df", "eval"),
    ],
)
def test_data_is_called_by_what_is_special_about_its_variable(variable: str, name: str) -> None:
    assert data_name(variable) == name


def test_a_value_is_called_as_its_caller_calls_it() -> None:
    flights = [1, 2]
    assert name_of(flights) == "flights"
    assert name_of([1, 2]) == ""


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.float64(0.5), 0.5), (True, True), (float("nan"), "nan"), (2**70, str(2**70)), ("a\0b", "ab"), ((1, "x"), "(1, 'x')"),
        (np.zeros((2, 3)), "ndarray of shape (2, 3)"), (len, "builtins.len"), ({"a": [1]}, "{'a': [1]}"), ("x" * 5000, "x" * 1000),
        (np.int64(3), "3"), (object(), "object"),
    ],
)  # fmt: skip
def test_params_are_numbers_or_short_texts(value: Any, kept: Any) -> None:
    found = plain(value)
    assert (found, type(found)) == (kept, type(kept))


def test_tables_of_every_kind_give_the_same_rows() -> None:
    array = np.arange(12.0).reshape(6, 2)
    kinds = [array, pd.DataFrame(array), pl.DataFrame(array), sparse.csr_matrix(array), sparse.coo_matrix(array), array.tolist()]
    for table in kinds:
        rows = some_rows(table, np.array([1, 3]))
        rows = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
        assert rows.tolist() == [[2.0, 3.0], [6.0, 7.0]]
        frame = frame_of(table, 2)
        assert frame is not None
        assert frame.to_numpy().tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_rows_are_spread_from_the_first_to_the_last() -> None:
    assert spread(3, 5).tolist() == [0, 1, 2]
    places = spread(1_000_001, 5).tolist()
    assert places == [0, 250_000, 500_000, 750_000, 1_000_000]


def test_a_digest_tells_data_apart_and_knows_it_again() -> None:
    table = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    first = described(table, "table", target=[0, 1, 0])
    assert first is not None
    assert first.digest == getattr(described(table.copy(), "other", target=[0, 1, 0]), "digest", None)
    changed = [
        described(table.assign(a=[1, 2, 4]), ""),
        described(table.rename(columns={"a": "c"}), ""),
        described(table, "", target=[1, 1, 0]),
    ]
    assert len({first.digest, *(item.digest for item in changed if item)}) == 4
    assert '{"name":"b","type":"string","required":true}' in first.schema
    assert described((row for row in [1]), "once") is None


class Slow:
    """Takes a second for a thousand rows."""

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, rows: Any) -> None:
        import time

        self.asked += len(rows)
        time.sleep(len(rows) / 1000)


def test_few_rows_are_asked_of_what_answers_slowly() -> None:
    slow = Slow()
    assert affordable(slow, np.zeros((100_000, 1)), 100_000, 10_000, 0.0) <= 1000
    assert slow.asked <= 1100
    assert affordable(slow, np.zeros((50, 1)), 50, 10_000, 0.0) == 50


@pytest.mark.parametrize(
    "text",
    [
        drawings.heatmap(np.array([[5, 1], [0, 7]]), ["<a>", "b & c"], "Confusion"),
        drawings.curve(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.9, 1.0]), "ROC", ("x", "y")),
        drawings.bars(["long " * 20, "b"], [3.0, -1.5], "Importance"),
        drawings.bars([], [], "Nothing"),
    ],
)
def test_figures_are_well_formed_svg(text: str) -> None:
    assert ET.fromstring(text).tag.endswith("svg")


def test_a_heatmap_says_its_counts_and_names() -> None:
    text = drawings.heatmap(np.array([[5, 1], [0, 7]]), ["no", "yes"], "Confusion")
    found = [item.text for item in ET.fromstring(text).iter() if item.text]
    assert {"no", "yes", "5", "1", "0", "7"} <= set(found)


def twice(original: Any, args: Any, kwargs: Any) -> Any:
    return 2 * original(*args, **kwargs)


class Thing:
    def value(self, much: int = 1) -> int:
        return much


class Child(Thing):
    """Inherits."""


def test_patches_are_undone_exactly() -> None:
    module: Any = ModuleType("patched")
    module.f = lambda x: x
    caller = {"g": module.f, "h": module.f, "other": 1}
    original, method, before = module.f, vars(Thing)["value"], dict(caller)
    patches = Patches(caller)
    patches.function(module, "f", twice)
    patches.method(Thing, "value", twice)
    patches.put(Child, "value", lambda self: 9)
    assert (module.f(2), caller["g"](3), Thing().value(much=4), Child().value()) == (4, 6, 8, 9)
    patches.undo()
    assert (module.f, vars(Thing)["value"], caller) == (original, method, before)
    assert "value" not in vars(Child)


def test_what_somebody_else_replaced_in_the_meantime_stays_theirs() -> None:
    module: Any = ModuleType("patched")
    module.f = lambda: 1
    patches = Patches()
    patches.function(module, "f", twice)
    ours = module.f
    module.f = theirs = lambda: ours() + 100
    patches.undo()
    assert module.f is theirs
    assert module.f() == 102


def test_arguments_are_known_by_name_behind_decorators() -> None:
    import functools

    def original(a: int, b: int = 2, *, c: int = 3) -> None:
        """Nothing."""

    @functools.wraps(original)
    def decorated(*args: Any, **kwargs: Any) -> None:
        return original(*args, **kwargs)

    assert bound(decorated, (1, 5), {"c": 7}) == {"a": 1, "b": 5, "c": 7}
    assert bound(len, ([],), {}) == {}


def test_a_module_is_followed_once_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "later_module.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    awaiting, seen = Awaiting(), []
    awaiting.when_imported("later_module", lambda module: seen.append(module.value))
    import later_module

    assert seen == [1]
    assert type(later_module.__spec__.loader).__name__ == "SourceFileLoader"
    awaiting.forget()
    assert awaiting not in sys.meta_path
    del sys.modules["later_module"]


def test_a_missing_module_is_missing_as_ever() -> None:
    awaiting = Awaiting()
    awaiting.when_imported("no_such_module_at_all", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        __import__("no_such_module_at_all")
    awaiting.forget()


def test_failures_of_ours_are_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STRICT, raising=False)
    guard._told.clear()
    for _ in range(3):
        with quietly("it is not logged"):
            raise KeyError("why")
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "rung.autolog: it is not logged: KeyError: 'why'"
    ]
    monkeypatch.setenv(STRICT, "1")
    with pytest.raises(KeyError), quietly("it is not logged"):
        raise KeyError("why")


def test_an_interruption_is_nothing_to_be_quiet_about() -> None:
    with pytest.raises(KeyboardInterrupt), quietly("anything"):
        raise KeyboardInterrupt


class Broken:
    library = "none"

    def succeeded(self, result: Any) -> None:
        raise ZeroDivisionError

    def failed(self, error: BaseException) -> None:
        raise ZeroDivisionError


def broken() -> Broken:
    raise ZeroDivisionError


@pytest.mark.parametrize("watch", [Broken, broken, lambda: None])
def test_the_call_answers_and_raises_as_ever_whatever_fails_around_it(watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STRICT, raising=False)
    answer = object()
    assert observed(lambda: answer, (), {}, watch) is answer
    with pytest.raises(LookupError, match="mine"):
        observed(lambda: (_ for _ in ()).throw(LookupError("mine")), (), {}, watch)
    assert inside.get() is None


def test_what_a_watched_call_calls_is_not_watched() -> None:
    begun: list[int] = []

    def watch() -> None:
        begun.append(1)

    assert nested(lambda: observed(lambda: 5, (), {}, watch), (), {}) == 5
    assert begun == []


def test_random_numbers_go_on_as_if_nothing_had_been() -> None:
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    with untouched_randomness():
        random.random()
        np.random.rand()
    assert (random.random(), np.random.rand()) == expected
