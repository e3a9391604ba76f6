"""Frames of a node's log as parts, and what the platform takes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import Conflict, Invalid
from rung.core.ids import new_id
from rung.serving.log import PredictionLog, segments
from rung.serving.log_records import CountPredictions, QueryPredictions
from rung.serving.node_operations import examined
from rung.serving.node_records import FollowDeployments, ListNodes, NodeState, ReportNode, ShipPredictions
from rung.serving.packing import HEADER, Entry
from rung.serving.records import CompactLog, ListDeployments
from rung.serving.shipping import Outgoing

NAMES, DTYPES = ("a", "b"), ("Float64", "Float64")
NODE = new_id()


def entry(*ids: str, caller: str = "ann", deployment: str = "late") -> Entry:
    n = len(ids)
    return Entry(
        deployment=deployment, model="late", number=1, revision=1, arm="stable", answered_us=time.time_ns() // 1000, elapsed_us=5, ids=list(ids),
        times_us=np.full(n, time.time_ns() // 1000), scores=np.full(n, 0.5), matrix=np.ones((n, 2)), names=NAMES, dtypes=DTYPES, caller=caller,
    )  # fmt: skip


@pytest.fixture
def deployed(client: Client) -> None:
    """The platform knows the deployments that its nodes answer for."""
    rows = np.array([[0.0, 1.0], [1.0, 0.0]] * 4)
    frame = pl.DataFrame({name: rows[:, place] for place, name in enumerate(NAMES)})
    client.registry.register("late", LogisticRegression().fit(rows, rows[:, 0]), example=frame, label="y")
    for name in ("late", "early"):
        client.serving.deploy(name, "late", 1, environment="dev")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    made = PredictionLog(tmp_path / "node", "p" * 32, segment_bytes=1 << 20, fsync=False)
    yield made
    made.close()


def _only(log: PredictionLog) -> Path:
    return next(path for path in segments(log._folder) if Outgoing(path).next() is not None)


def _ship(transport: LocalTransport, out: Outgoing, segment: str, most: int = 1 << 22) -> int:
    """Ship all there is; where the platform's copy ends."""
    end = out.offset
    while (part := out.next(most)) is not None:
        end = transport.call(ShipPredictions(node=NODE, segment=segment, start=part.start, end=part.end, frames=part.frames)).end
    return end


def _ids(transport: LocalTransport, deployment: str = "late") -> list[str]:
    return sorted(row["prediction_id"] for row in transport.call(QueryPredictions(deployment=deployment, limit=1000)).rows)


def test_parts_are_read_by_themselves_and_say_together_what_the_segment_says(log: PredictionLog, tmp_path: Path) -> None:
    for number in range(20):
        log.append(entry(f"i{number}", caller=f"c{number % 3}", deployment=("late", "early")[number % 2]))
    out, found, ends = Outgoing(_only(log)), [], [HEADER.size]
    while (part := out.next(most=150)) is not None:
        path = tmp_path / "part"
        path.write_bytes(part.frames)
        held = examined(path)
        assert part.start == ends[-1]
        ends.append(part.end)
        for deployment in held.deployments():
            frame = held.frame(deployment, details=True)
            assert frame is not None
            found += [(row["prediction_id"], row["caller"], deployment) for row in frame.iter_rows(named=True)]
    assert sorted(found) == sorted((f"i{n}", f"c{n % 3}", ("late", "early")[n % 2]) for n in range(20))
    assert len(ends) > 5
    out.begin(ends[3])  # as after a restart
    again = out.next(most=150)
    assert again is not None
    assert (again.start, again.end) == (ends[3], ends[4])


