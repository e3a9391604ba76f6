"""Batch while busy: everybody gets his own rows back, whatever was scored together."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rung.core.errors import Invalid, Unavailable
from rung.serving.batcher import Batcher, Calling, Waiting
from rung.serving.inference import Floats, Rows


def doubled(rows: Rows) -> Floats:
    assert rows.matrix is not None
    return np.asarray(rows.matrix.sum(axis=1) * 2)


def one(value: float, width: int = 2) -> Rows:
    return Rows(matrix=np.full((1, width), value))


class Slow:
    """A model that can be held up, and notes how many rows it was given at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.heights: list[int] = []

    def __call__(self, rows: Rows) -> Floats:
        self.begun.set()
        self.heights.append(rows.height)
        assert self.go.wait(60)
        return doubled(rows)


def held_up(slow: Slow, batcher: Batcher) -> Waiting:
    """A first request that keeps the model busy."""
    first = batcher.submit(one(1.0))
    assert slow.begun.wait(60)
    return first


def test_thirty_two_threads_that_ask_for_different_shapes_each_get_their_own_rows() -> None:
    batcher = Batcher("m:1", doubled, queue=10_000)

    def ask(thread: int) -> int:
        wrong = 0
        for number in range(250):
            width, value = 1 + thread % 3, float(thread * 1000 + number)
            height = 1 + number % 4
            rows = Rows(matrix=np.repeat(np.arange(height, dtype=np.float64)[:, None] + value, width, axis=1))
            expected = (np.arange(height) + value) * width * 2
            wrong += not np.array_equal(batcher.submit(rows, kind=thread % 2).result(120), expected)
        return wrong

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(ask, range(32))) == 0


def test_what_came_while_the_model_was_busy_is_scored_together() -> None:
    slow = Slow()
    batcher = Batcher("m:1", slow)
    futures = [held_up(slow, batcher), *(batcher.submit(one(float(value))) for value in range(5))]
    slow.go.set()
    assert [future.result(120).tolist() for future in futures] == [[4.0], [0.0], [4.0], [8.0], [12.0], [16.0]]
    assert slow.heights == [1, 5]


def test_requests_of_another_kind_or_width_are_not_joined() -> None:
    slow = Slow()
    batcher = Batcher("m:1", slow)
    futures = [held_up(slow, batcher), batcher.submit(one(1.0)), batcher.submit(one(1.0, 3)), batcher.submit(one(1.0), kind="label")]
    slow.go.set()
    assert [future.result(120).tolist() for future in futures] == [[4.0], [4.0], [6.0], [4.0]]
    assert slow.heights == [1, 1, 1, 1]


def test_no_batch_has_more_rows_than_allowed_but_one_request_may() -> None:
    slow = Slow()
    batcher = Batcher("m:1", slow, max_rows=3)
    futures = [held_up(slow, batcher), *(batcher.submit(one(1.0)) for _ in range(4)), batcher.submit(Rows(matrix=np.ones((5, 2))))]
    slow.go.set()
    assert [future.result(120).size for future in futures] == [1, 1, 1, 1, 1, 5]
    assert slow.heights == [1, 3, 1, 5]


def test_a_bad_row_in_a_joined_batch_harms_its_own_request_only() -> None:
    slow = Slow()

    def score(rows: Rows) -> Floats:
        assert rows.matrix is not None
        scores = slow(rows)
        if np.isnan(rows.matrix).any():
            raise Invalid("No NaN here.", code="registry.unscorable")
        return scores

    batcher = Batcher("m:1", score)
    held = held_up(slow, batcher)
    good, bad, other = batcher.submit(one(1.0)), batcher.submit(one(float("nan"))), batcher.submit(one(2.0))
    slow.go.set()
    assert held.result(120).tolist() == [4.0]
    assert (good.result(120).tolist(), other.result(120).tolist()) == ([4.0], [8.0])
    with pytest.raises(Invalid, match="No NaN"):
        bad.result(120)


def test_a_model_that_answers_too_few_scores_gives_nobody_anothers() -> None:
    slow = Slow()
    batcher = Batcher("m:1", lambda rows: slow(rows)[:1])
    futures = [held_up(slow, batcher), batcher.submit(one(1.0)), batcher.submit(one(2.0))]
    slow.go.set()
    assert [future.result(120).tolist() for future in futures] == [[4.0], [4.0], [8.0]]


def test_more_requests_than_may_wait_are_refused_at_once() -> None:
    slow = Slow()
    batcher = Batcher("m:1", slow, queue=2)
    held_up(slow, batcher)
    batcher.submit(one(1.0))
    batcher.submit(one(1.0))
    with pytest.raises(Unavailable, match="2 requests wait"):
        batcher.submit(one(1.0))
    slow.go.set()


def test_a_request_nobody_waits_for_any_longer_is_not_scored() -> None:
    slow = Slow()
    batcher = Batcher("m:1", slow)
    held, given_up, last = held_up(slow, batcher), batcher.submit(one(1.0)), batcher.submit(one(2.0))
    assert given_up.cancel()
    slow.go.set()
    assert (held.result(120).tolist(), last.result(120).tolist()) == ([4.0], [8.0])
    assert sum(slow.heights) == 2


def test_a_lone_request_waits_for_no_company() -> None:
    batcher = Batcher("m:1", doubled)
    batcher.submit(one(1.0)).result(120)
    begun = time.perf_counter()
    for _ in range(20):
        batcher.submit(one(1.0)).result(120)
    assert time.perf_counter() - begun < 60.0


