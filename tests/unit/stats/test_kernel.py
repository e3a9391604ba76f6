"""Numbers out of JSON: correctly rounded, whatever they look like, and refused where they are none."""

from __future__ import annotations

import json
import math
import random
import struct

import numpy as np
import pytest

from rung.stats import kernel
from rung.stats.kernel import floats


@pytest.fixture(params=["compiled", "plain"], autouse=True)
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        monkeypatch.setattr(kernel, "KERNEL", None)
    elif kernel.KERNEL is None:
        pytest.skip("the compiled part was not built")


def test_a_flat_array_and_rows_keep_their_shape() -> None:
    assert floats(b" [1, -2.5e3 ,null]").tolist()[:2] == [1.0, -2500.0]
    assert math.isnan(floats(b"[null]")[0])
    assert floats(b"[[1,2],[3,4],[5,6]]").shape == (3, 2)
    assert floats(b"[]").shape == (0,)


@pytest.mark.parametrize(
    "text",
    ["", "[", "[1", "[1,", "[1,]", "[01]", "[1.]", "[.5]", "[+1]", "[1e]", "[--1]", "[NaN]", "[true]", '["1"]', "[[1],[1,2]]", "[[1],2]", "[1,[2]]", "[1]x", "{}", "null", "[1 2]"],
)  # fmt: skip
def test_what_is_no_array_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no array of numbers"):
        floats(text.encode())


def test_every_double_is_read_as_python_reads_it() -> None:
    chance = np.random.default_rng(0)
    bits = chance.integers(0, 1 << 63, 20_000, dtype=np.uint64)
    values = [value for value in (struct.unpack("d", struct.pack("Q", int(item)))[0] for item in bits) if math.isfinite(value)]
    values += [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2.0**64, 2.0**53 + 1]
    assert floats(json.dumps(values).encode()).tolist() == values


def test_every_decimal_is_read_as_python_reads_it() -> None:
    chance = random.Random(3)
    texts = [f"{chance.getrandbits(chance.randint(1, 70))}e{chance.randint(-70, 70)}" for _ in range(5000)]
    texts += [f"-{chance.randint(0, 10 ** chance.randint(1, 12))}.{chance.randint(0, 10 ** chance.randint(1, 25))}" for _ in range(5000)]
    texts += [f"0.{'0' * chance.randint(0, 30)}{chance.getrandbits(60)}E+{chance.randint(0, 20)}" for _ in range(5000)]
    assert floats(f"[{','.join(texts)}]".encode()).tolist() == [float(text) for text in texts]


def test_a_whole_number_beyond_64_bits_is_not_cut() -> None:
    assert floats(b"[18446744073709551616,18446744073709551617.5]").tolist() == [18446744073709551616.0, 18446744073709551617.5]
