"""Rates, daily rows, sizes, and bodies that unpack to far more than they are."""

from __future__ import annotations

import gzip
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rung.core.errors import Invalid
from rung.core.settings import ServingSettings
from rung.serving.limiting import Limited, Limiter, bounds, inflated
from rung.serving.options import LimitOptions

MIB = 1 << 20


def limiter(folder: Path, **options: float) -> Limiter:
    return Limiter(folder, "p/d", bounds(LimitOptions(**options), ServingSettings(), 64))  # type: ignore[arg-type]  # numbers of each kind


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def test_of_the_servers_bound_and_the_deployments_the_smaller_holds() -> None:
    held = bounds(LimitOptions(max_rows=10, timeout_ms=120_000, max_body_mb=128), ServingSettings(requests_per_s=5.0), 64)
    assert (held.max_rows, held.timeout_s, held.max_body, held.rate, held.burst) == (10, 60.0, 64 * MIB, 5.0, 10)


def test_a_burst_passes_and_what_comes_after_it_is_told_when_to_come_again(tmp_path: Path) -> None:
    held = limiter(tmp_path, requests_per_s=0.5, burst=3)
    for _ in range(3):
        held.admit("token")
    with pytest.raises(Limited) as error:
        held.admit("token")
    assert 1.0 < error.value.retry_after_s <= 2.0
    assert error.value.message == "This token may send 0.5 requests a second to 'd'."
    held.admit("another token")


def test_two_processes_count_together(tmp_path: Path) -> None:
    one, other = limiter(tmp_path, requests_per_s=0.1, burst=2), limiter(tmp_path, requests_per_s=0.1, burst=2)
    one.admit("token")
    other.admit("token")
    with pytest.raises(Limited):
        one.admit("token")


def test_a_day_has_so_many_rows_and_no_more(tmp_path: Path) -> None:
    held = limiter(tmp_path, rows_per_day=100)
    held.spend("token", 60)
    with pytest.raises(Limited, match="100 rows a day and has asked for 60") as error:
        held.spend("token", 41)
    assert 0 < error.value.retry_after_s <= 86_400
    held.spend("token", 40)


def test_without_bounds_nothing_is_counted(tmp_path: Path) -> None:
    assert limiter(tmp_path).none
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd), ("identity", bytes)])
def test_every_coding_gives_the_body_back(coding: str, packed: object) -> None:
    data = b'{"instances": [[1, 2, 3]]}' * 1000
    assert inflated(coding, packed(data), MIB) == data  # type: ignore[operator]  # all of them pack


def test_raw_deflate_and_gzip_of_several_members_are_read_too() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert inflated("deflate", raw.compress(b"abc") + raw.flush(), MIB) == b"abc"
    assert inflated("gzip", gzip.compress(b"abc") + gzip.compress(b"def"), MIB) == b"abcdef"


@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd)])
def test_a_bomb_stops_at_the_limit(coding: str, packed: object) -> None:
    bomb = packed(bytes(64 * MIB))  # type: ignore[operator]  # all of them pack
    assert len(bomb) < MIB
    with pytest.raises(Invalid, match="larger than 1 MiB"):
        inflated(coding, bomb, MIB)


@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd)])
def test_a_damaged_or_truncated_body_is_the_callers_mistake(coding: str, packed: object) -> None:
    whole = packed(b"some bytes" * 100)  # type: ignore[operator]  # all of them pack
    for body in (whole[: len(whole) // 2], b"\x00\x01 no such thing"):
        with pytest.raises(Invalid, match=f"not {coding}"):
            inflated(coding, body, MIB)


def test_an_unknown_coding_is_named() -> None:
    with pytest.raises(Invalid, match="'br'"):
        inflated("br", b"", MIB)


def test_a_body_of_very_many_members_or_of_noise_is_unpacked_in_a_time_of_its_length() -> None:
    noise = np.random.default_rng(0).bytes(8 * MIB)
    begun = time.process_time()
    assert inflated("gzip", gzip.compress(b"") * 100_000, MIB) == b""
    assert inflated("gzip", gzip.compress(noise, 1), 16 * MIB) == noise
    assert time.process_time() - begun < 30  # measured 0.23 s; what grows with the square takes minutes
    assert inflated("gzip", b"".join([gzip.compress(b"ab"), bytes(200_000), gzip.compress(b"cd")]), MIB) == b"abcd"