@pytest.mark.usefixtures("deployed")
def test_what_is_sent_twice_late_or_early_is_in_the_log_once(log: PredictionLog, transport: LocalTransport) -> None:
    segment = new_id()
    log.append(entry("a"), entry("b"))
    out = Outgoing(_only(log))
    first = out.next()
    assert first is not None
    log.append(entry("c"))
    second = out.next()
    assert second is not None

    def ship(part: object) -> int:
        held: SimpleNamespace = part  # type: ignore[assignment]
        return transport.call(ShipPredictions(node=NODE, segment=segment, start=held.start, end=held.end, frames=held.frames)).end

    assert ship(second) == HEADER.size  # too early: what comes before is missing
    assert [ship(first), ship(first), ship(second), ship(first), ship(second)] == [first.end, first.end, second.end, second.end, second.end]
    assert _ids(transport) == ["a", "b", "c"]
    assert transport.call(ShipPredictions(node=NODE, segment=segment, start=0, end=0)).end == second.end


@pytest.mark.usefixtures("deployed")
def test_compaction_moves_what_was_shipped_and_doubles_nothing(log: PredictionLog, transport: LocalTransport) -> None:
    log.append(entry("a"), entry("b"))
    out = Outgoing(_only(log))
    _ship(transport, out, segment := new_id(), most=1)
    for _ in range(3):
        transport.call(CompactLog(seal=False))
        assert _ids(transport) == ["a", "b"]
    log.append(entry("c"))
    _ship(transport, out, segment)
    assert _ids(transport) == ["a", "b", "c"]
    (total,) = transport.call(CountPredictions(deployment="late"))
    assert total.logged == 3


@pytest.mark.usefixtures("deployed")
def test_what_is_no_part_of_a_log_is_refused(log: PredictionLog, transport: LocalTransport) -> None:
    log.append(entry("a"))
    part = Outgoing(_only(log)).next()
    assert part is not None
    for frames in (b"nonsense", part.frames[:-3], part.frames[:-1] + b"\xff", part.frames[: HEADER.size]):
        with pytest.raises(Invalid, match="no frames"):
            transport.call(ShipPredictions(node=NODE, segment=new_id(), start=HEADER.size, end=part.end, frames=frames))
    with pytest.raises(Invalid, match="are none"):
        transport.call(ShipPredictions(node=NODE, segment=new_id(), start=HEADER.size, end=HEADER.size, frames=part.frames))
    assert _ids(transport) == []


def test_waiting_bytes_and_the_oldest_answer_are_told_before_and_after_shipping(log: PredictionLog, transport: LocalTransport) -> None:
    begun = time.time_ns() // 1000
    log.append(entry("a"))
    ended = time.time_ns() // 1000
    out = Outgoing(_only(log))
    size, first = out.waiting(HEADER.size)
    assert size > 100
    assert begun <= first <= ended
    end = _ship(transport, out, new_id())
    assert out.waiting(end) == (0, 0)


def test_a_cursor_that_stands_for_what_is_deployed_is_answered_with_nothing_new(transport: LocalTransport) -> None:
    found = transport.call(FollowDeployments())
    assert (found.changed, found.deployments, found.project.name) == (True, (), "default")
    assert not transport.call(FollowDeployments(cursor=found.cursor)).changed
    with pytest.raises(Conflict, match="protocol 7"):
        transport.call(FollowDeployments(protocol=7))
    assert transport.call(ListDeployments()) == ()


@pytest.mark.usefixtures("deployed")
def test_a_node_is_silent_a_minute_after_its_last_word(transport: LocalTransport) -> None:
    now = transport.platform.clock.now()
    transport.call(ReportNode(state=NodeState(id=NODE, name="edge", rung="1", started_at=now)))
    transport.call(ReportNode(state=NodeState(id=NODE, name="edge-1", rung="1", started_at=now)))
    (held,) = transport.call(ListNodes())
    assert (held.state.name, held.silent) == ("edge-1", False)
    transport.platform.clock = SimpleNamespace(now=lambda: now + timedelta(seconds=90))
    (held,) = transport.call(ListNodes())
    assert held.silent
    assert transport.call(ListNodes(deployment="late")) == ()
