"""Frames of the prediction log: what goes in comes out, definitions come once, and no bytes crash the reader."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.serving.keeping import Keeping
from rung.serving.packing import HEADER, MAGIC, VERSION, Entry, Packer, definition
from rung.serving.unpacking import Contents, contents
from rung.serving.walking import sound_end

HEAD = HEADER.pack(MAGIC, VERSION, 0, 0, bytes(16))
NAMES, TYPES = ("x", "n", "b"), ("Float64", "Int64", "Boolean")


def entry(n: int = 1, **given: Any) -> Entry:
    values: dict[str, Any] = {
        "deployment": "d", "model": "m", "number": 3, "revision": 2, "arm": "stable", "answered_us": 1_600_000_000_000_000, "elapsed_us": 9,
        "ids": [f"id{i}" for i in range(n)], "times_us": np.arange(n, dtype=np.int64), "scores": np.linspace(0, 1, n),
        "matrix": np.array([[1.5, 2.0, 1.0]] * n), "names": NAMES, "dtypes": TYPES,
    }  # fmt: skip
    return Entry(**{**values, **given})


def read(data: bytes) -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "00.seg"
        path.write_bytes(data)
        held = contents(path)
        assert held is not None
        for name in held.deployments():
            held.frame(name)
            held.frame(name, details=True)
            held.totals(name)
        assert sound_end(path) == held.end
        return held


def through(*entries: Entry) -> pl.DataFrame:
    packer = Packer()
    held = read(HEAD + b"".join(packer.packed(one) for one in entries))
    assert held.whole
    frame = held.frame("d", details=True)
    assert frame is not None
    return frame.sort("answered_at", "event_time", maintain_order=True)


def test_numbers_come_back_in_their_types_with_what_is_missing() -> None:
    matrix = np.array([[1.5, np.nan, 1.0], [np.nan, -3.0, 0.0], [np.inf, 2**53, np.nan]])
    frame = through(entry(3, matrix=matrix))
    wanted = pl.DataFrame({"x": [1.5, None, float("inf")], "n": [None, -3, 2**53], "b": [True, False, None]})
    assert frame.select("x", "n", "b").equals(wanted)
    assert frame["prediction_id"].to_list() == ["id0", "id1", "id2"]
    assert frame["latency_us"].to_list() == [9, 9, 9]


def test_text_and_numbers_of_a_frame_come_back_row_by_row_and_in_bulk() -> None:
    names, kinds = ("s", "n", "f"), ("String", "Int64", "Float64")
    for n in (1, 3, 200):
        rows = pl.DataFrame({"s": ["é", None, ""] * n, "n": [1, None, -(2**62)] * n, "f": [0.5, None, 2.0] * n}).head(n)
        frame = through(entry(n, matrix=None, frame=rows, names=names, dtypes=kinds))
        assert frame.select(names).equals(rows)


@pytest.mark.parametrize("ids", [["a"], ["ab", "c"], ["é"], ["日本", "ab"], ["x" * 200, "y"], [" lead", "\x00n"]])
def test_ids_of_any_text_and_width_come_back(ids: list[str]) -> None:
    assert through(entry(len(ids), ids=ids))["prediction_id"].to_list() == ids


def test_all_scores_of_classes_are_kept_and_the_highest_is_the_score() -> None:
    frame = through(entry(2, scores=np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), outputs=("a", "b", "c")))
    assert frame["score"].to_list() == [0.5, 0.6]
    assert frame["scores"].to_list() == [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]


def test_flags_callers_and_ids_of_requests_come_back_beside_those_without() -> None:
    frame = through(
        entry(2, flags=[("late", "odd"), ()], caller="ann", request_id="r", trace_id="t"), entry(1, ids=["z"], answered_us=1_600_000_000_000_001)
    )  # fmt: skip
    assert frame["flags"].to_list() == [["late", "odd"], None, None]
    assert frame["caller"].to_list() == ["ann", "ann", None]
    assert frame["request_id"].to_list() == ["r", "r", None]
    assert frame["trace_id"].to_list() == ["t", "t", None]


def test_inputs_named_like_the_logs_own_columns_are_not_lost() -> None:
    frame = through(entry(1, names=("score", "caller", "x"), dtypes=("Float64",) * 3))
    assert frame.select("input.score", "input.caller", "x").row(0) == (1.5, 2.0, 1.0)


def test_a_source_is_written_once_a_segment_and_again_after_an_undo() -> None:
    packer = Packer()
    first, second = packer.packed(entry()), packer.packed(entry())
    assert len(second) < len(first)
    assert first.endswith(second)
    packer.undo()
    assert packer.packed(entry()) == first
    packer.keep()
    packer.undo()
    assert packer.packed(entry()) == second


def test_equal_names_in_new_tuples_are_no_new_source() -> None:
    packer = Packer()
    packer.packed(entry())
    sizes = {len(packer.packed(entry(names=(*NAMES,), dtypes=(*TYPES,)))) for _ in range(50)}
    assert sizes == {len(packer.packed(entry()))}


def test_large_entries_are_cut_into_frames_that_memory_holds() -> None:
    n = 100_000
    matrix = np.arange(n * 8, dtype=np.float64).reshape(n, 8)
    frame = through(entry(n, matrix=matrix, names=tuple("abcdefgh"), dtypes=("Float64",) * 8, elapsed_us=1000))
    assert frame.height == n
    assert frame["h"].to_list() == matrix[:, 7].tolist()


def test_failures_are_counted_without_rows() -> None:
    packer = Packer()
    held = read(HEAD + packer.packed(entry()) + packer.packed(entry(0, matrix=None, errors=5)))
    (total,) = held.totals("d")
    assert (total.rows, total.errors, total.day) == (1, 5, "2020-09-13")


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": np.zeros(2)}, {"times_us": np.zeros(2, np.int64)}, {"matrix": np.zeros((1, 2))}, {"matrix": np.zeros((2, 3))},
        {"matrix": np.zeros((1, 3), np.float32)}, {"scores": np.zeros(1, np.int64)}, {"dtypes": ("Float64",)},
        {"matrix": None, "frame": pl.DataFrame({"y": [1.0]})}, {"matrix": None, "frame": pl.DataFrame({"x": [1.0, 2.0]}), "names": ("x",), "dtypes": ()},
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_together_are_refused(wrong: dict[str, Any]) -> None:
    packer = Packer()
    if wrong.keys() != {"dtypes"}:
        packer.packed(entry())
        packer.keep()
    with pytest.raises(Invalid):
        packer.packed(entry(**wrong))


def test_masked_values_are_hashes_equal_for_equal_values_and_dropped_ones_are_not_there() -> None:
    keeping = Keeping(masked=("n",), dropped=("x",), key=b"k" * 32)
    held = through(
        entry(3, matrix=np.array([[9.25, 5.0, 1.0], [9.25, 6.0, 0.0], [9.25, np.nan, 0.0]]), keeping=keeping),
        entry(1, ids=["f"], matrix=None, frame=pl.DataFrame({"x": [9.25], "n": [5], "b": [True]}), keeping=keeping),
    )
    hashes = {row["prediction_id"]: row["n"] for row in held.to_dicts()}
    assert "x" not in held.columns
    assert hashes["id2"] is None
    assert hashes["id0"] == hashes["f"] != hashes["id1"]
    assert hashes["id0"] == keeping.mask(5) == keeping.mask(5.0) == keeping.mask("5")
    assert keeping.mask(5) != Keeping(key=b"other").mask(5)
    assert np.array([9.25]).tobytes() not in Packer().packed(entry(1, matrix=np.array([[9.25, 5.0, 1.0]]), keeping=keeping))


def test_the_share_is_drawn_by_id_and_the_rest_is_counted() -> None:
    keeping, packer = Keeping(share=0.5), Packer()
    ids = [f"p{i}" for i in range(1000)]
    held = read(
        HEAD
        + packer.packed(entry(1000, ids=ids, keeping=keeping))
        + b"".join(packer.packed(entry(1, ids=[i], keeping=keeping)) for i in ids)
    )
    frame = held.frame("d")
    assert frame is not None
    kept = frame["prediction_id"].to_list()
    assert sorted(kept[: len(kept) // 2]) == sorted(kept[len(kept) // 2 :])
    assert 400 < len(set(kept)) < 600  # six deviations of a binomial
    (total,) = held.totals("d")
    assert (total.rows, total.unlogged) == (len(kept), 2000 - len(kept))


def _segment() -> bytes:
    packer = Packer()
    rows = pl.DataFrame({"s": ["a", "b"], "n": [1, 2]})
    return HEAD + b"".join([
        packer.packed(entry()), packer.packed(entry(2, caller="ann", flags=[("f",), ()])), packer.packed(entry(2, ids=["long id", "x"])),
        packer.packed(entry(2, matrix=None, frame=rows, names=("s", "n"), dtypes=("String", "Int64"))), packer.packed(entry(0, matrix=None, errors=1)),
    ])  # fmt: skip


def test_a_torn_tail_ends_at_the_last_whole_frame_wherever_it_is_torn() -> None:
    whole, ends = _segment(), []
    for cut in range(HEADER.size, len(whole)):
        held = read(whole[:cut])
        assert held.end <= cut
        assert held.whole == (held.end == cut)
        ends.append(held.end)
    assert ends == sorted(ends)
    assert read(whole + bytes(4096)).end == len(whole)  # zeros after a power cut are no frames


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(_segment()) - 1), st.integers(1, 255))
def test_a_changed_byte_never_crashes_and_never_reads_as_sound(place: int, change: int) -> None:
    data = bytearray(_segment())
    data[place] ^= change
    held = read(bytes(data))
    if place >= HEADER.size:
        assert held.end <= place
        assert not held.whole


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(range(1, 8)))
def test_frames_of_random_bytes_under_a_right_checksum_never_crash(junk: bytes, kind: int) -> None:
    read(_segment() + definition(kind, junk) + _segment()[HEADER.size :])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_lying_shapes_under_a_right_checksum_never_crash(data: st.DataObject) -> None:
    import zlib

    frames = _frames(_segment())
    body = bytearray(data.draw(st.sampled_from(frames)))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(4, min(len(body) - 1, 60)))] = data.draw(st.integers(0, 255))
    read(_segment() + zlib.crc32(bytes(body)).to_bytes(4, "little") + bytes(body))


def _frames(segment: bytes) -> Sequence[bytes]:
    found, at = [], HEADER.size
    while at < len(segment):
        length = int.from_bytes(segment[at + 4 : at + 8], "little")
        found.append(segment[at + 4 : at + 8 + length])
        at += 8 + length
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3), min_size=1, max_size=40))
def test_every_float_comes_back_to_the_bit(rows: list[list[float]]) -> None:
    matrix: NDArray[np.float64] = np.array(rows)
    frame = through(entry(len(rows), matrix=matrix, dtypes=("Float64",) * 3))
    assert frame.select(NAMES).to_numpy().tobytes() == np.ascontiguousarray(matrix).tobytes() or np.array_equal(
        frame.select(NAMES).to_numpy(), matrix
    )