def test_who_waits_is_told_how_long_and_with_how_many_rows_it_was_scored() -> None:
    slow = Slow()
    batcher = Batcher("m:1", slow)
    first = held_up(slow, batcher)
    others = [batcher.submit(one(2.0)), batcher.submit(Rows(matrix=np.full((2, 2), 3.0)))]
    time.sleep(1.0)
    slow.go.set()
    for future in (first, *others):
        future.result(120)
    assert (first.rows, first.share) == (1, 1.0)
    assert first.compute_us >= 1_000_000
    for future in others:
        assert (future.rows, future.share) == (3, 0.5)
        assert future.queue_us >= 1_000_000
        assert future.compute_us > 0


class Loop:
    """Callers on an event loop, who ask again as soon as they are answered."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.found: list[Calling] = []

    async def ask(self, rows: Rows, kind: str = "") -> Floats:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Calling] = loop.create_future()
        self.batcher.post(rows, kind, Calling(loop, future.set_result))
        calling = await asyncio.wait_for(future, 120)
        self.found.append(calling)
        if calling.error is not None:
            raise calling.error
        assert calling.scores is not None
        return calling.scores


def test_what_an_event_loop_reads_together_is_scored_together() -> None:
    heights = []

    def score(rows: Rows) -> Floats:
        heights.append(rows.height)
        return doubled(rows)

    async def main() -> None:
        callers = Loop(Batcher("m:1", score))
        found = await asyncio.gather(*(callers.ask(one(float(number))) for number in range(16)))
        assert [scores.tolist() for scores in found] == [[number * 4.0] for number in range(16)]
        assert {(held.rows, held.share) for held in callers.found} == {(16, 1 / 16)}
        assert all(held.queue_us > 0 < held.compute_us for held in callers.found)

    asyncio.run(main())
    assert heights == [16]


def test_callers_who_ask_again_and_again_come_together_and_get_their_own_rows() -> None:
    heights = []

    def score(rows: Rows) -> Floats:
        heights.append(rows.height)
        time.sleep(0.002)
        return doubled(rows)

    async def main() -> None:
        callers = Loop(Batcher("m:1", score))

        async def caller(number: int) -> None:
            await asyncio.sleep(number / 2000)  # they begin one after the other
            for turn in range(20):
                value = float(number * 100 + turn)
                assert (await callers.ask(one(value, 2 + number % 2), str(number % 2))).tolist() == [value * 2 * (2 + number % 2)]

        await asyncio.gather(*(caller(number) for number in range(8)))

    asyncio.run(main())
    assert sum(heights) == 160
    assert len(heights) <= 120  # of two kinds, four callers each: 40 if all always were together


def test_a_failing_row_and_one_that_is_not_wanted_any_more_harm_nobody_on_a_loop() -> None:
    def score(rows: Rows) -> Floats:
        assert rows.matrix is not None
        if (rows.matrix < 0).any():
            raise Invalid("below zero", code="x", hint="y")
        return doubled(rows)

    async def main() -> None:
        callers = Loop(Batcher("m:1", score))
        loop = asyncio.get_running_loop()
        never = Calling(loop, lambda calling: pytest.fail("it was told all the same"))
        never.dropped = True
        callers.batcher.post(one(5.0), "", never)
        found = await asyncio.gather(*(callers.ask(one(value)) for value in (1.0, -1.0, 2.0)), return_exceptions=True)
        assert isinstance(found[1], Invalid)
        assert [held.tolist() for held in found if not isinstance(held, BaseException)] == [[4.0], [8.0]]

    asyncio.run(main())


def test_threads_and_loops_share_a_model() -> None:
    batcher = Batcher("m:1", doubled)

    async def main() -> None:
        callers, loop = Loop(batcher), asyncio.get_running_loop()
        for turn in range(30):
            thread = loop.run_in_executor(None, batcher.submit(one(float(turn))).result, 120)
            assert (await callers.ask(one(1.0))).tolist() == [4.0]
            assert (await thread).tolist() == [turn * 4.0]

    asyncio.run(main())


def test_a_loop_that_ended_holds_up_nobody() -> None:
    slow = Slow()
    batcher = Batcher("m:1", slow)
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda: batcher.post(one(1.0), "", Calling(loop, lambda calling: None)))
    assert loop.run_until_complete(loop.run_in_executor(None, slow.begun.wait, 60))
    loop.close()
    after = batcher.submit(one(2.0))
    slow.go.set()
    assert after.result(120).tolist() == [8.0]


@pytest.mark.parametrize("first", ["posted", "submitted"])
def test_a_loop_that_ends_before_it_went_on_holds_up_nobody(first: str) -> None:
    batcher = Batcher("m:1", doubled)
    loop = asyncio.new_event_loop()

    def last() -> None:
        batcher.post(one(1.0), "", Calling(loop, lambda calling: None))
        loop.stop()  # before what it was to do next

    loop.call_soon(last)
    loop.run_forever()
    loop.close()
    if first == "submitted":
        assert batcher.submit(one(2.0)).result(60).tolist() == [8.0]

    async def main() -> None:
        assert (await Loop(batcher).ask(one(3.0))).tolist() == [12.0]

    asyncio.run(main())


def test_more_than_may_wait_are_refused_on_a_loop_too() -> None:
    slow = Slow()
    batcher = Batcher("m:1", slow, queue=1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        held_up(slow, batcher)
        batcher.post(one(1.0), "", Calling(loop, lambda calling: None))
        with pytest.raises(Unavailable, match="wait for m:1"):
            batcher.post(one(1.0), "", Calling(loop, lambda calling: None))
        slow.go.set()

    asyncio.run(main())


def test_a_thread_that_cannot_be_started_now_is_started_by_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Batcher("m:1", doubled)
    with monkeypatch.context() as patch:

        def none_left(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            batcher.submit(one(1.0))
    assert batcher.submit(one(2.0)).result(60).tolist() == [8.0]
