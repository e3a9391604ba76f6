"""Frames of version 1, which an older Rung wrote: what went in comes out, and damage is noticed where it is."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.serving.frames import Batch, frame_of, pack_columns, unpacked
from rung.serving.packing import HEADER, MAGIC
from rung.serving.unpacking import contents
from rung.serving.walking import FIRST_FRAME, whole_frames

HEAD = HEADER.pack(MAGIC, 1, 0, 0, bytes(16))


def packed(held: Batch) -> bytes:
    """A frame as version 1 wrote it: length, crc32 of length and payload, payload."""
    payload = msgspec.msgpack.encode(held)
    return FIRST_FRAME.pack(len(payload), zlib.crc32(payload, zlib.crc32(struct.pack("<I", len(payload))))) + payload


def batch(rows: pl.DataFrame, ids: list[str] | None = None) -> Batch:
    n = rows.height
    return Batch(
        deployment="d", model="m", number=3, revision=2, arm="stable", answered_us=10, elapsed_us=5, ids=ids or [f"id{i}" for i in range(n)],
        times_us=np.arange(n, dtype="<i8").tobytes(), scores=np.linspace(0, 1, n).astype("<f8").tobytes(), columns=pack_columns(rows),
    )  # fmt: skip


def through(rows: pl.DataFrame) -> pl.DataFrame:
    frames = list(whole_frames(HEAD + packed(batch(rows))))
    assert len(frames) == 1
    return frame_of(unpacked(frames[0][1])).select(rows.columns)


def test_every_kind_of_column_comes_back() -> None:
    rows = pl.DataFrame({
        "real": [1.5, None, float("nan"), float("inf")],
        "whole": pl.Series([1, None, -(2**62), 3], dtype=pl.Int64),
        "small": pl.Series([1, 2, 3, 255], dtype=pl.UInt8),
        "text": ["a", None, "", "é"],
        "flag": [True, None, False, True],
    })  # fmt: skip
    assert through(rows).equals(rows, null_equal=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=50))
def test_whole_numbers_with_gaps_come_back(values: list[int | None]) -> None:
    rows = pl.DataFrame({"x": pl.Series(values, dtype=pl.Int64)})
    assert through(rows).equals(rows, null_equal=True)


def test_a_torn_tail_is_cut_after_the_last_whole_frame() -> None:
    rows = pl.DataFrame({"x": [1.0, 2.0]})
    whole = HEAD + packed(batch(rows)) + packed(batch(rows))
    for cut in range(1, len(packed(batch(rows)))):
        assert len(list(whole_frames(whole[:-cut]))) == 1


def test_a_tail_of_zeros_is_no_frame() -> None:
    rows = pl.DataFrame({"x": [1.0]})
    assert len(list(whole_frames(HEAD + packed(batch(rows)) + bytes(4096)))) == 1


@pytest.mark.parametrize("offset", [0, 4, 8, 20])
def test_a_flipped_bit_ends_the_reading(offset: int) -> None:
    rows = pl.DataFrame({"x": [1.0]})
    data = bytearray(HEAD + packed(batch(rows)))
    data[HEADER.size + offset] ^= 1
    assert list(whole_frames(bytes(data))) == []


def test_the_frame_head_holds_length_and_checksum() -> None:
    data = packed(batch(pl.DataFrame({"x": [1.0]})))
    assert FIRST_FRAME.unpack_from(data)[0] == len(data) - FIRST_FRAME.size


def test_a_segment_of_version_1_is_read_as_any_other(tmp_path: Path) -> None:
    rows = pl.DataFrame({"x": [1.0, None], "s": ["a", None]})
    path = tmp_path / "00.seg"
    path.write_bytes(HEAD + packed(batch(rows)) + packed(batch(rows, ids=["p", "q"])))
    held = contents(path)
    assert held is not None
    assert held.whole
    frame = held.frame("d", details=True)
    assert frame is not None
    assert frame["prediction_id"].to_list() == ["id0", "id1", "p", "q"]
    assert frame["x"].to_list() == [1.0, None, 1.0, None]
    assert [(t.model, t.number, t.arm, t.day, t.rows) for t in held.totals("d")] == [("m", 3, "stable", "1970-01-01", 4)]
