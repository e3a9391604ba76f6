"""The express way answers and logs byte for byte what codec, answering and log do one after the other, or leaves it to them."""

from __future__ import annotations

import json
import random
import struct
import time
import zlib
from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.errors import RungError
from rung.core.settings import load_settings
from rung.serving import answering, express
from rung.serving.codecs.open_inference import OpenInference
from rung.serving.express import express_of
from rung.serving.inference import Answered, Call
from rung.serving.live import LiveDeployment, live_table
from rung.serving.segment import Segment
from rung.stats import kernel

pytestmark = pytest.mark.skipif(kernel.KERNEL is None, reason="the compiled part was not built")
CODEC = OpenInference()
ID, NOW = "0192f3a4b5c6701280000000000000ab", 1_375_000_000_000_000
COLUMNS = ("a", "b", "n")
PLAIN = '{{"inputs":[{{"name":"x","shape":[1,3],"datatype":"FP64","data":[{}]}}]{}}}'


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LiveDeployment]]:
    folder = tmp_path_factory.mktemp("express")
    transport = local_transport(load_settings(folder, environ={}, flags={"home": str(folder / "home")}))
    client, chance = Client(transport), np.random.default_rng(0)
    rows = pl.DataFrame({"a": chance.normal(size=400), "b": chance.normal(size=400), "n": np.arange(400) % 50})
    sums = (rows["a"] - rows["b"]).to_numpy()
    words = np.where(sums > 0, 'say "yes"', "né")
    models = {
        "logistic": LogisticRegression().fit(rows.to_numpy(), sums > 0),
        "words": LogisticRegression().fit(rows.to_numpy(), words),
        "value": LinearRegression().fit(rows.to_numpy(), sums),
    }
    for name, model in models.items():
        client.registry.register(name, model, example=rows.head(50), label="y")
        client.serving.deploy(name, name, 1, environment="staging")
    platform = transport.platform
    table = live_table(platform.database, platform.blobs, platform.settings)
    yield {name: table.get(transport.caller().project, name) for name in models}
    transport.close()


@pytest.fixture(autouse=True)
def _stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 1000)
    monkeypatch.setattr(express, "new_id", lambda: ID)
    monkeypatch.setattr("rung.serving.log.SEAL_AFTER_S", 1e9)  # a slow machine begins no other segment meanwhile
    monkeypatch.setattr(answering, "new_id", lambda: ID)


def here(live: LiveDeployment) -> tuple[Segment | None, int]:
    segment = live.log._segment
    return segment, 0 if segment is None else segment.end


def frame_since(live: LiveDeployment, before: tuple[Segment | None, int]) -> bytes:
    """What was logged, but for the time it took: sound, and then without that. Empty where another segment was begun."""
    segment, end = here(live)
    if segment is None or segment is not before[0]:
        return b""
    data = bytes(segment.room[before[1] : end])
    assert struct.unpack("<II", data[:8]) == (zlib.crc32(data[4:]), len(data) - 8)
    return data[4:40] + data[44:]


def ordinary(live: LiveDeployment, body: bytes, trace_id: str = "") -> tuple[bytes, bytes] | None:
    """Body and frame on the ordinary way; None for an error."""
    before = here(live)
    try:
        asked = CODEC.decode(Call("POST", "/", {}, b"", body), live)
        asked.trace_id = trace_id
        found = answering.ask(live, asked, "me")
    except RungError:
        return None
    assert isinstance(found, Answered)
    return CODEC.encode(found, asked, live).body, frame_since(live, before)


def expressed(live: LiveDeployment, body: bytes, trace_id: str = "") -> tuple[bytes, bytes] | None:
    way = express_of(live, CODEC)
    assert way is not None
    before = here(live)
    found = way.answer(body, "me", trace_id)
    if found is None:
        assert here(live) == before
        return None
    return found[0], frame_since(live, before)


def alike(found: tuple[bytes, bytes], wanted: tuple[bytes, bytes] | None) -> bool:
    return wanted is not None and found[0] == wanted[0] and (found[1] == wanted[1] or not found[1] or not wanted[1])


def known(live: LiveDeployment) -> LiveDeployment:
    """The deployment, its names defined in the log."""
    answering.ask(live, CODEC.decode(Call("POST", "/", {}, b"", PLAIN.format("1,2,3", "").encode()), live), "me")
    return live


