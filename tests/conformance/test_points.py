"""Points are kept alike by both engines, however they arrive."""

from __future__ import annotations

import math
import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rung.app.local import LocalTransport, local_transport
from rung.core.settings import load_settings
from rung.tracking.records import GetRun, LogBatch, MetricHistory, MetricPoint, StartRun
from rung.tracking.store.points import PointStore
from tests.servers import PostgresServer

PACKED_AT_ONCE = 8 * 4096
BEGAN = datetime(2026, 1, 2, tzinfo=UTC)
VALUES = (0.1, 0.0, 1 / 3, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf, 2.0, -7.25)


def test_both_engines_keep_the_same_points_the_same_latest_values_and_the_same_extremes(tmp_path: Path, postgres: PostgresServer) -> None:
    chance = random.Random(7)
    batches = [[_point(chance) for _ in range(chance.choice((1, 1, 1, 2, 7, 40)))] for _ in range(60)]
    seen = []
    for name, flags in (("a", {}), ("b", {"storage.database": postgres.new_database()})):
        with closing(local_transport(load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / name), **flags}))) as transport:
            seen.append(_kept(transport, batches))
    assert seen[0] == seen[1]
    assert len(seen[0][1]) == 8, "every key has its history"


@pytest.mark.parametrize("before", [PACKED_AT_ONCE - 2, 3])
def test_points_of_one_instant_outlive_packing_wherever_they_are_parted(tmp_path: Path, postgres: PostgresServer, before: int) -> None:
    instant, many = BEGAN + timedelta(days=1), PACKED_AT_ONCE + 5 - before
    points = [MetricPoint(key="loss", step=step, at=BEGAN, value=0.5) for step in range(before)]
    points += [MetricPoint(key="loss", step=before, at=instant, value=float(n)) for n in range(many)]
    for name, flags in (("a", {}), ("b", {"storage.database": postgres.new_database()})):
        with closing(local_transport(load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / name), **flags}))) as transport:
            run = transport.call(StartRun(experiment="points")).id
            for start in range(0, len(points), 10_000):
                transport.call(LogBatch(run=run, metrics=tuple(points[start : start + 10_000])))
            transport.platform.database.write(lambda connection: [PointStore(connection).pack(1) for _ in range(3)])
            seen = transport.call(MetricHistory(run=run, key="loss", first=max(0, before - 2), limit=len(points))).points
            assert sorted(p.value for p in seen if p.step == before) == [float(n) for n in range(many)], name


def _point(chance: random.Random) -> MetricPoint:
    key = chance.choice(("loss", "a'b", '"quoted", {odd}', "ünï", "k%s?", "NULL", "b\\c", "plain"))
    return MetricPoint(
        key=key, step=chance.randrange(-3, 6), at=BEGAN + timedelta(milliseconds=chance.randrange(4)), value=chance.choice(VALUES)
    )


def _kept(transport: LocalTransport, batches: list[list[MetricPoint]]) -> tuple[str, list[str]]:
    run = transport.call(StartRun(experiment="points")).id
    for batch in batches:
        transport.call(LogBatch(run=run, metrics=tuple(batch)))
    latest = transport.call(GetRun(run=run, points=True)).latest
    assert latest is not None
    histories = [str([(p.step, p.value, p.at) for p in transport.call(MetricHistory(run=run, key=key)).points]) for key in sorted(latest)]
    return str(sorted((key, str(value)) for key, value in latest.items())), histories
