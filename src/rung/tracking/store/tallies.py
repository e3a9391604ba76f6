"""Counts of what runs have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rung.storage.sql import Connection, func, select
from rung.tracking.imports import RunTally
from rung.tracking.store.tables import ARTIFACT, CHUNK, LATEST, PARAM, POINT, RUN, SERIES, TAG

_SOME = 500  # SQLite bounds the number of parameters


def tallies(connection: Connection, project: str, runs: Sequence[str]) -> tuple[RunTally, ...]:
    """Counts of each kind a run has, for those of the runs that are there."""
    found: list[RunTally] = []
    for start in range(0, len(runs), _SOME):
        some = runs[start : start + _SOME]
        heads = connection.execute(select(RUN.c.id, RUN.c.inputs, RUN.c.models).where(RUN.c.id.in_(some), RUN.c.project == project)).all()
        params, tags, metrics = (_counted(connection, item.c.run, some) for item in (PARAM, TAG, LATEST))
        artifacts = _counted(connection, ARTIFACT.c.owner, some)
        points = _points(connection, some)
        found += [
            RunTally(
                run=run, params=params.get(run, 0), tags=tags.get(run, 0), metrics=metrics.get(run, 0), points=points.get(run, 0),
                inputs=len(inputs), models=len(models), artifacts=artifacts.get(run, 0),
            )
            for run, inputs, models in heads
        ]  # fmt: skip
    return tuple(found)


def _counted(connection: Connection, column: Any, runs: Sequence[str]) -> dict[str, int]:
    return dict(connection.execute(select(column, func.count()).where(column.in_(runs)).group_by(column)).all())


def _points(connection: Connection, runs: Sequence[str]) -> dict[str, int]:
    """Points in the tail and in chunks; a point that came twice, before and after packing, counts twice."""
    of = SERIES.c.run
    tail = select(of, func.count()).join(POINT, POINT.c.series == SERIES.c.id).where(of.in_(runs)).group_by(of)
    packed = select(of, func.sum(CHUNK.c.points)).join(CHUNK, CHUNK.c.series == SERIES.c.id).where(of.in_(runs)).group_by(of)
    found: dict[str, int] = {}
    for query in (tail, packed):
        for run, count in connection.execute(query):
            found[run] = found.get(run, 0) + int(count)
    return found