def some_number(chance: random.Random) -> str:
    kind = chance.randrange(6)
    if kind == 0:
        bits = struct.pack("Q", chance.getrandbits(64))
        value = struct.unpack("d", bits)[0]
        return repr(value) if isfinite(value) else "0"
    if kind == 1:
        return f"{chance.getrandbits(chance.randint(1, 80))}e{chance.randint(-340, 290)}"
    if kind == 2:
        return f"-{chance.random() * 10 ** chance.randint(-3, 3):.{chance.randint(1, 19)}f}"
    return chance.choice(
        [
            "-0",
            "-0.0",
            "0",
            "5e-324",
            "-4.9E-324",
            "1.7976931348623157e308",
            "9007199254740993",
            "18446744073709551617",
            repr(chance.gauss(0, 1)),
        ]
    )


@pytest.mark.parametrize("name", ["logistic", "words", "value"])
def test_answer_and_log_are_the_same_bytes_for_any_numbers(
    lives: dict[str, LiveDeployment], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, chance = known(lives[name]), random.Random(7)
    ends = [
        "",
        ',"id":"7"',
        ',"id":""',
        ',"outputs":[{"name":"prediction_id"},{"name":"predict"}]',
        f',"id":"{"x" * 300}"',
        ',"outputs":[{"name":"predict"}]',
    ]
    taken = 0
    for turn in range(400):
        body = PLAIN.format(f"{some_number(chance)}, {some_number(chance)} ,{chance.randint(0, 99)}", ends[turn % len(ends)]).encode()
        trace_id = "ab" * 16 if turn % 3 == 0 else ""
        found = expressed(live, body, trace_id)
        assert found is None or alike(found, ordinary(live, body, trace_id))
        with monkeypatch.context() as without:
            without.setattr(kernel, "KERNEL", None)
            assert found is None or alike(found, ordinary(live, body, trace_id))
        taken += found is not None
    assert taken > 350


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.format("1,2,null", ""), PLAIN.format("1,2,2.5", ""), PLAIN.format("1,2,1e300", ""), PLAIN.format("1e999,2,3", ""), PLAIN.format("1,2", ""),
        PLAIN.format("1,2,3,4", ""), PLAIN.format("1,2,NaN", ""), PLAIN.format("1,2,true", ""), PLAIN.format('1,2,"3"', ""), PLAIN.format("1,2,3,", ""),
        PLAIN.format("01,2,3", ""), PLAIN.format("1,2,3", ',"parameters":{"explain":true}'), PLAIN.format("1,2,3", ',"id":null'),
        PLAIN.format("1,2,3", ',"id":"a\\"b"'), PLAIN.format("1,2,3", ',"id":"é"'), PLAIN.format("1,2,3", ',"outputs":[]'),
        PLAIN.format("1,2,3", ',"outputs":[{"name":"predict"},{"name":"predict"}]'), PLAIN.format("1,2,3", ',"outputs":[{"name":"arm"}]'),
        PLAIN.format("1,2,3", ',"outputs":[{"name":"score","parameters":{"binary_data":true}}]'), PLAIN.format("1,2,3", "") + "x",
        PLAIN.format("1,2,3", "").replace("[1,3]", "[3]"), PLAIN.format("1,2,3", "").replace("[1,3]", "[1,-3]"),
        PLAIN.format("1,2,3", "").replace("[1,3]", "[01,3]"), PLAIN.format("1,2,3", "").replace("FP64", "FP32"),
        PLAIN.format("1,2,3,1,2,3", "").replace("[1,3]", "[2,3]"), PLAIN.format("", "").replace("[1,3]", "[0,3]"),
        PLAIN.format("1,2,3", "").replace("[1,3]", "[9999999999,3]"), PLAIN.format("1,2,3", "").replace("[1,3]", "[1,9999999999]"), "", "{", "[]", "{}", "null",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_ordinary_way_and_nothing_is_logged(lives: dict[str, LiveDeployment], body: str) -> None:
    assert expressed(known(lives["words"]), body.encode()) is None


def test_rows_nested_or_with_blanks_everywhere_are_plain(lives: dict[str, LiveDeployment]) -> None:
    live = known(lives["words"])
    for body in (
        PLAIN.format("[1,2,3]", ""),
        json.dumps(json.loads(PLAIN.format("[1,2,3]", ',"id":"4"')), indent=4),
        " \n" + PLAIN.format(" 1 , 2\t,3 ", "") + "\r\n",
    ):
        found = expressed(live, body.encode())
        assert found is not None
        assert found == ordinary(live, body.encode())


def mutated(chance: random.Random, body: bytes) -> bytes:
    made = bytearray(body)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randrange(len(made) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            del made[at : at + chance.randint(1, 4)]
        elif kind == 1:
            made[at:at] = bytes([chance.choice(b'0123456789-+.eE,:[]{}"\\ntu \x00\xff')])
        elif kind == 2 and at < len(made):
            made[at] = chance.choice(b'0123456789-+.eE,:[]{}"\\ntu \x00\xff')
        elif kind == 3:
            other = chance.randrange(len(made) + 1)
            made[at:at] = made[other : other + chance.randint(1, 30)]
        else:
            del made[at:]
        if not made:
            break
    return bytes(made)


@pytest.mark.parametrize("times", [3000, pytest.param(400_000, marks=pytest.mark.slow)])
def test_damaged_bodies_are_never_answered_otherwise_than_on_the_ordinary_way(
    lives: dict[str, LiveDeployment], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, chance = known(lives["words"]), random.Random(times)
    seeds = [
        PLAIN.format("-1.25e-3, 200, 3", ""),
        PLAIN.format("[1.5,0.000123,3]", ',"id":"a1","outputs":[{"name":"score"},{"name":"predict"}]'),
    ]
    seeds.append(json.dumps(json.loads(PLAIN.format("1,2,3", ',"id":"b"'))))
    held: Any = kernel.KERNEL
    plain = 0
    for turn in range(times):
        body = mutated(chance, seeds[turn % 3].encode())
        found, read = expressed(live, body), held.tensor(body, 3)
        monkeypatch.setattr(kernel, "KERNEL", None)
        wanted = ordinary(live, body) if found is not None or read is not None else None
        monkeypatch.setattr(kernel, "KERNEL", held)
        assert found is None or alike(found, wanted), body
        if read is not None and wanted is not None:
            plain += 1
            matrix = CODEC.decode(Call("POST", "/", {}, b"", body), live).rows.matrix
            assert matrix is not None
            assert np.array_equal(np.frombuffer(read[0]).reshape(read[1], 3), matrix, equal_nan=True)
    assert plain > times / 40


def test_a_segment_without_room_is_left_to_the_ordinary_way(lives: dict[str, LiveDeployment]) -> None:
    live = known(lives["value"])
    body, held = PLAIN.format("1,2,3", "").encode(), kernel.KERNEL
    way = express_of(live, CODEC)
    assert held is not None
    assert way is not None
    room = bytearray(400)
    found = held.answer(way.lane, body, ID, "", NOW, room, 40, 0, 0)
    assert found is not None
    size = found[1] - 40
    assert not any(room[:40])
    assert not any(room[found[1] :])
    assert held.answer(way.lane, body, ID, "", NOW, room, 400 - size, 0, 0) is not None
    assert held.answer(way.lane, body, ID, "", NOW, room, 401 - size, 0, 0) is None
    assert held.answer(way.lane, body, ID, "", NOW, room, 2**62, 0, 0) is None
    for wrong in (
        (ID, "", NOW, room, -1, 0, 0),
        ('a"b', "", NOW, room, 0, 0, 0),
        ("", "", NOW, room, 0, 0, 0),
        (ID, "", NOW, room, 0, 1 << 16, 0),
    ):
        with pytest.raises(ValueError, match="No such"):
            held.answer(way.lane, body, *wrong)
    with pytest.raises((TypeError, BufferError)):
        held.answer(way.lane, body, ID, "", NOW, bytes(400), 0, 0, 0)


def test_a_lane_of_parts_that_do_not_fit_is_refused(lives: dict[str, LiveDeployment]) -> None:
    alone, held = lives["value"].stable.scoring.predictor.alone, kernel.KERNEL
    assert alone is not None
    assert held is not None
    outputs = ((b"predict", 1, b"x"),)
    for bounds, said in (
        (np.zeros(5), outputs),
        (np.zeros((2, 3)), ()),
        (np.zeros((2, 3)), ((b"predict", 9, b"x"),)),
        (np.zeros((2, 3)), outputs * 9),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            held.lane(alone.compiled, bounds, b"", b"", said, b"", b"", 0.5)
